"""What is written down beside the pictures: one JSON line a frame, and COCO annotations of the whole video."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parsing_rcnn.codecs.json import dumps
from parsing_rcnn.convert import person_rle
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.media import VideoInfo


class Record(Protocol):
    """Takes the frames of a video in order."""

    def add(self, tracked: Tracked) -> None:
        """One frame."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class JsonLines:
    """One line a frame: `frame`, `time` in seconds, `analysed`, and `people` with `track`, `box` (steadied, in pixels
    of the upright picture), `score`, `parts` (pixels of each class) and `rle` (the silhouette in the full frame).
    """

    def __init__(self, path: Path, *, masks: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._file, self._masks = self._part.open("wb"), masks

    def add(self, tracked: Tracked) -> None:
        """One frame."""
        people = [self._person(tracked, index) for index in range(len(tracked.people))]
        line = {
            "frame": tracked.frame.index,
            "time": round(tracked.frame.time, 6),
            "analysed": tracked.analysed,
            "people": people,
        }
        self._file.write(dumps(line) + b"\n")

    def close(self) -> None:
        """Finish the file, which then takes its name. Safe to call twice."""
        if not self._file.closed:
            self._file.close()
            self._part.replace(self._path)

    def _person(self, tracked: Tracked, index: int) -> dict[str, Any]:
        people = tracked.people
        entry: dict[str, Any] = {
            "track": int(tracked.numbers[index]),
            "box": [round(float(v), 2) for v in tracked.shown[index]],
            "score": round(float(people.scores[index]), 4),
        }
        if people.parts is not None:
            areas = np.bincount(people.crop(index)[0].ravel(), minlength=len(people.taxonomy))
            entry["parts"] = {people.taxonomy.classes[i]: int(areas[i]) for i in np.flatnonzero(areas[1:]) + 1}
        if self._masks and (people.parts is not None or people.iuv is not None):
            entry["rle"] = person_rle(people, index)
        return entry


class CocoVideo:
    """COCO annotations of a video: `videos`, `images` (its frames), `annotations` with a `track_id` each."""

    def __init__(self, path: Path, name: str, info: VideoInfo) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._closed = path, False
        self._document: dict[str, Any] = {
            "videos": [{"id": 1, "name": name, "width": info.width, "height": info.height, "fps": info.fps}],
            "categories": [{"id": 1, "name": "person"}],
            "images": [],
            "annotations": [],
        }

    def add(self, tracked: Tracked) -> None:
        """One frame."""
        people, frame = tracked.people, tracked.frame
        image_id = frame.index + 1
        height, width = people.image_size
        self._document["images"].append(
            {
                "id": image_id,
                "video_id": 1,
                "frame_id": frame.index,
                "time": round(frame.time, 6),
                "width": width,
                "height": height,
            }
        )
        annotations = self._document["annotations"]
        for index in range(len(people)):
            x1, y1, x2, y2 = (round(float(v), 2) for v in tracked.shown[index])
            entry: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "video_id": 1,
                "track_id": int(tracked.numbers[index]),
                "category_id": 1,
                "score": round(float(people.scores[index]), 4),
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
                "iscrowd": 0,
            }
            if people.parts is not None or people.iuv is not None:
                mask, _ = people.mask(index)
                entry |= {"segmentation": person_rle(people, index), "area": int(mask.sum())}
            annotations.append(entry)

    def close(self) -> None:
        """Write the file. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._path.write_bytes(dumps(self._document))
