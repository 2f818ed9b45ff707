"""Mosaics of group photos: where their people are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from benchmarks.tiles import CELL, mosaic, mosaics


def test_boxes_move_with_their_photo_and_end_with_its_square() -> None:
    photos = []
    for number in range(4):
        photo = np.full((300, 500, 3), 10 * number, np.uint8)
        photo[20:60, 30:50] = 200 + number
        photos.append((photo, np.float32([[30, 20, 50, 60], [400, 0, 500, 300]]), np.float32([[0, 0, 9, 9]])))
    picture, boxes, ignored = mosaic(photos, 2)
    assert picture.shape == (2 * CELL, 2 * CELL, 3)
    assert len(boxes) == 8
    for number, (x1, y1, x2, y2) in enumerate(boxes[::2].astype(int)):
        assert (picture[y1:y2, x1:x2] == 200 + number).all()
    assert boxes[3].tolist() == [CELL + 400, 0, 2 * CELL, 300]  # what is beyond the square is cut off
    assert ignored[3].tolist() == [CELL, CELL, CELL + 9, CELL + 9]
    assert picture[299, 0, 0] == 0
    assert picture[300, 0, 0] == 114


def test_only_held_out_photos_are_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "groups" / "images"
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number in range(21):  # every fifth is held out: five of them
        photo = np.full((64, 64, 3), 10 * number, np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.png"), photo)
        images.append({"id": number, "file_name": f"{number:02}.png"})
        annotations.append({"id": number, "image_id": number, "bbox": [1, 2, 30, 40]})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "groups" / "annotations.json").write_text(json.dumps(document))
    (found,) = mosaics(tmp_path, 2)
    assert [int(found[0][y, x, 0]) for y in (0, CELL) for x in (0, CELL)] == [0, 50, 100, 150]
    assert found[1].tolist()[1] == [CELL + 1, 2, CELL + 31, 42]
