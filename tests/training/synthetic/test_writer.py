"""Datasets on disk, read back by the genuine readers."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from parsing_rcnn.taxonomy import CIHP, COARSE_OF_PART, MHP
from tests.full_disk import room_for
from tests.training.synthetic.conftest import write_people
from training.data.datasets.check import find_datasets
from training.data.datasets.cihp import RawCihp
from training.data.sources import RenderedPeople
from training.data.synthetic.generator import Generator, Source
from training.data.synthetic.layouts import LAYOUTS, write_layout
from training.data.synthetic.writer import (
    Job,
    _write_annotations,
    contact_sheet,
    write_dataset,
    write_picture,
    write_sheet,
)
from training.errors import DatasetError, OutputError

COUNT = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, generator: Generator, source: Source) -> Path:
    out = tmp_path_factory.mktemp("dataset")
    write_people(out, generator, source, COUNT)
    return out


def test_coco_tools_read_it(dataset: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(str(dataset / "densepose.json"))
    assert len(coco.getImgIds()) == COUNT
    for annotation in coco.loadAnns(coco.getAnnIds()):
        name = Path(coco.loadImgs(annotation["image_id"])[0]["file_name"]).stem
        human = cv2.imread(str(dataset / "Human_ids" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        mask = coco.annToMask(annotation).astype(bool)
        np.testing.assert_array_equal(mask, human == annotation["human"])
        assert annotation["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_densepose_points_and_masks(dataset: Path) -> None:
    decode = pytest.importorskip("pycocotools.mask").decode
    document = json.loads((dataset / "densepose.json").read_text())
    assert document["annotations"]
    for annotation in document["annotations"]:
        stem = Path(document["images"][annotation["image_id"] - 1]["file_name"]).stem
        iuv = cv2.imread(str(dataset / "IUV" / f"{stem}.png"))
        x, y, width, height = annotation["bbox"]
        columns = (x + np.array(annotation["dp_x"]) * width / 256).astype(int)
        rows = (y + np.array(annotation["dp_y"]) * height / 256).astype(int)
        np.testing.assert_array_equal(iuv[rows, columns, 0], annotation["dp_I"])
        np.testing.assert_allclose(iuv[rows, columns, 1] / 255, annotation["dp_U"], atol=1e-4)
        np.testing.assert_allclose(iuv[rows, columns, 2] / 255, annotation["dp_V"], atol=1e-4)
        assert len(annotation["dp_masks"]) == 14
        regions = np.zeros((256, 256), int)
        for number, mask in enumerate(annotation["dp_masks"], start=1):
            if mask:
                regions[decode(mask) > 0] = number
        painted = regions[np.floor(annotation["dp_y"]).astype(int), np.floor(annotation["dp_x"]).astype(int)]
        # a cell of the 256x256 frame shows the pixel under its centre: a point at a seam may fall on the other side
        assert (painted == COARSE_OF_PART[np.array(annotation["dp_I"], int)]).mean() > 0.8


def test_keypoints(dataset: Path) -> None:
    facing = 0
    for annotation in json.loads((dataset / "densepose.json").read_text())["annotations"]:
        human = cv2.imread(str(dataset / "Human_ids" / f"{annotation['image_id']:07d}.png"), cv2.IMREAD_UNCHANGED)
        points = np.array(annotation["keypoints"]).reshape(17, 3)
        assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
        assert not points[points[:, 2] == 0].any()
        seen = points[points[:, 2] == 2]
        # to a tenth of a pixel: a point at an edge may round to the neighbour
        columns, rows = np.rint(seen[:, :2]).astype(int).T  # COCO numbers pixels
        assert (human[rows.clip(0, 191), columns.clip(0, 159)] == annotation["human"]).mean() > 0.8
        shoulders, ankles = points[5:7], points[15:17]
        yaw = annotation["synthetic"]["yaw"]
        if shoulders[:, 2].all():
            if abs(yaw) < 45:
                facing += 1
                assert shoulders[0, 0] > shoulders[1, 0]  # the subject's left is on the right of a picture of the front
            elif abs(yaw) > 135:
                assert shoulders[0, 0] < shoulders[1, 0]
            if annotation["synthetic"]["style"] in ("stand", "walk") and ankles[:, 2].all():
                assert shoulders[:, 1].mean() < points[11:13, 1].mean() < ankles[:, 1].mean()
    assert facing


def test_the_other_layouts_read_the_same(dataset: Path, tmp_path: Path) -> None:
    for layout in LAYOUTS:
        write_layout(dataset, layout, tmp_path / layout)
    (repository,) = find_datasets(tmp_path / "parsing-rcnn", None)
    (mhp,) = find_datasets(tmp_path / "mhp", None)
    raw = RawCihp(dataset)
    hat, mhp_hat = CIHP.classes.index("Hat"), MHP.classes.index("Cap/Hat")
    for index in range(COUNT):
        first, second, third = (reader.read(index) for reader in (raw, repository, mhp))
        assert len(first.people) == len(second.people) == len(third.people)
        assert first.parts is not None
        assert second.parts is not None
        assert third.parts is not None
        np.testing.assert_array_equal(first.parts, second.parts)
        np.testing.assert_array_equal(first.parts > 0, third.parts > 0)
        np.testing.assert_array_equal(first.parts == hat, third.parts == mhp_hat)
        left = CIHP.classes.index("Left-shoe"), MHP.classes.index("Left-shoe")
        np.testing.assert_array_equal(first.parts == left[0], third.parts == left[1])
    with pytest.raises(DatasetError, match="Category_ids"):
        write_layout(tmp_path, "mhp", tmp_path / "x")


def test_the_cihp_layout(dataset: Path) -> None:
    for path in (dataset / "Category_ids").glob("*.png"):
        category = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        human = cv2.imread(str(dataset / "Human_ids" / path.name), cv2.IMREAD_UNCHANGED)
        instance = cv2.imread(str(dataset / "Instance_ids" / path.name), cv2.IMREAD_UNCHANGED)
        assert category.dtype == human.dtype == np.uint8
        np.testing.assert_array_equal(category > 0, human > 0)
        np.testing.assert_array_equal(category > 0, instance > 0)
        for value in np.unique(instance[instance > 0]):
            own = instance == value
            assert len(np.unique(category[own])) == len(np.unique(human[own])) == 1
        assert cv2.imread(str(dataset / "Images" / f"{path.stem}.jpg")).shape[:2] == category.shape


def test_our_reader_and_the_same_bytes_again(dataset: Path, generator: Generator, tmp_path: Path) -> None:
    people = RenderedPeople.open(dataset)
    assert len(people.stems) == COUNT
    image, parts, human, iuv = people.read(0)
    assert image.shape == iuv.shape
    assert parts.shape == human.shape == image.shape[:2]
    for folder in ("Images", "Category_ids", "Human_ids", "Instance_ids", "IUV"):
        (tmp_path / folder).mkdir()
    write_picture(generator.picture(0), tmp_path, 0)
    for name in ("Images/0000001.jpg", "IUV/0000001.png"):
        assert (tmp_path / name).read_bytes() == (dataset / name).read_bytes()


def test_absent_data_is_named(tmp_path: Path, source: Source) -> None:
    with pytest.raises(DatasetError, match="parsing-rcnn render"):
        RenderedPeople.open(tmp_path)
    with pytest.raises(DatasetError, match="--backgrounds"):
        Generator(Source(None, tmp_path, (), ((64, 64),), 0))
    with pytest.raises(DatasetError, match="clothes"):
        Generator(Source(tmp_path, tmp_path, source.backgrounds, ((64, 64),), 0))
    with pytest.raises(DatasetError, match="png"):
        write_sheet(np.zeros((8, 8, 3), np.uint8), tmp_path / "sheet.bmp")


def small_sheets(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """One row, of tiles of 64x64: the sheet of the command takes half a minute."""
    for name, value in (("_ROWS", 1), ("_COLUMNS", columns), ("_TILE", 64)):
        monkeypatch.setattr(f"training.data.synthetic.writer.{name}", value)


def test_a_contact_sheet(generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sheets(monkeypatch, 2)
    sheet = contact_sheet(generator)
    assert sheet.shape == (64, 2 * 3 * 64, 3)
    write_sheet(sheet, tmp_path / "sheet.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1], sheet)


def test_pictures_of_a_sheet_keep_their_shape(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sheets(monkeypatch, 1)
    tall = Generator(replace(source, sizes=((128, 64),)))
    left, middle, right = np.split(contact_sheet(tall)[:, :64], (16, 48), axis=1)
    assert (left == 255).all()
    assert (right == 255).all()
    whole = cv2.resize(tall.picture(0).image, (32, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(middle, whole)


@pytest.mark.usefixtures("generator")
def test_a_killed_worker_is_an_error_and_leaves_no_dataset(source: Source, tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    for name in ("densepose.json", "Images/0001000.jpg"):
        (tmp_path / name).touch()
    before = set(multiprocessing.active_children())
    steps = write_dataset(Job(source, tmp_path, 1), 400, workers=1)
    assert next(steps) == 1
    (victim,) = set(multiprocessing.active_children()) - before
    os.kill(victim.pid or 0, signal.SIGKILL)
    said: list[str] = []

    def rest() -> None:
        try:
            list(steps)
        except DatasetError as error:
            said.append(str(error))

    thread = threading.Thread(target=rest, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert "fewer --workers" in said[0]
    assert not (tmp_path / "densepose.json").exists()
    assert (tmp_path / "Images" / "0001000.jpg").exists()  # as of CIHP: without IUV/ it was not rendered
    with pytest.raises(DatasetError, match="broken off"):
        RenderedPeople.open(tmp_path)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.usefixtures("generator")
def test_a_smaller_dataset_in_the_folder_of_a_greater_one(dataset: Path, source: Source, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    for name in ("Images/mine.jpg", "IUV/10000001.png"):
        (tmp_path / name).touch()
    for layout in LAYOUTS:
        write_layout(tmp_path, layout, tmp_path / layout)
    list(write_dataset(Job(source, tmp_path, 3), 1, workers=1))
    for name in ("Images/mine.jpg", "IUV/10000001.png"):
        (tmp_path / name).unlink()  # whoever put them there may keep them
    assert RenderedPeople.open(tmp_path).stems == ("0000001",)
    assert len(json.loads((tmp_path / "densepose.json").read_text())["images"]) == 1
    for folder in ("Images", "Category_ids", "Human_ids", "Instance_ids", "IUV"):
        assert [path.stem for path in (tmp_path / folder).iterdir()] == ["0000001"]
    for layout in LAYOUTS:
        write_layout(tmp_path, layout, tmp_path / layout)
    (mhp,) = find_datasets(tmp_path / "mhp", None)
    assert len(mhp.read(0).people) == len(RawCihp(tmp_path).read(0).people)


@pytest.mark.usefixtures("generator")
def test_what_is_refused_at_the_beginning_leaves_the_dataset(dataset: Path, source: Source, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "out")
    (tmp_path / "file").touch()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for wrong in (replace(source, cache=tmp_path / "file" / "cache"), replace(source, backgrounds=())):
        with pytest.raises((OutputError, DatasetError)):
            next(write_dataset(Job(wrong, tmp_path / "out", 1), 1, workers=1))
        assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert len(RenderedPeople.open(tmp_path / "out").stems) == COUNT


def test_a_disk_that_fills_up_is_an_error(dataset: Path, generator: Generator, source: Source, tmp_path: Path) -> None:
    """Whatever is written last: a picture, surface.npz, the annotation file, or another layout."""
    for folder in ("Images", "Category_ids", "Human_ids", "Instance_ids", "IUV"):
        (tmp_path / folder).mkdir()
    with pytest.raises(OutputError, match=r"0000001\.jpg: cannot be written"), room_for(1000):
        write_picture(generator.picture(0), tmp_path, 0)
    with pytest.raises(OutputError, match=r"surface\.npz: cannot be written"), room_for(10_000):
        next(write_dataset(Job(source, tmp_path / "new"), 1, workers=1))
    with pytest.raises(OutputError, match=r"densepose\.json: cannot be written"), room_for(50):
        _write_annotations(Job(source, tmp_path), [])
    with pytest.raises(OutputError, match=r"0000001\.jpg: cannot be written"), room_for(4200):
        write_layout(dataset, "mhp", tmp_path / "mhp")


def test_a_map_that_cannot_be_written_is_an_error(generator: Generator, tmp_path: Path) -> None:
    for folder in ("Images", "Category_ids", "Human_ids", "Instance_ids"):
        (tmp_path / folder).mkdir()
    with pytest.raises(OutputError, match="IUV"):
        write_picture(generator.picture(0), tmp_path, 0)
