"""What `predict` writes of all pictures while it runs: a JSON line for each, a CSV row for each part of a person."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from parsing_rcnn.codecs.json import dumps
from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn_client.cli.places import STANDARD
from parsing_rcnn_client.unfinished import Unfinished

COLUMNS = ("file_name", "person", "x1", "y1", "x2", "y2", "score", "class_id", "class", "part_score", "area")

# a cell that begins so is computed by spreadsheets; the last four are the wide ones of East Asian keyboards
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_QUOTED = frozenset(',"\r\n')


class TableFailed(ParsingRCNNError):
    """A table cannot be written; the message says which and why."""


class Table(ABC):
    """A file that grows beside its name, FILE.part, and takes the name when it is finished. Where another run is at
    that one it is FILE.2.part, and so on.

    Args:
        path: of the file, whose folder is made; `STANDARD` is standard output.

    Raises:
        InvalidOptions: a stream writes the file.
        TableFailed: of every method, nothing can be written there.
    """

    option: str

    def __init__(self, path: Path) -> None:
        self._named = f"{self.option} {path}"
        self._part: Unfinished | None = None
        with self._telling():
            if path == STANDARD:
                self._file = open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115 - lives until the last picture
            else:
                whole = path.resolve()  # a link stays, what it points to is replaced
                whole.parent.mkdir(parents=True, exist_ok=True)
                self._part = Unfinished(whole, f"{whole.name}.part")
                self._file = self._part.file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let the file have its name; where something unforeseen came, leave none."""
        if error is None:
            self.finish()
        elif self._part is not None:
            self._part.drop()
        else:
            self._file.close()

    @abstractmethod
    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """A picture, by its name, and its JSON."""

    @abstractmethod
    def fail(self, name: str, reason: str) -> None:
        """A picture that has no result."""

    def finish(self) -> None:
        """Let the file have its name. Safe to call twice."""
        with self._telling():
            if self._part is not None:
                self._part.finish()
            else:
                self._file.close()

    def _write(self, data: bytes) -> None:
        """All of a picture at once, so that an interrupt comes before it or after it."""
        with self._telling():
            while data:
                data = data[os.write(self._file.fileno(), data) :]

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TableFailed(f"{self._named}: cannot be written ({error.strerror or error})") from None


class PictureLines(Table):
    """One JSON line a picture: `file_name`, `width`, `height` and `people`, each with `box` (x1, y1, x2, y2), `score`
    and, of what was computed, `parts` (class -> pixels), `part_scores` (class -> mean probability) and `rle` (the
    silhouette): what `annotate --jsonl` has by the same names. Of a picture that failed `file_name` and `error`.
    """

    option = "--jsonl"

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """A picture, by its name, and its JSON."""
        people = [_line_of(person) for person in document["predictions"]]
        size = document["image"]
        line = {"file_name": name, "width": size["width"], "height": size["height"], "people": people}
        self._write(dumps(line) + b"\n")

    def fail(self, name: str, reason: str) -> None:
        """A picture that has no result."""
        self._write(dumps({"file_name": name, "error": reason}) + b"\n")


class PartsTable(Table):
    """CSV in UTF-8 with `COLUMNS`: a row for each part of each person, and one without a part for whoever has none.

    `person` counts from 1, as _INDS.png does; boxes are in pixels, `area` in pixels of the picture. A name that a
    spreadsheet would compute begins with ./ here, by which it is the same file; a class, with an apostrophe.
    """

    option = "--csv"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._write(_row(COLUMNS))

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """A picture, by its name, and its JSON."""
        name = f"./{name}" if name.startswith(_FORMULA) else name
        rows = []
        for number, person in enumerate(document["predictions"], 1):
            whose = name, number, *person["bbox"], person["confidence"]
            parts = [
                (part["class_id"], _text(part["class"]), part.get("score", ""), part["area"])
                for part in person.get("parts", ())
            ]
            rows += [_row((*whose, *part)) for part in parts or [("",) * 4]]
        self._write(b"".join(rows))

    def fail(self, name: str, reason: str) -> None:
        """A picture that has no result has no row."""


def _line_of(person: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"box": person["bbox"], "score": person["confidence"]}
    if "parts" in person:
        entry["parts"] = {part["class"]: part["area"] for part in person["parts"]}
        entry["part_scores"] = {part["class"]: part["score"] for part in person["parts"] if "score" in part}
    return entry | ({"rle": person["rle"]} if "rle" in person else {})


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value


def _row(values: tuple[object, ...]) -> bytes:
    """A row of CSV: as RFC 4180 has it, but that its end is one character."""
    cells = [str(value) for value in values]
    quoted = ['"' + cell.replace('"', '""') + '"' if _QUOTED & set(cell) else cell for cell in cells]
    return (",".join(quoted) + "\n").encode()
