"""The peer does the work of a trained network: people with a box and a mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

pytest.importorskip("torchvision", reason="the peer needs torch and torchvision")


@pytest.mark.parametrize("people", [1, 3])
def test_people_with_masks(people: int, tmp_path: Path) -> None:
    from benchmarks.frames import drawn_person
    from benchmarks.peer_maskrcnn import prepare

    photo = tmp_path / "photo.jpg"
    cv2.imwrite(str(photo), drawn_person())
    about, step = prepare(photo, sides=(96, 160), threads=1, people=people)
    assert "within 96x160" in str(about["name"])
    assert about["people"] == people
    assert step() == {}  # raises unless there are exactly so many detections with masks
