from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parsing_rcnn.people import People


def people() -> People:
    """Two of four cells are hair and one a face; the other person's maps show nobody."""
    parts = np.array([[[2, 2], [13, 0]], [[0, 0], [0, 0]]], np.uint8)
    part_scores, iuv_scores = np.zeros((2, 20), np.float32), np.zeros((2, 25), np.float32)
    part_scores[:, [0, 2, 13]] = [0.9, 0.5, 0.2]
    iuv = np.zeros((2, 3, 2, 2), np.uint8)
    iuv[0, 0] = [[23, 24], [24, 24]]
    iuv_scores[0, [23, 24]] = [0.8, 0.4]
    boxes, scores = np.array([[0, 0, 2, 2], [2, 0, 4, 2]], np.float32), np.array([0.9, 0.5], np.float32)
    return People(boxes, scores, (2, 4), parts, part_scores, iuv=iuv, iuv_scores=iuv_scores)


def test_the_mean_over_the_cells_of_somebody() -> None:
    assert people().certainty("parsing").tolist() == pytest.approx([(2 * 0.5 + 0.2) / 3, 0])
    assert people().certainty("densepose").tolist() == pytest.approx([(0.8 + 3 * 0.4) / 4, 0])
    assert people().map_scores("densepose").tolist() == pytest.approx([0.9 * 0.5, 0])
    assert people().map_scores("densepose").dtype == np.float32
    assert people().certainty("parsing").dtype == np.float32


def test_cells_of_a_part_without_a_score_are_not_counted() -> None:
    seen = people()
    assert seen.iuv_scores is not None
    seen.iuv_scores[0, 23] = 0  # a cell that the coarser map did not show
    assert seen.certainty("densepose").tolist() == pytest.approx([0.4, 0])
    seen.iuv_scores[0, 24] = 0
    assert seen.certainty("densepose").tolist() == [0, 0]


def test_without_probabilities_the_box_alone_ranks() -> None:
    for fields in ({"part_scores": None}, {"parts": None}):
        assert replace(people(), **fields).map_scores("parsing").tolist() == pytest.approx([0.9, 0.5])
    assert replace(people(), iuv_scores=None).map_scores("densepose").tolist() == pytest.approx([0.9, 0.5])
    assert People.empty((3, 4)).map_scores("parsing").shape == (0,)


def test_a_task_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="'iuv' is unknown; choose from parsing, densepose"):
        people().certainty("iuv")


def test_detectron2s_charts_are_ranked_by_both() -> None:
    assert [chart.score for chart in people().to_densepose()] == pytest.approx([0.45, 0])
