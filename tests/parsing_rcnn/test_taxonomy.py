"""Label spaces: sizes, names, colours and mirrors, against published numbers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, COARSE_OF_PART, DENSEPOSE, DENSEPOSE_COARSE, MHP, Taxonomy

ALL = [CIHP, MHP, DENSEPOSE, DENSEPOSE_COARSE]


@pytest.mark.parametrize(("taxonomy", "count"), [(CIHP, 20), (MHP, 59), (DENSEPOSE, 25), (DENSEPOSE_COARSE, 15)])
def test_sizes(taxonomy: Taxonomy, count: int) -> None:
    assert len(taxonomy) == len(set(taxonomy.classes)) == count
    assert taxonomy.palette.shape == (count, 3)
    assert taxonomy.palette.dtype == np.uint8


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_colours_are_distinct_and_the_background_is_black(taxonomy: Taxonomy) -> None:
    assert taxonomy.palette[0].tolist() == [0, 0, 0]
    assert taxonomy.classes[0] == "Background"
    assert len(np.unique(taxonomy.palette, axis=0)) == len(taxonomy)


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_mirror_pairs_are_left_then_right_and_named_alike(taxonomy: Taxonomy) -> None:
    for left, right in taxonomy.mirror:
        assert taxonomy.classes[left].startswith("Left-")
        assert taxonomy.classes[right] == taxonomy.classes[left].replace("Left-", "Right-")
    sided = {i for i, name in enumerate(taxonomy.classes) if name.startswith(("Left-", "Right-"))}
    assert sided == {i for pair in taxonomy.mirror for i in pair}


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_flipping_twice_changes_nothing(taxonomy: Taxonomy) -> None:
    table = taxonomy.flip_table()
    assert table.dtype == np.uint8
    assert table[table].tolist() == list(range(len(taxonomy)))
    assert table[0] == 0


def test_published_flip_tables() -> None:
    coarse = [0, 1, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 14]
    fine = [0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23]
    assert DENSEPOSE_COARSE.flip_table().tolist() == coarse
    assert DENSEPOSE.flip_table().tolist() == fine
    assert CIHP.flip_table().tolist() == [*range(14), 15, 14, 17, 16, 19, 18]
    assert {tuple(p) for p in MHP.mirror} == {(5, 6), (7, 8), *((i, i + 1) for i in range(22, 34, 2))}


def test_cihp_colours_are_the_datasets_own() -> None:
    assert CIHP.palette[CIHP.classes.index("Face")].tolist() == [0, 0, 255]
    assert CIHP.palette[CIHP.classes.index("UpperClothes")].tolist() == [255, 85, 0]
    assert CIHP.palette[CIHP.classes.index("Right-shoe")].tolist() == [255, 170, 0]


def lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE L*a*b* of sRGB, at D65: a difference of 2 is just seen."""
    white = np.array([0.95047, 1.0, 1.08883])
    own = rgb / 255
    linear = np.where(own <= 0.04045, own / 12.92, ((own + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    of_white = linear @ np.array(matrix).T / white
    x, y, z = np.moveaxis(
        np.where(of_white > 216 / 24389, np.cbrt(of_white), (24389 / 27 * of_white + 16) / 116), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize(("taxonomy", "least"), [(CIHP, 19), (MHP, 25), (DENSEPOSE, 12), (DENSEPOSE_COARSE, 12)])
def test_any_two_colours_can_be_told_apart(taxonomy: Taxonomy, least: float) -> None:
    places = lab(taxonomy.palette)
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    one, other = np.unravel_index(np.argmin(apart + 1000 * np.eye(len(places))), apart.shape)
    assert apart[one, other] > least, (taxonomy.classes[one], taxonomy.classes[other])


def test_mhp_colours_are_picked_as_far_from_each_other_as_can_be() -> None:
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    places = lab(colours)
    kept = (places[:, 0] >= 25) & (np.hypot(places[:, 1], places[:, 2]) >= 15)
    colours, places = colours[kept], places[kept]
    apart = np.linalg.norm(places - lab(np.zeros(3, np.uint8)), axis=-1)
    for label in range(1, len(MHP)):
        farthest = int(apart.argmax())
        assert colours[farthest].tolist() == MHP.palette[label].tolist(), MHP.classes[label]
        apart = np.minimum(apart, np.linalg.norm(places - places[farthest], axis=-1))


@pytest.mark.parametrize("taxonomy", [DENSEPOSE, DENSEPOSE_COARSE], ids=lambda t: t.name)
def test_the_right_side_of_a_body_has_warm_colours_and_the_left_one_cool_ones(taxonomy: Taxonomy) -> None:
    for left, right in taxonomy.mirror:
        (cool_red, _, cool_blue), (red, _, blue) = taxonomy.palette[[left, right]].tolist()
        assert red > blue, taxonomy.classes[right]
        assert cool_blue > cool_red, taxonomy.classes[left]


def test_each_chart_is_of_the_region_that_its_name_says() -> None:
    assert COARSE_OF_PART.dtype == np.uint8
    for part, region in zip(DENSEPOSE.classes, COARSE_OF_PART, strict=True):
        name = "Head" if part.endswith("-head") else part.split(" (")[0]
        assert DENSEPOSE_COARSE.classes[region] == name
    with pytest.raises(ValueError, match="read-only"):
        COARSE_OF_PART[0] = 1


def test_a_palette_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        CIHP.palette[0] = 1


def test_a_palette_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"palette of pets: shape \(1, 3\), expected \(2, 3\)"):
        Taxonomy("pets", ("Background", "Cat"), np.zeros((1, 3), np.uint8))


@pytest.mark.parametrize("taxonomy", ALL, ids=lambda t: t.name)
def test_it_is_the_same_after_copying_and_pickling(taxonomy: Taxonomy) -> None:
    people = People.empty((4, 4), taxonomy=taxonomy)
    for again in (copy.deepcopy(people), copy.copy(people), pickle.loads(pickle.dumps(people))):
        assert again.taxonomy is taxonomy


def test_one_of_our_own_is_copied_and_pickled() -> None:
    pets = Taxonomy("cihp", ("Background", "Cat"), np.eye(2, 3, dtype=np.uint8), ((1, 1),))
    for again in (copy.deepcopy(pets), pickle.loads(pickle.dumps(pets))):
        assert (again.name, again.classes, again.mirror) == (pets.name, pets.classes, pets.mirror)
        np.testing.assert_array_equal(again.palette, pets.palette)
        assert not again.palette.flags.writeable
