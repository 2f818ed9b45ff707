"""Options of `predict` about the files that it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parsing_rcnn_client.names import real_path

if TYPE_CHECKING:
    from parsing_rcnn_client.predict.drawings import Drawings
    from parsing_rcnn_client.predict.sources import Source
    from parsing_rcnn_client.predict.tables import Table

NAMES = ("json", "npz", "parts", "iuv", "inds", "overlay")
"""What can be written for each picture."""


@dataclass(frozen=True)
class FilesChoice:
    """What to write for each picture."""

    write: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(NAMES)}: with commas; nothing else is pasted or drawn, and json always is written "
            "(default: all of them)."
        ),
    ] = None
    overlay_format: Annotated[
        str | None, typer.Option(help="Type of _overlay: png (the default) or jpg, a fifth of the bytes.")
    ] = None

    @property
    def names(self) -> frozenset[str]:
        """What to write: some of `NAMES`, always with json.

        Raises:
            InvalidOptions: an unknown name, or a list without names.
        """
        from parsing_rcnn.errors import InvalidOptions

        if self.write is None:
            return frozenset(NAMES)
        names = [name.strip() for name in self.write.split(",") if name.strip()]
        unknown = [name for name in names if name not in NAMES]
        if unknown or (self.write.strip() and not names):
            raise InvalidOptions(f"--write: {', '.join(unknown) or 'nothing'}: choose from {', '.join(NAMES)}")
        return frozenset({"json", *names})

    @property
    def files(self) -> frozenset[str]:
        """The same without what `Drawings` draw."""
        return self.names - {"overlay"}

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that the files named by --write need; none without --write."""
        from parsing_rcnn_client.predict.outputs import TASK_OF

        named = frozenset() if self.write is None else self.names
        return frozenset(task for name, task in TASK_OF.items() if name in named)

    def drawings(self, drawings: Drawings) -> Drawings:
        """These drawings, with or without the overlay.

        Raises:
            InvalidOptions: an option about the overlay, which --write leaves out.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.predict.drawings import FORMATS, Drawings

        if self.overlay_format is not None and self.overlay_format not in FORMATS:
            raise InvalidOptions(f"--overlay-format {self.overlay_format}: choose {' or '.join(FORMATS)}")
        if "overlay" in self.names:
            return replace(drawings, overlay=self.overlay_format or "png")
        for option, given in (
            ("--overlay-format", self.overlay_format is not None),
            ("--layers", tuple(drawings.layers) != Drawings.layers and not drawings.hides),
        ):
            if given:
                raise InvalidOptions(f"{option} is about _overlay, which --write leaves out: add overlay to --write")
        return replace(drawings, overlay=None)

    def check(self, tasks: frozenset[str], *, bgr: bool) -> None:
        """Check --write against the other options.

        Args:
            tasks: what is computed.
            bgr: whether --bgr is given.

        Raises:
            InvalidOptions: they contradict each other.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.predict.outputs import TASK_OF

        if self.write is None:
            return
        names = self.names
        for name, task in TASK_OF.items():
            if name in names and task not in tasks:
                raise InvalidOptions(f"--write {name} needs the task {task}: add it to --tasks")
        if bgr and "iuv" not in names:
            raise InvalidOptions("--bgr is about _IUV.png, which --write leaves out: add iuv to --write")

    def require_told(self, sources: Sequence[Source], drawings: Drawings) -> None:
        """Refuse pictures in the folders of the results that are named like results, but that no JSON lists: they may
        be photos.

        Args:
            sources: the pictures.
            drawings: what is drawn.

        Raises:
            InvalidOptions: such a picture is among the sources and has arrays beside it, or it may show people whom
                this run hides; or a folder cannot be listed.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.predict.files import Real
        from parsing_rcnn_client.predict.outputs import is_drawn, is_told, picture_of

        real = Real()
        photos = {real.name(s.path) for s in sources if s.data is None}
        folders = {photo.parent for photo in photos}
        targets = {real.name(s.target) for s in sources}
        for folder in sorted({target.parent for target in targets}):
            for path in _listed(folder):
                stem, suffix = picture_of(path.name) or (None, "")
                target = None if stem is None else folder / stem
                if target not in targets or is_told(target):
                    continue
                beside = path in photos and target.with_name(f"{stem}.npz").is_file()
                stays = drawings.hides and is_drawn(suffix) and suffix not in drawings.suffixes(0)
                if beside or (stays and folder not in folders):
                    raise InvalidOptions(
                        f"{path} is named like a result, and no {stem}.json says whether a run wrote it: delete it if "
                        "it is one, else rename it, or name another folder with -o"
                    )


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none yet.

    Raises:
        InvalidOptions: it cannot be read. To take it for empty would let a photo of people who are to be hidden stay.
    """
    from parsing_rcnn.errors import InvalidOptions

    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # nothing is there yet
        return []
    except OSError as error:
        raise InvalidOptions(f"{folder}: cannot be read ({error.strerror}), so it is unknown what lies there; name "
                             "another folder with -o") from error  # fmt: skip


@dataclass(frozen=True)
class TablesChoice:
    """Tables of all pictures, written while they are analysed."""

    jsonl: Annotated[
        Path | None,
        typer.Option(help="Also write one JSON line a picture here; - is standard output.", metavar="FILE"),
    ] = None
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Also write a table here, a row for each part of each person; - is standard output.", metavar="FILE"
        ),
    ] = None

    def check(self, sources: Sequence[Source], coco: Path | None, *, as_json: bool) -> None:
        """Refuse tables that cannot be written, before anything is analysed.

        Raises:
            InvalidOptions: which one, and what to name instead.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.places import STANDARD
        from parsing_rcnn_client.predict.results import check_result

        standard = [name for name, path in self._paths() if path == STANDARD]
        if len(standard) + as_json * bool(standard) > 1:
            names = [*(f"{name} -" for name in standard), *["--json"] * as_json]
            raise InvalidOptions(f"{' and '.join(names)} both write to standard output: name a file")
        places = {} if coco is None else {real_path(coco): f"--coco {coco}"}
        for name, path in self._paths():
            if path == STANDARD:
                continue
            check_result(path, name, sources)
            other = places.setdefault(real_path(path), f"{name} {path}")
            if other != f"{name} {path}":
                raise InvalidOptions(f"{other} and {name} {path} both write one file: choose another name for one")

    def open(self) -> Iterator[Table]:
        """Begin the tables, one at a time, so that the caller can close each one even if the next fails.

        Raises:
            TableFailed: one cannot be written.
        """
        from parsing_rcnn_client.predict.tables import PartsTable, PictureLines

        kinds: dict[str, type[Table]] = {"--jsonl": PictureLines, "--csv": PartsTable}
        for name, path in self._paths():
            yield kinds[name](path)

    def _paths(self) -> list[tuple[str, Path]]:
        given = {"--jsonl": self.jsonl, "--csv": self.csv}
        return [(name, path) for name, path in given.items() if path is not None]
