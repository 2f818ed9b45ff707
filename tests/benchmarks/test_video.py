"""The measures of the video benchmark, by hand, on a walk of drawn people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import video, video_memory
from benchmarks.make_eval import CutOut
from benchmarks.video import IuvScore, Score, flicker
from benchmarks.walk import MOST_OVERLAP, Truth, Walk
from parsing_rcnn.people import People
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.media import Frame


def person(colour: int) -> CutOut:
    labels = np.zeros((60, 30), np.uint8)
    labels[5:55, 5:25] = 5
    labels[5:15, 10:20] = 13
    image = np.full((60, 30, 3), colour, np.uint8)
    return CutOut(str(colour), image, labels)


@pytest.fixture(scope="module")
def walk() -> Walk:
    background = np.full((90, 160, 3), 90, np.uint8)
    return Walk([person(30), person(200), person(250)], background, seed=3, size=(180, 320), frames=30)


def tracked(truth: Truth, labels: np.ndarray, numbers: list[int]) -> Tracked:  # type: ignore[type-arg]
    """The truth's boxes; all labels given to the first person's full-frame box."""
    count = len(numbers)
    boxes = truth.boxes[:count]
    people = People(boxes, np.full(count, 0.9, np.float32), labels.shape, np.zeros((count, 8, 8), np.uint8))  # type: ignore[arg-type]
    return Tracked(Frame(0, 0.0, truth.image), people, np.array(numbers, np.intp), boxes)


def test_the_same_seed_gives_the_same_walk_and_people_hardly_overlap(walk: Walk) -> None:
    again = Walk(walk.people, walk._background, 3, size=(180, 320), frames=30)
    for index in (0, 17):
        np.testing.assert_array_equal(walk.frame(index).image, again.frame(index).image)
    assert walk._overlap(walk.gaits) <= MOST_OVERLAP
    truth = walk.frame(5)
    assert set(np.unique(truth.instances)) == {0, 1, 2, 3}
    assert set(np.unique(truth.labels)) == {0, 5, 13}
    ys, xs = np.nonzero(truth.instances == 3)
    x1, y1, x2, y2 = truth.boxes[2]
    assert x1 <= xs.min()
    assert xs.max() < x2
    assert y1 <= ys.min()
    assert ys.max() < y2


def test_flicker_is_what_changes_beyond_the_motion(walk: Walk) -> None:
    before, now = walk.frame(4), walk.frame(6)
    changed, compared = flicker(before, before.labels, now, now.labels)
    assert compared > 3000
    assert changed / compared < 0.08  # edges of the parts fall between pixels
    other = now.labels.copy()
    other[now.instances == 2] = 9  # one of three people is called something else
    changed, compared = flicker(before, before.labels, now, other)
    assert changed / compared == pytest.approx((now.instances == 2).sum() / (now.instances > 0).sum(), abs=0.08)


def test_iuv_wavers_by_the_pixels_that_change_charts_and_by_u_and_v_of_the_others(walk: Walk) -> None:
    def charts(truth: Truth, i: int, u: int, v: int) -> Tracked:
        """The same everywhere."""
        iuv = np.tile(np.array([i, u, v], np.uint8)[None, :, None, None], (1, 1, 8, 8))
        people = People(np.array([[0, 0, 320, 180]], np.float32), np.array([0.9], np.float32), (180, 320), iuv=iuv)
        return Tracked(Frame(0, 0.0, truth.image), people, np.array([1], np.intp), people.boxes)

    score = IuvScore()
    for index, values in enumerate(((1, 100, 50), (1, 110, 50), (2, 200, 50), (2, 200, 50))):
        truth = walk.frame(index)
        score.add(truth, charts(truth, *values))
    report = score.report()
    # one of three times the chart is another one; the other times U changes by 10 and by 0, and V never
    assert report["chart_flicker"] == pytest.approx(1 / 3, abs=0.01)
    assert report["uv_change"] == pytest.approx((10 / 2) / 2 / 255, rel=0.05)


def test_identity_switches_and_misses_are_counted(walk: Walk) -> None:
    score = Score()
    for index, numbers in enumerate(([1, 2, 3], [1, 2, 3], [1, 3, 2], [1, 3, 2], [1, 3])):
        truth = walk.frame(index)
        score.add(truth, tracked(truth, truth.labels, numbers))
    assert (score.switches, score.missed) == (2, 1)
    assert score.report()["box_lag_frames"] == 0


@pytest.mark.parametrize("program", [video, video_memory])
def test_data_that_is_absent_or_broken_is_named(program: Any, tmp_path: Path) -> None:
    (tmp_path / "ccp/images").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"--data"):
        program.main(["--data", str(tmp_path)])
    cv2.imwrite(str(tmp_path / "ccp/images/0003.jpg"), np.zeros((80, 60, 3), np.uint8))
    with pytest.raises(SystemExit, match=r"0003\.png"):  # its label map is not there
        program.main(["--data", str(tmp_path)])
