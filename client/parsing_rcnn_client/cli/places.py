"""Checks of sources and outputs of `annotate` and `stream`, before anything is opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parsing_rcnn_client.names import real_path
from parsing_rcnn_client.places import STANDARD, check_place, require_folder

_PIPES = ("pipe:", "fd:", "/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # names of files that are open already


def targets_of(sources: list[str], out: list[str]) -> list[str]:
    """The output of each source of `stream`.

    Raises:
        InvalidOptions: there is not one for each, or one of them cannot be written.
    """
    from parsing_rcnn.errors import InvalidOptions

    if len(out) == 1 and (len(sources) == 1 or (_is_shown(out[0]) and "://" not in out[0])):
        out = out * len(sources)
    if len(out) != len(sources):
        raise InvalidOptions(f"{len(sources)} sources and {len(out)} outputs: give one --out for each source")
    files: list[Path] = []
    for source, target in zip(sources, out, strict=True):
        _check_source(source)
        if not _is_shown(target):
            check_place(Path(target), source)
            _check_container(Path(target))
            files.append(Path(target))
    _check_apart(files)
    return out


def check_files(
    source: str, out: Path | None, jsonl: Path | None, coco: Path | None, npz: Path | None, as_json: bool
) -> None:
    """Refuse what `annotate` cannot read or write.

    Raises:
        InvalidOptions: what is wrong, and what to name instead.
    """
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.video.programs import hidden_source, is_live

    if out is None and jsonl is None and coco is None and npz is None and not as_json:
        raise InvalidOptions("nothing to write: name --out, --jsonl, --coco or --npz (or --json, for the counts)")
    if is_live(source):
        raise InvalidOptions(f"{hidden_source(source)} has no end: `parsing-rcnn stream` is for cameras and streams")
    _check_source(source)
    _check_standard(jsonl, npz, as_json)
    if STANDARD in (out, coco):
        raise InvalidOptions("only --jsonl can go to standard output (-): name a file")
    _check_beside(npz, [path for path in (out, jsonl, coco) if path not in (None, STANDARD)])
    for path in (out, jsonl, coco):
        if path is not None and path != STANDARD:
            check_place(path, source)
    if out is not None:
        _check_container(out)
    _check_npz(npz)
    _check_apart([path for path in (out, jsonl, coco, npz) if path not in (None, STANDARD)])


def check_records(
    sources: list[str], targets: Sequence[str], jsonl: Path | None, npz: Path | None, as_json: bool
) -> None:
    """Refuse records that `stream` cannot write beside its targets.

    Raises:
        InvalidOptions: what is wrong, and what to name instead.
    """
    _check_standard(jsonl, npz, as_json)
    files = [Path(target) for target in targets if not _is_shown(target)]
    _check_beside(npz, [*files, *(path for path in (jsonl,) if path not in (None, STANDARD))])
    if jsonl is not None and jsonl != STANDARD:
        for source in sources:
            check_place(jsonl, source)
    _check_npz(npz)
    _check_apart([*files, *(path for path in (jsonl, npz) if path not in (None, STANDARD))])


def check_encoders(targets: Sequence[str]) -> None:
    """Refuse outputs of `stream` that are to be encoded where no encoder is.

    Raises:
        InvalidOptions: what to install.
        VideoToolMissing: ffmpeg is not installed.
    """
    from parsing_rcnn_client.video.backends import fitted
    from parsing_rcnn_client.video.encoding import Encoding

    for target in targets:
        if "://" in target or not _is_shown(target):
            fitted(Encoding(), Path(target), "ffmpeg")


def _is_shown(target: str) -> bool:
    """Whether an output of `stream` is a window, a page, an address or none, and so no file."""
    return target in ("none", "window") or target.startswith("mjpeg:") or "://" in target


def _check_standard(jsonl: Path | None, npz: Path | None, as_json: bool) -> None:
    from parsing_rcnn.errors import InvalidOptions

    if jsonl == STANDARD and as_json:
        raise InvalidOptions("--json and --jsonl - both write to standard output: name a file for --jsonl")
    if npz == STANDARD:
        raise InvalidOptions("--npz writes many files, which cannot go to standard output (-): name a folder")


def _check_npz(folder: Path | None) -> None:
    """Refuse a folder that is not empty or cannot be made."""
    from parsing_rcnn_client.video.records import require_empty

    if folder is not None:
        require_empty(folder)
        require_folder(real_path(folder).parent, str(folder))


def _check_source(source: str) -> None:
    """Refuse sources for which ffmpeg would give a poor message, or wait for ever."""
    from parsing_rcnn.errors import InvalidOptions

    if not source:
        raise InvalidOptions("the name of the source is empty: name a file or an address")
    if source == "-" or (source.startswith(_PIPES) and not _is_file(source)):
        raise InvalidOptions(f"video is not read from standard input or a pipe ({source}): name a file or an address")
    if "://" in source or source.startswith("/dev/video"):
        return
    path = Path(source)
    try:
        folder, other = path.is_dir(), path.exists() and not path.is_file()
    except OSError as error:
        raise InvalidOptions(f"{source}: cannot be looked for ({error.strerror}); name another file") from None
    if folder:
        raise InvalidOptions(
            f"{source} is a folder: name the frames by their number, {source.rstrip('/')}/frame%04d.jpg for example "
            "(25 a second), or take `parsing-rcnn predict` for pictures that are no video"
        )
    if other:
        raise InvalidOptions(f"{source} is a device or a pipe, no file: name a file, an address or /dev/video0")


def _is_file(name: str) -> bool:
    """Whether there is a file of this relative name, such as one called pipe:1."""
    try:
        return not name.startswith("/") and Path(name).is_file()
    except OSError:
        return False


def _check_beside(folder: Path | None, paths: Sequence[Path | None]) -> None:
    """Refuse files in the folder of --npz, which has to be empty when the arrays are begun."""
    from parsing_rcnn.errors import InvalidOptions

    for path in filter(None, paths):
        if folder is not None and real_path(folder) in real_path(path).parents:
            raise InvalidOptions(
                f"{path} lies in {folder}, which is for the arrays of --npz alone: choose another place"
            )


def _check_apart(paths: Sequence[Path | None]) -> None:
    """Refuse two outputs in one file: the last would silently replace the others."""
    from parsing_rcnn.errors import InvalidOptions

    places: dict[Path, Path] = {}
    for path in filter(None, paths):
        other = places.setdefault(real_path(path), path)
        if other is not path:
            both = f"two outputs both write {path}" if other == path else f"{other} and {path} both write one file"
            raise InvalidOptions(f"{both}: choose another name for one of them")


def _check_container(path: Path) -> None:
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn_client.predict.sources import SUFFIXES
    from parsing_rcnn_client.video.ffmpeg import CONTAINERS

    if path.suffix.lower() in SUFFIXES:
        raise InvalidOptions(
            f"{path}: a picture is no video: `parsing-rcnn predict PHOTO -o FOLDER` is for photos, with --layers "
            "anonymise, too; of a video name a .mp4, .mov or .mkv"
        )
    if path.suffix.lower() not in CONTAINERS:
        raise InvalidOptions(f"{path}: no container of H.264 and its times has this suffix; name a .mp4, .mov or .mkv")
