"""COCO files: entries one after the other, so that many of them take no more memory than few."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from parsing_rcnn.codecs import rle
from parsing_rcnn.codecs.json import dumps
from parsing_rcnn_client.unfinished import Unfinished


class CocoFile:
    """`images` and `annotations` behind a head. They wait in files beside the result, each run in its own.

    Args:
        path: of the file; its folder is made.
        head: what else it has, `categories` for example.

    Raises:
        InvalidOptions: a stream writes the file.
        OSError: of every method, nothing can be written there.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self._whole = path.resolve()  # a link stays, what it points to is replaced
        self._head, self._count = dict(head), 0
        folder = self._whole.parent
        folder.mkdir(parents=True, exist_ok=True)
        # now, so that nobody learns at the end that the file is another run's
        self._part = Unfinished(self._whole, f"{self._whole.name}.part")
        try:
            self._images = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives until the last entry
            self._annotations = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError:
            self._part.drop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.abort()  # does nothing to what is finished

    def image(self, entry: Mapping[str, Any]) -> None:
        """Add one of `images`."""
        _append(self._images, entry)

    def annotation(self, entry: Mapping[str, Any]) -> int:
        """Add one of `annotations`. Returns its `id`, which it is given here, from 1."""
        self._count += 1
        _append(self._annotations, {"id": self._count, **entry})
        return self._count

    def head(self, more: Mapping[str, Any]) -> None:
        """Add to the head what only the entries show."""
        self._head |= more

    def close(self) -> None:
        """Write the file, which then takes its name. Safe to call twice."""
        if self._images.closed:
            return
        try:
            whole = io.BufferedWriter(self._part.file)
            whole.write(dumps(self._head)[:-1])
            for name, entries in ((b"images", self._images), (b"annotations", self._annotations)):
                whole.write(b',"' + name + b'":[')
                entries.seek(0)
                shutil.copyfileobj(entries, whole)
                entries.close()
                whole.write(b"]")
            whole.write(b"}")
            whole.flush()
            self._part.finish()
        finally:
            self._part.drop()  # does nothing to what is finished

    def abort(self) -> None:
        """Stop and leave no file, unless it is finished."""
        self._part.drop()
        for entries in (self._images, self._annotations):
            with contextlib.suppress(OSError):
                entries.close()


def found(box: tuple[float, float, float, float], score: float, mask: rle.RLE | None, category: int) -> dict[str, Any]:
    """What an annotation says of somebody, or of a part of them.

    Args:
        box: x1, y1, x2, y2 in pixels.
        score: 0..1.
        mask: of the whole picture; None where no maps were computed.
        category: one of the file's `categories`.
    """
    x1, y1, x2, y2 = (round(float(edge), 2) for edge in box)
    entry: dict[str, Any] = {
        "category_id": category,
        "score": round(float(score), 4),
        "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "iscrowd": 0,
    }
    return entry if mask is None else entry | {"segmentation": mask, "area": rle.area(mask)}


def _append(entries: IO[bytes], entry: Mapping[str, Any]) -> None:
    entries.write((b",\n" if entries.tell() else b"") + dumps(dict(entry)))
