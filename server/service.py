"""The transport-free core: bytes and options in, an encoded answer out. Every route uses it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from parsing_rcnn import draw
from parsing_rcnn.codecs import json, npz, png
from parsing_rcnn.codecs.image import ImageLimits, decode
from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from parsing_rcnn.people import Options, People
from server.engines.base import Engine
from server.telemetry import Metrics


class Format(StrEnum):
    """What an answer can be."""

    JSON = "application/json"
    PNG = "image/png"
    NPZ = "application/x-npz"


class Render(StrEnum):
    """What a picture can show."""

    OVERLAY = "overlay"
    PARTS = "parts"
    IUV = "iuv"
    INDS = "inds"
    CONTOUR = "contour"


class Task(StrEnum):
    """What can be computed for a person."""

    PARSING = "parsing"
    DENSEPOSE = "densepose"


class Include(StrEnum):
    """What a person's JSON entry can carry beyond the box."""

    MASKS = "masks"
    PARTS = "parts"
    LABEL_MAP = "label_map"
    IUV = "iuv"
    PART_MASKS = "part_masks"


class MaskFormat(StrEnum):
    """How a person's silhouette is written."""

    RLE = "rle"
    POLYGON = "polygon"
    PNG = "png"
    NONE = "none"


def _split(value: Any) -> Any:
    """`a,b`, `a` twice in a query, or a JSON list: all the same."""
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and all(isinstance(i, str) for i in items):
        return [part.strip() for item in items for part in item.split(",") if part.strip()]
    return value


class AnalyzeOptions(BaseModel):
    """Options of an analysis, in the query, in the `options` part of a form or in the JSON body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: Annotated[list[Task], BeforeValidator(_split), Field(description="What to compute.")] = list(Task)
    confidence: float = Field(0.5, ge=0, le=1, description="The lowest score of a person.")
    max_people: int = Field(64, ge=1, le=64, description="The most people, by score.")
    include: Annotated[list[Include], BeforeValidator(_split), Field(description="What the JSON carries.")] = [
        Include.MASKS,
        Include.PARTS,
        Include.LABEL_MAP,
        Include.IUV,
    ]
    mask_format: MaskFormat = Field(MaskFormat.RLE, description="How a silhouette is written.")
    max_side: int | None = Field(None, ge=32, le=16384, description="Scale the picture down to this side first.")
    exact: bool = Field(False, description="Paste parts from their probabilities: slower, cleaner edges.")
    render: Render | None = Field(None, description="What an image/png answer shows (default: overlay).")

    def merged(self, other: dict[str, Any]) -> AnalyzeOptions:
        """These options with those of a body over them.

        Raises:
            pydantic.ValidationError: `other` has an unknown name or a value out of range.
        """
        return AnalyzeOptions.model_validate({**self.model_dump(exclude_unset=True), **other})

    def core(self) -> Options:
        """The part that the engine needs."""
        return Options(
            tasks=frozenset(str(t) for t in self.tasks),
            confidence=self.confidence,
            max_people=self.max_people,
            part_probs=self.exact and Task.PARSING in self.tasks,
            max_side=self.max_side,
        )


@dataclass(frozen=True)
class Answer:
    """An encoded answer: body, its type, milliseconds by stage."""

    body: bytes
    media_type: str
    stages: dict[str, float] = field(default_factory=dict)


class Service:
    """Analysis and encoding, with metrics."""

    def __init__(self, engine: Engine, limits: ImageLimits, metrics: Metrics) -> None:
        self.engine, self.limits, self.metrics = engine, limits, metrics

    async def analyze(self, image: bytes, options: AnalyzeOptions, wanted: Format) -> Answer:
        """Analyse one picture and encode the answer.

        Raises:
            ParsingRCNNError: the picture, an option or the engine's state does not allow it.
        """
        try:
            _check_render(options, wanted)
            people, queued = await self.engine.analyze(image, options.core())
            begin = time.perf_counter()
            body = await self.engine.offload(self._encode, image, people, options, wanted)
        except ParsingRCNNError as error:
            self.metrics.requests.labels(error.code).inc()
            raise
        stages = {"queue": queued, **people.timings, "encode": 1000 * (time.perf_counter() - begin)}
        stages["total"] = stages["queue"] + stages.get("total", 0.0) + stages["encode"]
        self.metrics.requests.labels("ok").inc()
        self.metrics.observe(people, stages)
        return Answer(body, wanted.value, stages)

    def _encode(self, image: bytes, people: People, options: AnalyzeOptions, wanted: Format) -> bytes:
        if wanted is Format.NPZ:
            return npz.encode(people)
        if wanted is Format.PNG:
            return self._render(image, people, options.render or Render.OVERLAY, options.exact)
        document = json.to_json(
            people,
            include=[str(i) for i in options.include],
            mask_format=str(options.mask_format),
            exact=options.exact and people.part_probs is not None,
        )
        info = self.engine.info
        asked = {str(t) for t in options.tasks}
        untrained = sorted(task for task, trained in info.tasks.items() if task in asked and not trained)
        return json.dumps(
            {
                "inference_id": uuid.uuid4().hex,
                "model": {"name": info.name, "version": info.version},
                "time": round(people.timings.get("total", 0.0) / 1000, 5),
                **document,
                "warnings": [f"the {t} head of this model is not trained: its maps mean nothing" for t in untrained],
            }
        )

    def _render(self, image: bytes, people: People, what: Render, exact: bool) -> bytes:
        if what is Render.PARTS:
            return png.encode_palette(people.label_map(exact=exact and people.part_probs is not None), people.taxonomy)
        if what is Render.IUV:
            return png.encode_iuv(people.iuv_map()[0])
        if what is Render.INDS:
            return png.encode_inds(people.iuv_map()[1] if people.parts is None else people.instance_map())
        original = decode(image, self.limits)
        drawn = draw.contours(original, people) if what is Render.CONTOUR else draw.overlay(original, people)
        return png.encode_rgb(drawn)


def _check_render(options: AnalyzeOptions, wanted: Format) -> None:
    """Refuse a picture of what is not computed, before computing anything."""
    if wanted is not Format.PNG or options.render is None:
        return
    needs = {
        Render.PARTS: {Task.PARSING},
        Render.IUV: {Task.DENSEPOSE},
        Render.CONTOUR: {Task.DENSEPOSE},
    }.get(options.render, set())
    missing = needs - set(options.tasks)
    if missing:
        name = next(iter(missing)).value
        raise InvalidOptions(f"render={options.render.value} needs the task {name}; add it to tasks")
