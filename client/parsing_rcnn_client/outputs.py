"""The files that one analysed picture leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.codecs import json, npz, png
from parsing_rcnn.people import ModelInfo, People

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
) -> list[Path]:
    """Write TARGET.npz, .json, _overlay.png, _parts.png, _IUV.png, _INDS.png; what was not computed is left out.

    Args:
        target: folder and stem.
        people: found in `image`.
        image: uint8 [H,W,3] RGB, upright.
        exact: paste part labels from their probabilities, and interpolate U and V.
        bgr: write _IUV.png with I in the blue channel, as in the first DensePose release.
        model: whose name and version the JSON has, as the gateway's has.

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
    about = {} if model is None else {"model": {"name": model.name, "version": model.version}}
    files[LAST] = json.dumps(about | json.to_json(people, exact=exact))
    written = []
    for suffix, data in files.items():
        path = target.with_name(target.name + suffix)
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        part.replace(path)  # whole or not at all: an interrupted run leaves no half file
        written.append(path)
    return written


def is_done(target: Path) -> bool:
    """Whether an earlier run wrote everything of this picture."""
    return target.with_name(target.name + LAST).is_file()


def is_output(path: Path) -> bool:
    """Whether a picture is a result of an earlier run: named like one, with the arrays or the JSON of it beside it."""
    for suffix in _PICTURES:
        if path.name.endswith(suffix):
            target = path.with_name(path.name.removesuffix(suffix))
            return any(target.with_name(target.name + other).is_file() for other in (".npz", LAST))
    return False
