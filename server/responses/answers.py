"""Encodes people: as JSON, a picture, arrays, or an archive with files as `parsing-rcnn predict` writes them."""

from __future__ import annotations

import io
import uuid
import zipfile
from typing import Any

from parsing_rcnn import draw, heads
from parsing_rcnn.analyzer import ModelInfo
from parsing_rcnn.codecs import jpeg, json, npz, png
from parsing_rcnn.codecs.image import ImageLimits, decode
from parsing_rcnn.drawing import hiding
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.maps.full_frame import inds_map
from parsing_rcnn.people import People
from parsing_rcnn.stopping import check_stopped
from server.requests.options import (
    PICTURES,
    AnalyzeOptions,
    Format,
    Hide,
    Include,
    MaskFormat,
    Render,
    Style,
    Task,
)

Files = list[tuple[str, bytes]]
"""Names and contents of an archive's files."""

_DRAWN_FROM = {
    Render.PARTS: Task.PARSING,
    Render.IUV: Task.DENSEPOSE,
    Render.CONTOUR: Task.DENSEPOSE,
    Render.CHARTS: Task.DENSEPOSE,
}
_READ_FROM = {
    Include.PARTS: Task.PARSING,
    Include.LABEL_MAP: Task.PARSING,
    Include.PART_MASKS: Task.PARSING,
    Include.IUV: Task.DENSEPOSE,
}
"""Which task each item needs. Masks and INDS are missing, as are INDS and cut-outs above: either task has silhouettes,
which they need."""
_OF_SILHOUETTES = (Render.INDS, Render.CUTOUT)


def settle(options: AnalyzeOptions, wanted: Format, info: ModelInfo | None = None) -> AnalyzeOptions:
    """Complete and check the options of an answer before anything is computed.

    If `tasks` are not given, they become those whose head is trained, and the one that `render` names. For JSON with
    `include` they become those that it needs, so that no head runs in vain. For a picture that hides people,
    `confidence` becomes lower, so that doubtful people are hidden, too.

    Args:
        options: as the client sent them.
        wanted: format of the answer.
        info: the model. None if it is not known yet: then tasks that depend on it stay open.

    Raises:
        InvalidOptions: `render` or `include` needs a task that is not in `tasks`; or the answer would show people whom
            the caller wants to hide, or hide nobody beside a region; or there is no such model.
    """
    _check_hiding(options, wanted)
    if info is not None:
        info.of(options.model)
    given = options.model_fields_set
    if "tasks" not in given:
        trained = list(Task) if info is None else [task for task in Task if task in heads.trained(info)]
        if wanted is Format.JSON and "include" in given:  # an archive has pictures of all tasks
            return options.model_copy(update={"tasks": _tasks_of(options, trained)})
        if info is not None:
            named = _DRAWN_FROM.get(options.render) if wanted in PICTURES and options.render is not None else None
            tasks = [task for task in Task if task in trained or task is named]
            options = options.model_copy(update={"tasks": tasks})
    elif "include" in given and wanted in (Format.JSON, Format.ZIP):
        _check_include(options)
    if wanted in PICTURES:
        _check_render(options)
        if options.render is Render.ANONYMISE:
            lowered = hiding.lower_threshold(options.core())
            return options.model_copy(update={"confidence": lowered.confidence, "max_people": lowered.max_people})
    return options


def _check_hiding(options: AnalyzeOptions, wanted: Format) -> None:
    if options.render is Render.ANONYMISE:
        if wanted is Format.ZIP:
            raise InvalidOptions(
                "render=anonymise is one picture, and an archive shows people as they are: accept image/jpeg or "
                "image/png, of one picture a request"
            )
        return
    for name, value in (("hide", options.hide), ("style", options.style)):
        if value is not None:
            raise InvalidOptions(f"{name}={value.value} is for render=anonymise: ask for that as well, or leave it out")


def _check_render(options: AnalyzeOptions) -> None:
    if options.render is None:
        return
    if options.render in _OF_SILHOUETTES and not options.tasks:
        raise InvalidOptions(f"render={options.render.value} needs the task parsing or densepose; add one to tasks")
    missing = _DRAWN_FROM.get(options.render)
    if missing is not None and missing not in options.tasks:
        raise InvalidOptions(f"render={options.render.value} needs the task {missing.value}; add it to tasks")


def _check_include(options: AnalyzeOptions) -> None:
    tasks = f"tasks={','.join(options.tasks)}"
    for item in options.include:
        missing = _READ_FROM.get(item)
        if missing is not None and missing not in options.tasks:
            raise InvalidOptions(
                f"{tasks} and include={item.value} do not go together: {item.value} needs the task {missing.value}; "
                "add it to tasks, or leave one of the two out"
            )
    for item in _silhouettes(options):
        if not options.tasks:
            raise InvalidOptions(
                f"{tasks} and include={item.value} do not go together: {item.value} need the task parsing or "
                "densepose; add one to tasks, or leave one of the two out"
            )


def _tasks_of(options: AnalyzeOptions, trained: list[Task]) -> list[Task]:
    needed = {_READ_FROM[item] for item in options.include if item in _READ_FROM}
    silhouettes = _silhouettes(options)
    # masks come from the parts, even where there is IUV
    if Include.MASKS in silhouettes or (silhouettes and needed.isdisjoint(trained)):
        needed.add(trained[0])
    return [task for task in Task if task in needed]


def _silhouettes(options: AnalyzeOptions) -> list[Include]:
    """The items of `include` that either task can provide."""
    masks = Include.MASKS in options.include and options.mask_format is not MaskFormat.NONE
    return [Include.MASKS] * masks + [Include.INDS] * (Include.INDS in options.include)


def encode(
    info: ModelInfo, limits: ImageLimits, image: bytes, options: AnalyzeOptions, wanted: Format, people: People
) -> bytes:
    """The answer to one picture."""
    if wanted is Format.NPZ:
        return npz.encode(people)
    if wanted in PICTURES:
        return render(image, limits, people, options.render or Render.OVERLAY, options, wanted)
    document = to_json(info, options, people)
    if wanted is Format.JSON:
        return document
    return pack(files("photo", image, limits, options, people, document))


def to_json(info: ModelInfo, options: AnalyzeOptions, people: People) -> bytes:
    """The JSON document of one picture."""
    document = json.to_json(
        people,
        include=[str(i) for i in options.include],
        mask_format=str(options.mask_format),
        exact=options.exact,
    )
    whole: dict[str, Any] = {
        "inference_id": uuid.uuid4().hex,
        "model": {"name": info.of(options.model).name, "version": info.version},
        "time": round(people.timings.get("total", 0.0) / 1000, 5),
        **document,
        "warnings": heads.warnings(info, options.tasks),
    }
    return json.dumps(whole)


def render(
    image: bytes,
    limits: ImageLimits,
    people: People,
    what: Render,
    options: AnalyzeOptions,
    wanted: Format = Format.PNG,
) -> bytes:
    """Draw people as a picture. It has no metadata of the photo, and no thumbnail.

    Args:
        what: the rendering, whatever `options.render` says.
        options: `exact` needs the probabilities of the parts from the engine.
        wanted: PNG, or JPEG for renderings that are not in `NO_JPEG`.
    """
    exact = options.exact
    if what is Render.PARTS:
        return png.encode_palette(people.label_map(exact), people.taxonomy)
    if what is Render.IUV:
        return png.encode_iuv(people.iuv_map(exact=exact)[0])
    if what is Render.INDS:
        return png.encode_inds(inds_map(people, exact))
    original = decode(image, limits)
    if what is Render.CUTOUT:
        return png.encode_rgba(draw.cutout(original, people))
    if what is Render.CONTOUR:
        drawn = draw.contours(original, people)
    elif what is Render.CHARTS:
        drawn = draw.charts(original, people)
    elif what is Render.ANONYMISE:
        drawn = draw.anonymise(original, people, hide=options.hide or Hide.HEADS, style=options.style or Style.PIXELATE)
    else:
        drawn = draw.overlay(original, people)
    return jpeg.encode_rgb(drawn) if wanted is Format.JPEG else png.encode_rgb(drawn)


def files(
    stem: str, image: bytes, limits: ImageLimits, options: AnalyzeOptions, people: People, document: bytes
) -> Files:
    """The files of one picture in an archive, named as DensePose's tools name them: the JSON and the pictures that
    `parsing-rcnn predict` writes. Without parts there is no `_parts.png`, and without IUV neither `_IUV.png` nor
    `_INDS.png`."""
    found = [
        (f"{stem}.json", document),
        (f"{stem}_overlay.png", render(image, limits, people, Render.OVERLAY, options)),
    ]
    if people.parts is not None:
        found.append((f"{stem}_parts.png", png.encode_labels(people.label_map(options.exact))))
    if people.iuv is not None:
        iuv, instances = people.iuv_map(options.exact)
        inds = inds_map(people, options.exact, instances)
        found += [(f"{stem}_IUV.png", png.encode_iuv(iuv)), (f"{stem}_INDS.png", png.encode_inds(inds))]
    return found


class Archive:
    """A zip that is sent while it is written, and has the bytes that it would have on a disk: sizes stand before the
    files, as some readers of zips from a stream want them."""

    def __init__(self) -> None:
        self._unsent = _Unsent()
        self._zip = _Zip(self._unsent, "w")  # PNGs are compressed

    def add(self, contents: Files) -> bytes:
        """The bytes of the zip with these files more. Each is removed from the list once it is packed."""
        while contents:
            check_stopped()
            self._zip.writestr(*contents.pop(0))
        return self._unsent.taken()

    def end(self) -> bytes:
        """The last bytes of the zip, its directory."""
        self._zip.close()
        return self._unsent.taken()


class _Zip(zipfile.ZipFile):
    def __del__(self) -> None:
        """Write no directory: where the answer was given up, the file may be gone already."""


class _Unsent(io.BytesIO):
    """A file that has only what was written since it was last taken, at the places that this has in the whole."""

    _begin = 0

    def tell(self) -> int:
        return self._begin + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._begin + super().seek(offset - self._begin if whence == io.SEEK_SET else offset, whence)

    def taken(self) -> bytes:
        found = self.getvalue()
        self.seek(self._begin)
        self.truncate(0)
        self._begin += len(found)
        return found


def pack(contents: Files) -> bytes:
    """Make a zip of files. Each is removed from the list once it is packed, so that none is in memory twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # PNGs are compressed
        while contents:
            archive.writestr(*contents.pop(0))
    return buffer.getvalue()
