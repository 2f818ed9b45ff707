"""The files of one picture hold what its People say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from parsing_rcnn.people import People
from parsing_rcnn_client.outputs import write_outputs


@pytest.mark.parametrize("exact", [False, True])
def test_exact_is_for_iuv_as_well(tmp_path: Path, exact: bool) -> None:
    """U rises across a box of 4 cells on 40 pixels: in steps, or between the cells where it is to be exact."""
    iuv = np.full((1, 3, 4, 4), 2, np.uint8)
    iuv[0, 1] = [0, 60, 120, 180]
    box = np.array([[0, 0, 40, 40]], np.float32)
    people = People(box, np.ones(1, np.float32), (40, 40), iuv=iuv)
    write_outputs(tmp_path / "a", people, np.zeros((40, 40, 3), np.uint8), exact=exact)
    u = cv2.imread(str(tmp_path / "a_IUV.png"), cv2.IMREAD_COLOR)[20, :, 1]
    assert (len(np.unique(u)) > 20) == exact
    if not exact:
        assert u.tolist() == np.repeat([0, 60, 120, 180], 10).tolist()
