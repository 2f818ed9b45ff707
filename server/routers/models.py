"""The models that run, and the names and colours of their classes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from parsing_rcnn.card import taxonomy_of
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE, DENSEPOSE_COARSE, MHP, Taxonomy
from server.engines.base import Engine
from server.responses.problems import responses
from server.service import Service

router = APIRouter(tags=["models"])


class Model(BaseModel):
    """A model that answers."""

    name: str = Field(description="Of the weights, and of the model where one was chosen.", examples=["light"])
    version: str = Field(examples=["4"])
    runtime: str = Field(examples=["openvino 2026.4.1 bf16"])
    tasks: dict[str, bool] = Field(
        description="Task -> whether its head is trained.", examples=[{"parsing": True, "densepose": True}]
    )
    classes: list[str] = Field(examples=[["Background", "Hat"]])
    canvases: list[tuple[int, int]] = Field(
        description="(height, width) of the network inputs.", examples=[[(384, 640), (640, 384)]]
    )
    models: list[str] = Field(
        description="What the option `model` may name: these weights at other sizes, as the card's `models` say.",
        examples=[["fast", "large", "accurate"]],
    )
    model: str | None = Field(
        description="Which of them answers where none is named; null where its sizes have no name.", examples=["fast"]
    )
    max_tiles: int = Field(description="The largest `tiles` of a request; 1: none.", examples=[4])
    card: dict[str, Any] = Field(description="Data, licences, figures, limits.", examples=[{"licence": "Apache-2.0"}])


class Labels(BaseModel):
    """Names and colours of a label map's values."""

    name: str = Field(examples=["cihp"])
    classes: list[str] = Field(examples=[["Background", "Hat"]])
    palette: list[tuple[int, int, int]] = Field(description="RGB.", examples=[[(0, 0, 0), (128, 0, 0)]])
    mirror: list[tuple[int, int]] = Field(
        description="Classes that a horizontal flip exchanges.", examples=[[(14, 15), (16, 17)]]
    )


def _labels(taxonomy: Taxonomy) -> Labels:
    palette = [(int(r), int(g), int(b)) for r, g, b in taxonomy.palette]
    return Labels(name=taxonomy.name, classes=list(taxonomy.classes), palette=palette, mirror=list(taxonomy.mirror))


@router.get("/v1/models", operation_id="models", summary="The models that answer", responses=responses(401, 503))
async def models(request: Request) -> list[Model]:
    """One entry for each model, with its card."""
    engine: Engine = request.app.state.engine
    service: Service = request.app.state.service
    info = engine.info
    return [
        Model(
            name=info.name,
            version=info.version,
            runtime=info.runtime,
            tasks=dict(info.tasks),
            classes=list(info.classes),
            canvases=list(info.canvases),
            models=list(info.models),
            model=info.model,
            max_tiles=service.max_tiles,
            card=dict(info.card),
        )
    ]


@router.get(
    "/v1/taxonomies",
    operation_id="taxonomies",
    summary="Names and colours of all label sets",
    responses=responses(401),
)
async def taxonomies(request: Request) -> list[Labels]:
    """CIHP, MHP, DensePose and its coarse parts; before them that of the model, where it has classes of its own."""
    engine: Engine = request.app.state.engine
    known = [CIHP, MHP, DENSEPOSE, DENSEPOSE_COARSE]
    with suppress(EngineUnavailable):  # until the engine is ready, only the fixed ones are known
        own = taxonomy_of(engine.info.card)
        known = [*([] if own in known else [own]), *known]
    return [_labels(taxonomy) for taxonomy in known]
