"""Specks: an island of a few cells goes to what surrounds it, in the labels, the scores and the probabilities."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.geometry import Window
from parsing_rcnn.maps.framing import framed
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn.triton_models import Postprocess

SIDE = 128
BOX = np.array([[10, 10, 138, 266]], np.float32)
WINDOW = Window(1, 1, 0, 0, 300, 200)
SKIRT, LEG, SOCKS, SHOE = 12, 16, 8, 18


def body() -> NDArray[np.uint8]:
    """A skirt, a leg below it and a shoe below that, with nobody around."""
    cells = np.zeros((SIDE, SIDE), np.uint8)
    cells[10:60, 30:100] = SKIRT
    cells[60:110, 40:80] = LEG
    cells[110:125, 40:80] = SHOE
    return cells


def maps_of(cells: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
    """What the heads say: the class of each cell is 60 % sure, the leg is the second everywhere."""
    classes = np.arange(len(CIHP))[:, None, None]
    probabilities = np.where(classes == cells, 153, np.where(classes == LEG, 90, 0)).astype(np.uint8)
    scores = np.where(np.bincount(cells.ravel(), minlength=len(CIHP)) > 0, 0.6, 0).astype(np.float32)
    return {"PARTS": cells[None], "PART_SCORES": scores[None], "PART_PROBS": probabilities[None]}


def seen(cells: NDArray[np.uint8]) -> People:
    return read(maps_of(cells))


def read(given: dict[str, NDArray[np.generic]]) -> People:
    before = {name: array.copy() for name, array in given.items()}
    boxes, maps = framed(WINDOW, BOX, given)
    for name, array in before.items():
        assert np.array_equal(given[name], array)
    sure = np.array([0.9], np.float32)
    return People(
        boxes, sure, (300, 200), parts=maps["PARTS"], part_scores=maps["PART_SCORES"], part_probs=maps["PART_PROBS"]
    )


def islands(labels: NDArray[np.uint8]) -> int:
    present = np.unique(labels).tolist()
    return sum(cv2.connectedComponents((labels == k).astype(np.uint8), connectivity=4)[0] - 1 for k in present)


def test_a_class_of_seven_cells_is_gone_from_labels_scores_and_probabilities() -> None:
    cells = body()
    cells[80:82, 50:53] = SOCKS
    cells[82, 50] = SOCKS  # 7 cells amid the leg
    people = seen(cells)
    assert people.parts is not None
    assert people.part_scores is not None
    assert np.array_equal(people.parts[0], body())
    assert np.flatnonzero(people.part_scores[0]).tolist() == [0, SKIRT, LEG, SHOE]
    for labels in (people.label_map(), people.label_map(exact=True)):
        assert set(np.unique(labels)) == {0, SKIRT, LEG, SHOE}
        assert islands(labels) == 4
    assert people.areas(0)[SOCKS] == 0


def test_a_class_that_is_gone_does_not_come_back_between_cells() -> None:
    cells = body()
    cells[80:82, 50:53] = SOCKS
    given = maps_of(cells)
    given["PART_PROBS"][0, SOCKS, 55:65] = 140  # the second in every cell where the skirt meets the leg
    assert SOCKS not in read(given).label_map(exact=True)
    given["PARTS"][0, 113:116, 50:53] = SOCKS  # nine cells elsewhere: it is worn, and wins there
    assert SOCKS in read(given).label_map(exact=True)[10 + 2 * 55 : 10 + 2 * 65]


def test_a_class_of_eight_cells_stays() -> None:
    cells = body()
    cells[80:82, 50:54] = SOCKS
    people = seen(cells)
    assert people.parts is not None
    assert people.part_scores is not None
    assert np.array_equal(people.parts[0], cells)
    assert people.part_scores[0, SOCKS] > 0
    assert people.part_probs is not None
    assert np.array_equal(people.part_probs, maps_of(cells)["PART_PROBS"])


def test_a_class_keeps_what_is_large_and_loses_its_specks() -> None:
    cells = body()
    cells[30, 40:44] = SHOE  # on the skirt
    cells[3, 3] = SHOE  # beside everybody, at no edge
    cells[0, 0] = SHOE  # in the corner of the map
    cells[70, 60] = 0  # a hole in the leg
    cells[80:82, 50:53] = SKIRT  # on the leg, and of equal probabilities the lower class wins
    people = seen(cells)
    assert people.parts is not None
    assert people.part_scores is not None
    assert np.array_equal(people.parts[0], body())
    assert people.part_scores[0, SHOE] > 0
    assert islands(people.label_map(exact=True)) == 4


def test_cells_at_a_corner_are_no_neighbours_but_surround() -> None:
    cells = body()
    for step in range(12):
        cells[70 + step, 50 + step] = SOCKS  # twelve islands of one cell
    assert np.array_equal(seen(cells).parts, body()[None])


def test_a_speck_at_the_edge_of_the_map_goes_to_the_class_beside_it() -> None:
    cells = np.zeros((SIDE, SIDE), np.uint8)
    cells[20:110, 1:60] = LEG
    cells[40:47, 0] = SOCKS  # seven sides in common with the leg on the right, one above and one below with nobody
    speckless = seen(cells).parts
    assert speckless is not None
    assert (speckless[0, 40:47, 0] == LEG).all()


def test_a_coarse_map_has_no_specks() -> None:
    cells = np.zeros((1, 32, 32), np.uint8)
    cells[0, 5:25, 5:25] = SKIRT
    cells[0, 10, 10] = SOCKS  # as large as 16 cells of 128 x 128
    assert np.array_equal(framed(WINDOW, BOX, {"PARTS": cells})[1]["PARTS"], cells)


def test_a_step_of_triton_answers_without_specks() -> None:
    cells = body()
    cells[80, 50:54] = SOCKS
    given = {name: array for name, array in maps_of(cells).items() if name != "PART_PROBS"}
    step = Postprocess.__new__(Postprocess)
    inputs = {"WINDOW": WINDOW.to_array(), "BOXES": BOX, "COUNT": np.array([1], np.int32), **given}
    answer = step.run({**inputs, "SCORES": np.array([0.9], np.float32)}, {})
    assert np.array_equal(answer["PARTS"][0], body())
    assert np.flatnonzero(answer["PART_SCORES"][0]).tolist() == [0, SKIRT, LEG, SHOE]


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_survived_and_nothing_is_made_up(seed: int) -> None:
    cells = np.random.default_rng(seed).integers(0, 20, (1, SIDE, SIDE), np.uint8)
    swept = framed(WINDOW, BOX, {"PARTS": cells})[1]["PARTS"]
    assert swept.shape == cells.shape
    assert set(np.unique(swept)) <= set(np.unique(cells))
