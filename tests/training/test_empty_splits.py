"""Folders of which the split leaves nothing to train on, or nothing to measure: said in a sentence, before the work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from tests.training.conftest import write_data
from tests.training.helpers import TruthTeller, recipe
from training.data.mixture import Mixture
from training.data.sources import background_photos
from training.errors import DatasetError, EmptySplitError
from training.evaluation.evaluate import evaluate


def keep_photos(root: Path, *names: str) -> None:
    for path in (root / "ccp/images").glob("*.jpg"):
        if path.stem not in names:
            path.unlink()


def keep_groups(root: Path, count: int) -> None:
    path = root / "groups/annotations.json"
    document = json.loads(path.read_text())
    document["images"] = document["images"][:count]
    known = {image["id"] for image in document["images"]}
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] in known]
    path.write_text(json.dumps(document))


def keep_backgrounds(root: Path, count: int) -> None:
    for path in sorted((root / "backgrounds").glob("*.jpg"))[count:]:
        path.unlink()


@pytest.fixture
def data(data_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data_folder, tmp_path / "data"))


@pytest.mark.parametrize(
    ("shrink", "says"),
    [
        (lambda r: keep_photos(r, "0003"), "ccp/images: 1 picture, and none of them is left to train on: .* ends in 3"),
        (keep_photos, "ccp/images: 0 pictures, and none of them is left to train on"),
        (lambda r: keep_groups(r, 1), "annotations.json: 1 picture, and none of them is left to train on: every fifth"),
        (lambda r: keep_groups(r, 0), "annotations.json: 0 pictures, and none of them is left to train on"),
        (lambda r: keep_backgrounds(r, 1), "backgrounds: 1 picture, and none of them is left to train on: every third"),
        (lambda r: keep_backgrounds(r, 0), "backgrounds: no JPEG pictures here"),
    ],
)
def test_nothing_to_train_on_is_said_at_the_start(shrink: Callable[[Path], None], says: str, data: Path) -> None:
    shrink(data)
    with pytest.raises(DatasetError, match=says):
        Mixture(data, recipe())


def test_what_is_left_is_trained_on(data: Path) -> None:
    keep_photos(data, "0001")
    keep_groups(data, 2)
    keep_backgrounds(data, 2)
    assert len(Mixture(data, recipe())[0]) == 2


def test_what_holds_nothing_out_is_left_out_and_the_rest_is_measured(data: Path) -> None:
    keep_photos(data, "0001", "0002")
    teller = TruthTeller()
    teller.learn(data / "backgrounds/b0.jpg", [], [])
    teller.learn(data / "backgrounds/b3.jpg", [], [])
    keep_groups(data, 0)
    result = evaluate(teller, data)
    assert set(result.figures) == {"backgrounds", "model"}
    assert "ccp/images: 2 pictures, and none of them is held out, to measure on" in result.absent["photos"]
    assert "annotations.json: 0 pictures, and none of them is held out" in result.absent["groups"]
    keep_backgrounds(data, 0)
    with pytest.raises(DatasetError, match=r"nothing to measure: .*ccp/images: 2 pictures"):
        evaluate(teller, data)


@pytest.mark.parametrize("words", [["quantize", "--calibrate", "DATA/ccp/images", "--out", "OUT"], ["verify"]])
def test_commands_that_measure_on_photos_refuse_before_they_begin(words: list[str], data: Path, tmp_path: Path) -> None:
    keep_photos(data, "0001", "0002")
    given = [word.replace("DATA", str(data)).replace("OUT", str(tmp_path / "out")) for word in words]
    done = CliRunner().invoke(build(), [*given, "--data", str(data)])
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)
    assert "ccp/images: 2 pictures, and none of them is held out, to measure on" in done.output
    assert not (tmp_path / "out").exists()


def test_held_out_backgrounds_are_there_as_soon_as_any_is(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    keep_backgrounds(data, 1)
    assert len(background_photos(data / "backgrounds", validation=True)) == 1
    with pytest.raises(EmptySplitError):
        background_photos(data / "backgrounds")
