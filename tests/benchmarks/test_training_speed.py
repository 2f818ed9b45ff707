"""Training measured beside torchvision: the same pictures reach both."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.training_speed import table


def test_the_table_has_every_row_and_ratio() -> None:
    common = {"ms_median": 1000.0, "peak_rss_mb": 10.0}
    rows = [
        {"name": "a", "who": "ours", "pictures_per_second": 2.0, "peak_gpu_mb": 7.0, **common},
        {"name": "b", "who": "loader", "pictures_per_second": 0.8, "peak_gpu_mb": None, **common},
    ]
    quotient = {"median": 1.25, "least_round": 1.1, "greatest_round": 1.5}
    lines = table({"rows": rows, "ours_over_torchvision": {"none": quotient, "all": quotient}}).splitlines()
    assert len(lines) == 8
    assert lines[2] == "| a | 2.00 | 1.00 | 10 | 7 |"
    assert lines[3] == "| b | 0.80 | 1.00 | 10 |  |"
    assert "0.4 times" in lines[7]
    assert "fewer than 3 processes" in lines[7]
    assert "without heads | 1.25x (1.10-1.50)" in lines[4]


@pytest.mark.parametrize("who", ["ours", "torchvision", "loader"])
def test_a_worker_takes_a_step(who: str, tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="training needs torch and torchvision")
    from benchmarks.training_worker import parser, prepare

    folder = tmp_path / "Training"
    for name in ("Images", "Category_ids", "Human_ids"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem in "ab":
        mask = np.zeros((96, 64), np.uint8)
        mask[10:80, 20:50] = 1
        cv2.imwrite(str(folder / "Images" / f"{stem}.jpg"), rng.integers(0, 255, (96, 64, 3)).astype(np.uint8))
        cv2.imwrite(str(folder / "Category_ids" / f"{stem}.png"), mask * 5)
        cv2.imwrite(str(folder / "Human_ids" / f"{stem}.png"), mask)
    options = parser().parse_args([who, str(tmp_path), "--short-side", "64", "--heads", "none", "--device", "cpu"])
    about, step = prepare(options, tmp_path / "out")
    assert about["pictures"] == 2
    assert step() == {}
