"""Sheets of annotations that lie anywhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from training.evaluation.evaluate import GroupResult
from training.evaluation.sheets import group_sheet
from training.metrics.detection import PictureBoxes


def test_boxes_far_outside_a_picture_are_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    """OpenCV refuses places that are no 32-bit integers."""
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((256, 256, 3), np.uint8))
    nobody = np.zeros((0, 4), np.float32)
    boxes = np.array([[100, -1e9, 1e9, 1e12], [1e9, 1e9, 2e9, 2e9]], np.float32)
    sheet = group_sheet([GroupResult(path, PictureBoxes(nobody, np.zeros(0, np.float32), boxes, nobody))])
    white = (sheet[40:256, :256] == 255).all(2)
    assert white[:, 99:102].all()
    assert not white[:, :97].any()
    assert not white[:, 104:].any()
