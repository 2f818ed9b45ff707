"""An asset folder as `parsing-rcnn render --assets` opens it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from training.data.synthetic.assets import Assets


def test_an_eye_is_cut_out_of_its_texture(tmp_path: Path) -> None:
    for name in ("clothes", "hair", "skins", "eyes/materials"):
        (tmp_path / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "skins" / "pale_diffuse.jpg"), np.full((64, 64, 3), 200, np.uint8))
    # MakeHuman's layout: two eyeballs, the lower one left
    texture = np.full((512, 512, 4), 170, np.uint8)
    for middle in ((150, 358), (361, 152)):
        cv2.circle(texture, middle, 147, (230, 230, 230, 255), -1)
        cv2.circle(texture, middle, 58, (20, 60, 200, 255), -1)  # BGR: an orange iris
        cv2.circle(texture, middle, 18, (0, 0, 0, 255), -1)
    cv2.imwrite(str(tmp_path / "eyes" / "materials" / "orange_eye.png"), texture)
    eyes = Assets.open(tmp_path).eyes
    assert list(eyes) == ["orange_eye"]
    front = eyes["orange_eye"].astype(int)
    assert front.shape == (64, 64, 3)
    assert front[30:34, 30:34].max() < 40
    for row, column in ((32, 22), (32, 41), (22, 32), (41, 32)):  # around it, on every side
        red, green, blue = front[row, column]
        assert red > 150
        assert 100 > green > blue
    assert front[32, [4, 60]].min() > 200
