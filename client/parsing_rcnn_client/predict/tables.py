"""Tables that `predict` writes while it runs: a JSON line for each picture, a CSV row for each part of a person."""

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
from parsing_rcnn_client.names import real_path
from parsing_rcnn_client.places import STANDARD
from parsing_rcnn_client.unfinished import Unfinished

COLUMNS = ("file_name", "person", "x1", "y1", "x2", "y2", "score", "class_id", "class", "part_score", "area")

# spreadsheets take a cell that begins with one of these for a formula; the last four are full-width = + - @
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_QUOTED = frozenset(',"\r\n')


class TableFailed(ParsingRCNNError):
    """A table cannot be written; the message says which one and why."""


class Table(ABC):
    """A file that is written as FILE.part and gets its final name when it is finished. If another run is writing
    FILE.part, this one writes FILE.2.part, and so on. Where nothing more can be written it is deleted, and FILE stays
    as it is.

    Args:
        path: of the file; its folder is created. `STANDARD` is standard output.

    Attributes:
        is_file: whether it is no standard output, whose readers may have gone to sleep.

    Raises:
        InvalidOptions: a live stream writes into the file.
        TableFailed: by every method, if nothing can be written there.
    """

    option: str

    def __init__(self, path: Path) -> None:
        self.is_file = path != STANDARD
        self._named = f"{self.option} {path}"
        self._part: Unfinished | None = None
        self._begins = self._ends = 0  # bytes before the last picture's lines, and with them
        with self._telling():
            if not self.is_file:
                self._file = open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115 - lives until the last picture
            else:
                whole = real_path(path)  # a link stays; the file that it points to is replaced
                whole.parent.mkdir(parents=True, exist_ok=True)
                self._part = Unfinished(whole, f"{whole.name}.part")
                self._file = self._part.file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Finish the file; after an error, leave none behind."""
        if error is None:
            self.finish()
        elif self._part is not None:
            self._part.drop()
        else:
            self._file.close()

    @abstractmethod
    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """Add a picture: its name, and the JSON document of its results."""

    @abstractmethod
    def fail(self, name: str, reason: str) -> None:
        """Add a picture that failed, so that it has no result."""

    def finish(self) -> None:
        """Give the file its final name, unless it could not be written. Safe to call twice."""
        with self._telling():
            if self._part is None:
                self._file.close()
                return
            self._cut_back()
            self._part.finish()

    def _write(self, data: bytes) -> None:
        """Write everything about a picture at once, so that an interrupt comes either before or after it."""
        with self._telling():
            self._cut_back()
            self._begins, self._ends = self._ends, self._ends + len(data)
            while data:
                data = data[os.write(self._file.fileno(), data) :]

    def _cut_back(self) -> None:
        """Take away a torn line, which an interrupt leaves between a part of a picture's lines and the rest."""
        if self._part is not None and not self._file.closed and os.fstat(self._file.fileno()).st_size < self._ends:
            self._ends = self._begins
            self._file.truncate(self._ends)
            self._file.seek(self._ends)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._part is not None:
                self._part.drop()
            raise TableFailed(f"{self._named}: cannot be written ({error.strerror or error})") from None


class PictureLines(Table):
    """One JSON line for each picture: `file_name`, `width`, `height` and `people`.

    Each person has `box` (x1, y1, x2, y2), `score` and, where computed, `parts` (class -> pixels), `part_scores` (class
    -> mean probability) and `rle` (the silhouette). The names are those of `annotate --jsonl`. The line of a picture
    that failed has `file_name` and `error`.
    """

    option = "--jsonl"

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """Add the line of a picture, from the JSON document of its results."""
        people = [_line_of(person) for person in document["predictions"]]
        size = document["image"]
        line = {"file_name": name, "width": size["width"], "height": size["height"], "people": people}
        self._write(dumps(line) + b"\n")

    def fail(self, name: str, reason: str) -> None:
        """Add the line of a picture that failed."""
        self._write(dumps({"file_name": name, "error": reason}) + b"\n")


class PartsTable(Table):
    """CSV in UTF-8 with `COLUMNS`: a row for each part of each person. A person without parts has one row, whose part
    columns are empty.

    `person` counts from 1, as in _INDS.png; boxes are in pixels, `area` in pixels of the picture. Values that a
    spreadsheet would take for a formula are made harmless: a file name gets ./ in front, so that it still names the
    same file, and a class gets an apostrophe.
    """

    option = "--csv"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._write(_row(COLUMNS))

    def add(self, name: str, document: Mapping[str, Any]) -> None:
        """Add the rows of a picture, from the JSON document of its results."""
        name = f"./{name}" if name.startswith(_FORMULA) else name
        rows = []
        for number, person in enumerate(document["predictions"], 1):
            first = name, number, *person["bbox"], person["confidence"]
            parts = [
                (part["class_id"], _text(part["class"]), part.get("score", ""), part["area"])
                for part in person.get("parts", ())
            ]
            rows += [_row((*first, *part)) for part in parts or [("",) * 4]]
        self._write(b"".join(rows))

    def fail(self, name: str, reason: str) -> None:
        """Do nothing: a picture that failed has no row."""


def _line_of(person: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"box": person["bbox"], "score": person["confidence"]}
    if "parts" in person:
        entry["parts"] = {part["class"]: part["area"] for part in person["parts"]}
        entry["part_scores"] = {part["class"]: part["score"] for part in person["parts"] if "score" in part}
    return entry | ({"rle": person["rle"]} if "rle" in person else {})


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA) else value


def _row(values: tuple[object, ...]) -> bytes:
    """A row of CSV as in RFC 4180, except that it ends with a line feed alone."""
    cells = [str(value) for value in values]
    quoted = ['"' + cell.replace('"', '""') + '"' if _QUOTED & set(cell) else cell for cell in cells]
    return (",".join(quoted) + "\n").encode()
