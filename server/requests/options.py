"""The validated options of an analysis, with the same names in a query, a form, a JSON body and a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from parsing_rcnn.analyzer import Options, no_region, region_of
from parsing_rcnn.codecs.json import DEFAULT_INCLUDE
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.geometry import Region
from parsing_rcnn.limits import MAX_PEOPLE, MAX_SIDE, MAX_TILES, MIN_MAX_SIDE

NAMED = 8
"""How many wrong options, or names, an error lists: a client may send any number."""
_MOST_VALUES = 32
"""The most values of one option; the longest list has six different ones."""


class Render(StrEnum):
    """What a picture can show."""

    OVERLAY = "overlay"
    PARTS = "parts"
    IUV = "iuv"
    INDS = "inds"
    CONTOUR = "contour"
    CHARTS = "charts"
    ANONYMISE = "anonymise"
    CUTOUT = "cutout"


class Format(StrEnum):
    """Formats of an answer."""

    JSON = "application/json"
    PNG = "image/png"
    JPEG = "image/jpeg"
    NPZ = "application/x-npz"
    ZIP = "application/zip"


PICTURES = (Format.PNG, Format.JPEG)
NO_JPEG = {
    Render.PARTS: "its pixels are numbers, which JPEG would change",
    Render.IUV: "its pixels are numbers, which JPEG would change",
    Render.INDS: "its pixels are numbers, which JPEG would change",
    Render.CUTOUT: "it is transparent around people",
}
"""Renderings that are no JPEG, and why."""


class Hide(StrEnum):
    """What `render=anonymise` hides of people."""

    HEADS = "heads"
    FACES = "faces"
    PEOPLE = "people"


class Style(StrEnum):
    """How `render=anonymise` hides it."""

    PIXELATE = "pixelate"
    BLUR = "blur"


class Task(StrEnum):
    """What can be computed for a person."""

    PARSING = "parsing"
    DENSEPOSE = "densepose"


class Include(StrEnum):
    """What the JSON can have beyond boxes: `inds` once for all people, the others in each person's entry."""

    MASKS = "masks"
    PARTS = "parts"
    LABEL_MAP = "label_map"
    IUV = "iuv"
    PART_MASKS = "part_masks"
    INDS = "inds"


class MaskFormat(StrEnum):
    """How a person's silhouette is written."""

    RLE = "rle"
    POLYGON = "polygon"
    PNG = "png"
    NONE = "none"


def _split(value: Any) -> Any:
    """Accept a list as `a,b`, as repeated options of a query, or as a JSON list."""
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list):
        count = len(items)
        if count <= _MOST_VALUES:
            count += sum(item.count(",") for item in items if isinstance(item, str))
        if count > _MOST_VALUES:
            what = f"it has {count} values, the limit is {_MOST_VALUES}: name each once"
            raise PydanticCustomError("too_many", "{what}", {"what": what})
    if isinstance(items, list) and all(isinstance(i, str) for i in items):
        return [part.strip() for item in items for part in item.split(",") if part.strip()]
    return value


def _edges(value: Any) -> Any:
    """Accept a region as `x1,y1,x2,y2`, as repeated options of a query, or as a JSON list of numbers."""
    items = value[0] if isinstance(value, list) and len(value) == 1 else value
    if items is None:
        return None
    try:
        return region_of(items)
    except InvalidOptions as error:
        raise _refused(error) from None


def _refused(error: InvalidOptions) -> PydanticCustomError:
    return PydanticCustomError("region", "{what}", {"what": error.detail.removeprefix("region: ")})


def _whole_edges(value: Any) -> Any:
    """Check that what JSON has for a region is text or a list of whole numbers."""
    if isinstance(value, list) and not all(type(edge) is int for edge in value):
        raise _refused(no_region(value))
    return _edges(value)


class _JsonTypes(BaseModel):
    """Strict types for JSON. Numbers as text, and 1 for true, are accepted in queries only."""

    model_config = ConfigDict(strict=True, extra="ignore")

    confidence: float = 0.0
    max_people: int = 0
    max_side: int | None = None
    region: Annotated[Any, BeforeValidator(_whole_edges)] = None
    tiles: int = 1
    exact: bool = False


_TASKS = (
    "What to compute; empty: boxes alone. Not given, it is what has a trained head; where only `include` is given, "
    "JSON has the tasks that it needs."
)
_RENDER = (
    "What an image/png answer shows (default: overlay); image/jpeg shows overlay, contour, charts or anonymise. charts "
    "are I of DensePose in colours over the photo; cutout is everybody with nothing around them; anonymise hides "
    "everybody down to a score of 0.1, whatever `confidence` and `max_people` say, and nobody who is not found."
)
_MODEL = (
    "One of the names that /v1/models lists: the same weights at other sizes. Not given, it is the gateway's own. The "
    "first picture of another one waits about a second for its graphs."
)
_REGION = (
    "x1,y1,x2,y2 in whole pixels of the upright picture: look at this part of it only, as large as the network's input "
    "allows. Coordinates and maps stay those of the whole picture."
)
_TILES = (
    "2 to 4: look at the picture as a whole and in tiles as well, so many along its longer side, for small people in "
    "large pictures. That takes 3 to 17 times as long."
)
_HIDE = "What render=anonymise hides (default: heads)."
_STYLE = "How render=anonymise hides it (default: pixelate)."


class AnalyzeOptions(BaseModel):
    """Options of an analysis, in the query, in the `options` part of a form or in the JSON body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: Annotated[list[Task], BeforeValidator(_split), Field(description=_TASKS)] = list(Task)
    confidence: float = Field(0.5, ge=0, le=1, description="The lowest score of a person.")
    max_people: int = Field(MAX_PEOPLE, ge=1, le=MAX_PEOPLE, description="The most people, by score.")
    include: Annotated[list[Include], BeforeValidator(_split), Field(description="What the JSON carries.")] = [
        Include(name) for name in DEFAULT_INCLUDE
    ]
    mask_format: MaskFormat = Field(MaskFormat.RLE, description="How a silhouette is written.")
    max_side: int | None = Field(
        None, ge=MIN_MAX_SIDE, le=MAX_SIDE, description="Scale the picture down to this side first."
    )
    region: Annotated[Region | None, BeforeValidator(_edges), Field(description=_REGION)] = None
    tiles: int = Field(1, ge=1, le=MAX_TILES, description=_TILES)
    model: str | None = Field(None, description=_MODEL)
    exact: bool = Field(False, description="Paste probabilities, interpolate U and V: slower, cleaner edges.")
    render: Render | None = Field(None, description=_RENDER)
    hide: Hide | None = Field(None, description=_HIDE)
    style: Style | None = Field(None, description=_STYLE)

    def merged(self, other: dict[str, Any]) -> AnalyzeOptions:
        """These options, overridden by those of a body.

        Raises:
            pydantic.ValidationError: `other` has an unknown name, or a value of another type or out of range.
        """
        strange = unknown(other)
        if len(strange) > NAMED:  # only the first are listed, so the rest need no check
            other = {name: other[name] for name in (*AnalyzeOptions.model_fields, *strange) if name in other}
        _JsonTypes.model_validate(other)
        return AnalyzeOptions.model_validate({**self.model_dump(exclude_unset=True), **other})

    def core(self) -> Options:
        """The part that the engine needs."""
        return Options(
            tasks=frozenset(str(t) for t in self.tasks),
            confidence=self.confidence,
            max_people=self.max_people,
            part_probs=self.exact and Task.PARSING in self.tasks,
            max_side=self.max_side,
            model=self.model,
            region=self.region,
            tiles=self.tiles,
        )


def unknown(names: Iterable[str], *more: str) -> list[str]:
    """The first names that are not options, at most one more than an error lists.

    Args:
        names: as a client sent them.
        more: options that the route has beyond `AnalyzeOptions`.
    """
    known = {*AnalyzeOptions.model_fields, *more}
    return list(islice((name for name in names if name not in known), NAMED + 1))


def repeated(names: Sequence[str]) -> dict[str, str]:
    """Option -> what is wrong, for each option that takes one value but is given several times.

    Args:
        names: of the query, each as often as it occurs.
    """
    several = {"region", *(name for name, own in AnalyzeOptions.model_fields.items() if isinstance(own.default, list))}
    single = [name for name in AnalyzeOptions.model_fields if name not in several]
    counts = {name: names.count(name) for name in single}
    return {name: f"the query has it {n} times, and it has one value" for name, n in counts.items() if n > 1}


def listed(names: Sequence[str]) -> str:
    """Names that a client sent, as text for an error. They may be many and long, so both number and length are cut."""
    return ", ".join(f"`{name[:40]}`" for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def wrong_options(errors: Sequence[Mapping[str, Any]], *more: str, outer: int = 1) -> tuple[list[dict[str, Any]], str]:
    """The first invalid options, as entries of `Problem.errors` and as one line of text.

    Args:
        errors: of pydantic.
        more: options that the route has beyond `AnalyzeOptions`.
        outer: number of items in an error's `loc` before the option ("query", for example, in FastAPI's errors).
    """
    entries: list[dict[str, Any]] = [
        {"option": (".".join(map(str, e["loc"][outer:])) or str(e["loc"][0]))[:60], "reason": _reason(e, *more)}
        for e in errors[:NAMED]
    ]
    line = "; ".join(f"{entry['option']}: {entry['reason']}" for entry in entries)
    return entries, line + ("; ..." if len(errors) > NAMED else "")


def _reason(error: Mapping[str, Any], *more: str) -> str:
    """Why an option is invalid, for the client.

    Args:
        error: of pydantic.
        more: options that the route has beyond `AnalyzeOptions`.
    """
    if error["type"] == "extra_forbidden":
        return f"there is no such option; there are {', '.join([*AnalyzeOptions.model_fields, *more])}"
    return str(error["msg"])
