"""Data files of a video: a JSON line for each frame, COCO annotations of the whole video, arrays of each frame."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from parsing_rcnn.codecs import npz
from parsing_rcnn.codecs.json import dumps, to_json
from parsing_rcnn.convert import PERSON_CATEGORY, person_rle
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.coco import CocoFile, found
from parsing_rcnn_client.names import legible, real_path
from parsing_rcnn_client.unfinished import Unfinished, growing, held
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.media import VideoInfo, dropped, writing

INCLUDE = ("iuv",)
"""Optional data about each person in a JSON line; the names are those of `codecs.json.INCLUDE`."""


class Record(Protocol):
    """Takes the frames of a video in order."""

    def add(self, tracked: Tracked) -> None:
        """Add a frame."""
        ...


class RecordFile(Record, Protocol):
    """A record in a file. If it cannot be written, its methods raise `VideoError`."""

    def close(self) -> None:
        """Finish the file."""
        ...

    def abort(self) -> None:
        """Stop and leave no file behind, unless it is finished."""
        ...


class JsonLines:
    """A JSON line for each frame: `frame`, `time` in seconds, `analysed` and `people`.

    Each person has `track`, `box` (steadied; in pixels of the upright picture and cut to it), `score`, and, where
    computed, `parts` (class -> pixels) and `rle` (the silhouette in the full frame). Further keys:

    - `source`, live; with it `number` if there are several sources (`of`), and `at` unless the source is a file: when
      the frame came, in UTC as in RFC 3339.
    - `zones` and `lines`, if there are any: zone -> people in it now; line -> `in` and `out`, how often somebody has
      crossed it so far.

    Several sources may share one object, each in its own thread.

    Args:
        path: of the file; None is standard output.
        live: write each line at once into the file itself, where it stays whatever happens later. Without it the file
            appears when it is complete. Standard output always gets each line at once.
        include: optional data of each person, from `INCLUDE`. "iuv" adds `offset` and `densepose` as in
            `codecs.json.to_json`, where IUV was computed.

    Raises:
        InvalidOptions: another run is writing the file.
    """

    def __init__(self, path: Path | None, *, live: bool = False, include: Collection[str] = ()) -> None:
        self._path, self._include = path or "standard output", include
        self._whole = None if path is None else real_path(path)  # a link stays; its file is replaced
        self._part: Unfinished | None = None
        self._lock = threading.Lock()
        with writing(self._path):
            self._file = self._opened(live)

    def of(self, number: int) -> Record:
        """This record for one of several sources. Its lines have the source's number, as names may be the same."""
        return _Numbered(self, number)

    def add(self, tracked: Tracked, number: int | None = None) -> None:
        """Add a frame; `number` is that of its source among several."""
        line: dict[str, Any] = {"source": legible(tracked.source)} if tracked.source else {}
        if number is not None:
            line["number"] = number
        if tracked.at is not None:
            line["at"] = (
                datetime.fromtimestamp(tracked.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            )
        line |= {
            "frame": tracked.frame.index,
            "time": round(tracked.frame.time, 6),
            "analysed": tracked.analysed,
            "people": [self._person(tracked, index) for index in tracked.in_view],
        }
        if tracked.counts is not None:
            line |= {"zones": tracked.counts.zones, "lines": tracked.counts.lines}
        with self._lock, writing(self._path):
            self._write(dumps(line) + b"\n")

    def close(self) -> None:
        """Finish the file and give it its final name. Safe to call twice."""
        if self._part is None:
            self.abort()
        elif not self._file.closed:
            with writing(self._path):
                self._file.flush()
                self._part.finish()

    def abort(self) -> None:
        """Stop and leave no file behind, unless it is finished, or live."""
        if self._part is not None:
            self._part.drop()
        elif self._lock.acquire(blocking=False):  # else a thread hangs in `add`, because nobody reads the output
            self._file.close()
            self._lock.release()

    def _opened(self, live: bool) -> IO[bytes]:
        """Open the file, whose folder is created; or standard output, which stays open when this is closed."""
        if self._whole is None:
            return open(1, "wb", buffering=0, closefd=False)
        self._whole.parent.mkdir(parents=True, exist_ok=True)
        if live:
            return growing(self._whole)
        self._part = Unfinished(self._whole, f"{self._whole.name}.part")
        return io.BufferedWriter(self._part.file)

    def _write(self, line: bytes) -> None:
        if self._part is not None:
            self._file.write(line)
            return
        while line:  # without a buffer, so that nothing is left to write at the end
            line = line[os.write(self._file.fileno(), line) :]

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
        if "iuv" in self._include and people.iuv is not None:
            alone = replace(people.select([index]), parts=None, part_scores=None, part_probs=None)
            (document,) = to_json(alone, include=("iuv",))["predictions"]
            entry |= {name: document[name] for name in ("offset", "densepose")}
        return entry


class _Numbered:
    """The `JsonLines` of one of several sources."""

    def __init__(self, lines: JsonLines, number: int) -> None:
        self._lines, self._number = lines, number

    def add(self, tracked: Tracked) -> None:
        """Add a frame."""
        self._lines.add(tracked, self._number)


class CocoVideo:
    """COCO annotations of a video: COCO's format of instances, with the keys that video datasets add.

    `videos` has one entry (`id`, `name`, `width`, `height`, `fps`). `images` has one for each frame (`video_id`,
    `frame_id` from 0, `time` in seconds). `annotations` has one for each person in each frame: `track_id`, `bbox` (x,
    y, width, height; steadied), `score`, and, where maps were computed, `segmentation` (RLE of the full frame) and
    `area`.
    Until the end the entries are kept in temporary files, so that a long video takes no more memory than a short one.
    """

    def __init__(self, path: Path, name: str, info: VideoInfo) -> None:
        video = {"id": 1, "name": legible(name), "width": info.width, "height": info.height, "fps": info.fps}
        self._path = path
        with writing(path):
            self._file = CocoFile(path, {"videos": [video], "categories": [{"id": 1, "name": "person"}]})

    def add(self, tracked: Tracked) -> None:
        """Add a frame."""
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
            self._file.image(image)
            for index in tracked.in_view:
                self._file.annotation(self._annotation(tracked, index, frame.index + 1))

    def close(self) -> None:
        """Write the file and give it its final name. Safe to call twice."""
        with writing(self._path):
            self._file.close()

    def abort(self) -> None:
        """Stop and leave no file behind, unless it is finished."""
        self._file.abort()

    def _annotation(self, tracked: Tracked, index: int, image_id: int) -> dict[str, Any]:
        people = tracked.people
        maps = people.parts is not None or people.iuv is not None
        mask = person_rle(people, index) if maps else None
        ids = {"image_id": image_id, "video_id": 1, "track_id": int(tracked.numbers[index])}
        return ids | found(tracked.shown[index], people.scores[index], mask, PERSON_CATEGORY)


class NpzFolder:
    """A file for each frame, FOLDER/000000.npz and so on by the frame's index, for training and avatars.

    Each has what `People.save` writes about the people in view, with their track numbers in `tracker_id`. Frames
    without people have a file, too. A file is either complete or not there. The boxes are those that the maps cover;
    they may reach beyond the picture.

    Args:
        folder: for the files; it is created.

    Raises:
        InvalidOptions: the folder is not empty, or another run writes into it.
        VideoError: the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        require_empty(folder)
        self._folder, self._made = folder, not folder.exists()
        self._written: list[int] | None = []  # indices of the frames; None when finished
        with writing(folder):
            self._held = held(folder)
        try:
            require_empty(folder)  # again, now that it is locked: another run may have written there
        except InvalidOptions:
            self._let_go()
            raise

    def add(self, tracked: Tracked) -> None:
        """Write the file of a frame."""
        numbered = replace(tracked.people, tracker_id=tracked.numbers.astype(np.int32)).select(tracked.in_view)
        path = self._at(tracked.frame.index)
        part = path.with_name(path.name + ".part")
        with writing(path):
            try:
                part.write_bytes(npz.encode(numbered))
                part.replace(path)
            finally:
                dropped(part)
        if self._written is not None:
            self._written.append(tracked.frame.index)

    def close(self) -> None:
        """Keep the files. Safe to call twice."""
        self._written = None
        self._let_go()

    def abort(self) -> None:
        """Delete the written files, and the folder if it was created here, unless `close` was called."""
        if self._written is None:
            return
        for index in self._written:
            dropped(self._at(index))
        if self._made:
            with contextlib.suppress(OSError):  # there is a file of somebody else
                self._folder.rmdir()
        self._written = None
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _at(self, index: int) -> Path:
        return self._folder / f"{index:06d}.npz"


def require_empty(folder: Path) -> None:
    """Refuse a folder that is not empty, so that the frames of two runs do not mix, and no other file is deleted.

    Raises:
        InvalidOptions: the folder is not empty, or is a file, or cannot be read.
    """
    try:
        if folder.exists() and next(folder.iterdir(), None) is not None:
            raise InvalidOptions(f"{folder}: there are files in this folder: name a new one, or empty it")
    except OSError as error:
        raise InvalidOptions(f"{folder}: is no folder that can be used ({error.strerror}); name another") from None
