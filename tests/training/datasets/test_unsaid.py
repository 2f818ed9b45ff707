"""255 of a label map, where nobody says what is there, is nobody: neither a person of its own nor part of one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.datasets.layouts import per_person, run, save, two_people
from tests.training.helpers import recipe
from training.data.datasets.check import find_datasets
from training.data.mixture import Mixture
from training.errors import DatasetError

BOXES = [[4, 4, 18, 30], [30, 8, 44, 36]]


def around(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels within four of a mask, outside it."""
    return (cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~mask


def test_borders_of_255_in_both_maps_are_no_person(cihp: Path) -> None:
    parts, human = two_people()
    edges = cv2.morphologyEx(human, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    for index in range(2):
        save(cihp / f"Training/Category_ids/{index:07d}.png", np.where(edges, 255, parts).astype(np.uint8))
        save(cihp / f"Training/Human_ids/{index:07d}.png", np.where(edges, 255, human).astype(np.uint8))
    code, said = run(str(cihp))
    assert (code, "2 pictures, 4 people" in said) == (0, True)
    record = find_datasets(cihp)[0].read(0)
    assert [person.label for person in record.people] == [1, 2]
    assert record.parts is not None
    assert record.instances is not None
    assert (record.parts[edges] == 255).all()
    assert set(np.unique(record.instances)) == {0, 1, 2}


def test_a_class_of_nobody_in_particular_is_not_learnt(cihp: Path) -> None:
    parts, human = two_people()
    human[8:20, 30:44] = 255
    human[:2] = 255  # and background, of which no more has to be known
    save(cihp / "Training/Human_ids/0000000.png", human)
    record = find_datasets(cihp)[0].read(0)
    assert [person.box.tolist() for person in record.people] == [BOXES[0], [30, 20, 44, 36]]
    assert record.parts is not None
    assert (record.parts[8:20, 30:44] == 255).all()
    assert (record.parts[:2] == 0).all()
    np.testing.assert_array_equal(record.parts[20:], parts[20:])


@pytest.mark.parametrize("layout", ["mhp", "repository_layout"])
def test_a_ring_of_255_neither_grows_a_person_nor_covers_another(layout: str, request: pytest.FixtureRequest) -> None:
    root, (parts, human) = request.getfixturevalue(layout), two_people()
    own = per_person()
    own[1][around(own[1] > 0)] = 255
    own[1][4:6, 10:18] = 255  # over the other's hair, outside the box
    if layout == "mhp":
        save(root / "train/parsing_annos/12_02_01.png", own[1])
    else:
        save(root / "train_parsing/a-1.png", own[1])
    record = find_datasets(root)[0].read(0)
    assert [person.box.tolist() for person in record.people] == BOXES
    np.testing.assert_array_equal(record.instances, human)
    assert record.parts is not None
    np.testing.assert_array_equal(record.parts[human > 0], parts[human > 0])
    assert (record.parts[(own[1] == 255) & (human == 0)] == 255).all()
    assert (record.parts[(own[1] != 255) & (human == 0)] == 0).all()


def test_somebody_of_255_alone_is_a_region_that_is_named(mhp: Path) -> None:
    save(mhp / "train/parsing_annos/12_02_01.png", np.where(per_person()[1] > 0, 255, 0).astype(np.uint8))
    record = find_datasets(mhp)[0].read(0)
    assert [(person.box.tolist(), person.crowd) for person in record.people] == [(BOXES[0], False), (BOXES[1], True)]
    code, said = run(str(mhp))
    assert code == 1
    assert "12.jpg: the person in (30, 8)-(44, 36) has no pixel of a class" in said.replace("\n", "")


def test_masks_in_place_of_classes_are_named(cihp: Path) -> None:
    save(cihp / "Training/Category_ids/0000001.png", (two_people()[0] > 0).astype(np.uint8) * 255)
    code, said = run(str(cihp))
    assert code == 1
    assert said.replace("\n", "").count("0000001.jpg: the person in") == 2


def masks_of_people(root: Path, split: str, *names: str) -> list[Path]:
    """Masks of somebody or not, 0 and 255, in place of the numbers of people."""
    paths = [root / split / "Human_ids" / f"{name}.png" for name in names]
    for path in paths:
        save(path, (two_people()[1] > 0).astype(np.uint8) * 255)
    return paths


SAYS = "the only person number is 255, which means not known: nothing is learnt from this picture; number people 1, 2,"


def test_masks_in_place_of_people_are_named(cihp: Path) -> None:
    (path,) = masks_of_people(cihp, "Training", "0000001")
    code, said = run(str(cihp))
    assert code == 1
    assert f"{path}: {SAYS}" in said.replace("\n", "")
    assert said.count("the only person number") == 1
    assert "CIHP, Training: 2 pictures, 2 people" in said


@pytest.mark.parametrize("classes", [0, 255])
def test_a_picture_of_nobody_may_have_a_corner_that_is_not_known(classes: int, cihp: Path) -> None:
    corner = np.zeros_like(two_people()[1])
    corner[:8, :8] = 255
    save(cihp / "Training/Human_ids/0000001.png", corner)
    save(cihp / "Training/Category_ids/0000001.png", np.where(corner, np.uint8(classes), np.uint8(0)))
    code, said = run(str(cihp))
    assert code == 0, said
    assert "CIHP, Training: 2 pictures, 2 people" in said


def test_pictures_of_which_none_has_a_person_are_not_trained_on(cihp: Path) -> None:
    """Losses would fall all the same: nobody is anywhere."""
    config = recipe(f"data.annotated={cihp}", "data.sources={annotated: 1}")
    first, second = masks_of_people(cihp, "Training", "0000000", "0000001")
    with pytest.raises(DatasetError) as refusal:
        Mixture(cihp, config)
    assert str(refusal.value).startswith(f"CIHP, Training: nobody in any picture; {first}: {SAYS}")
    save(second, two_people()[1])
    assert len(Mixture(cihp, config).annotated or ()) == 2
    for path in (first, second):
        save(path, np.zeros_like(two_people()[1]))
    with pytest.raises(DatasetError, match=r"nobody in any picture; `parsing-rcnn datasets check` says"):
        Mixture(cihp, config)
