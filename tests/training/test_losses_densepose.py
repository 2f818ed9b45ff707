"""Losses of the DensePose branch: worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from parsing_rcnn.taxonomy import COARSE_OF_PART
from training.data.iuv import PointSymmetry, possible_parts
from training.data.sample import PlacedPoints
from training.errors import DatasetError
from training.losses.densepose import (
    COARSE_WEIGHT,
    INDEX_WEIGHT,
    POINT_COARSE_WEIGHT,
    POINT_INDEX_WEIGHT,
    POINT_UV_WEIGHT,
    UV_WEIGHT,
    densepose_loss,
    iuv_targets,
    points_loss,
    possible_loss,
    somebody_loss,
)


def maps(count: int, size: int = 2) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros(count, channels, size, size, requires_grad=True) for channels in (15, 25, 25, 25))


def test_uniform_logits_cost_the_logarithm_of_the_classes() -> None:
    targets = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    targets[0, :, 0, 0] = torch.tensor([24, 255, 51])
    losses = densepose_loss(maps(1), targets)
    assert math.isclose(float(losses["iuv_coarse"]), COARSE_WEIGHT * math.log(15), rel_tol=1e-5)
    assert math.isclose(float(losses["iuv_index"]), INDEX_WEIGHT * math.log(25), rel_tol=1e-5)
    # one pixel is on a person: |0 - 1| and |0 - 0.2|, smooth L1 of beta 0.1: d - 0.05
    assert math.isclose(float(losses["iuv_uv"]), UV_WEIGHT * (0.95 + 0.15), rel_tol=1e-5)


def test_u_and_v_are_read_from_the_true_parts_channel() -> None:
    coarse, index, _, v = maps(1, 1)
    right = torch.zeros(1, 25, 1, 1)
    right[0, 7] = 0.4
    targets = torch.tensor([7, 102, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert float(densepose_loss((coarse, index, right, v), targets)["iuv_uv"]) < 1e-6
    wrong = torch.zeros(1, 25, 1, 1)
    wrong[0, 8] = 0.4
    assert float(densepose_loss((coarse, index, wrong, v), targets)["iuv_uv"]) > 1


def test_nobody_gives_finite_zeros() -> None:
    empty = densepose_loss(maps(0), torch.zeros(0, 3, 2, 2, dtype=torch.uint8))
    assert all(float(loss) == 0 for loss in empty.values())
    background = densepose_loss(maps(1), torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    assert float(background["iuv_uv"]) == 0
    assert float(possible_loss(torch.zeros(0, 25, 2, 2), torch.zeros(0, 2, 2).long(), torch.ones(256, 25).bool())) == 0


def test_a_class_of_several_parts_costs_their_summed_probability() -> None:
    possible = torch.from_numpy(possible_parts())
    labels = torch.tensor([[[13, 14], [0, 255]]])  # face: 2 parts, left arm: 5, background: 1, ignored: all 25
    loss = float(possible_loss(torch.zeros(1, 25, 2, 2), labels, possible))
    expected = -(math.log(2 / 25) + math.log(5 / 25) + math.log(1 / 25) + 0) / 4
    assert math.isclose(loss, INDEX_WEIGHT * expected, rel_tol=1e-5)


def test_the_coarse_map_learns_from_part_labels_where_somebody_is() -> None:
    possible = torch.from_numpy(possible_parts())
    labels = torch.tensor([[[13, 0], [255, 5]]])  # face and clothes: one of 14 regions; background; nothing is known
    coarse = torch.zeros(1, 15, 2, 2)
    expected = (math.log(15) + 2 * math.log(15 / 14)) / 3
    assert math.isclose(float(somebody_loss(coarse, labels, possible)), COARSE_WEIGHT * expected, rel_tol=1e-5)
    coarse[0, 7, 0, 0] = coarse[0, 0, 0, 1] = coarse[0, 2, 1, 1] = 30.0  # whichever region says that somebody is there
    coarse[0, 0, 1, 0] = 9.0  # where the label is ignored
    assert float(somebody_loss(coarse, labels, possible)) < 1e-6
    every = torch.ones(256, 25, dtype=torch.bool)  # classes that say nothing about the body
    assert float(somebody_loss(coarse, labels, every)) == 0


def test_sides_of_labels_and_parts_agree() -> None:
    table = possible_parts()
    for left, right in ((14, 15), (16, 17), (18, 19)):
        assert not (table[left] & table[right]).any()
    assert table[:20].any(1).all()
    assert (table[1:20, 0] == 0).all()
    assert len(COARSE_OF_PART) == 25


def test_targets_are_looked_up_under_the_box() -> None:
    iuv = torch.zeros(4, 4, 3, dtype=torch.uint8)
    iuv[..., 0] = torch.arange(16).view(4, 4)
    instances = torch.ones(4, 4, dtype=torch.long)
    instances[3, 3] = 2
    rois = torch.tensor([[2.0, 2.0, 4.0, 4.0]])
    found = iuv_targets(iuv[None], instances[None], rois, torch.tensor([0]), torch.tensor([1]), 2)
    assert found.shape == (1, 3, 2, 2)
    assert found[0, 0].tolist() == [[10, 11], [14, 0]]


def placed(x: list[float], y: list[float], part: list[int], uv: list[tuple[float, float]]) -> PlacedPoints:
    """Points of a person in the box (10, 20, 42, 84); the upper half of the frame is painted as torso."""
    regions = np.zeros((256, 256), np.uint8)
    regions[:128] = 1
    values = np.array(uv, np.float32).reshape(-1, 2)
    return PlacedPoints(
        np.array([10, 20, 42, 84], np.float32),
        np.array(x, np.float32),
        np.array(y, np.float32),
        np.array(part, np.int64),
        values[:, 0],
        values[:, 1],
        regions,
    )


def test_points_cost_what_the_maps_say_between_their_cells() -> None:
    size = 8
    rois = torch.tensor([[10.0, 20.0, 42.0, 84.0]])  # cells of 4 x 8 pixels
    coarse, index, u, v = torch.zeros(1, 15, size, size), *torch.zeros(3, 1, 25, size, size)
    u[0, 2] = torch.arange(size) / 10  # U of part 2 grows by 0.1 a cell to the right
    v[0, 2] = torch.arange(size)[:, None] / 10
    # the centre of cell (2, 3) is at 10 + 2.5 * 4, 20 + 3.5 * 8; a quarter of a cell to the right of it, U is 0.225
    points = placed([21.0, 9.0], [48.0, 48.0], [2, 2], [(0.125, 0.5), (0.9, 0.9)])  # the second one is outside
    losses = points_loss((coarse, index, u, v), rois, [points])
    assert math.isclose(losses["iuv_index"].item(), POINT_INDEX_WEIGHT * math.log(25), rel_tol=1e-5)
    assert math.isclose(losses["iuv_coarse"].item(), POINT_COARSE_WEIGHT * math.log(15), rel_tol=1e-5)
    by_hand = 0.5 * (0.225 - 0.125) ** 2 + 0.5 * (0.3 - 0.5) ** 2
    assert math.isclose(losses["iuv_uv"].item(), POINT_UV_WEIGHT * by_hand, rel_tol=1e-4)


def test_painted_regions_train_the_whole_roi() -> None:
    size = 8
    # a RoI of the frame's lower three quarters and as much again below it: a third of it is painted... by rows
    rois = torch.tensor([[10.0, 36.0, 42.0, 100.0]])
    coarse = torch.full((1, 15, size, size), -20.0)
    coarse[0, 1, :2] = 20.0  # rows 36..52 are above the middle of the frame (52): torso
    coarse[0, 0, 2:] = 20.0
    zeros = torch.zeros(1, 25, size, size)
    losses = points_loss((coarse, zeros, zeros, zeros), rois, [placed([], [], [], [])])
    assert losses["iuv_coarse"].item() < 1e-6
    assert losses["iuv_index"].item() == losses["iuv_uv"].item() == 0


def painted(regions: NDArray[np.uint8]) -> PlacedPoints:
    """Somebody in the box (0, 0, 4, 4) without points."""
    none = np.zeros(0, np.float32)
    frame = np.array([0, 0, 4, 4], np.float32)
    return PlacedPoints(frame, none, none, np.zeros(0, np.int64), none, none, regions)


def coarse_of(regions: list[list[int]]) -> torch.Tensor:
    """Logits [1,15,S,S] that are sure of these regions."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(regions), 15).permute(2, 0, 1)
    return 40.0 * one_hot[None].float()


@pytest.mark.parametrize(
    ("regions", "roi", "wanted"),
    [
        # cells of 2 x 2 regions, whose middles lie in the last of these
        (np.arange(16).reshape(4, 4) % 15, [0.0, 0.0, 4.0, 4.0], [[5, 7], [13, 0]]),
        (np.full((4, 4), 3), [-4.0, 0.0, 4.0, 4.0], [[0, 3], [0, 3]]),  # nothing is painted left of the frame
    ],
)
def test_painted_regions_are_read_in_the_middles_of_cells_and_are_nobody_beside_the_frame(
    regions: NDArray[np.int64], roi: list[float], wanted: list[list[int]]
) -> None:
    zeros = torch.zeros(1, 25, 2, 2)
    maps = coarse_of(wanted), zeros, zeros, zeros
    losses = points_loss(maps, torch.tensor([roi]), [painted(regions.astype(np.uint8))])
    assert losses["iuv_coarse"].item() < 1e-6


def test_no_points_give_finite_zeros() -> None:
    coarse, index = torch.zeros(0, 15, 8, 8, requires_grad=True), torch.zeros(0, 25, 8, 8, requires_grad=True)
    losses = points_loss((coarse, index, index, index), torch.zeros(0, 4), [])
    assert all(loss.item() == 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()


def test_points_mirror_by_our_charts_or_by_densepose_tables(tmp_path: Path) -> None:
    part, u, v = np.array([1, 23, 3]), np.array([0.2, 0.25, 0.5], np.float32), np.array([0.25, 0.75, 1.0], np.float32)
    got = PointSymmetry().mirror(part, u, v)
    np.testing.assert_array_equal(got[0], [1, 24, 4])
    np.testing.assert_allclose(got[1], [0.2, 0.75, 0.5])
    np.testing.assert_allclose(got[2], [0.75, 0.75, 1.0])
    tables = np.empty((2, 1, 24), object)
    for k in range(24):
        tables[0, 0, k] = np.full((256, 256), (k + 1) / 100)  # each part has its own U in the mirror
        tables[1, 0, k] = np.tile(np.linspace(1, 0, 256)[:, None], (1, 256))  # and V turned upside down
    savemat(tmp_path / "UV_symmetry_transforms.mat", {"U_transforms": tables[0], "V_transforms": tables[1]})
    got = PointSymmetry.read(tmp_path / "UV_symmetry_transforms.mat").mirror(part, u, v)
    np.testing.assert_array_equal(got[0], [1, 24, 4])
    np.testing.assert_allclose(got[1], [0.01, 0.23, 0.03])
    np.testing.assert_allclose(got[2], 1 - np.floor(v * 255) / 255, atol=1e-6)
    savemat(tmp_path / "wrong.mat", {"U_transforms": np.zeros(3), "V_transforms": np.zeros(3)})
    for name in ("wrong.mat", "none.mat"):
        with pytest.raises(DatasetError, match=name):
            PointSymmetry.read(tmp_path / name)
