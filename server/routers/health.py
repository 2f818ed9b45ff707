"""Liveness, readiness and metrics."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import Response

from server.engines.base import Engine
from server.responses.problems import responses

router = APIRouter(tags=["operation"])


class Status(BaseModel):
    """The gateway's state."""

    status: Literal["ok", "ready"] = Field(examples=["ok"])


@router.get("/healthz", operation_id="healthz", summary="Is the process alive?")
@router.get("/livez", include_in_schema=False)
async def healthz() -> Status:
    """Always ok while the process can answer."""
    return Status(status="ok")


@router.get("/readyz", operation_id="readyz", summary="Can it analyse now?", responses=responses(503))
async def readyz(request: Request) -> Status:
    """Ready once the model is loaded and its graphs have run at every canvas; with Triton, while a server passes the
    gateway's probes. Else 503 with the reason."""
    engine: Engine = request.app.state.engine
    engine.check()
    return Status(status="ready")


_METRICS = {
    "description": "Counters and histograms.",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": "parsing_rcnn_held 0.0"}},
}


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: _METRICS, **responses(401)},
)
async def metrics(request: Request) -> Response:
    """Counters and histograms in the text format of Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
