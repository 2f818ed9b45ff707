"""curves.png and sheet.png of a run, as pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from tests.training.helpers import LIGHT, SMALL, measuring, published, recipe
from tests.training.tiny import NARROW
from training.curves import plot_curves
from training.report import sheet_pictures, write_report
from training.train import Trainer

CELL = 288


def read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


def cells(sheet: NDArray[np.uint8]) -> int:
    """Places of a sheet with a picture in them."""
    rows, columns = sheet.shape[0] // CELL, sheet.shape[1] // CELL
    return int((sheet.reshape(rows, CELL, columns, CELL, 3).min((1, 3, 4)) < 255).sum())


def test_a_run_on_a_dataset_of_ones_own_gets_a_sheet(tmp_path: Path) -> None:
    data, out = published(tmp_path / "CIHP"), tmp_path / "run"
    own = (f"data.annotated={data}", "data.sources={annotated: 1}", "train.iterations=1", "model.rpn.proposals_test=4")
    options = [part for item in (*SMALL, *NARROW, *own) for part in ("--set", item)]
    nowhere = str(tmp_path / "absent")
    result = CliRunner().invoke(build(), ["train", str(LIGHT), "--data", nowhere, "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    assert "drawing curves.png and sheet.png" in result.output
    assert cells(read(out / "sheet.png")) == 3  # the validation split, not the two pictures of the other


def test_pictures_come_from_every_validation_split(tmp_path: Path) -> None:
    first, second = published(tmp_path / "a"), published(tmp_path / "b")
    config = measuring(f"[{first}, {second}]")
    chosen = sheet_pictures(config, tmp_path)
    assert [path.parent for path in chosen] == [first / "Validation/Images"] * 3 + [second / "Validation/Images"] * 3
    assert not sheet_pictures(measuring(first, "train.parsing=false"), tmp_path)  # nothing to paint


def test_rendered_people_are_shown_where_nothing_is_held_out(tmp_path: Path, rendered_folder: Path) -> None:
    config = recipe(f"data.annotated={rendered_folder}", f"data.rendered={rendered_folder}")
    assert sheet_pictures(config, tmp_path) == sorted((rendered_folder / "Images").glob("*.jpg"))
    assert not sheet_pictures(recipe("data.rendered=absent"), tmp_path)


def test_our_own_photos_come_first(tmp_path: Path, data_folder: Path) -> None:
    config = measuring(published(tmp_path / "CIHP"))
    (photo, *groups) = sheet_pictures(config, data_folder)
    assert photo.parent == data_folder / "ccp/images"
    assert {path.parent for path in groups} <= {data_folder / "groups/images"}
    shutil.copytree(data_folder / "ccp", tmp_path / "data" / "ccp")
    assert [path.name for path in sheet_pictures(config, tmp_path / "data")] == [photo.name]  # groups are absent


def test_a_picture_that_cannot_be_read_leaves_the_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = published(tmp_path / "CIHP"), tmp_path / "run"
    config = measuring(data, "train.iterations=1")
    Trainer(config, tmp_path, out).run()
    pictures = sheet_pictures(config, tmp_path)
    pictures[1].write_bytes(b"no")
    write_report(out, pictures)
    assert cells(read(out / "sheet.png")) == 2
    assert str(pictures[1]) in capsys.readouterr().err


def write_log(path: Path, rows: int, **validation: list[float]) -> None:
    """Losses that fall; figures after the first rows."""
    losses = [{"step": 10 * n, "s/batch": 1.0, "minutes": n / 6, "parsing": 3 / n} for n in range(1, rows + 1)]
    measured = [
        {"step": 10 * number, "validation": {"CIHP, Validation": dict(zip(validation, figures, strict=True))}}
        for number, figures in enumerate(zip(*validation.values(), strict=True), start=1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in (*losses, *measured)))


def blue(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels of the first line of a panel: matplotlib's C0."""
    return np.asarray(np.abs(image.astype(int) - (180, 119, 31)).sum(2) < 30)


@pytest.mark.parametrize("rows", [1, 3, 12, 100])
def test_curves_of_short_runs_are_seen(tmp_path: Path, rows: int) -> None:
    """Over as many rows as are there, the mean of up to twenty would be a single point without extent."""
    write_log(tmp_path / "log.jsonl", rows)
    plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    columns = np.flatnonzero(blue(read(tmp_path / "curves.png")).any(0))
    assert np.ptp(columns) > (3 if rows == 1 else 150)


def test_curves_show_whether_a_model_improves(tmp_path: Path) -> None:
    write_log(tmp_path / "log.jsonl", 40)
    plot_curves(tmp_path / "log.jsonl", tmp_path / "losses.png")
    write_log(tmp_path / "log.jsonl", 40, miou=[0.1, 0.3, 0.6], box_ap=[0.6, 0.6, 0.6])
    plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    alone, both = read(tmp_path / "losses.png"), read(tmp_path / "curves.png")
    panel = both[:, alone.shape[1] :]
    assert panel.shape[1] > 300
    columns = np.flatnonzero(blue(panel).any(0))
    begin, end = (np.flatnonzero(blue(panel)[:, at]) for at in (columns[0] + 3, columns[-1] - 3))
    assert begin.max() > end.min() + 100  # rows count downwards: mIoU, the first line, rises


def test_a_measuring_that_failed_is_no_panel(tmp_path: Path) -> None:
    write_log(tmp_path / "log.jsonl", 40)
    plot_curves(tmp_path / "log.jsonl", tmp_path / "losses.png")
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 7, "validation": None, "validation_failed": "cut off"}) + "\n")
    plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert read(tmp_path / "curves.png").shape == read(tmp_path / "losses.png").shape
