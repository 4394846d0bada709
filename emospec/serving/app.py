"""The application: middleware, routes, the page, the OpenAPI document, and every error in one shape."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import emospec
from emospec.errors import EmospecError
from emospec.serving.errors import ERROR_KINDS, ApiError, api_error_of
from emospec.serving.examples import Examples
from emospec.serving.middleware import GUARDED, Access, AccessMiddleware, UnreadBodyMiddleware
from emospec.serving.routes import examples_router, formats_router, recordings_router
from emospec.serving.schemas import STREAM_MESSAGES
from emospec.serving.service import Service
from emospec.serving.websocket import stream_router

_PAGE = Path(__file__).with_name("page")
_DOCS = Path(__file__).with_name("docs")
_SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")
_REF = "#/components/schemas/{model}"
_TOKEN_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "The server's EMOSPEC_TOKEN. A browser's WebSocket offers the protocols `bearer` and the token.",
}


def create_app(service: Service, access: Access | None = None) -> FastAPI:
    """Return the application around a service, for those who have access: by default, anybody."""
    access = access or Access()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        service.stop()

    app = FastAPI(
        title="emospec",
        version=emospec.__version__,
        description="Speech emotion recognition. Every error is `{error: {code, message, fix}}`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.examples = Examples(service)
    for router in (recordings_router, formats_router, examples_router, stream_router):
        app.include_router(router)
    _add_page(app)
    _add_docs(app)
    app.openapi = cache(lambda: _openapi_document(app, bool(access.token)))  # type: ignore[method-assign]
    for error in (EmospecError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, _error_response)
    # The middleware that is added last is the outermost.
    app.add_middleware(AccessMiddleware, metrics=service.metrics, access=access)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=access.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization"],
            expose_headers=["Content-Disposition", "Retry-After"],
        )
    app.add_middleware(UnreadBodyMiddleware)
    return app


def _add_page(app: FastAPI) -> None:
    page = StaticFiles(directory=_PAGE, check_dir=False)

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    app.mount("/page", page)


def _add_docs(app: FastAPI) -> None:
    # Swagger UI comes from its own wheel: the page works offline.
    docs = StaticFiles(directory=_DOCS, check_dir=False)
    package = find_spec("fastapi_offline")
    folders = package.submodule_search_locations if package else None
    swagger = StaticFiles(directory=Path((folders or [str(_DOCS)])[0]) / "static", check_dir=False)

    @app.get("/docs", include_in_schema=False)
    async def docs_page(request: Request) -> Response:
        return await docs.get_response("index.html", request.scope)

    @app.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str, request: Request) -> Response:
        return await (swagger if name in _SWAGGER_FILES else docs).get_response(name, request.scope)


async def _error_response(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return ApiError("invalid", f"{first['loc'][-1]}: {first['msg']}").response
    if isinstance(error, HTTPException):
        codes = {status: code for code, (status, _, _) in reversed(ERROR_KINDS.items())}
        response = ApiError(codes.get(error.status_code, "invalid")).response
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "GET")
            methods = {method.strip() for method in allowed.split(",")}
            response.headers["Allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        return response
    if isinstance(error, EmospecError):
        return api_error_of(error).response
    raise error


def _openapi_document(app: FastAPI, has_token: bool) -> dict[str, Any]:
    about = {"title": app.title, "version": app.version, "description": app.description}
    document = get_openapi(**about, routes=app.routes)  # type: ignore[arg-type]
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"token": _TOKEN_SCHEME}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith(GUARDED):
                operation["security"] = [{"token": []}] if has_token else [{}, {"token": []}]
            else:
                operation["responses"].pop("401", None)
    messages = [(model, "serialization") for model in STREAM_MESSAGES]
    _, schemas = models_json_schema(messages, ref_template=_REF)  # type: ignore[arg-type]
    components["schemas"] |= schemas["$defs"]
    responses = document["paths"]["/v1/stream"]["get"]["responses"]
    del responses["200"]
    responses["101"] = _stream_messages()
    return document


def _stream_messages() -> dict[str, Any]:
    # OpenAPI knows no WebSocket: the messages are described as the answer to its handshake.
    refs = {
        model.model_fields["type"].annotation.__args__[0]: _REF.format(model=model.__name__)  # type: ignore[union-attr]
        for model in STREAM_MESSAGES
    }
    schema = {
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "type", "mapping": refs},
    }
    return {
        "description": "The WebSocket is open. The client sends mono PCM in binary frames of up to 1 MiB, then the text "
        "`end`. The server sends text frames, a JSON message each: `ready`, a `moment` for each window, a `segment` "
        "once it can no longer change, and `end` or `error`.",
        "content": {"application/json": {"schema": schema}},
    }
