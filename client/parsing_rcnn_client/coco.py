"""Writes COCO files entry by entry, so that memory does not grow with their number."""

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
from parsing_rcnn_client.names import real_path
from parsing_rcnn_client.unfinished import Unfinished


class CocoFile:
    """A COCO file: the head (`categories`, for example), then `images` and `annotations`.

    Until the file is closed the entries are kept in temporary files beside it.

    Args:
        path: of the file; its folder is created.
        head: the other keys of the file.

    Raises:
        InvalidOptions: a live stream writes into the file.
        OSError: by every method, if nothing can be written there.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self._whole = real_path(path)  # a link stays; the file that it points to is replaced
        self._head, self._count = dict(head), 0
        folder = self._whole.parent
        folder.mkdir(parents=True, exist_ok=True)
        # already now, so that a file that belongs to another run is reported before the work, not after it
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
            self.abort()  # does nothing to a finished file

    def image(self, entry: Mapping[str, Any]) -> None:
        """Add an entry of `images`."""
        _append(self._images, entry)

    def annotation(self, entry: Mapping[str, Any]) -> int:
        """Add an entry of `annotations`. Returns the `id` that it gets here; ids count from 1."""
        self._count += 1
        _append(self._annotations, {"id": self._count, **entry})
        return self._count

    def head(self, more: Mapping[str, Any]) -> None:
        """Add keys to the head that are known only after the entries."""
        self._head |= more

    def close(self) -> None:
        """Write the file and give it its final name. Safe to call twice."""
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
            self._part.drop()  # does nothing to a finished file

    def abort(self) -> None:
        """Stop and leave no file behind, unless it is finished."""
        self._part.drop()
        for entries in (self._images, self._annotations):
            with contextlib.suppress(OSError):
                entries.close()


def found(box: tuple[float, float, float, float], score: float, mask: rle.RLE | None, category: int) -> dict[str, Any]:
    """The fields of an annotation that describe a person, or a part of a person.

    Args:
        box: x1, y1, x2, y2 in pixels.
        score: 0..1.
        mask: in the size of the whole picture; None where no maps were computed.
        category: the id of one of the file's `categories`.
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
