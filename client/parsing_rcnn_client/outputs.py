"""The files that one analysed picture leaves."""

from __future__ import annotations

import glob
import json as documents
import re
from contextlib import suppress
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

FILES = frozenset({"json", "npz", "parts", "iuv", "inds"})
"""What is written of a picture beside what is drawn of it."""

_ALL = FILES | {"overlay"}
_SUFFIXES = {"npz": ".npz", "parts": "_parts.png", "iuv": "_IUV.png", "inds": "_INDS.png"}
_TASKS = {"parts": "parsing", "iuv": "densepose", "inds": "densepose"}  # that they need
_OVERLAY = "_overlay.png"  # the one picture of people that all runs had before one could leave it out

_MAPS = re.compile(r"_(overlay|parts|IUV|INDS)\.png$")
# in which people are, as they are or hidden
_DRAWN = re.compile(r"_(overlay\.jpg|hidden\.jpg|cutout\.png|person[1-9]\d*\.jpg)$")
_FILES = re.compile(rf"(\.npz|\.json|{_MAPS.pattern}|{_DRAWN.pattern})$")


def write_outputs(
    target: Path,
    people: People,
    image: NDArray[np.uint8] | None,
    *,
    files: frozenset[str] = FILES,
    exact: bool = False,
    bgr: bool = False,
    model: ModelInfo | None = None,
    options: Options | None = None,
    drawings: Drawings = Drawings(),  # noqa: B008 - frozen
    everybody: People | None = None,
    name: str | None = None,
) -> list[Path]:
    """Write TARGET.npz, .json, _parts.png, _IUV.png, _INDS.png; what was not computed is left out. And what `drawings`
    ask for: _overlay.png, _hidden.jpg, _cutout.png, _person1.jpg and so on.

    Args:
        target: folder and stem.
        people: found in `image`.
        image: uint8 [H,W,3] RGB, upright; None where nothing is drawn.
        files: of `FILES`, those that are written.
        exact: paste part labels from their probabilities, and interpolate U and V.
        bgr: write _IUV.png with I in the blue channel, as in the first DensePose release.
        model: whose name and version the JSON has, as the gateway's has.
        options: by which `people` were found; the JSON has them with `exact` and `bgr`, for `is_done`.
        drawings: what is drawn.
        everybody: doubtful people as well, where `drawings` hide people.
        name: of the photo, for the JSON.

    Returns:
        The files written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    made = {".npz": npz.encode(people)} if "npz" in files else {}
    if image is not None:
        made |= drawings.draw(image, people, people if everybody is None else everybody)
    made |= _maps(people, files, exact, bgr)
    if "json" in files:
        about = _about(model, options, files, exact, bgr, drawings)
        if drawn := [suffix for suffix in made if _DRAWN.fullmatch(suffix)]:
            about["pictures"] = drawn
        document = about | json.to_json(people, exact=exact)
        document["image"] |= {} if name is None else {"file_name": name}
        made[LAST] = json.dumps(document)
    _clear(target)
    written = []
    for suffix, data in made.items():
        path = target.with_name(target.name + suffix)
        part = path.with_name(path.name + ".part")
        with leave_waits():
            part.write_bytes(data)
            part.replace(path)  # whole or not at all: an interrupted run leaves no half file
        written.append(path)
    return written


def _maps(people: People, files: frozenset[str], exact: bool, bgr: bool) -> dict[str, bytes]:
    """The maps of the whole picture, suffix -> file; nothing is pasted that is not wanted."""
    made = {}
    if people.parts is not None and "parts" in files:
        made["_parts.png"] = png.encode_labels(people.label_map(exact=exact))
    if people.iuv is None:
        return made
    own = "densepose" in believed(people)  # who is where is of the charts as well
    if "iuv" in files or ("inds" in files and own):
        iuv, instances = people.iuv_map(exact=exact)
        made |= {"_IUV.png": png.encode_iuv(iuv, bgr=bgr)} if "iuv" in files else {}
    if "inds" in files:
        made["_INDS.png"] = png.encode_inds(instances if own else people.instance_map(exact=exact))
    return made


def is_done(
    target: Path,
    options: Options,
    *,
    files: frozenset[str] = FILES,
    exact: bool = False,
    bgr: bool = False,
    model: ModelInfo | None = None,
    drawings: Drawings = Drawings(),  # noqa: B008 - frozen
) -> bool:
    """Whether an earlier run wrote all of this picture that these options ask for: by the same model and options, of
    the same tasks and files or more. Arguments as in `write_outputs`.
    """
    try:
        document = read(target)
        paths = files_of(target, len(document["predictions"]), options, files, drawings)
        suffixes = {path.name.removeprefix(target.name) for path in paths}
        drawn = {suffix for suffix in suffixes if _DRAWN.fullmatch(suffix)}
        if not drawn <= set(document.get("pictures", ())):  # what is there may be another run's, and show everybody
            return False
        if _OVERLAY in suffixes and _OVERLAY not in _told(target)[0]:
            return False
        if not all(path.is_file() for path in paths):
            return False
        wrote = dict(document["options"])
        tasks, by = set(wrote.pop("tasks")), document.get("model")
        others = set(wrote.pop("write", FILES))
    except (OSError, AttributeError, KeyError, TypeError, ValueError):  # not known, as another program's is
        return False
    wanted = _about(model, options, files, exact, bgr, drawings)
    same = wrote == {name: value for name, value in wanted["options"].items() if name not in ("tasks", "write")}
    return same and options.tasks <= tasks and files <= others and by == wanted.get("model")


def files_of(target: Path, count: int, options: Options, files: frozenset[str], drawings: Drawings) -> list[Path]:
    """What is written of a picture with so many people; arguments as in `write_outputs`."""
    suffixes = [*_suffixes(files, options.tasks), *drawings.suffixes(count), *[LAST] * ("json" in files)]
    return [target.with_name(target.name + suffix) for suffix in suffixes]


def _suffixes(files: frozenset[str], tasks: frozenset[str]) -> list[str]:
    """Of the arrays and maps that a run of these tasks writes of a picture."""
    return [end for name, end in _SUFFIXES.items() if name in files and _TASKS.get(name) in (None, *tasks)]


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
    """Suffixes of the pictures that an earlier run drew of people: those that its JSON tells of. Of a run that was
    stopped before it wrote one, of what is named like them and no older than the arrays, which are written first.
    """
    with suppress(OSError, ValueError):
        return _told(target)[0]
    try:
        since = target.with_name(target.name + ".npz").stat().st_mtime_ns
        beside = {path.name[len(target.name) :]: path for path in target.parent.glob(glob.escape(target.name) + "_*")}
        return frozenset(
            suffix for suffix, path in beside.items() if _DRAWN.fullmatch(suffix) and path.stat().st_mtime_ns >= since
        )
    except OSError:
        return frozenset()


def _told(target: Path) -> tuple[frozenset[str], frozenset[str]]:
    """What the JSON of a picture tells: (suffixes of the pictures of people, names of all that was written).

    Raises:
        OSError: there is none.
        ValueError: the file is no JSON object.
    """
    state = target.with_name(target.name + LAST).stat()
    return _told_at(target, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=16)  # a folder has the pictures of one after the other
def _told_at(target: Path, _changed: tuple[int, int]) -> tuple[frozenset[str], frozenset[str]]:
    document = read(target)
    listed, options = document.get("pictures"), document.get("options")
    suffixes = listed if isinstance(listed, list) else ()
    drawn = frozenset(suffix for suffix in suffixes if isinstance(suffix, str) and _DRAWN.fullmatch(suffix))
    written = options.get("write") if isinstance(options, dict) else None
    wrote = frozenset(map(str, written)) if isinstance(written, list) else _ALL
    if "_overlay.jpg" in drawn:
        wrote -= {"overlay"}
    ours = isinstance(options, dict) and "tasks" in options
    return drawn | {_OVERLAY} if ours and "overlay" in wrote else drawn, wrote


def _clear(target: Path) -> None:
    """Take away what an earlier run drew of people: it may show whom this run hides, or does not find. And its JSON, so
    that nobody takes what a run leaves that is stopped from here on for done.
    """
    with leave_waits():
        for suffix in drawn_before(target):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        target.with_name(target.name + LAST).unlink(missing_ok=True)


def _about(
    model: ModelInfo | None,
    options: Options | None,
    files: frozenset[str],
    exact: bool,
    bgr: bool,
    drawings: Drawings,
) -> dict[str, Any]:
    """What the JSON says beside the people."""
    written = files if drawings.overlay is None else files | {"overlay"}
    about: dict[str, Any] = {} if model is None else {"model": {"name": model.name, "version": model.version}}
    if options is not None:
        about["options"] = {
            "tasks": sorted(options.tasks),
            "confidence": options.confidence,
            "max_people": options.max_people,
            "exact": exact,
            "bgr": bgr,
            **({} if options.max_side is None else {"max_side": options.max_side}),
            **({} if written == _ALL else {"write": sorted(written)}),
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
    target = path.with_name(path.name[: named.start()])
    if not any(target.with_name(target.name + other).is_file() for other in (".npz", LAST)):
        return False
    try:
        return named[1].lower() in _told(target)[1]
    except (OSError, ValueError):
        return True


def stem_of(name: str, tasks: frozenset[str], files: frozenset[str], drawings: Drawings) -> str | None:
    """The name of the target that a run of these tasks, files and drawings may write a file of this name of, if any."""
    named = _FILES.search(name)
    if named is None:
        return None
    asked = {*_suffixes(files, tasks), *drawings.suffixes(1), *[LAST] * ("json" in files)}
    return name[: named.start()] if re.sub(r"\d+", "1", named[0]) in asked else None
