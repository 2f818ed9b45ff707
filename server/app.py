"""The application: settings and an engine in, an ASGI app out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI

from parsing_rcnn import __version__
from parsing_rcnn.people import Analyzer
from parsing_rcnn.pipeline import Pipeline
from server.engines.base import Engine
from server.engines.embedded import EmbeddedEngine
from server.middleware.body_limit import BodyLimit
from server.middleware.request_id import RequestId
from server.middleware.security_headers import SecurityHeaders
from server.problems import Problem, install
from server.routers import analyze, health, models, page
from server.service import AnalyzeOptions, Service
from server.settings import Settings
from server.telemetry import Metrics

_ABOUT = """Every person in a photo with a box, a body-part label map and a DensePose IUV map.

Boxes are absolute pixels of the upright original (EXIF applied), x2 and y2 exclusive; `x` and `y` are box centres.
Errors are RFC 9457 problem details with a request id."""


def create_app(settings: Settings | None = None, load: Callable[[], Analyzer] | None = None) -> FastAPI:
    """Build the gateway.

    Args:
        settings: None reads the environment.
        load: makes the analyzer (None: the embedded pipeline of the settings).
    """
    settings = settings or Settings()
    engine = _engine(settings, load)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(engine.start())
        yield
        starting.cancel()
        await engine.close()

    app = FastAPI(
        title="Parsing R-CNN Serving",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.engine = engine
    app.state.metrics = Metrics(lambda: engine.held)
    app.state.service = Service(engine, settings.limits, app.state.metrics)
    install(app)
    for router in (analyze.router, health.router, models.router, page.router):
        app.include_router(router)
    page.mount_assets(app)
    # the last one added is the outermost: ids and headers are on every answer, also on refusals
    app.add_middleware(BodyLimit, limit=settings.max_body)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestId)
    _declare_schemas(app)
    return app


def _engine(settings: Settings, load: Callable[[], Analyzer] | None) -> Engine:
    if settings.engine == "triton" and load is None:
        from server.engines.triton import TritonEngine

        urls = [url.strip() for url in settings.triton_url.split(",") if url.strip()]
        return TritonEngine(urls, settings.repository, settings.triton_in_flight, settings.triton_timeout)
    return EmbeddedEngine(load or _pipeline(settings), settings.workers, settings.queue)


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
    """Put the schemas that routes refer to by name into OpenAPI."""
    generate = app.openapi

    def with_schemas() -> dict[str, object]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for model in (Problem, AnalyzeOptions):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = with_schemas  # type: ignore[method-assign]
