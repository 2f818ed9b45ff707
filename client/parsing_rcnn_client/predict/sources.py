"""Finds the pictures that a user names (files, folders, globs, standard input), and the places of their results."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parsing_rcnn.codecs.header import peek
from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError, UnsupportedImage
from parsing_rcnn_client.names import legible, real_path
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.predict.files import Real, beneath, matches
from parsing_rcnn_client.predict.outputs import FILES, drawn_before, is_output, stem_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

_OTHER_SUFFIXES = (".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff")
"""Suffixes of pictures that no engine reads. In a folder they are counted, and the user is told."""

_VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".ts", ".mts", ".m2ts"),
    *(".mpg", ".mpeg", ".mjpg", ".mjpeg", ".ogv"),
)

_PICTURE_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 miaf msf1 avif avis crx".split())
"""Brands of ISO media files that are pictures: HEIF, AVIF, Canon's raw. Others are videos."""

_LONGEST_NAME = 4096
"""Characters. No system takes a longer path, so standard input with a longer line is no list of names."""


@dataclass(frozen=True)
class Source:
    """One picture.

    Attributes:
        path: of the picture.
        target: folder and stem of its results, without a suffix (with the picture's own suffix where a neighbour
            has the same stem).
        data: the encoded picture, when it came through standard input.
    """

    path: Path
    target: Path
    data: bytes | None = None

    def read(self) -> bytes:
        """The encoded picture.

        Raises:
            OSError: the file cannot be read.
        """
        return self.path.read_bytes() if self.data is None else self.data

    def is_video(self, data: bytes) -> bool:
        """Whether its bytes are those of a video, judged by them, or else by the name of what is no picture."""
        if data[4:8] == b"ftyp":
            return data[8:12].rstrip() not in _PICTURE_BRANDS
        return self.path.suffix.lower() in _VIDEO_SUFFIXES and not _is_picture(data)

    def name(self, out: Path) -> str:
        """The picture's name in results: its path below the folder that was given.

        Args:
            out: folder of the results.
        """
        own_name = self.path.name if self.data is None else self.target.name
        return legible((self.target.relative_to(out).parent / own_name).as_posix())


@dataclass(frozen=True)
class Found:
    """What the names on the command line stand for.

    Attributes:
        sources: the pictures.
        left_out: pictures of other types beside them: suffix -> how many.
        links: how many names were left out because their file is there under another name.
    """

    sources: list[Source]
    left_out: Counter[str]
    links: int = 0

    @property
    def note(self) -> str:
        """Tells the user what was left out; empty when nothing was."""
        links = f"left out: {self.links} more name{'s' * (self.links > 1)} of the same files" if self.links else ""
        return "; ".join(filter(None, (_note(self.left_out), links)))


def find_sources(names: Sequence[str], out: Path) -> Found:
    """All pictures that `names` stand for, sorted within each name. A file with several names is taken once, by a name
    that is no link where there is one.

    "-" is standard input: one encoded picture, or the names of files and folders, one a line or separated by NUL (`find
    -print0`). Listed names that do not exist become sources too, which fail later like other unreadable pictures.

    The results of a file or of a match of a glob go to out/STEM; a picture in a folder keeps its place below that
    folder. Pictures of one folder that differ only in their suffix keep it: out/photo.jpg and out/photo.png. Results of
    an earlier run that lie in a folder, or match a glob, are left out. So are HEIC, AVIF, GIF, BMP and TIFF, which are
    counted. A file that is named itself is taken whatever its suffix is.

    Raises:
        InvalidOptions: a name stands for nothing, or pictures of two folders would write the same results.
    """
    found: dict[Path, Source] = {}  # by folder and name; a link is not resolved
    others: set[Path] = set()
    real = Real()

    def take(pictures: Sequence[tuple[Path, Path]], beside: Iterable[Path]) -> None:
        others.update(map(real.file, beside))
        for path, place in pictures:
            found.setdefault(real.name(path), Source(path, out / place))

    names, listed = list(names), []
    if not all(names):
        raise InvalidOptions("one of the names is empty: name a file, a folder (. is this one) or a quoted pattern")
    if "-" in names:
        data = sys.stdin.buffer.read()
        names.remove("-")
        given = None if _is_picture(data) else _names(data)
        if given is None:
            found[Path("-")] = Source(Path("-"), out / "stdin", data)
        else:
            listed = given
    for name in listed:
        # one missing name in a list of thousands does not stop the run: it is reported as a picture that failed
        pictures, beside = _expand(name) if _is_there(name) else ([(Path(name), Path(Path(name).stem))], [])
        take(pictures, beside)
    for name in names:
        try:
            pictures, beside = _expand(name)
        except OSError as error:  # a name that is too long, or in a folder that may not be read
            raise InvalidOptions(f"{name}: cannot be looked for ({error.strerror}); name another file") from None
        if not pictures:
            note = _note(Counter(file.suffix.lower() for file in beside))
            raise InvalidOptions(
                f"{name}: no picture there; name a file, a folder or a quoted pattern with {', '.join(SUFFIXES)}"
                + (f" ({note})" if note else "")
            )
        take(pictures, beside)
    links, files = _links(list(found.values()))
    left_out = Counter(file.suffix.lower() for file in others - files)
    # links count as neighbours here, so that the names of results do not depend on where links point to
    sources = [source for source in _apart(list(found.values()), links) if source.path not in links]
    return Found(sources, left_out, len(links))


def require_kept(
    sources: Sequence[Source], tasks: frozenset[str], drawings: Drawings, files: frozenset[str] = FILES
) -> None:
    """Check that no result of this run, or of an earlier one, has the name of a picture, which it would replace.

    Raises:
        InvalidOptions: the two names.
    """
    real = Real()
    targets = {real.name(s.target): s for s in sources}
    earlier: dict[Path, Source] = {}
    for target, source in targets.items():
        earlier.update((target.with_name(target.name + suffix), source) for suffix in drawn_before(source.target))
    for source in sources:
        if source.data is not None:
            continue
        for path in {real.name(source.path), real.file(source.path)}:
            stem = stem_of(path.name, tasks, files, drawings)
            owner = earlier.get(path) or (None if stem is None else targets.get(path.with_name(stem)))
            if owner is not None:
                raise InvalidOptions(
                    f"{source.path} is named like a result of {owner.path} and would be replaced: name another folder "
                    "with -o, or rename it"
                )


def _note(left_out: Counter[str]) -> str:
    count, types = left_out.total(), ", ".join(sorted(left_out))
    if count == 0:
        return ""
    if count == 1:
        return f"left out: 1 file of another type ({types}): convert it to JPEG, PNG or WebP"
    return f"left out: {count} files of other types ({types}): convert them to JPEG, PNG or WebP"


def _is_picture(data: bytes) -> bool:
    try:
        peek(data)
    except UnsupportedImage:
        return False
    except ParsingRCNNError:
        return bool(data)  # a damaged one: the analysis says what is wrong with it
    return True


def _names(data: bytes) -> list[str] | None:
    """The names that standard input lists; None where it is no list, but a file of an unknown type for example."""
    text = data.decode("utf-8", "surrogateescape")
    # by line feeds alone: what else `splitlines` takes for an end of a line may be in a name
    lines = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
    if not _is_there(lines[0]):
        lines[0] = lines[0].removeprefix("\ufeff")  # editors and spreadsheets put this mark before UTF-8
    if "\0" in text and not _is_there(lines[0]):
        return None
    if any(len(line) > _LONGEST_NAME for line in lines):
        return None
    return [line for line in lines if line.strip()]


def _is_there(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # too long, or in a folder that may not be read; reading it tells the reason later
        return False


def _expand(name: str) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """([(picture, place of its results below the output)], pictures of other types beside them)."""
    path = Path(name)
    if path.is_file():  # whatever its suffix: the bytes decide
        return [(path, Path(path.stem))], []
    folder = path.is_dir()
    files = sorted(map(Path, beneath(name) if folder else matches(name)))
    pictures = [
        (file, file.relative_to(path).with_suffix("") if folder else Path(file.stem))
        for file in files
        if file.suffix.lower() in SUFFIXES and not _is_notes(file) and file.is_file() and not is_output(file)
    ]
    return pictures, [file for file in files if file.suffix.lower() in _OTHER_SUFFIXES and file.is_file()]


def _is_notes(file: Path) -> bool:
    """Whether it is one of the files with ._ in front that macOS writes beside others on foreign drives."""
    return file.name.startswith("._")


def _links(sources: list[Source]) -> tuple[set[Path], set[Path]]:
    """(paths to leave out, as their file is among the sources under another path; the files of all sources)."""
    files: dict[Path, list[Path]] = defaultdict(list)
    real = Real()
    for source in sources:
        if source.data is None:
            files[real.file(source.path)].append(source.path)
    links: set[Path] = set()
    for file, names in files.items():
        if len(names) > 1:
            taken = min(names, key=lambda name: (name.is_symlink(), name.absolute() != file))
            links.update(name for name in names if name != taken)
    return links, set(files)


def _apart(sources: list[Source], links: set[Path]) -> list[Source]:
    """Let pictures of one folder that have the same target keep their suffixes. All of them do, so that a picture that
    is added to the folder between two runs does not take over the results of another one.

    Args:
        sources: the pictures.
        links: paths that will not be analysed; they are left out where they clash with another folder.

    Raises:
        InvalidOptions: pictures of two folders have the same target.
    """
    while True:
        groups: dict[Path, list[Source]] = defaultdict(list)
        for source in sources:
            groups[source.target].append(source)
        clashing = {target: group for target, group in groups.items() if len(group) > 1}
        if not clashing:
            return sources
        strangers: set[Path] = set()
        for target, group in clashing.items():
            first = min(group, key=lambda source: source.path in links)
            others = [s for s in group if _folder(s) != _folder(first)]
            other = next((s for s in others if s.path not in links), None)
            if other is not None:
                raise InvalidOptions(
                    f"{first.path} and {other.path} would both write {target}.*: rename one, or give their common "
                    "folder, which keeps the folders apart"
                )
            strangers.update(s.path for s in others)
        # check again: a name may be the stem of another one, as photo.jpg is of photo.jpg.png
        sources = [
            replace(s, target=s.target.with_name(s.path.name))
            if s.target in clashing and any(o is not s and o.path not in strangers for o in clashing[s.target])
            else s
            for s in sources
            if s.path not in strangers
        ]


def _folder(source: Source) -> Path | None:
    return real_path(source.path.parent) if source.data is None else None
