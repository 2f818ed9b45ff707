"""The files that `predict` writes for one picture, and what is known of those of earlier runs."""

from __future__ import annotations

import json as documents
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import TASKS, ModelInfo, Options
from parsing_rcnn.codecs import json, npz, png, rle
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.maps.full_frame import inds_map
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.signals import leave_waits

LAST = ".json"
"""Suffix of the JSON, which is written last."""

_PART = ".part"
"""Suffix of a file until it is whole."""

_BEGUN = LAST + _PART
"""Suffix of the same JSON while the other files are written. It comes first, so that it lists the files even if the run
is stopped."""

FILES = frozenset({"json", "npz", "parts", "iuv", "inds"})
"""What is written of a picture beside what is drawn of it; "json" always is."""

_ALL = FILES | {"overlay"}
_SUFFIXES = {"npz": ".npz", "parts": "_parts.png", "iuv": "_IUV.png", "inds": "_INDS.png"}
TASK_OF = {"parts": "parsing", "iuv": "densepose", "inds": "densepose"}
"""The task that a file of `FILES` shows; the others need none."""

# pictures that show people, whether hidden or not
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
    """Write TARGET.npz, .json, _parts.png, _IUV.png and _INDS.png, except for what was not computed, and the pictures
    that `drawings` ask for: _overlay.png, _hidden.jpg, _cutout.png, _person1.jpg and so on.

    The JSON lists all of them, and the files of earlier runs that stay. Pictures of people that earlier runs drew, or
    began, are deleted: they may show people whom this run hides or does not find.

    Args:
        target: folder and stem.
        people: found in `image`.
        image: uint8 [H,W,3] RGB, upright; None where nothing is drawn.
        files: which of `FILES` to write; the JSON is written in any case.
        exact: paste part labels from their probabilities, and interpolate U and V.
        bgr: write _IUV.png with I in the blue channel, as in the first DensePose release.
        model: its name and version go into the JSON, as in the gateway's.
        options: by which `people` were found; they go into the JSON with `exact` and `bgr`, for `is_done`.
        drawings: what is drawn.
        everybody: with the doubtful people, where `drawings` hide people.
        name: of the photo, for the JSON.

    Returns:
        The files written.

    Raises:
        InvalidOptions: another program's JSON has the name of the picture's.
        OSError: a file cannot be written; it names that file.
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
    with leave_waits():  # a signal that ends the process lets all files be written, if that is quick
        begun = _put(target, _BEGUN, json.dumps(document))
        parts = [suffix + _PART for suffix in stale]  # of a run that was killed
        # without the JSON, nobody takes a run that is stopped from here on for done
        for suffix in [*stale, *parts, LAST]:
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        written = [_put(target, suffix, data) for suffix, data in made.items()]
        written.append(begun.replace(target.with_name(target.name + LAST)))
    return written


def _put(target: Path, suffix: str, data: bytes) -> Path:
    """Write a file whole or not at all."""
    path = target.with_name(target.name + suffix)
    part = path.with_name(path.name + _PART)
    try:
        part.write_bytes(data)
        return part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        # of a full disk the system names no file
        raise OSError(error.errno, error.strerror, str(path).removesuffix(_PART)) from error


def _kept(target: Path) -> list[str]:
    """Suffixes of the files of earlier runs that this run does not delete; it may replace them."""
    left = sorted(_known_files(target) - drawn_before(target))
    return [suffix for suffix in left if target.with_name(target.name + suffix).is_file()]


def _maps(people: People, files: frozenset[str], exact: bool, bgr: bool) -> dict[str, bytes]:
    """The maps of the whole picture, suffix -> PNG. Only what is to be written is pasted."""
    made = {}
    if people.parts is not None and "parts" in files:
        made["_parts.png"] = png.encode_labels(people.label_map(exact=exact))
    if people.iuv is None:
        return made
    instances = None
    if "iuv" in files:
        iuv, instances = people.iuv_map(exact=exact)
        made["_IUV.png"] = png.encode_iuv(iuv, bgr=bgr)
    if "inds" in files:
        made["_INDS.png"] = png.encode_inds(inds_map(people, exact, instances))
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
    """Whether an earlier run wrote everything that these options ask for: with the same model and options, and for the
    same tasks and files or more. Arguments as in `write_outputs`.
    """
    try:
        document = read(target)
    except (OSError, ValueError):  # there is none, or it is no JSON object
        return False
    listed, wrote = _listed(document), document.get("options")
    if listed is None or not isinstance(wrote, dict):
        return False
    paths = files_of(target, len(document["predictions"]), options, files, drawings)
    suffixes = {path.name.removeprefix(target.name) for path in paths}
    if not suffixes - {LAST} <= listed:  # a file may be another program's, and show everybody
        return False
    if not all(path.is_file() for path in paths):
        return False
    tasks, others = _texts(wrote.get("tasks")), _texts(wrote.get("write", [*FILES]))
    if tasks is None or others is None:
        return False
    wanted = _about(model, options, files, exact, bgr, drawings)
    same = _without_names(wrote) == _without_names(wanted["options"])
    return same and options.tasks <= tasks and files <= others and document.get("model") == wanted.get("model")


def _without_names(options: dict[str, Any]) -> dict[str, Any]:
    """The options that have to be the same, whatever tasks and files there are."""
    return {name: value for name, value in options.items() if name not in ("tasks", "write")}


def files_of(target: Path, count: int, options: Options, files: frozenset[str], drawings: Drawings) -> list[Path]:
    """The files written for a picture with `count` people; other arguments as in `write_outputs`."""
    suffixes = [*_suffixes(files, options.tasks), *drawings.suffixes(count), LAST]
    return [target.with_name(target.name + suffix) for suffix in suffixes]


def _suffixes(files: frozenset[str], tasks: frozenset[str]) -> list[str]:
    """Suffixes of the arrays and maps that a run of these tasks writes for a picture."""
    return [end for name, end in _SUFFIXES.items() if name in files and TASK_OF.get(name) in (None, *tasks)]


def read(target: Path, tasks: frozenset[str] | None = None) -> dict[str, Any]:
    """The JSON of a picture.

    Args:
        target: folder and stem.
        tasks: leave out what other tasks computed; None leaves out nothing.

    Raises:
        OSError: there is none.
        ValueError: the file is no JSON object.
    """
    document = _loaded(target.with_name(target.name + LAST))
    if not isinstance(document, dict):
        raise ValueError(f"{target.name + LAST} is no JSON object")
    options = document.get("options")
    if tasks is not None and isinstance(options, dict) and not tasks >= set(options.get("tasks", ())):
        size = document["image"]["height"], document["image"]["width"]
        for person in document["predictions"]:
            _reduce(person, tasks, size)
    return document


def _reduce(person: dict[str, Any], tasks: frozenset[str], size: tuple[int, int]) -> None:
    """Remove from a person's entry what other tasks computed. The silhouette becomes that of the map that stays."""
    for task, names in {"parsing": ("parts", "parts_png"), "densepose": ("densepose",)}.items():
        for name in names if task not in tasks else ():
            person.pop(name, None)
    silhouette = person.pop("rle", None)
    charts = person.get("densepose", {})
    encoded = person.get("parts_png", charts.get("labels_uv_str"))
    if silhouette is not None and encoded is not None:
        cells = png.from_base64(encoded)
        labels = cells if cells.ndim == 2 else cells[..., 2]  # I is red
        person["rle"] = rle.encode_at(labels > 0, tuple(person["offset"]), size)


def drawn_before(target: Path) -> frozenset[str]:
    """Suffixes of the pictures of people that earlier runs drew."""
    return frozenset(suffix for suffix in _known_files(target) if _DRAWN.fullmatch(suffix))


def is_told(target: Path) -> bool:
    """Whether there is a JSON that lists the files which runs wrote for a picture."""
    return any(target.with_name(target.name + suffix).is_file() for suffix in (LAST, _BEGUN))


def _known_files(target: Path) -> frozenset[str]:
    """Suffixes of the files that earlier runs wrote for a picture, as its JSON lists them; any other file may belong to
    somebody else. After a run that was stopped there may be two such JSONs, or only the one that it began.
    """
    return frozenset().union(*(_files_by(target.with_name(target.name + suffix)) for suffix in (LAST, _BEGUN)))


def _files_by(path: Path) -> frozenset[str]:
    """Suffixes that a JSON lists; none where there is no such file, or it is another program's."""
    with suppress(OSError):
        return _files_in(path, _state(path)) or frozenset()
    return frozenset()


def _require_own(path: Path) -> None:
    """Refuse to replace a JSON that no run wrote: annotations of a photo often have the same name."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if _files_in(path, _state(path)) is None:
            raise InvalidOptions(
                f"{path} is no result of an earlier run and would be replaced: rename it, or choose another -o"
            )


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=16)  # the same JSON is asked for several times in a row
def _files_in(path: Path, _changed: tuple[int, int]) -> frozenset[str] | None:
    """Suffixes that a JSON lists; None where it is another program's."""
    with suppress(ValueError):
        document = _loaded(path)
        return _listed(document) if isinstance(document, dict) else None
    return None


def _loaded(path: Path) -> Any:
    """What a JSON holds.

    Raises:
        OSError: there is no such file.
        ValueError: it is no JSON, or is nested too deeply to be read.
    """
    try:
        return documents.loads(path.read_bytes())
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None


def _listed(document: dict[str, Any]) -> frozenset[str] | None:
    """Suffixes of the files that a JSON lists, without the JSON itself; None for a JSON that no run wrote. Other
    programs have `predictions`, too, and some of them `files`, but not of such names. A list without names does not
    tell; there the options have to.
    """
    listed = _texts(document.get("files"))
    if listed is None or not all(map(_FILES.fullmatch, listed)):
        return None
    if not isinstance(document.get("predictions"), list) or not isinstance(document.get("image"), dict):
        return None
    named = listed - {LAST}
    return named if named or _has_options(document) else None


def _has_options(document: dict[str, Any]) -> bool:
    """Whether a JSON has the tasks of a run."""
    options = document.get("options")
    tasks = _texts(options.get("tasks")) if isinstance(options, dict) else None
    return tasks is not None and tasks <= {*TASKS}


def _texts(value: object) -> frozenset[str] | None:
    """A list of strings as a set; None for anything else."""
    return frozenset(value) if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _about(
    model: ModelInfo | None,
    options: Options | None,
    files: frozenset[str],
    exact: bool,
    bgr: bool,
    drawings: Drawings,
) -> dict[str, Any]:
    """The fields of the JSON about the model and the options."""
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
            **({} if options.region is None else {"region": list(options.region)}),
            **({} if options.tiles == 1 else {"tiles": options.tiles}),
            **({} if written == _ALL else {"write": sorted(written)}),
            **drawings.told(),
        }
    return about


def is_output(path: Path) -> bool:
    """Whether a picture is a result of an earlier run: it is named like one, and the JSON beside it lists it. The name
    alone does not tell, for a photo may be called me_person1.jpg beside me.jpg.
    """
    named = _PICTURES.search(path.name)
    return named is not None and named[0] in _known_files(path.with_name(path.name[: named.start()]))


def picture_of(name: str) -> tuple[str, str] | None:
    """(name of the target, suffix) of a file that is named like a picture that runs write; None for other names."""
    named = _PICTURES.search(name)
    return None if named is None else (name[: named.start()], named[0])


def is_drawn(suffix: str) -> bool:
    """Whether the picture with this suffix shows people."""
    return _DRAWN.fullmatch(suffix) is not None


def stem_of(
    name: str,
    tasks: frozenset[str] = frozenset(TASK_OF.values()),
    files: frozenset[str] = FILES,
    drawings: Drawings | None = None,
) -> str | None:
    """Name of the target whose results include a file called so, in a run of these tasks, files and drawings; None
    where there is none. Without `drawings` every picture of people counts."""
    named = _FILES.search(name)
    if named is None:
        return None
    suffixes = {*_suffixes(files, tasks), LAST, *(() if drawings is None else drawings.suffixes(1))}
    drawn = drawings is None and is_drawn(named[0])
    return name[: named.start()] if drawn or re.sub(r"\d+", "1", named[0]) in suffixes else None
