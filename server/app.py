"""The application: settings and an engine in, an ASGI app out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from typing import Any

import structlog
from fastapi import FastAPI, Request, WebSocket
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from parsing_rcnn import __version__
from parsing_rcnn.analyzer import Analyzer
from parsing_rcnn.codecs.image import ImageLimits
from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from parsing_rcnn.pipeline import Pipeline
from server.admission import TokenBuckets
from server.catalogue import Catalogue
from server.engines.base import Engine
from server.engines.embedded import EmbeddedEngine
from server.errors import NotFound
from server.keys import KeyFile
from server.middleware.access import Access, refuse
from server.middleware.access_log import AccessLog
from server.middleware.body_limit import BodyLimit
from server.middleware.head import Head
from server.middleware.request_id import RequestId
from server.middleware.same_site import SameSite
from server.middleware.security_headers import SecurityHeaders
from server.middleware.unexpected import Unexpected
from server.requests.call import TIMEOUT_HEADER, ClientGone, Route
from server.requests.memory import UploadMemory
from server.responses import documents
from server.responses.headers import MODEL_HEADER, WARNINGS_HEADER
from server.responses.problems import declare_keys, declare_refusals, install
from server.routers import analyze, batch, health, models, page, stream, v2
from server.routers.stream_places import Places
from server.service import Service
from server.settings import Settings
from server.telemetry import Metrics
from server.tracing import Tracing

log = structlog.get_logger("server")

_READ_HEADERS = (
    "Authorization",
    "Content-Type",
    "X-API-Key",
    "X-Request-ID",
    "traceparent",
    TIMEOUT_HEADER,
    v2.LENGTH_HEADER,
)
"""Request headers that the gateway reads, which pages of other origins may therefore send."""

_COUNTED = {"/v1/analyze": Route.ANALYZE, "/v1/analyze/batch": Route.BATCH}

_MODULES = (analyze, batch, stream, health, models, v2, page)

_ABOUT = """Every person in a photo with a box, a body-part label map and a DensePose IUV map.

Boxes are absolute pixels of the upright original (EXIF applied), x2 and y2 exclusive; `x` and `y` are box centres.
Errors are RFC 9457 problem details with a request id; of any request also 404, 405, 403 and 421 (pages from elsewhere,
other hosts), 408 and 431 (headers that come too slowly or are too many), and 500, which is ours and nobody else's."""


def create_app(settings: Settings | None = None, load: Callable[[], Analyzer] | None = None) -> FastAPI:
    """Build the gateway.

    Args:
        settings: None reads the environment.
        load: makes the analyzer (None: the embedded pipeline, as the settings say).

    Raises:
        InvalidOptions: settings that do not go together.
        ModelNotFound: with the engine Triton: there is no model repository here, from which this process takes the
            names of classes and sizes, or it lacks the model.
    """
    settings = settings or Settings()
    engine, tracing, metrics = _engine(settings, load), Tracing(settings.otlp), Metrics()
    service = Service(
        engine, settings.limits, metrics, TokenBuckets(settings.rate, settings.burst), tracing, settings.max_tiles
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(engine.start())
        try:
            yield
        except asyncio.CancelledError:  # raised by uvicorn at the second Ctrl-C, and no fault to show with its stack
            log.warning("stopped at once: requests in work are cut off")
            return
        starting.cancel()
        await asyncio.gather(engine.close(), service.offload.close())
        await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Parsing R-CNN Serving",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings, app.state.engine, app.state.service, app.state.metrics = settings, engine, service, metrics
    app.state.catalogue = Catalogue(engine)
    app.state.uploads, app.state.places = UploadMemory(settings.upload_memory), Places(settings.max_streams)
    install(app)
    for gone in (ClientGone, ClientDisconnect):  # while the answer is computed; while the body arrives
        app.add_exception_handler(gone, _nobody)
    for module in _MODULES:
        app.include_router(module.router)
    app.add_api_websocket_route("/{path:path}", _no_stream)  # before the static files, which cannot refuse a WebSocket
    page.mount_assets(app)
    _add_middleware(app, settings)
    _declare_schemas(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last middleware added is the outermost, so ids and headers are on every answer, also on refusals."""

    def limit(path: str) -> int:
        return settings.max_batch_bytes if path == "/v1/analyze/batch" else settings.max_body

    def refused(path: str, error: ParsingRCNNError) -> None:
        route = _COUNTED.get(path, Route.INFER if path.startswith("/v2/models/") and path.endswith("/infer") else None)
        if route is not None:
            app.state.metrics.requests.labels(route, error.code).inc()

    app.add_middleware(Head)
    app.add_middleware(
        BodyLimit,
        limit=limit,
        seconds=settings.upload_seconds,
        memory=app.state.uploads,
        refused=refused,
    )
    app.add_middleware(Access, keys=KeyFile(settings.keys) if settings.keys else None)
    app.add_middleware(SameSite, settings=settings)
    app.add_middleware(Unexpected)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=_READ_HEADERS,
            expose_headers=[
                "X-Request-ID",
                "Server-Timing",
                "Retry-After",
                MODEL_HEADER,
                WARNINGS_HEADER,
                v2.LENGTH_HEADER,
            ],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(AccessLog)
    app.add_middleware(RequestId)


async def _nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # for the log: the client is gone


async def _no_stream(socket: WebSocket) -> None:
    """Refuse a WebSocket at any other address than the stream's."""
    detail = f"WS {socket.url.path}: there is no stream at this address; /v1/stream is one"
    await refuse(NotFound(detail), socket.scope, socket.receive, socket.send)


def _engine(settings: Settings, load: Callable[[], Analyzer] | None) -> Engine:
    if settings.engine == "triton" and load is None:
        from server.engines.triton import TritonEngine

        _check_before_triton(settings)
        return TritonEngine(
            settings.triton_urls,
            settings.repository,
            settings.triton_in_flight,
            settings.triton_timeout,
            shared=settings.triton_shared_memory,
            model=settings.model,
            choice=not settings.only_model,
        )
    choice = not settings.only_model
    return EmbeddedEngine(load or _pipeline(settings), settings.workers, settings.queue, choice=choice)


def _check_before_triton(settings: Settings) -> None:
    """Check settings against Triton's own configuration.

    Raises:
        InvalidOptions: a limit is above the one that Triton enforces.
    """
    for limit in fields(ImageLimits):
        ours, theirs = getattr(settings.limits, limit.name), limit.default
        if ours > theirs:
            raise InvalidOptions(
                f"--{limit.name.replace('_', '-')} {ours}: Triton's preprocess takes {theirs} at most; lower it, or "
                "let this process compute: --engine embedded"
            )
    unused = sorted(settings.model_fields_set & {"runtime", "precision", "threads", "workers", "queue"})
    if unused:
        log.warning("not used: Triton's own configuration decides", settings=", ".join(unused))


def _pipeline(settings: Settings) -> Callable[[], Analyzer]:
    def load() -> Analyzer:
        return Pipeline(
            settings.repository,
            model=settings.model,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            limits=settings.limits,
        )

    return load


def _declare_schemas(app: FastAPI) -> None:
    """Add to OpenAPI the schemas that routes refer to by name, and restore null values in the routes' examples, which
    FastAPI drops."""
    generate = app.openapi

    def with_schemas() -> dict[str, object]:
        if app.openapi_schema is None:
            document = generate()
            document.setdefault("components", {}).setdefault("schemas", {}).update(documents.schemas())
            declare_keys(document)
            declare_refusals(document)
            _give_examples(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = with_schemas  # type: ignore[method-assign]


def _give_examples(document: dict[str, Any]) -> None:
    routes = [route for module in _MODULES for route in module.router.routes]
    for route in routes:
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            for status, answer in route.responses.items():
                for kind, content in answer.get("content", {}).items():
                    if "example" in content:
                        operation["responses"][str(status)]["content"][kind]["example"] = content["example"]
