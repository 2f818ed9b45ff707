"""The legend: every colour is there, in order, beside something written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE, DENSEPOSE_COARSE, MHP, Taxonomy


def swatches(picture: NDArray[np.uint8], taxonomy: Taxonomy) -> list[int]:
    """Classes whose colour fills a square, by column and row of its corner."""
    found = []
    for class_id, colour in enumerate(taxonomy.palette[1:].tolist(), 1):
        rows, columns = np.nonzero((picture == colour).all(axis=-1))
        if len(rows) >= 36:
            found.append((int(columns.min()) // 20, int(rows.min()), class_id))
    return [class_id for _, _, class_id in sorted(found)]


@pytest.mark.parametrize(
    ("taxonomy", "columns"), [(CIHP, 1), (CIHP, 2), (DENSEPOSE, 2), (DENSEPOSE_COARSE, 1), (MHP, 3)], ids=str
)
def test_all_classes_but_the_background_in_order(taxonomy: Taxonomy, columns: int) -> None:
    picture = draw.legend(taxonomy, columns=columns)
    assert picture.dtype == np.uint8
    assert swatches(picture, taxonomy) == list(range(1, len(taxonomy)))


def test_chosen_classes_stand_beside_their_names() -> None:
    picture = draw.legend(CIHP, np.array([0, 13, 2], np.uint8), row=40)
    assert swatches(picture, CIHP) == [13, 2]
    assert picture.shape[0] == 2 * 40 + 2 * 10
    face, hair = (picture[10 + 40 * k : 50 + 40 * k, 40:].min(axis=-1) < 100 for k in range(2))
    assert face.any()
    assert hair.any()
    assert not np.array_equal(face, hair)
    margins = (picture[:10], picture[-10:], picture[:, -5:])
    assert all((margin == 255).all() for margin in margins)  # no letter is cut


@pytest.mark.parametrize("classes", [{2, 13}, {2: 9.0, 13: 4.0}.keys(), range(2, 14, 11), [np.uint8(2), 13], (2, 13)])
def test_ids_may_be_any_iterable(classes: Iterable[int]) -> None:
    assert np.array_equal(draw.legend(CIHP, classes), draw.legend(CIHP, np.array([2, 13])))
    assert np.array_equal(draw.legend(CIHP, (k for k in (2, 13))), draw.legend(CIHP, np.array([2, 13])))


@pytest.mark.parametrize("classes", [[1.7], np.ones(20, bool), [True, False], "12", ["Hat"], np.array([2.0])])
def test_ids_that_are_not_integers_are_refused(classes: Any) -> None:
    with pytest.raises(
        TypeError, match=r"classes are integers, as in np\.unique\(people\.label_map\(\)\), and these are"
    ):
        draw.legend(CIHP, classes)


def test_a_legend_of_no_classes_is_white() -> None:
    assert (draw.legend(CIHP, [0]) == 255).all()
    assert np.array_equal(draw.legend(CIHP, []), draw.legend(CIHP, [0]))


@pytest.mark.parametrize(("given", "says"), [({"classes": [20]}, "class 20: cihp has 0..19"), ({"columns": 0}, "one")])
def test_impossible_arguments_are_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        draw.legend(CIHP, **given)  # type: ignore[arg-type]
