"""The application: door, addresses, the page, and every error in one shape."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import emospec
from emospec.errors import EmospecError
from emospec.serving import conversion, examples, routes
from emospec.serving import websocket as streams
from emospec.serving.connections import UnreadBodies
from emospec.serving.errors import KINDS, ApiError, api_error_of
from emospec.serving.middleware import GUARDED, AccessMiddleware
from emospec.serving.openapi import document
from emospec.serving.routes import known_query
from emospec.serving.service import Service

PAGE = Path(__file__).with_name("page")
DOCS = Path(__file__).with_name("docs")
SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")


def create_app(
    service: Service,
    *,
    token: str = "",
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    root_path: str = "",
) -> FastAPI:
    """Return the application around a service.

    Args:
        service: what answers.
        token, hosts, origins: as of `AccessMiddleware`.
        root_path: under which a proxy has it, such as `/emo`.
    """

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
    app.state.examples = examples.Examples(service)
    for room in (routes, conversion, examples):
        app.include_router(room.router, dependencies=[Depends(known_query)])
    app.include_router(streams.router)
    _add_page(app)
    _add_docs(app)
    app.openapi = cache(lambda: document(app, GUARDED, bool(token)))  # type: ignore[method-assign]
    app.add_exception_handler(EmospecError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(
        AccessMiddleware,
        metrics=service.metrics,
        token=token,
        hosts=hosts,
        origins=origins,
        root_path=root_path,
    )
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization"],
            expose_headers=["Content-Disposition", "Retry-After"],
        )
    app.add_middleware(UnreadBodies)
    return app


def _add_page(app: FastAPI) -> None:
    """The page for people."""
    page = StaticFiles(directory=PAGE, check_dir=False)

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    app.mount("/page", page)


def _add_docs(app: FastAPI) -> None:
    """Add the API's document as a page, by Swagger UI from its own wheel."""
    ours = StaticFiles(directory=DOCS, check_dir=False)
    found = find_spec("fastapi_offline")
    folders = found.submodule_search_locations if found else None
    swagger = StaticFiles(directory=Path((folders or [str(DOCS)])[0]) / "static", check_dir=False)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return await ours.get_response("index.html", request.scope)

    @app.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str, request: Request) -> Response:
        return await (swagger if name in SWAGGER else ours).get_response(name, request.scope)


async def _refused(_: Request, error: Exception) -> Response:
    """The one shape of errors."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return ApiError("invalid", f"{first['loc'][-1]}: {first['msg']}").response
    if isinstance(error, HTTPException):
        codes = {status: code for code, (status, _, _) in reversed(KINDS.items())}
        response = ApiError(codes.get(error.status_code, "invalid")).response
        if error.status_code == 405:
            response.headers["Allow"] = _allowed((error.headers or {}).get("Allow", "GET"))
        return response
    if isinstance(error, EmospecError):
        return api_error_of(error).response
    raise error


def _allowed(methods: str) -> str:
    """Return the methods of an address, and HEAD where GET is."""
    names = {name.strip() for name in methods.split(",")}
    return ", ".join(sorted(names | ({"HEAD"} if "GET" in names else set())))
