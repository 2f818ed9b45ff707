"""Self-training labels of an analyzer whose answers are drawn here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from parsing_rcnn.analyzer import Options
from parsing_rcnn.cli import build
from parsing_rcnn.geometry import turn_upright
from parsing_rcnn.people import People
from parsing_rcnn.repository import CARD, ModelRepository
from parsing_rcnn.taxonomy import CIHP
from tests.full_disk import room_for
from training.errors import DatasetError, OutputError
from training.pseudo_labels import label, write_labels

SIDE = 64


class Painter:
    """Finds the box of what is bright; its right half (in the picture) is a left arm, the other one a right arm.

    Where the picture is grey the answer is undecided; `steady=False` finds another box in a mirror image.
    """

    def __init__(self, steady: bool = True) -> None:
        self.steady, self.calls = steady, 0

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        assert not isinstance(image, bytes)
        self.calls += 1
        rows, columns = np.nonzero(image[..., 0] > 60)
        if not len(rows):
            return People.empty(image.shape[:2])
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
        if not self.steady and self.calls % 2 == 0:
            box[0, 2] = box[0, 0] + (box[0, 2] - box[0, 0]) / 3
        x1, y1, x2, y2 = box[0].astype(int)
        inside = cv2.resize(image[y1:y2, x1:x2, 0], (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT)
        probs = np.zeros((1, len(CIHP), SIDE, SIDE), np.uint8)
        sure = np.where(inside > 200, 250, 120).astype(np.uint8)
        half = SIDE // 2
        probs[0, 15, :, :half], probs[0, 14, :, half:] = sure[:, :half], sure[:, half:]
        probs[0, 0] = 255 - sure
        return People(box, np.array([0.95], np.float32), image.shape[:2], part_probs=probs)


def picture() -> NDArray[np.uint8]:
    image = np.zeros((120, 90, 3), np.uint8)
    image[20:100, 20:70] = 255
    image[80:100, 20:70] = 150  # undecided
    return image


def test_both_views_agree_on_sides() -> None:
    labels = label(Painter(), picture())
    assert labels is not None
    assert (labels[20:78, 20:43] == 15).all()  # sure up to the edges of the box
    assert (labels[20:78, 47:70] == 14).all()
    assert (labels[82:100, 20:70] == 255).all()
    assert not labels[:20].any()
    assert not labels[:, 70:].any()


def test_doubt_gives_nothing() -> None:
    assert label(Painter(steady=False), picture()) is None
    assert label(Painter(), np.zeros((50, 50, 3), np.uint8)) is None


def test_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--photos"):
        write_labels(Painter(), [], tmp_path)
    cv2.imwrite(str(tmp_path / "1.jpg"), picture())
    cv2.imwrite(str(tmp_path / "2.jpg"), np.zeros((50, 50, 3), np.uint8))
    assert write_labels(Painter(), [tmp_path / "1.jpg", tmp_path / "2.jpg"], tmp_path / "labels").kept == 1
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["1.png"]


def test_a_full_disk_is_no_success(tmp_path: Path) -> None:
    image = np.zeros((1200, 900, 3), np.uint8)
    image[200:1000, 200:700] = np.random.default_rng(0).choice([150, 255], (100, 100, 1)).repeat(8, 0).repeat(5, 1)
    cv2.imwrite(str(tmp_path / "1.jpg"), image)
    with pytest.raises(OutputError, match=r"1\.png: cannot be written"), room_for(4096):
        write_labels(Painter(), [tmp_path / "1.jpg"], tmp_path / "labels")
    assert not list((tmp_path / "labels").iterdir())
    assert write_labels(Painter(), [tmp_path / "1.jpg"], tmp_path / "labels").kept == 1


def test_weights_that_cannot_label_are_refused(tmp_path: Path) -> None:
    """By their card: graphs of other classes would be refused later, too."""
    repository, out = tmp_path / "models", tmp_path / "labels"
    shutil.copytree(ModelRepository.open().path, repository)
    path = repository / CARD
    card = json.loads(path.read_text())
    cv2.imwrite(str(tmp_path / "photo.jpg"), picture())
    arguments = ["pseudo-label", "--photos", str(tmp_path), "-o", str(out), "--repository", str(repository)]
    for own, said in (
        ({"tasks": {"parsing": {"trained": False}}}, "its parsing head is not trained"),
        ({"taxonomy": "mhp"}, "its parts are of mhp, and pseudo labels are of cihp"),
    ):
        path.write_text(json.dumps(card | own))
        result = CliRunner().invoke(build(), arguments)
        assert result.exit_code == 1
        assert f"error: {repository}: {said}" in result.output
        assert not out.exists()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photo_is_seen_upright_and_labelled_as_stored(tmp_path: Path, turn: int) -> None:
    """By its EXIF, whose turn training does not follow; what is upright has a left and a right arm."""
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[8:56, 16:64] = 255
    truth = label(Painter(), upright)
    stored = Image.fromarray(upright)
    # what EXIF's turn undoes
    undone = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    if turn > 1:
        stored = stored.transpose(Image.Transpose(undone[turn]))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / "a.JPG", exif=exif, quality=95)
    assert write_labels(Painter(), [tmp_path / "a.JPG"], tmp_path / "labels").kept == 1
    found = cv2.imread(str(tmp_path / "labels/a.png"), cv2.IMREAD_UNCHANGED)
    assert found.shape == stored.size[::-1]
    assert truth is not None
    same = turn_upright(found, turn) == truth
    assert same.mean() > 0.98


@pytest.mark.parametrize(("made", "says"), [(False, "no such folder"), (True, "no JPEG photos to label")])
def test_a_folder_without_photos_is_named(made: bool, says: str, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "labels"
    if made:
        photos.mkdir()
    done = CliRunner().invoke(build(), ["pseudo-label", "--photos", str(photos), "-o", str(out)])
    assert done.exit_code == 1
    assert f"error: {photos}: {says}" in done.output
    assert not out.exists()


def test_photos_that_get_no_label_are_counted(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "labels"
    photos.mkdir()
    for name in ("a.jpg", "b.JPG", "c.jpeg"):
        Image.new("RGB", (64, 48)).save(photos / name, "JPEG")
    for name in ("d.png", "notes.txt"):
        (photos / name).touch()
    done = CliRunner().invoke(build(), ["pseudo-label", "--photos", str(photos), "-o", str(out)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "0 of 3 photos labelled" in said
    assert "3 without a label: nobody is found, or nobody surely" in said
    assert "2 files left out (.png, .txt): photos to train on are JPEGs" in said


def test_photos_that_cannot_be_read_are_named_and_the_others_labelled(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "labels"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        cv2.imwrite(str(photos / name), picture())
    (photos / "a.jpg").write_bytes(b"no")
    (photos / "c.jpg").write_bytes((photos / "c.jpg").read_bytes()[:-400])
    written = write_labels(Painter(), sorted(photos.iterdir()), out)
    assert written.kept == 2
    assert [said.partition(": ")[0] for said in written.broken] == [str(photos / "a.jpg"), str(photos / "c.jpg")]
    assert sorted(path.name for path in out.iterdir()) == ["b.png", "d.png"]
    done = CliRunner().invoke(build(), ["pseudo-label", "--photos", str(photos), "-o", str(out)])
    assert done.exit_code == 0, done.output
    said = done.output.replace("\n", " ")
    assert "0 of 4 photos labelled" in said
    assert "2 without a label" in said
    for name in ("a.jpg", "c.jpg"):
        assert f"{photos / name}: not a JPEG that can be read" in said
