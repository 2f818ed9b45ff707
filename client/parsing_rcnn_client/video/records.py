"""What is written down beside the pictures: one JSON line a frame, and COCO annotations of the whole video."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from parsing_rcnn.codecs import rle
from parsing_rcnn.codecs.json import dumps
from parsing_rcnn.convert import person_rle
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.media import VideoInfo, dropped, writing


class Record(Protocol):
    """Takes the frames of a video in order. Whatever cannot be written is a `VideoError`."""

    def add(self, tracked: Tracked) -> None:
        """One frame."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...

    def abort(self) -> None:
        """Stop and leave no file, unless it is finished."""
        ...


class JsonLines:
    """One line a frame: `frame`, `time` in seconds, `analysed`, and `people` with `track`, `box` (steadied, in pixels
    of the upright picture and within it), `score`, `parts` (pixels of each class) and `rle` (the silhouette in the full
    frame).

    Args:
        path: of the file; None is standard output, where each line goes at once.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path or "standard output"
        self._whole = None if path is None else path.resolve()  # a link stays, what it points to is replaced
        self._part = None if self._whole is None else self._whole.with_name(self._whole.name + ".part")
        with writing(self._path):
            self._file = _opened(self._part)

    def add(self, tracked: Tracked) -> None:
        """One frame."""
        people = [self._person(tracked, index) for index in _in_view(tracked)]
        line = {
            "frame": tracked.frame.index,
            "time": round(tracked.frame.time, 6),
            "analysed": tracked.analysed,
            "people": people,
        }
        with writing(self._path):
            self._file.write(dumps(line) + b"\n")
            if self._part is None:
                self._file.flush()

    def close(self) -> None:
        """Finish the file, which then takes its name. Safe to call twice."""
        if not self._file.closed:
            with writing(self._path):
                self._file.close()
                if self._part is not None and self._whole is not None:
                    self._part.replace(self._whole)

    def abort(self) -> None:
        """Stop and leave no file, unless it is finished."""
        with contextlib.suppress(OSError):
            self._file.close()
        dropped(self._part)

    def _person(self, tracked: Tracked, index: int) -> dict[str, Any]:
        people = tracked.people
        entry: dict[str, Any] = {
            "track": int(tracked.numbers[index]),
            "box": [round(float(v), 2) for v in tracked.shown[index]],
            "score": round(float(people.scores[index]), 4),
        }
        if people.parts is not None:
            areas = people.areas(index)
            entry["parts"] = {people.taxonomy.classes[i]: int(areas[i]) for i in np.flatnonzero(areas[1:]) + 1}
        if people.parts is not None or people.iuv is not None:
            entry["rle"] = person_rle(people, index)
        return entry


class CocoVideo:
    """COCO annotations of a video, as of COCO's instances with what video datasets add.

    `videos` has one entry (`id`, `name`, `width`, `height`, `fps`), `images` one for each frame (`video_id`, `frame_id`
    from 0, `time` in seconds), `annotations` one for each person in each frame: `track_id`, `bbox` (x, y, width,
    height; steadied), `score`, and, where maps were computed, `segmentation` (RLE of the full frame) and `area`. The
    entries wait in files beside the result, so that a long video takes no more memory than a short one.
    """

    def __init__(self, path: Path, name: str, info: VideoInfo) -> None:
        self._path, self._whole, self._count = path, path.resolve(), 0
        self._head = {
            "videos": [{"id": 1, "name": name, "width": info.width, "height": info.height, "fps": info.fps}],
            "categories": [{"id": 1, "name": "person"}],
        }
        folder = self._whole.parent
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            self._images = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives until the last frame
            self._annotations = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def add(self, tracked: Tracked) -> None:
        """One frame."""
        people, frame = tracked.people, tracked.frame
        height, width = people.image_size
        image = {
            "id": frame.index + 1,
            "video_id": 1,
            "frame_id": frame.index,
            "time": round(frame.time, 6),
            "width": width,
            "height": height,
        }
        with writing(self._path):
            _append(self._images, image)
            for index in _in_view(tracked):
                self._count += 1
                _append(self._annotations, self._annotation(tracked, index, frame.index + 1))

    def close(self) -> None:
        """Write the file, which then takes its name. Safe to call twice."""
        if self._images.closed:
            return
        part = self._part()
        with writing(self._path):
            with part.open("wb") as whole:
                whole.write(dumps(self._head)[:-1])
                for name, entries in ((b"images", self._images), (b"annotations", self._annotations)):
                    whole.write(b',"' + name + b'":[')
                    entries.seek(0)
                    shutil.copyfileobj(entries, whole)
                    entries.close()
                    whole.write(b"]")
                whole.write(b"}")
            part.replace(self._whole)

    def abort(self) -> None:
        """Stop and leave no file, unless it is finished."""
        for entries in (self._images, self._annotations):
            with contextlib.suppress(OSError):
                entries.close()
        dropped(self._part())

    def _part(self) -> Path:
        return self._whole.with_name(self._whole.name + ".part")

    def _annotation(self, tracked: Tracked, index: int, image_id: int) -> dict[str, Any]:
        people = tracked.people
        x1, y1, x2, y2 = (round(float(v), 2) for v in tracked.shown[index])
        entry: dict[str, Any] = {
            "id": self._count,
            "image_id": image_id,
            "video_id": 1,
            "track_id": int(tracked.numbers[index]),
            "category_id": 1,
            "score": round(float(people.scores[index]), 4),
            "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            "iscrowd": 0,
        }
        if people.parts is not None or people.iuv is not None:
            mask = person_rle(people, index)
            entry |= {"segmentation": mask, "area": rle.area(mask)}
        return entry


def _in_view(tracked: Tracked) -> list[int]:
    """Who is in the picture, were it a little: whoever is carried may have left it, and no box has nothing in it."""
    sizes = np.round(tracked.shown, 2)[:, 2:] - np.round(tracked.shown, 2)[:, :2]
    return [int(index) for index in np.flatnonzero((sizes > 0).all(axis=1))]


def _opened(path: Path | None) -> IO[bytes]:
    """A file to write, in a folder that is made; None is standard output, which stays open."""
    if path is None:
        return open(1, "wb", closefd=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _append(entries: IO[bytes], entry: dict[str, Any]) -> None:
    entries.write((b",\n" if entries.tell() else b"") + dumps(entry))
