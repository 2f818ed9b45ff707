"""Types of a recipe's values: numbers with their ranges, part classes, levels of the pyramid, canvases, paths."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from parsing_rcnn.card import LEAST_SIDE, STEP
from parsing_rcnn.own_classes import read_taxonomy, write_taxonomy
from parsing_rcnn.taxonomy import Taxonomy


def _canvas(canvas: tuple[int, int]) -> tuple[int, int]:
    if any(side < LEAST_SIDE or side % STEP for side in canvas):
        raise ValueError(f"{list(canvas)} is no (height, width) in steps of {STEP}, from {LEAST_SIDE} on")
    return canvas


def _levels(levels: tuple[int, ...]) -> tuple[int, ...]:
    if levels[0] < 2 or levels[-1] > 6 or any(b - a != 1 for a, b in pairwise(levels)):
        raise ValueError(f"{list(levels)} are no neighbouring levels of the pyramid, from 2 (P2) to 6 (P6)")
    return levels


def _taxonomy(said: Any) -> Taxonomy:
    return said if isinstance(said, Taxonomy) else read_taxonomy(said)


def _several(paths: Any) -> Any:
    return (paths,) if isinstance(paths, str | Path) else paths


Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Labels = Annotated[Taxonomy, PlainValidator(_taxonomy), PlainSerializer(write_taxonomy)]
Levels = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_levels)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_several)]
Canvases = Annotated[tuple[Annotated[tuple[int, int], AfterValidator(_canvas)], ...], Field(min_length=1)]
