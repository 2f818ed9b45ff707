"""What is written down of each frame: lines with sources and counts, and arrays."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from parsing_rcnn.codecs.json import to_json
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.media import Frame, VideoError
from parsing_rcnn_client.video.records import JsonLines, NpzFolder
from parsing_rcnn_client.video.zones import Line, Zone, ZoneCounter, Zones


def tracked(
    index: int, boxes: Sequence[Sequence[float]] = (), numbers: Sequence[int] = (), source: str = ""
) -> Tracked:
    """A frame of 40x32 pixels with people who are all class 1, and I = 3 everywhere."""
    count, found = len(boxes), np.array(boxes, np.float32).reshape(-1, 4)
    iuv = np.stack([np.full((count, 8, 8), value, np.uint8) for value in (3, 20, 40)], axis=1)
    parts = np.ones((count, 8, 8), np.uint8)
    people = People(found, np.full(count, 0.9, np.float32), (32, 40), parts=parts, iuv=iuv)
    frame = Frame(index, index / 10, np.zeros((32, 40, 3), np.uint8))
    inside = found.clip(0, [40, 32, 40, 32]).astype(np.float32)
    return Tracked(frame, people, np.array(numbers, np.intp), inside, source=source)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_of_live_sources_are_in_the_file_at_once_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / "live.jsonl"
    record = JsonLines(path, live=True)
    record.add(tracked(0, [[2, 4, 12, 30]], [7], source="door"))
    record.add(tracked(5, source="hall"))
    first, second = lines_of(path)
    assert list(first) == ["source", "frame", "time", "analysed", "people"]
    assert (first["source"], first["people"][0]["track"]) == ("door", 7)  # type: ignore[index]
    assert (second["source"], second["frame"], second["people"]) == ("hall", 5, [])
    record.abort()
    assert len(lines_of(path)) == 2
    assert [each.name for each in path.parent.iterdir()] == ["live.jsonl"]


def test_lines_of_one_among_several_sources_have_its_number(tmp_path: Path) -> None:
    """Two cameras of one address, but for the login, have the same name."""
    record = JsonLines(tmp_path / "live.jsonl", live=True)
    for number in (0, 1):
        record.of(number).add(tracked(3, source="rtsp://***@camera"))
    assert [list(line)[:3] for line in lines_of(tmp_path / "live.jsonl")] == [["source", "number", "frame"]] * 2
    assert [line["number"] for line in lines_of(tmp_path / "live.jsonl")] == [0, 1]


def test_without_sources_and_zones_a_line_is_as_it_was(tmp_path: Path) -> None:
    record = JsonLines(tmp_path / "a.jsonl")
    record.add(tracked(0))
    assert not (tmp_path / "a.jsonl").exists()  # it is not whole yet
    record.close()
    assert lines_of(tmp_path / "a.jsonl") == [{"frame": 0, "time": 0.0, "analysed": True, "people": []}]


def test_lines_have_the_counts_of_their_frame_and_of_people_in_view_alone(tmp_path: Path) -> None:
    counter = ZoneCounter(
        Zones([Zone.parse("left=0,0,50%,0,50%,100%,0,100%")], [Line("down", [(0, 20), (40, 20)])]), (32, 40)
    )
    record = JsonLines(tmp_path / "a.jsonl")
    gone = [-12, 4, -2, 30]  # carried out of the picture, whose box there has no width
    for index, bottom in enumerate((18, 24)):
        record.add(tracked(index, [[2, 4, 12, bottom], gone], [1, 2]).counted(counter))
    record.close()
    assert [(line["zones"], line["lines"]) for line in lines_of(tmp_path / "a.jsonl")] == [
        ({"left": 1}, {"down": {"in": 0, "out": 0}}),
        ({"left": 1}, {"down": {"in": 1, "out": 0}}),
    ]


def test_arrays_of_each_frame_with_the_numbers_of_the_tracks(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "arrays"
    record = NpzFolder(folder)
    record.add(tracked(0))
    record.add(tracked(12, [[-3, 4, 12, 30], [-12, 4, -2, 30], [20, 2, 30, 32]], [4, 5, 9]))
    record.close()
    record.abort()  # of what is finished nothing goes
    assert sorted(path.name for path in folder.iterdir()) == ["000000.npz", "000012.npz"]
    assert len(People.load(folder / "000000.npz")) == 0
    people = People.load(folder / "000012.npz")
    assert people.tracker_id is not None
    assert people.tracker_id.tolist() == [4, 9]
    assert people.boxes.tolist() == [[-3, 4, 12, 30], [20, 2, 30, 32]]
    assert people.image_size == (32, 40)
    assert people.iuv is not None
    assert people.parts is not None
    assert people.iuv[1, :, 0, 0].tolist() == [3, 20, 40]
    with np.load(folder / "000012.npz") as arrays:
        assert (arrays["tracker_id"].dtype, arrays["parts"].shape) == (np.int32, (2, 8, 8))


def test_arrays_of_a_run_that_fails_leave_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    record = NpzFolder(folder)
    record.add(tracked(0))
    assert len(list(folder.iterdir())) == 1
    record.abort()
    assert not folder.exists()
    folder.mkdir()
    record = NpzFolder(folder)  # one that is empty is taken, and left
    record.add(tracked(0))
    record.abort()
    assert list(folder.iterdir()) == []


def test_arrays_of_two_runs_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidOptions, match="there are files in this folder: name a new one, or empty it"):
        NpzFolder(tmp_path)
    with pytest.raises(InvalidOptions, match="is no folder that can be used"):
        NpzFolder(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_arrays_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    record = NpzFolder(tmp_path / "arrays")
    (tmp_path / "arrays").rmdir()
    with pytest.raises(VideoError, match=r"000003\.npz: cannot be written"):
        record.add(tracked(3))


def test_charts_are_in_a_line_on_request_as_in_the_json_of_pictures(tmp_path: Path) -> None:
    """The box is 10 x 26 pixels, all of them of part 3 with U = 20 and V = 40."""
    frame = tracked(0, [[2, 4, 12, 30], [-12, 4, -2, 30]], [7, 8])
    for include in ((), ("iuv",)):
        record = JsonLines(tmp_path / "a.jsonl", include=include)
        record.add(frame)
        record.close()
        ((person,),) = (line["people"] for line in lines_of(tmp_path / "a.jsonl"))  # type: ignore[misc]
        assert ("densepose" in person) == ("offset" in person) == bool(include)
    assert person["offset"] == [2, 4]
    found = person["densepose"]
    assert found["charts"] == [{"class": "Right-hand", "class_id": 3, "area": 260}]
    assert found["shape_chw"] == [3, 26, 10]
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(found["labels_uv_str"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[40, 20, 3]]  # OpenCV reads blue first
    assert found == to_json(frame.people)["predictions"][0]["densepose"]
    assert person["parts"] == {"Hat": 260}


def test_where_there_are_no_charts_a_line_has_none(tmp_path: Path) -> None:
    record = JsonLines(tmp_path / "a.jsonl", include=("iuv",))
    frame = tracked(0, [[2, 4, 12, 30]], [7])
    record.add(replace(frame, people=replace(frame.people, iuv=None)))
    record.close()
    assert list(lines_of(tmp_path / "a.jsonl")[0]["people"][0]) == ["track", "box", "score", "parts", "rle"]  # type: ignore[index]
