"""A small copy of the training photos: pictures, labels, boxes and outlines shrink by the same factor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from tests.full_disk import room_for
from training.data.groups import GroupPhotos
from training.data.sources import LabelledPhotos, read_jpeg
from training.data.splits import ccp_split


def shrink(*arguments: str) -> Any:
    return CliRunner().invoke(build(), ["datasets", "shrink", *arguments])


def test_photos_and_labels_stay_together(data_folder: Path, tmp_path: Path) -> None:
    before = LabelledPhotos.open(data_folder / "ccp")
    side = max(before.read(0)[0].shape) // 2
    answer = shrink(str(data_folder), "-o", str(tmp_path), "--side", str(side))
    assert answer.exit_code == 0, answer.output
    after = LabelledPhotos.open(tmp_path / "ccp")
    assert [p.name for p in after.images] == [p.name for p in before.images]
    for index in range(len(after.images)):
        (image, labels), (large, full) = after.read(index), before.read(index)
        assert max(image.shape) == side
        assert image.shape[:2] == labels.shape
        # every cell of the small map is a label of the block that it stands for
        rows = (np.arange(labels.shape[0]) + 0.5) * full.shape[0] / labels.shape[0]
        columns = (np.arange(labels.shape[1]) + 0.5) * full.shape[1] / labels.shape[1]
        nearest = full[rows.astype(int)][:, columns.astype(int)]
        assert (labels == nearest).mean() > 0.98
        block = cv2.resize(large, labels.shape[::-1], interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(block - image).mean() < 6  # a JPEG of it


def test_labels_that_lie_off_their_photos_lie_as_many_pixels_off_in_the_copy(data_folder: Path, tmp_path: Path) -> None:
    """Every pixel of a row has a label of its own, so a cell of the copy says which pixel it is."""
    source = tmp_path / "from"
    shutil.copytree(data_folder / "ccp", source / "ccp")
    stem = next((source / "ccp" / "images").glob("*.jpg")).stem
    black = simplejpeg.encode_jpeg(np.zeros((240, 240, 3), np.uint8), 90, "RGB")
    (source / "ccp/images" / f"{stem}.jpg").write_bytes(black)
    numbered = np.broadcast_to(np.arange(240, dtype=np.uint8), (240, 240))
    cv2.imwrite(str(source / "ccp/labels" / f"{stem}.png"), numbered)
    for shift, side in ((0.5, 149), (0.0, 149), (0.5, 199), (-1.0, 199)):
        out = tmp_path / f"to {shift} {side}"
        answer = shrink(str(source), "-o", str(out), "--side", str(side), f"--label-shift={shift}")
        assert answer.exit_code == 0, answer.output
        copy = cv2.imread(str(out / "ccp/labels" / f"{stem}.png"), cv2.IMREAD_GRAYSCALE)
        # in pixels of the copy: where the photo has what a cell is of, and where a recipe with this shift looks for it
        belongs = (copy[0] + 0.5 - shift) * side / 240
        looked_for = np.arange(side) + 0.5 - shift
        assert abs((looked_for - belongs)[5:-5].mean()) < 0.03


def test_boxes_and_outlines_are_scaled(data_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "from"
    shutil.copytree(data_folder / "groups", source / "groups")
    path = source / "groups" / "annotations.json"
    coco = json.loads(path.read_text())
    coco["annotations"][0] |= {
        "area": 400.0,
        "segmentation": [[10, 20, 30, 20, 30, 40]],
        "keypoints": [10, 20, 2] + [0, 0, 0] * 16,
    }
    path.write_text(json.dumps(coco))
    record = coco["images"][0]
    image = read_jpeg(source / "groups" / "images" / record["file_name"])
    half = max(image.shape) // 2
    assert max(image.shape) % 2 == 0
    answer = shrink(str(source), "-o", str(tmp_path / "to"), "--side", str(half))
    assert answer.exit_code == 0, answer.output
    found = json.loads((tmp_path / "to" / "groups" / "annotations.json").read_text())["annotations"][0]
    assert found["bbox"] == [v / 2 for v in coco["annotations"][0]["bbox"]]
    assert found["segmentation"] == [[5, 10, 15, 10, 15, 20]]
    assert found["keypoints"][:3] == [5, 10, 2]
    assert found["area"] == 100.0
    before, after = GroupPhotos.open(source / "groups"), GroupPhotos.open(tmp_path / "to" / "groups")
    for a, b in zip(before.boxes, after.boxes, strict=True):
        np.testing.assert_allclose(a / 2, b, atol=0.01)


def test_null_and_empty_stay_as_they_are(data_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "from"
    shutil.copytree(data_folder / "groups", source / "groups")
    path = source / "groups/annotations.json"
    document = json.loads(path.read_text())
    nothing = {"area": None, "keypoints": [], "segmentation": None}
    document["annotations"][0].update(nothing)
    document["annotations"][1].update({**nothing, "keypoints": None})
    path.write_text(json.dumps(document))
    answer = shrink(str(source), "-o", str(tmp_path / "to"), "--side", "100")
    assert answer.exit_code == 0, answer.output
    after = json.loads((tmp_path / "to/groups/annotations.json").read_text())["annotations"]
    assert [{key: row[key] for key in nothing} for row in after[:2]] == [nothing, {**nothing, "keypoints": None}]


def test_a_full_disk_is_no_success(data_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "from"
    shutil.copytree(data_folder / "ccp", source / "ccp")
    name = min(path.name for path in (source / "ccp/labels").iterdir())
    noise = np.random.default_rng(0).integers(0, 19, (160, 100)).astype(np.uint8)
    cv2.imwrite(str(source / "ccp/labels" / name), noise)
    with room_for(9000):  # enough for the others, of flat colours
        answer = shrink(str(source), "-o", str(tmp_path / "to"), "--side", "160", "--quality", "20")
    assert answer.exit_code == 1
    assert f"ccp/labels/{name}: cannot be written" in answer.output.replace("\n", "")
    assert not (tmp_path / "to/ccp/labels" / name).exists()


def test_small_pictures_are_not_enlarged(data_folder: Path, tmp_path: Path) -> None:
    answer = shrink(str(data_folder), "-o", str(tmp_path), "--side", "4000")
    assert answer.exit_code == 0, answer.output
    for path in (data_folder / "backgrounds").glob("*.jpg"):
        assert read_jpeg(tmp_path / "backgrounds" / path.name).shape == read_jpeg(path).shape


@pytest.mark.parametrize("break_it", ["nothing there", "no label", "no JPEG"])
def test_what_is_missing_is_named(data_folder: Path, tmp_path: Path, break_it: str) -> None:
    source = tmp_path / "from"
    source.mkdir()
    expected = "holds none of ccp/images"
    if break_it != "nothing there":
        shutil.copytree(data_folder / "ccp", source / "ccp")
        name = ccp_split(sorted(p.name for p in (source / "ccp/images").glob("*.jpg")))[0][0]
        if break_it == "no label":
            (source / "ccp/labels" / name).with_suffix(".png").unlink()
            expected = f"{Path(name).stem}.png: missing"
        else:
            (source / "ccp/images" / name).write_bytes(b"not a picture")
            expected = f"{name}: not a JPEG"
    answer = shrink(str(source), "-o", str(tmp_path / "to"))
    assert answer.exit_code == 1
    assert expected in answer.output.replace("\n", "")
    assert "Traceback" not in answer.output


def copy_of(data_folder: Path, tmp_path: Path, *names: str) -> Path:
    source = tmp_path / "from"
    for name in names:
        shutil.copytree(data_folder / name, source / name)
    return source


def unlisted(document: dict[str, Any]) -> None:
    document["annotations"][3]["image_id"] = 99


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda d: d.pop("annotations"), "annotations.json: not a COCO annotation file (no list of annotations)"),
        (lambda d: d["images"][1].pop("file_name"), "annotations.json: picture 1 has no id or no file_name"),
        (lambda d: d["images"][1].update(file_name="../g1.jpg"), "annotations.json: file_name '../g1.jpg'"),
        (lambda d: d["annotations"][3].pop("bbox"), "annotations.json: annotation 2: bbox None is no box"),
        (unlisted, "annotations.json: annotation 2 is of image_id 99, which no picture has"),
    ],
)
def test_wrong_annotations_are_named_before_anything_is_written(
    data_folder: Path, tmp_path: Path, damage: Any, says: str
) -> None:
    source = copy_of(data_folder, tmp_path, "groups", "backgrounds")
    path = source / "groups/annotations.json"
    document = json.loads(path.read_text())
    document["annotations"][3]["id"] = 2
    damage(document)
    path.write_text(json.dumps(document))
    answer = shrink(str(source), "-o", str(tmp_path / "to"))
    assert answer.exit_code == 1
    assert f"error: {source}" in answer.output
    assert says in answer.output.replace("\n", "")
    assert not (tmp_path / "to").exists()


def test_a_label_map_of_another_size_is_named_before_anything_is_written(data_folder: Path, tmp_path: Path) -> None:
    """Squashed to the photo's copy it would lie beside what it names, and nobody could tell."""
    source = copy_of(data_folder, tmp_path, "ccp")
    path = source / "ccp/labels/0005.png"
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:80])
    answer = shrink(str(source), "-o", str(tmp_path / "to"))
    assert answer.exit_code == 1
    assert f"error: {path}: (80, 100) pixels, but 0005.jpg has (160, 100)" in answer.output.replace("\n", "")
    assert not (tmp_path / "to").exists()


def test_what_annotations_name_is_copied_and_what_is_left_out_is_listed(data_folder: Path, tmp_path: Path) -> None:
    source, out = copy_of(data_folder, tmp_path, "groups", "backgrounds"), tmp_path / "to"
    path = source / "groups/annotations.json"
    document = json.loads(path.read_text())
    (source / "groups/images/day").mkdir()
    for about, name in zip(document["images"], ("g0.JPG", "day/g1.jpeg"), strict=False):
        (source / "groups/images" / about["file_name"]).rename(source / "groups/images" / name)
        about["file_name"] = name
        del about["width"], about["height"]  # the pictures themselves say
    for row in document["annotations"]:
        del row["iscrowd"]
    path.write_text(json.dumps(document), encoding="utf-8-sig")
    (source / "backgrounds/b0.jpg").rename(source / "backgrounds/b0.JPG")
    (source / "ccp/unlabelled").mkdir(parents=True)
    shutil.copy(source / "backgrounds/b1.jpg", source / "ccp/unlabelled/1.JPEG")
    answer = shrink(str(source), "-o", str(out), "--side", "100")
    assert answer.exit_code == 0, answer.output
    assert f"{source}/backgrounds/b0.JPG: left out" in answer.output.replace("\n", "")
    assert answer.output.count("left out") == 1
    assert max(read_jpeg(out / "groups/images/day/g1.jpeg").shape) == 100
    assert (out / "ccp/unlabelled/1.JPEG").is_file()
    before, after = GroupPhotos.open(source / "groups"), GroupPhotos.open(out / "groups")
    for a, b in zip(before.boxes, after.boxes, strict=True):
        np.testing.assert_allclose(a / 2, b, atol=0.01)
