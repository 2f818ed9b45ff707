"""The peer does the work of a trained network: one person with a box and a mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

pytest.importorskip("torchvision", reason="the peer needs torch and torchvision")


def test_one_person_with_mask(tmp_path: Path) -> None:
    from benchmarks.embedded import drawn_person
    from benchmarks.peer_maskrcnn import prepare

    photo = tmp_path / "photo.jpg"
    cv2.imwrite(str(photo), drawn_person())
    about, step = prepare(photo, short_side=96, threads=1)
    assert "short side 96" in str(about["name"])
    assert about["people"] == 1
    assert step() == {}  # raises unless there is exactly one detection with a mask
