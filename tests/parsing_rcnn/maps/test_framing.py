"""Maps cover what the picture's edge leaves of a box: worked out by hand, and by one canvas read in two ways."""

from __future__ import annotations

import numpy as np
import pytest

from export.rendered.pictures import render_scene
from parsing_rcnn.analyzer import Options
from parsing_rcnn.geometry import PAD_VALUE, Window
from parsing_rcnn.maps.framing import framed
from parsing_rcnn.pipeline import Pipeline

ROWS = np.repeat(np.array([1, 2, 3, 4], np.uint8)[:, None], 4, 1)  # a map whose rows differ


def test_the_lower_half_of_a_box_is_cut_away() -> None:
    """Rows of 5 pixels from 10 to 30; the picture ends at 20, so the new rows lie at 11.25, 13.75, 16.25, 18.75."""
    window = Window(1, 1, 0, 0, 20, 40)
    boxes = np.array([[0, 10, 8, 30], [0, 0, 8, 20]], np.float32)
    parts = np.stack([ROWS, ROWS])
    iuv = np.stack([ROWS, ROWS * 10, ROWS * 20])[None].repeat(2, 0)
    probs = np.array([0, 40, 80, 200, 0], np.uint8)[ROWS][None, None].repeat(2, 0)
    given = {"PARTS": parts, "IUV": iuv, "PART_PROBS": probs}
    before = {name: array.copy() for name, array in given.items()}
    cut, maps = framed(window, boxes, given)
    assert cut.tolist() == [[0, 10, 8, 20], [0, 0, 8, 20]]
    assert maps["PARTS"][0].tolist() == [[1] * 4, [1] * 4, [2] * 4, [2] * 4]
    assert maps["IUV"][0, :, :, 0].tolist() == [[1, 1, 2, 2], [10, 10, 20, 20], [20, 20, 40, 40]]
    # between the middles of the old rows, 12.5, 17.5 and so on: level, a quarter, three quarters, a quarter further
    assert maps["PART_PROBS"][0, 0, :, 0].tolist() == [40, 50, 70, 110]
    assert (maps["PARTS"][1] == ROWS).all()
    for name, array in before.items():
        assert (given[name] == array).all()


def test_probabilities_between_cells_are_rounded_to_the_nearest() -> None:
    """The picture ends at half of the box, so the new rows lie a quarter of a cell off the old ones."""
    probs = np.array([0, 11, 22, 33], np.uint8)[None, None, :, None].repeat(4, 3)
    _, maps = framed(Window(1, 1, 0, 0, 8, 4), np.array([[0, 0, 4, 16]], np.float32), {"PART_PROBS": probs})
    assert maps["PART_PROBS"][0, 0, :, 0].tolist() == [0, 3, 8, 14]  # of 0, 2.75, 8.25 and 13.75


def test_scores_are_of_what_the_cells_show() -> None:
    """The edge cuts classes 3 and 4 of the first person, the second keeps all; nobody's cells show 0, 5 and above."""
    boxes = np.array([[0, 10, 8, 30], [0, 0, 8, 20]], np.float32)
    parts = np.stack([ROWS, ROWS])
    given = {
        "PARTS": parts,
        "PART_SCORES": np.full((2, 20), 0.5, np.float32),
        "IUV": np.stack([parts, parts + 10, parts + 10], 1),
        "IUV_SCORES": np.full((2, 25), 0.5, np.float32),
    }
    before = {name: array.copy() for name, array in given.items()}
    for sweep in (True, False):
        _, maps = framed(Window(1, 1, 0, 0, 20, 40), boxes, given, sweep=sweep)
        for name in ("PART_SCORES", "IUV_SCORES"):
            assert [np.flatnonzero(own).tolist() for own in maps[name]] == [[1, 2], [1, 2, 3, 4]]
            assert (maps[name].dtype, maps[name].max()) == (np.float32, 0.5)
    for name, array in before.items():
        assert (given[name] == array).all()
    scored = {**given, "IUV_SCORES": np.float32(0.5) * np.isin(np.arange(25), [1, 2])[None].repeat(2, 0)}
    whole = framed(Window(1, 1, 0, 0, 40, 40), boxes, scored)[1]
    assert whole["IUV_SCORES"] is scored["IUV_SCORES"]  # handed on where there is nothing to take out


def test_left_edges_scales_and_offsets() -> None:
    """The picture, at half its size, begins 10 canvas pixels from the left: of columns 2, 6, 10, 14 the upper half."""
    window = Window(0.5, 0.5, 0, 10, 100, 100)
    columns = ROWS.T[None]
    cut, maps = framed(window, np.array([[2, 0, 18, 40]], np.float32), {"PARTS": np.ascontiguousarray(columns)})
    assert cut.tolist() == [[0, 0, 16, 80]]
    assert maps["PARTS"][0].tolist() == [[3, 3, 4, 4]] * 4


def test_uncut_boxes_pass_and_a_box_outside_does_no_harm() -> None:
    window = Window(1, 1, 0, 0, 20, 40)
    maps = {"PARTS": ROWS[None]}
    assert framed(window, np.array([[1, 1, 9, 9]], np.float32), maps)[1]["PARTS"] is maps["PARTS"]
    for box in ([0, 25, 8, 30], [0, 30, 8, 30], [41, 21, 41, 21]):
        cut, found = framed(window, np.array([box], np.float32), maps)
        assert (cut[0, 3], found["PARTS"].shape) == (20, (1, 4, 4))
    cut, found = framed(window, np.zeros((0, 4), np.float32), {"PARTS": ROWS[None][:0]})
    assert cut.shape == (*found["PARTS"].shape[:1], 4)


@pytest.mark.parametrize(
    ("people", "shape", "canvas", "least"), [(3, (330, 640), (384, 640), 0.98), (2, (480, 170), (640, 384), 0.9)]
)
def test_a_canvas_says_the_same_with_its_grey_as_padding_and_as_picture(
    people: int, shape: tuple[int, int], canvas: tuple[int, int], least: float
) -> None:
    """A street that ends within people (below, or on the right), and the same with the grey painted on: one canvas.

    Squeezed into what the edge leaves of their boxes, maps would agree in 0.95 and 0.70 of the pixels of people. In
    fp32: the canvases differ by the edge's interpolation, for which INT8 chooses another of two boxes of one person.
    """
    pipeline = Pipeline(precision="fp32", threads=1)
    height, width = shape
    cut = np.ascontiguousarray(render_scene(8, 480, 640, people)[:height, :width])
    whole_height = max(height, round(width * canvas[0] / canvas[1]))
    whole_width = max(width, round(height * canvas[1] / canvas[0]))
    whole = np.full((whole_height, whole_width, 3), PAD_VALUE, np.uint8)
    whole[:height, :width] = cut
    options = Options(confidence=0.3)
    one, other = pipeline.analyze(cut, options), pipeline.analyze(whole, options)
    assert len(one) == len(other) > 0
    assert (other.boxes[:, 2:] > (width + 2, height + 2)).any(), "nobody reaches into the grey: this shows nothing"
    pairs = [
        (one.label_map(), other.label_map()[:height, :width]),
        (one.iuv_map()[0][..., 0], other.iuv_map()[0][:height, :width, 0]),
    ]
    for said, wanted in pairs:
        somebody = (said > 0) | (wanted > 0)
        assert (said == wanted)[somebody].mean() > least
