"""Losses of the DensePose branch: worked out by hand."""

from __future__ import annotations

import math

import torch

from training.data.iuv import COARSE_OF_PART, possible_parts
from training.losses.densepose import COARSE_WEIGHT, INDEX_WEIGHT, UV_WEIGHT, densepose_loss, iuv_targets, possible_loss


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
    found = iuv_targets(iuv, instances, torch.tensor([[2.0, 2.0, 4.0, 4.0]]), torch.tensor([1]), 2)
    assert found.shape == (1, 3, 2, 2)
    assert found[0, 0].tolist() == [[10, 11], [14, 0]]
