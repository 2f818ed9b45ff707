"""The files that one analysed picture leaves."""

from __future__ import annotations

import base64
import json as documents
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import json, npz, png, rle
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.heads import believed
from parsing_rcnn.people import ModelInfo, Options, People
from parsing_rcnn_client.cli.signals import leave_waits
from parsing_rcnn_client.predict.drawings import Drawings

LAST = ".json"
"""Suffix of the file that is written last."""

_BEGUN = ".json.part"
"""The same before it is: it is there first, so that the files of a run that is stopped are known as well."""

FILES = frozenset({"json", "npz", "parts", "iuv", "inds"})
"""What is written of a picture beside what is drawn of it; "json" always is."""

_ALL = FILES | {"overlay"}
_SUFFIXES = {"npz": ".npz", "parts": "_parts.png", "iuv": "_IUV.png", "inds": "_INDS.png"}
_TASKS = {"parts": "parsing", "iuv": "densepose", "inds": "densepose"}  # that they need
_OVERLAY = "_overlay.png"  # which the JSON of earlier versions does not list

# in which people are, as they are or hidden
_DRAWN = re.compile(r"_(overlay\.(png|jpg)|hidden\.jpg|cutout\.png|person[1-9]\d*\.jpg)$")
_PICTURES = re.compile(rf"(_(parts|IUV|INDS)\.png|{_DRAWN.pattern})$")
_FILES = re.compile(rf"(\.npz|\.json|{_PICTURES.pattern})$")


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

    The JSON lists all of them, and what of earlier runs still lies there. What those drew of people is taken away: it
    may show whom this run hides, or does not find.

    Args:
        target: folder and stem.
        people: found in `image`.
        image: uint8 [H,W,3] RGB, upright; None where nothing is drawn.
        files: of `FILES`, those that are written; the JSON is, also where it is not named.
        exact: paste part labels from their probabilities, and interpolate U and V.
        bgr: write _IUV.png with I in the blue channel, as in the first DensePose release.
        model: whose name and version the JSON has, as the gateway's has.
        options: by which `people` were found; the JSON has them with `exact` and `bgr`, for `is_done`.
        drawings: what is drawn.
        everybody: doubtful people as well, where `drawings` hide people.
        name: of the photo, for the JSON.

    Returns:
        The files written.

    Raises:
        InvalidOptions: another program's JSON is where that of the picture goes.
        OSError: a file cannot be written.
    """
    _require_own(target.with_name(target.name + LAST))
    target.parent.mkdir(parents=True, exist_ok=True)
    made = {".npz": npz.encode(people)} if "npz" in files else {}
    if image is not None:
        made |= drawings.draw(image, people, people if everybody is None else everybody)
    made |= _maps(people, files, exact, bgr)
    document = _about(model, options, files, exact, bgr, drawings)
    document["files"] = sorted({*made, *_kept(target)})
    document |= json.to_json(people, exact=exact)
    document["image"] |= {} if name is None else {"file_name": name}
    stale = drawn_before(target)
    with leave_waits():  # all of them, where that does not take long
        begun = _put(target, _BEGUN, json.dumps(document))
        for suffix in [*stale, LAST]:  # that last: nobody takes what a run leaves that is stopped from here on for done
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        written = [_put(target, suffix, data) for suffix, data in made.items()]
        written.append(begun.replace(target.with_name(target.name + LAST)))
    return written


def _put(target: Path, suffix: str, data: bytes) -> Path:
    """Write a file whole or not at all."""
    path = target.with_name(target.name + suffix)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    return part.replace(path)


def _kept(target: Path) -> list[str]:
    """Suffixes of what earlier runs wrote that a run leaves where it is, unless it writes the same."""
    left = sorted(_told(target) - drawn_before(target))
    return [suffix for suffix in left if target.with_name(target.name + suffix).is_file()]


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
        if not suffixes - {LAST} <= _listed(document):  # what is there may be another's, and show everybody
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
    suffixes = [*_suffixes(files, options.tasks), *drawings.suffixes(count), LAST]
    return [target.with_name(target.name + suffix) for suffix in suffixes]


def _suffixes(files: frozenset[str], tasks: frozenset[str]) -> list[str]:
    """Of the arrays and maps that a run of these tasks writes of a picture."""
    return [end for name, end in _SUFFIXES.items() if name in files and _TASKS.get(name) in (None, *tasks)]


def read(target: Path, tasks: frozenset[str] | None = None) -> dict[str, Any]:
    """The JSON of a picture.

    Args:
        target: folder and stem.
        tasks: as if only these had been asked for; None for all that it has.

    Raises:
        OSError: there is none.
        ValueError: the file is no JSON object.
    """
    document = documents.loads(target.with_name(target.name + LAST).read_bytes())
    if not isinstance(document, dict):
        raise ValueError(f"{target.name + LAST} is no JSON object")
    options = document.get("options")
    if tasks is not None and isinstance(options, dict) and not tasks >= set(options.get("tasks", ())):
        size = document["image"]["height"], document["image"]["width"]
        for person in document["predictions"]:
            _reduce(person, tasks, size)
    return document


def _reduce(person: dict[str, Any], tasks: frozenset[str], size: tuple[int, int]) -> None:
    """Take from a person's entry what these tasks do not have; the silhouette is that of the map which is left."""
    for task, names in {"parsing": ("parts", "parts_png"), "densepose": ("densepose",)}.items():
        for name in names if task not in tasks else ():
            person.pop(name, None)
    silhouette = person.pop("rle", None)
    charts = person.get("densepose", {})
    encoded = person.get("parts_png", charts.get("labels_uv_str"))
    if silhouette is not None and encoded is not None:
        cells = np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_UNCHANGED))
        labels = cells if cells.ndim == 2 else cells[..., 2]  # I is red
        person["rle"] = rle.encode_at(labels > 0, tuple(person["offset"]), size)


def drawn_before(target: Path) -> frozenset[str]:
    """Suffixes of the pictures that earlier runs drew of people."""
    return frozenset(suffix for suffix in _told(target) if _DRAWN.fullmatch(suffix))


def is_told(target: Path) -> bool:
    """Whether there is a JSON that tells which files of a picture runs wrote."""
    return any(target.with_name(target.name + suffix).is_file() for suffix in (LAST, _BEGUN))


def _told(target: Path) -> frozenset[str]:
    """Suffixes of what runs wrote of a picture, as its JSON tells; of no other file is it known whose it is. After a
    run that was stopped both are there, or the one that it began."""
    return frozenset().union(*(_told_by(target.with_name(target.name + suffix)) for suffix in (LAST, _BEGUN)))


def _told_by(path: Path) -> frozenset[str]:
    with suppress(OSError):
        return _told_at(path, _state(path)) or frozenset()
    return frozenset()


def _require_own(path: Path) -> None:
    """Refuse to replace a JSON that no run wrote: annotations of a photo may lie beside it by the same name."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if _told_at(path, _state(path)) is None:
            raise InvalidOptions(
                f"{path} is no result of an earlier run and would be replaced: rename it, or choose another -o"
            )


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=16)  # a folder has the pictures of one after the other
def _told_at(path: Path, _changed: tuple[int, int]) -> frozenset[str] | None:
    """None of another program's."""
    with suppress(ValueError):
        document = documents.loads(path.read_bytes())
        return _listed(document) if isinstance(document, dict) and "predictions" in document else None
    return None


def _listed(document: dict[str, Any]) -> frozenset[str]:
    """Suffixes of the files that a JSON tells of, but for itself."""
    listed = document.get("files")
    if not isinstance(listed, list):
        return _listed_before(document)
    return frozenset(suffix for suffix in listed if isinstance(suffix, str) and _FILES.fullmatch(suffix)) - {LAST}


def _listed_before(document: dict[str, Any]) -> frozenset[str]:
    """The same of an earlier version, whose JSON lists some pictures; the others follow from the options."""
    pictures, options = document.get("pictures"), document.get("options")
    suffixes = pictures if isinstance(pictures, list) else ()
    drawn = frozenset(suffix for suffix in suffixes if isinstance(suffix, str) and _DRAWN.fullmatch(suffix))
    if not isinstance(options, dict) or not isinstance(options.get("tasks"), list):  # another program's
        return drawn
    written = options.get("write")
    wrote = frozenset(map(str, written)) if isinstance(written, list) else _ALL
    overlay = {_OVERLAY} if "overlay" in wrote and "_overlay.jpg" not in drawn else set()
    return drawn | overlay | set(_suffixes(wrote, frozenset(map(str, options["tasks"]))))


def _about(
    model: ModelInfo | None,
    options: Options | None,
    files: frozenset[str],
    exact: bool,
    bgr: bool,
    drawings: Drawings,
) -> dict[str, Any]:
    """What the JSON says beside the people."""
    written = files | {"json"} | ({"overlay"} if drawings.overlay is not None else set())
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
    """Whether a picture is a result of an earlier run: named like one, and told of by the JSON beside it. A photo may
    be named so as well: me_person1.jpg beside me.jpg."""
    named = _PICTURES.search(path.name)
    return named is not None and named[0] in _told(path.with_name(path.name[: named.start()]))


def picture_of(name: str) -> tuple[str, str] | None:
    """(name of the target, suffix) of a file that is named like a picture that a run writes; None of others."""
    named = _PICTURES.search(name)
    return None if named is None else (name[: named.start()], named[0])


def is_drawn(suffix: str) -> bool:
    """Whether people are in the picture with this suffix."""
    return _DRAWN.fullmatch(suffix) is not None


def stem_of(
    name: str,
    tasks: frozenset[str] = frozenset(_TASKS.values()),
    files: frozenset[str] = FILES,
    drawings: Drawings | None = None,
) -> str | None:
    """The name of the target that a run of these tasks, files and drawings may write a file of this name of, if any;
    without drawings, any of them."""
    named = _FILES.search(name)
    if named is None:
        return None
    asked = {*_suffixes(files, tasks), LAST, *(() if drawings is None else drawings.suffixes(1))}
    drawn = drawings is None and is_drawn(named[0])
    return name[: named.start()] if drawn or re.sub(r"\d+", "1", named[0]) in asked else None
