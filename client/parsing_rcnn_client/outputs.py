"""The files that one analysed picture leaves."""

from __future__ import annotations

import json as documents
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import json, npz, png
from parsing_rcnn.heads import believed
from parsing_rcnn.people import ModelInfo, Options, People
from parsing_rcnn_client.drawn import Drawings, crop_suffix
from parsing_rcnn_client.signals import leave_waits

LAST = ".json"
"""Suffix of the file that is written last."""

_PICTURES = re.compile(r"_(overlay\.png|parts\.png|IUV\.png|INDS\.png|hidden\.jpg|cutout\.png|person[1-9]\d*\.jpg)$")


def write_outputs(
    target: Path,
    people: People,
    image: NDArray[np.uint8],
    *,
    exact: bool = False,
    bgr: bool = False,
    model: ModelInfo | None = None,
    options: Options | None = None,
    drawings: Drawings = Drawings(),  # noqa: B008 - frozen
    everybody: People | None = None,
) -> list[Path]:
    """Write TARGET.npz, .json, _overlay.png, _parts.png, _IUV.png, _INDS.png; what was not computed is left out. And
    what `drawings` ask for: _hidden.jpg, _cutout.png, _person1.jpg and so on.

    Args:
        target: folder and stem.
        people: found in `image`.
        image: uint8 [H,W,3] RGB, upright.
        exact: paste part labels from their probabilities, and interpolate U and V.
        bgr: write _IUV.png with I in the blue channel, as in the first DensePose release.
        model: whose name and version the JSON has, as the gateway's has.
        options: by which `people` were found; the JSON has them with `exact` and `bgr`, for `is_done`.
        drawings: what is drawn.
        everybody: doubtful people as well, where `drawings` hide people.

    Returns:
        The files written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    files = {".npz": npz.encode(people), **drawings.draw(image, people, people if everybody is None else everybody)}
    if people.parts is not None:
        files["_parts.png"] = png.encode_labels(people.label_map(exact=exact))
    if people.iuv is not None:
        iuv, instances = people.iuv_map(exact=exact)
        files["_IUV.png"] = png.encode_iuv(iuv, bgr=bgr)
        if "densepose" not in believed(people):
            instances = people.instance_map(exact=exact)
        files["_INDS.png"] = png.encode_inds(instances)
    about = _about(model, options, exact, bgr, drawings)
    files[LAST] = json.dumps(about | json.to_json(people, exact=exact))
    if drawings.crops:
        _drop_crops(target, len(people))
    written = []
    for suffix, data in files.items():
        path = target.with_name(target.name + suffix)
        part = path.with_name(path.name + ".part")
        with leave_waits():
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
    drawings: Drawings = Drawings(),  # noqa: B008 - frozen
) -> bool:
    """Whether an earlier run wrote all of this picture that these options ask for: by the same model and options, of
    the same tasks or more. Arguments as in `write_outputs`.
    """
    suffixes = [".npz", LAST]
    suffixes += ["_parts.png"] if "parsing" in options.tasks else []
    suffixes += ["_IUV.png", "_INDS.png"] if "densepose" in options.tasks else []
    try:
        document = read(target)
        suffixes += drawings.suffixes(len(document["predictions"]))
        if not all(target.with_name(target.name + suffix).is_file() for suffix in suffixes):
            return False
        wrote = dict(document["options"])
        tasks, by = set(wrote.pop("tasks")), document.get("model")
    except (OSError, AttributeError, KeyError, TypeError, ValueError):  # not known, as another program's is
        return False
    wanted = _about(model, options, exact, bgr, drawings)
    same = wrote == {name: value for name, value in wanted["options"].items() if name != "tasks"}
    return same and options.tasks <= tasks and by == wanted.get("model")


def read(target: Path) -> dict[str, Any]:
    """The JSON of a picture.

    Raises:
        OSError: there is none.
        ValueError: the file is no JSON object.
    """
    document = documents.loads(target.with_name(target.name + LAST).read_bytes())
    if not isinstance(document, dict):
        raise ValueError(f"{target.name + LAST} is no JSON object")
    return document


def _drop_crops(target: Path, count: int) -> None:
    """Take away the pictures of people beyond so many: an earlier run found more, as its JSON says."""
    try:
        earlier = len(read(target)["predictions"])
    except (OSError, KeyError, TypeError, ValueError):
        return
    for index in range(count, earlier):
        target.with_name(target.name + crop_suffix(index)).unlink(missing_ok=True)


def _about(
    model: ModelInfo | None, options: Options | None, exact: bool, bgr: bool, drawings: Drawings
) -> dict[str, Any]:
    """What the JSON says beside the people."""
    about: dict[str, Any] = {} if model is None else {"model": {"name": model.name, "version": model.version}}
    if options is not None:
        about["options"] = {
            "tasks": sorted(options.tasks),
            "confidence": options.confidence,
            "max_people": options.max_people,
            "exact": exact,
            "bgr": bgr,
            **drawings.told(),
        }
    return about


def is_output(path: Path) -> bool:
    """Whether a picture is a result of an earlier run: named like one, with the arrays or the JSON of it beside it."""
    named = _PICTURES.search(path.name)
    if named is None:
        return False
    target = path.name[: named.start()]
    return any(path.with_name(target + other).is_file() for other in (".npz", LAST))
