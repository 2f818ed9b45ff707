"""One COCO file of a folder, read by pycocotools."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.codecs import image
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client.coco import CocoFile
from parsing_rcnn_client.predict.outputs import write_outputs
from parsing_rcnn_client.predict.results import CocoResults
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.unfinished import growing

HAIR, COAT = 2, 7
CLASSES = ("Background", "Hat", "Hair")


def crowd() -> People:
    """Two boxes of 8 x 8 cells on 16 x 16 pixels; the upper half of each is hair, and the second leaves the picture."""
    parts = np.full((2, 8, 8), COAT, np.uint8)
    parts[:, :4] = HAIR
    parts[:, :, 0] = 0
    boxes = np.array([[2, 4, 18, 20], [30, 4, 46, 20]], np.float32)
    sure = np.full((2, 20), 0.5, np.float32)
    return People(boxes, np.array([0.8, 0.6], np.float32), (30, 40), parts, sure)


def written(tmp_path: Path, names: tuple[str, ...] = ("a.jpg", "sub/b.png")) -> list[Source]:
    """Sources in a folder with results of an earlier run."""
    sources = [Source(tmp_path / "in" / name, tmp_path / "out" / Path(name).with_suffix("")) for name in names]
    for source in sources:
        write_outputs(source.target, crowd(), np.zeros((30, 40, 3), np.uint8))
    return sources


def opened(path: Path) -> Any:
    return pytest.importorskip("pycocotools.coco").COCO(str(path))


def test_pycocotools_reads_everybody_and_their_parts(tmp_path: Path) -> None:
    sources, out = written(tmp_path), tmp_path / "out"
    results = CocoResults.of(tmp_path / "all.json", sources, out, classes=CLASSES)
    assert results.write(results.begin(), sources, ()) == 2
    coco = opened(tmp_path / "all.json")
    assert [(one["id"], one["file_name"]) for one in coco.dataset["images"]] == [(1, "a.jpg"), (2, "sub/b.png")]
    assert coco.dataset["images"][0] | {"width": 40, "height": 30} == coco.dataset["images"][0]
    people = coco.loadAnns(coco.getAnnIds(imgIds=[2], catIds=coco.getCatIds(catNms=["person"])))
    assert [one["bbox"] for one in people] == [[2, 4, 16, 16], [30, 4, 16, 16]]
    assert [one["score"] for one in people] == [0.8, 0.6]
    for one, mask in zip(people, crowd().masks(), strict=True):
        np.testing.assert_array_equal(coco.annToMask(one), mask)
        assert one["area"] == mask.sum()
        assert one["iscrowd"] == 0
    hair = coco.loadAnns(coco.getAnnIds(imgIds=[2], catIds=coco.getCatIds(catNms=["Hair"])))
    assert [one["part_of"] for one in hair] == [one["id"] for one in people]
    assert [one["category_id"] for one in hair] == [102, 102]
    # of the person times that of the part
    assert [one["score"] for one in hair] == [0.4, 0.3]
    # two of the 16 columns have no part, and 10 of the second one's are in the picture
    assert [one["bbox"] for one in hair] == [[4, 4, 14, 8], [32, 4, 8, 8]]
    np.testing.assert_array_equal(coco.annToMask(hair[0]), crowd().select([0]).label_map() == HAIR)
    # classes that an engine does not name are named as they are found
    assert [one["name"] for one in coco.dataset["categories"]] == ["person", "Hat", "Hair", "Coat"]
    loaded = coco.loadRes([one for one in coco.dataset["annotations"] if one["category_id"] == 1])
    assert len(loaded.dataset["annotations"]) == 4


def test_without_parts_there_are_people_alone(tmp_path: Path) -> None:
    sources = written(tmp_path)
    results = CocoResults.of(tmp_path / "all.json", sources, tmp_path / "out")
    results.write(results.begin(), sources, ())
    document = json.loads((tmp_path / "all.json").read_text())
    assert [one["name"] for one in document["categories"]] == ["person"]
    assert [one["image_id"] for one in document["annotations"]] == [1, 1, 2, 2]
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_what_failed_is_left_out_and_the_others_keep_their_ids(tmp_path: Path) -> None:
    """Also where an earlier run, of other options, wrote something of it."""
    sources = written(tmp_path)
    results = CocoResults.of(tmp_path / "all.json", sources, tmp_path / "out")
    assert results.write(results.begin(), sources, {str(sources[0].path)}) == 1
    assert [one["id"] for one in json.loads((tmp_path / "all.json").read_text())["images"]] == [2]


def test_ids_come_from_the_users_own_file(tmp_path: Path) -> None:
    sources = written(tmp_path, ("a.jpg", "sub/b.png", "sub/c.png", "c.png"))
    ids = tmp_path / "annotations.json"
    named = {"a.jpg": 70, "val2017/b.png": 50, "sub/c.png": 9, "c.png": "x"}
    ids.write_text(json.dumps({"images": [{"id": number, "file_name": name} for name, number in named.items()]}))
    results = CocoResults.of(tmp_path / "all.json", sources, tmp_path / "out", ids)
    assert list(results.images) == [(70, "a.jpg"), (50, "sub/b.png"), (9, "sub/c.png"), ("x", "c.png")]
    results.write(results.begin(), sources, ())
    assert [one["id"] for one in json.loads((tmp_path / "all.json").read_text())["images"]] == [70, 50, 9, "x"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"images": [{"id": 1, "file_name": "a.jpg"}]}', r"1 of the 2 pictures have no entry .*\(sub/b.png\)"),
        (
            '{"images": [{"id": 1, "file_name": "x/b.png"}, {"id": 2, "file_name": "y/b.png"}]}',
            r"2 of the 2 pictures .*\(a.jpg, sub/b.png\)",
        ),
        ("[]", "no COCO file"),
        ("{", "no COCO file"),
        ('{"images": [{"id": [1], "file_name": "a.jpg"}]}', "neither a number nor a text"),
        ('{"images": [{"id": true, "file_name": "a.jpg"}]}', "the `id` of a.jpg is neither a number nor .*: True"),
        ('{"images": [{"id": 9223372036854775808, "file_name": "a.jpg"}]}', "64 bits: 9223372036854775808"),
        ('{"images": [{"id": "\\ud800", "file_name": "a.jpg"}]}', "neither a number nor a text"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}]}',
            "a.jpg has two ids, 1 and 2: leave one of them",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]}',
            "a.jpg and b.jpg both have the id 1: give each its own",
        ),
        (None, "cannot be read"),
    ],
)
def test_a_file_without_the_ids_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    sources, ids = written(tmp_path), tmp_path / "ids.json"
    if text is not None:
        ids.write_text(text)
    with pytest.raises(InvalidOptions, match=says):
        CocoResults.of(tmp_path / "all.json", sources, tmp_path / "out", ids)


@pytest.mark.parametrize("place", ["in/a.jpg", "out/a.json", "out", "-", "ids.json", "in/a.jpg/x.json"])
def test_no_file_is_written_over(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources, ids = written(tmp_path), Path("ids.json")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"a photo")
    with pytest.raises(InvalidOptions, match="--coco"):
        CocoResults.of(Path(place), sources, tmp_path / "out", ids)


@pytest.mark.parametrize("place", ["pipe", "/dev/null", "/dev/stdout", f"{'x' * 253}"])
def test_what_is_no_file_is_left_as_it_is(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    sources = written(tmp_path)
    with pytest.raises(
        InvalidOptions, match=r"^--coco .*(no file: name a file|cannot be written \(File name too long\))"
    ):
        CocoResults.of(tmp_path / place, sources, tmp_path / "out")
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_that_is_no_utf_8_is_legible(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    sources = written(tmp_path, (name, "a.jpg"))
    results = CocoResults.of(tmp_path / "all.json", sources, tmp_path / "out")
    assert results.write(results.begin(), sources, ()) == 2
    named = [one["file_name"] for one in json.loads((tmp_path / "all.json").read_text())["images"]]
    assert named == ["caf\ufffd.jpg", "a.jpg"]


def test_a_disk_that_is_full_keeps_no_half_file(tmp_path: Path) -> None:
    """The entries have room, and the whole file has not."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        with CocoFile(tmp_path / "all.json", {}) as file:
            file.image({"name": "x" * 50_000})
            file.annotation({"name": "x" * 50_000})
            resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, limits[1]))

    try:
        with pytest.raises(OSError, match="File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_predict_writes_one_file_of_a_folder_and_a_resumed_run_writes_the_same(
    tmp_path: Path, photo_jpeg: bytes, gateway_url: str
) -> None:
    folder, out, whole = tmp_path / "in", tmp_path / "out", tmp_path / "results" / "all.json"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.jpg", "sub/a.jpg"):
        (folder / name).write_bytes(photo_jpeg)
    (folder / "a.jpg").write_bytes(photo_jpeg[:2000])
    given = ["predict", str(folder), "-o", str(out), "--server", gateway_url, "--coco", str(whole), "--parts"]
    first = CliRunner().invoke(build(), given)
    assert first.exit_code == 1  # one is damaged
    assert f"2 pictures in {whole}" in first.stderr
    coco = opened(whole)
    assert [(one["id"], one["file_name"]) for one in coco.dataset["images"]] == [(2, "b.jpg"), (3, "sub/a.jpg")]
    height, width = image.decode(photo_jpeg).shape[:2]
    assert {(one["height"], one["width"]) for one in coco.dataset["images"]} == {(height, width)}
    people = People.load(out / "b.npz")
    entries = coco.loadAnns(coco.getAnnIds(imgIds=[2], catIds=[1]))
    for entry, mask in zip(entries, people.masks(), strict=True):
        np.testing.assert_array_equal(coco.annToMask(entry), mask)
    assert len(coco.dataset["categories"]) == 20
    parts = coco.loadAnns(coco.getAnnIds(imgIds=[2], catIds=[113]))
    assert coco.annToMask(parts[0]).sum() == people.areas(0)[13]  # her face
    before = whole.read_bytes()
    whole.unlink()
    again = CliRunner().invoke(build(), [*given, "--resume"])
    assert "2 skipped" in again.stderr
    assert whole.read_bytes() == before


def test_a_file_that_cannot_be_written_is_known_before_the_first_picture(photo: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "results", tmp_path / "out"
    folder.mkdir()
    given = ["predict", str(photo), "-o", str(out), "--csv", str(tmp_path / "all.csv"), "--coco"]
    with growing(folder / "lines"):  # as a stream's records
        done = CliRunner().invoke(build(), [*given, str(folder / "lines")])
    assert done.exit_code == 2
    assert f"error: {folder / 'lines'}: another run writes this file: wait for its end" in done.stderr
    assert list(out.iterdir()) == []
    done = CliRunner().invoke(build(), [*given, "/proc/all.json"])  # where nobody makes a file, root neither
    assert done.exit_code != 0
    assert "--coco /proc/all.json: " in done.stderr + str(done.exception)
    assert list(out.iterdir()) == []
    assert not (tmp_path / "all.csv.part").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--parts"], "--parts is about the file of --coco"),
        (["--image-ids", "x.json"], "--image-ids is about the file of --coco"),
        (["--coco", "x.json", "--parts", "--tasks", "densepose"], "--parts needs the task parsing"),
    ],
)
def test_options_that_do_not_go_together(photo: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(build(), ["predict", str(photo), "-o", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2
    assert says in done.stderr
