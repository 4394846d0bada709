"""The application: door, addresses, the page, and every error in one shape."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import emospec
from emospec.errors import EmospecError
from emospec.serving import conversion, examples, routes, streams
from emospec.serving.door import Door
from emospec.serving.refusals import KINDS, RefusedError, refusal_of
from emospec.serving.service import Service

PAGE = Path(__file__).with_name("page")


def create_app(
    service: Service, *, token: str = "", hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()
) -> FastAPI:
    """The application around a service; see `Door` for the rest."""

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
        app.include_router(room.router)
    app.include_router(streams.router)
    _add_page(app)
    app.add_exception_handler(EmospecError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(Door, metrics=service.metrics, token=token, hosts=hosts, origins=origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization"],
        )
    return app


def _add_page(app: FastAPI) -> None:
    """The page for people."""
    page = StaticFiles(directory=PAGE, check_dir=False)

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    app.mount("/page", page)


async def _refused(_: Request, error: Exception) -> Response:
    """The one shape of errors."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return RefusedError("invalid", f"{first['loc'][-1]}: {first['msg']}").response
    if isinstance(error, HTTPException):
        codes = {status: code for code, (status, _, _) in reversed(KINDS.items())}
        return RefusedError(codes.get(error.status_code, "invalid")).response
    if isinstance(error, EmospecError):
        return refusal_of(error).response
    raise error
