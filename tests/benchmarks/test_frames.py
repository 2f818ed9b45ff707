from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.frames import drawn_person, frame_of, jpeg, read_photo


@pytest.mark.parametrize("size", [(512, 341), (300, 900), (1080, 1920)])
def test_frame_is_1080p_with_the_whole_photo_in_the_middle(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 20, np.uint8)
    photo[0, :] = photo[-1, :] = photo[:, 0] = photo[:, -1] = 250
    frame = frame_of(photo)
    assert frame.shape == (1080, 1920, 3)
    scale = min(1080 / size[0], 1920 / size[1])
    edge = (1080 - round(size[0] * scale)) // 2, (1920 - round(size[1] * scale)) // 2
    assert frame[edge[0], 960, 0] > 120
    assert frame[540, edge[1], 0] > 120
    assert frame[540, 960, 0] == 20


def test_a_photo_or_the_drawn_figure(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), photo)
    np.testing.assert_array_equal(read_photo(None), drawn_person())
    (tmp_path / "b.png").write_bytes(b"no picture")
    for name in ("b.png", "absent.png"):
        with pytest.raises(OSError, match=f"{name}: no picture that OpenCV reads"):
            read_photo(tmp_path / name)


def test_a_jpeg_is_the_picture() -> None:
    again = cv2.imdecode(np.frombuffer(jpeg(drawn_person()), np.uint8), cv2.IMREAD_COLOR)
    assert again.shape == drawn_person().shape
    assert np.abs(again.astype(int) - drawn_person()).mean() < 3
