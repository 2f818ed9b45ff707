"""What runs, and what its labels mean."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from parsing_rcnn.taxonomy import CIHP, DENSEPOSE, DENSEPOSE_COARSE, MHP, Taxonomy
from server.engines.base import Engine
from server.problems import responses

router = APIRouter(tags=["models"])


class Model(BaseModel):
    """A model that answers."""

    name: str
    version: str
    runtime: str
    tasks: dict[str, bool] = Field(description="Task -> whether its head is trained.")
    classes: list[str]
    canvases: list[tuple[int, int]] = Field(description="(height, width) of the network inputs.")
    card: dict[str, Any]


class Labels(BaseModel):
    """Names and colours of a label map's values."""

    name: str
    classes: list[str]
    palette: list[tuple[int, int, int]] = Field(description="RGB.")
    mirror: list[tuple[int, int]] = Field(description="Classes that a horizontal flip exchanges.")


def _labels(taxonomy: Taxonomy) -> Labels:
    palette = [(int(r), int(g), int(b)) for r, g, b in taxonomy.palette]
    return Labels(name=taxonomy.name, classes=list(taxonomy.classes), palette=palette, mirror=list(taxonomy.mirror))


@router.get("/v1/models", operation_id="models", summary="The models that answer", responses=responses(503))
async def models(request: Request) -> list[Model]:
    """One entry for each model, with its card."""
    engine: Engine = request.app.state.engine
    info = engine.info
    return [
        Model(
            name=info.name,
            version=info.version,
            runtime=info.runtime,
            tasks=dict(info.tasks),
            classes=list(info.classes),
            canvases=list(info.canvases),
            card=dict(info.card),
        )
    ]


@router.get("/v1/taxonomies", operation_id="taxonomies", summary="Names and colours of all label sets")
async def taxonomies() -> list[Labels]:
    """CIHP, MHP, DensePose and its coarse parts."""
    return [_labels(t) for t in (CIHP, MHP, DENSEPOSE, DENSEPOSE_COARSE)]
