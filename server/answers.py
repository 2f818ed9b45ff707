"""People, encoded: JSON, a picture, arrays, or an archive with the files that `parsing-rcnn predict` writes."""

from __future__ import annotations

import io
import uuid
import zipfile
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.codecs import jpeg, json, npz, png
from parsing_rcnn.codecs.image import ImageLimits, decode
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import ModelInfo, People
from server.options import AnalyzeOptions, Include, MaskFormat, Render, Task


class Format(StrEnum):
    """What an answer can be."""

    JSON = "application/json"
    PNG = "image/png"
    JPEG = "image/jpeg"
    NPZ = "application/x-npz"
    ZIP = "application/zip"


Files = list[tuple[str, bytes]]
"""Names and contents of an archive's files."""

PICTURES = (Format.PNG, Format.JPEG)
NUMBERS = frozenset({Render.PARTS, Render.IUV, Render.INDS})
"""Renderings whose pixels are labels or coordinates: JPEG would change them."""


_DRAWN_FROM = {Render.PARTS: Task.PARSING, Render.IUV: Task.DENSEPOSE, Render.CONTOUR: Task.DENSEPOSE}
_READ_FROM = {
    Include.PARTS: Task.PARSING,
    Include.LABEL_MAP: Task.PARSING,
    Include.PART_MASKS: Task.PARSING,
    Include.IUV: Task.DENSEPOSE,
}
"""Masks and INDS are not here, nor INDS above: either task has silhouettes."""


def settle(options: AnalyzeOptions, wanted: Format) -> AnalyzeOptions:
    """The options of an answer before anything is computed. JSON whose `include` is given, and whose `tasks` are not,
    gets the tasks that it needs, so no head runs whose maps nobody sees; else the options are as they came.

    Raises:
        InvalidOptions: `render` or `include` needs a task that is not asked for.
    """
    if wanted in PICTURES:
        _check_render(options)
    elif wanted is not Format.NPZ and "include" in options.model_fields_set:
        if "tasks" in options.model_fields_set:
            _check_include(options)
        elif wanted is Format.JSON:  # an archive has pictures of all tasks
            return options.model_copy(update={"tasks": _tasks_of(options)})
    return options


def _check_render(options: AnalyzeOptions) -> None:
    if options.render is None:
        return
    if options.render is Render.INDS and not options.tasks:
        raise InvalidOptions("render=inds needs the task parsing or densepose; add one to tasks")
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


def _tasks_of(options: AnalyzeOptions) -> list[Task]:
    needed = {_READ_FROM[item] for item in options.include if item in _READ_FROM}
    silhouettes = _silhouettes(options)
    if Include.MASKS in silhouettes or (silhouettes and not needed):  # masks are of the parts, also where there is IUV
        needed.add(Task.PARSING)
    return [task for task in Task if task in needed]


def _silhouettes(options: AnalyzeOptions) -> list[Include]:
    """What is asked for that either task has."""
    masks = Include.MASKS in options.include and options.mask_format is not MaskFormat.NONE
    return [Include.MASKS] * masks + [Include.INDS] * (Include.INDS in options.include)


def encode(
    info: ModelInfo, limits: ImageLimits, image: bytes, options: AnalyzeOptions, wanted: Format, people: People
) -> bytes:
    """The answer to one picture."""
    if wanted is Format.NPZ:
        return npz.encode(people)
    if wanted in PICTURES:
        return render(image, limits, people, options.render or Render.OVERLAY, options.exact, wanted)
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
    asked = {str(t) for t in options.tasks}
    untrained = sorted(task for task, trained in info.tasks.items() if task in asked and not trained)
    whole: dict[str, Any] = {
        "inference_id": uuid.uuid4().hex,
        "model": {"name": info.name, "version": info.version},
        "time": round(people.timings.get("total", 0.0) / 1000, 5),
        **document,
        "warnings": [f"the {t} head of this model is not trained: its maps mean nothing" for t in untrained],
    }
    return json.dumps(whole)


def render(
    image: bytes, limits: ImageLimits, people: People, what: Render, exact: bool, wanted: Format = Format.PNG
) -> bytes:
    """One picture of a picture's people.

    Args:
        exact: of the options; the engine was asked for the probabilities of the parts then.
        wanted: PNG, or JPEG for what is not of `NUMBERS`.
    """
    if what is Render.PARTS:
        return png.encode_palette(people.label_map(exact), people.taxonomy)
    if what is Render.IUV:
        return png.encode_iuv(people.iuv_map(exact=exact)[0])
    if what is Render.INDS:
        return png.encode_inds(instances(people, exact))
    original = decode(image, limits)
    drawn = draw.contours(original, people) if what is Render.CONTOUR else draw.overlay(original, people)
    return jpeg.encode_rgb(drawn) if wanted is Format.JPEG else png.encode_rgb(drawn)


def instances(people: People, exact: bool) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Who is where, [H,W]: what pairs with the IUV where there is one, pixel by pixel; else by the part labels."""
    return people.instance_map(exact) if people.iuv is None else people.iuv_map(exact)[1]


def files(
    stem: str, image: bytes, limits: ImageLimits, options: AnalyzeOptions, people: People, document: bytes
) -> Files:
    """A picture's files, named as DensePose's tools name them: those that `parsing-rcnn predict` writes, and INDS of
    the parts where there is no IUV; of boxes alone there are no maps."""
    found = [
        (f"{stem}.json", document),
        (f"{stem}_overlay.png", render(image, limits, people, Render.OVERLAY, options.exact)),
    ]
    if people.parts is not None:
        found.append((f"{stem}_parts.png", png.encode_labels(people.label_map(options.exact))))
    if people.iuv is not None:
        iuv, inds = people.iuv_map(options.exact)
        found += [(f"{stem}_IUV.png", png.encode_iuv(iuv)), (f"{stem}_INDS.png", png.encode_inds(inds))]
    elif people.parts is not None:
        found.append((f"{stem}_INDS.png", png.encode_inds(instances(people, options.exact))))
    return found


def pack(contents: Files) -> bytes:
    """A zip of files, which are taken out of the list one by one: all of them twice may be too much to hold."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # PNGs are compressed
        while contents:
            archive.writestr(*contents.pop(0))
    return buffer.getvalue()
