"""The files that one analysed picture leaves."""

from __future__ import annotations

import glob
import json as documents
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import json, npz, png
from parsing_rcnn.heads import believed
from parsing_rcnn.people import ModelInfo, Options, People
from parsing_rcnn_client.drawn import Drawings
from parsing_rcnn_client.signals import leave_waits

LAST = ".json"
"""Suffix of the file that is written last."""

_MAPS = re.compile(r"_(overlay|parts|IUV|INDS)\.png$")
_DRAWN = re.compile(r"_(hidden\.jpg|cutout\.png|person[1-9]\d*\.jpg)$")  # in which people are, as they are or hidden
_FILES = re.compile(rf"(\.npz|\.json|{_MAPS.pattern}|{_DRAWN.pattern})$")


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
    if drawn := [suffix for suffix in files if _DRAWN.fullmatch(suffix)]:
        about["pictures"] = drawn
    files[LAST] = json.dumps(about | json.to_json(people, exact=exact))
    _clear(target)
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
        drawn = {suffix for suffix in suffixes if _DRAWN.fullmatch(suffix)}
        if not drawn <= set(document.get("pictures", ())):  # what is there may be another run's, and show everybody
            return False
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


def drawn_before(target: Path) -> frozenset[str]:
    """Suffixes of the pictures that an earlier run drew of people: those that its JSON lists. Of a run that was stopped
    before it wrote one, of what is named like them and no older than the arrays, which are written first.
    """
    last = target.with_name(target.name + LAST)
    try:
        state = last.stat()
        return _listed(target, (state.st_mtime_ns, state.st_size))
    except (OSError, ValueError):
        pass
    try:
        since = target.with_name(target.name + ".npz").stat().st_mtime_ns
        beside = {path.name[len(target.name) :]: path for path in target.parent.glob(glob.escape(target.name) + "_*")}
        return frozenset(
            suffix for suffix, path in beside.items() if _DRAWN.fullmatch(suffix) and path.stat().st_mtime_ns >= since
        )
    except OSError:
        return frozenset()


@lru_cache(maxsize=16)  # a folder has the pictures of one after the other
def _listed(target: Path, _changed: tuple[int, int]) -> frozenset[str]:
    listed = read(target).get("pictures")
    suffixes = listed if isinstance(listed, list) else ()
    return frozenset(suffix for suffix in suffixes if isinstance(suffix, str) and _DRAWN.fullmatch(suffix))


def _clear(target: Path) -> None:
    """Take away what an earlier run drew of people: it may show whom this run hides, or does not find. And its JSON, so
    that nobody takes what a run leaves that is stopped from here on for done.
    """
    with leave_waits():
        for suffix in drawn_before(target):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        target.with_name(target.name + LAST).unlink(missing_ok=True)


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
    """Whether a picture is a result of an earlier run: named like one, with the arrays or the JSON of it beside it, and
    of people where that JSON lists it."""
    if drawn := _DRAWN.search(path.name):  # a photo may be named so as well: me_person1.jpg beside me.jpg
        return drawn[0] in drawn_before(path.with_name(path.name[: drawn.start()]))
    named = _MAPS.search(path.name)
    if named is None:
        return False
    target = path.name[: named.start()]
    return any(path.with_name(target + other).is_file() for other in (".npz", LAST))


def stem_of(name: str, tasks: frozenset[str], drawings: Drawings) -> str | None:
    """The name of the target that a run of these tasks and drawings may write a file of this name of, if any."""
    named = _FILES.search(name)
    if named is None:
        return None
    asked = {".npz", LAST, *drawings.suffixes(1)}
    asked |= {"_parts.png"} if "parsing" in tasks else set()
    asked |= {"_IUV.png", "_INDS.png"} if "densepose" in tasks else set()
    return name[: named.start()] if re.sub(r"\d+", "1", named[0]) in asked else None
