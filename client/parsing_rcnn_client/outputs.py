"""The files that one analysed picture leaves."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.codecs import json, npz, png
from parsing_rcnn.people import ModelInfo, Options, People

LAST = ".json"
"""Suffix of the file that is written last."""

_PICTURES = ("_overlay.png", "_parts.png", "_IUV.png", "_INDS.png")


def write_outputs(
    target: Path,
    people: People,
    image: NDArray[np.uint8],
    *,
    exact: bool = False,
    bgr: bool = False,
    model: ModelInfo | None = None,
    options: Options | None = None,
) -> list[Path]:
    """Write TARGET.npz, .json, _overlay.png, _parts.png, _IUV.png, _INDS.png; what was not computed is left out.

    Args:
        target: folder and stem.
        people: found in `image`.
        image: uint8 [H,W,3] RGB, upright.
        exact: paste part labels from their probabilities, and interpolate U and V.
        bgr: write _IUV.png with I in the blue channel, as in the first DensePose release.
        model: whose name and version the JSON has, as the gateway's has.
        options: by which `people` were found; the JSON has them with `exact` and `bgr`, for `is_done`.

    Returns:
        The files written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    files = {
        ".npz": npz.encode(people),
        "_overlay.png": png.encode_rgb(draw.overlay(image, people)),
    }
    if people.parts is not None:
        files["_parts.png"] = png.encode_labels(people.label_map(exact=exact))
    if people.iuv is not None:
        iuv, instances = people.iuv_map(exact=exact)
        files["_IUV.png"] = png.encode_iuv(iuv, bgr=bgr)
        files["_INDS.png"] = png.encode_inds(instances)
    about = _about(model, options, exact, bgr)
    files[LAST] = json.dumps(about | json.to_json(people, exact=exact))
    written = []
    for suffix, data in files.items():
        path = target.with_name(target.name + suffix)
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        part.replace(path)  # whole or not at all: an interrupted run leaves no half file
        written.append(path)
    return written


def is_done(
    target: Path,
    options: Options,
    *,
    exact: bool = False,
    bgr: bool = False,
    model: ModelInfo | None = None,
) -> bool:
    """Whether an earlier run wrote all of this picture that these options ask for: by the same model and options, of
    the same tasks or more. Arguments as in `write_outputs`.
    """
    suffixes = [".npz", "_overlay.png", LAST]
    suffixes += ["_parts.png"] if "parsing" in options.tasks else []
    suffixes += ["_IUV.png", "_INDS.png"] if "densepose" in options.tasks else []
    try:
        if not all(target.with_name(target.name + suffix).is_file() for suffix in suffixes):
            return False
        document = documents.loads(target.with_name(target.name + LAST).read_bytes())
        wrote = dict(document["options"])
        tasks, by = set(wrote.pop("tasks")), document.get("model")
    except (OSError, AttributeError, KeyError, TypeError, ValueError):  # not known, as another program's is
        return False
    wanted = _about(model, options, exact, bgr)
    same = wrote == {name: value for name, value in wanted["options"].items() if name != "tasks"}
    return same and options.tasks <= tasks and by == wanted.get("model")


def _about(model: ModelInfo | None, options: Options | None, exact: bool, bgr: bool) -> dict[str, Any]:
    """What the JSON says beside the people."""
    about: dict[str, Any] = {} if model is None else {"model": {"name": model.name, "version": model.version}}
    if options is not None:
        about["options"] = {
            "tasks": sorted(options.tasks),
            "confidence": options.confidence,
            "max_people": options.max_people,
            "exact": exact,
            "bgr": bgr,
        }
    return about


def is_output(path: Path) -> bool:
    """Whether a picture is a result of an earlier run: named like one, with the arrays or the JSON of it beside it."""
    for suffix in _PICTURES:
        if path.name.endswith(suffix):
            target = path.with_name(path.name.removesuffix(suffix))
            return any(target.with_name(target.name + other).is_file() for other in (".npz", LAST))
    return False
