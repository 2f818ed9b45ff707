"""Which RoIs train the branches, and what a batch without anybody does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.tiny import tiny_network, tiny_recipe
from training.data.batch import Batch
from training.data.sample import PlacedPoints, Sample
from training.losses.densepose import COARSE_WEIGHT, INDEX_WEIGHT, points_loss
from training.objective import Objective

SIDE = 64
BOX = (8.0, 8.0, 56.0, 60.0)
TINY_BRANCH = tiny_recipe({}).model.branch.model_dump()


def sample(people: int, **more: Any) -> Sample:
    """A grey canvas with one person, who has part labels, or with nobody."""
    instances = np.zeros((SIDE, SIDE), np.uint8)
    instances[8:60, 8:56] = people
    boxes = np.array([BOX], np.float32)[:people]
    ids, none = np.arange(1, people + 1), np.zeros((0, 4), np.float32)
    grey = np.full((SIDE, SIDE, 3), 100, np.uint8)
    return Sample(grey, boxes, ids, none, instances * 3, instances, True, **more)


def losses_of(objective: Objective, batch: Sample) -> dict[str, torch.Tensor]:
    objective.zero_grad(set_to_none=True)
    losses: dict[str, torch.Tensor] = objective(Batch.of([batch]), 3)
    torch.stack(list(losses.values())).sum().backward()
    return losses


@pytest.mark.parametrize("model", [{}, {"keypoints": True}])
def test_a_batch_without_anybody_meets_the_same_batch_norms(model: dict[str, Any]) -> None:
    """Over several GPUs each waits for its like in the other processes."""
    network = nn.SyncBatchNorm.convert_sync_batchnorm(tiny_network(tiny_recipe({}, **model))).train()
    met: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.register_forward_pre_hook(lambda module, _: met.append(id(module)))
    objective = Objective(network, densepose=True)
    somebody = losses_of(objective, sample(1))
    assert float(somebody["parsing"].detach()) > 0
    before = met.copy()
    met.clear()
    nobody = losses_of(objective, sample(0))
    assert met == before
    assert float(nobody["parsing"].detach()) == 0
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_who_is_too_far_off_for_points_takes_no_others_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the RoIs overlap their person by .36 where .7 is asked for: the eight drawn are of the other half."""
    branch = {"densepose_iou": 0.7, "rois_per_image": 8}
    objective = Objective(tiny_network(tiny_recipe({}, branch={**TINY_BRANCH, **branch})), densepose=True)
    points = PlacedPoints(
        np.array(BOX, np.float32), *np.full((2, 1), 30, np.float32), np.array([2]), *np.full((2, 1), 0.5, np.float32),
        np.zeros((256, 256), np.uint8),
    )  # fmt: skip
    batch = sample(1, points={1: points})
    batch.instances[:] = 0
    near, far = torch.tensor([BOX]), torch.tensor([[8.0, 8.0, 36.8, 39.2]])
    boxes = torch.cat([far, near]).repeat(16, 1)
    trained: list[int] = []

    def counted(maps: Any, rois: torch.Tensor, known: Any) -> dict[str, torch.Tensor]:
        trained.append(len(rois))
        return points_loss(maps, rois, known)

    monkeypatch.setattr("training.objective.points_loss", counted)
    monkeypatch.setattr(
        objective,
        "_detector",
        lambda *_: ({}, boxes[None], torch.zeros(1, 32, dtype=torch.int64), torch.ones(1, 32, dtype=torch.bool)),
    )
    losses = losses_of(objective, batch)
    assert trained == [8]
    assert float(losses["iuv_uv"].detach()) > 0


def pointed(number: int) -> Sample:
    """Somebody with `number` + 1 points, each with a U and V of its own."""
    rng = np.random.default_rng(number)
    x, y = rng.uniform(10, 54, (2, number + 1)).astype(np.float32)
    u, v = rng.random((2, number + 1)).astype(np.float32)
    part = rng.integers(1, 25, number + 1)
    points = PlacedPoints(np.array(BOX, np.float32), x, y, part, u, v, np.zeros((256, 256), np.uint8))
    drawn = sample(1, points={1: points})
    drawn.instances[:] = 0
    return drawn


@pytest.mark.parametrize("pictures", [1, 2, 8])  # 8 pieces of 2, or two processes with 8 pictures each
def test_points_pull_as_much_however_a_step_is_cut_up(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of accumulated batches and of processes are averaged: U and V weigh as in one batch of 16."""
    monkeypatch.setattr("training.objective._SHAKE", 0.0)  # everybody's own box, whatever the seed
    objective = Objective(tiny_network(tiny_recipe({})).eval(), densepose=True, only="densepose")
    head = objective.model.densepose_head
    samples = [pointed(number) for number in range(16)]

    def gradients(each: int) -> list[torch.Tensor]:
        objective.zero_grad(set_to_none=True)
        for first in range(0, 16, each):
            (objective(Batch.of(samples[first : first + each]), first)["iuv_uv"] * each / 16).backward()
        return [p.grad.clone() for p in head.parameters() if p.grad is not None]

    whole, cut = gradients(16), gradients(pictures)
    assert len(whole) == len(cut) > 0
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in whole)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


def test_two_pictures_weigh_points_as_the_authors_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """.1 of the sum over all points of both."""
    monkeypatch.setattr("training.objective._SHAKE", 0.0)
    objective = Objective(tiny_network(tiny_recipe({})).eval(), densepose=True, only="densepose")
    alone = [float(objective(Batch.of([pointed(number)]), 0)["iuv_uv"].detach()) for number in (4, 9)]
    both = float(objective(Batch.of([pointed(4), pointed(9)]), 0)["iuv_uv"].detach())
    assert both == pytest.approx(sum(alone) / 2, rel=1e-4)
    features = objective.model.pyramid(torch.from_numpy(pointed(4).image)[None].permute(0, 3, 1, 2))
    roi = torch.tensor([BOX])
    maps = objective.model.densepose(objective.model.roi_features(features, [roi]))
    summed = float(points_loss(maps, roi, [pointed(4).points[1]])["iuv_uv"].detach())
    assert alone[0] == pytest.approx(2 * summed, rel=1e-4)


def zeroed(**which: Any) -> Objective:
    """Of a network whose heads say the same of every class, and no change of any box."""
    network = tiny_network(tiny_recipe({})).eval()
    with torch.no_grad():
        for head in (network.parsing_head, network.densepose_head, network.box.score, network.box.delta):
            for parameter in head.parameters():
                parameter.zero_()
    return Objective(network, **which)


@pytest.fixture
def unshaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """RoIs are everybody's own box."""
    monkeypatch.setattr("training.objective._SHAKE", 0.0)


@pytest.mark.usefixtures("unshaken")
def test_part_labels_teach_which_parts_may_be_there_and_that_somebody_is() -> None:
    losses = zeroed(densepose=True, only="densepose")(Batch.of([sample(1)]), 0)
    # gloves all over the RoI: one of 14 regions of 15, and one of 6 parts of 25
    assert float(losses["iuv_coarse"]) == pytest.approx(COARSE_WEIGHT * math.log(15 / 14), rel=1e-4)
    assert float(losses["iuv_possible"]) == pytest.approx(INDEX_WEIGHT * math.log(25 / 6), rel=1e-4)


@pytest.mark.usefixtures("unshaken")
def test_part_labels_are_those_of_the_rois_without_an_iuv_map() -> None:
    iuv = np.zeros((SIDE, SIDE, 3), np.uint8)
    iuv[8:60, 8:56, 0] = 2
    batch = Batch.of([sample(1, iuv=iuv, mapped=(1,)), sample(1), sample(1)])
    losses = zeroed(densepose=True, only="densepose")(batch, 0)
    assert float(losses["iuv_index"]) == pytest.approx(INDEX_WEIGHT * math.log(25), rel=1e-4)
    assert float(losses["iuv_possible"]) == pytest.approx(INDEX_WEIGHT * math.log(25 / 6), rel=1e-4)


@pytest.mark.usefixtures("unshaken")
def test_who_has_points_teaches_no_part_labels() -> None:
    assert float(zeroed(only="parsing")(Batch.of([pointed(3)]), 0)["parsing"]) == 0


def test_deltas_of_boxes_have_the_weights_that_the_network_decodes_them_with(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = zeroed(only="detector")
    aside = torch.tensor([[BOX]]) + torch.tensor([4.8, 0.0, 4.8, 0.0])  # a tenth of the width to the right
    proposals = aside, torch.ones(1, 1, dtype=torch.bool)
    monkeypatch.setattr(objective.model.rpn, "propose_for_training", lambda *_: proposals)
    # dx should be -0.1, ten times as much with its weight: half of its square, over two RoIs, since one is the label
    assert float(objective(Batch.of([sample(1)]), 0)["box_delta"]) == pytest.approx(0.5 / 2, rel=1e-4)


@pytest.mark.parametrize("joints", [False, True])
def test_points_alone_need_a_roi_that_is_near(joints: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far RoIs train whoever has no points, or joints as well."""
    objective = zeroed(densepose=True)
    far = torch.tensor([[[8.0, 8.0, 36.8, 39.2]]]).repeat(2, 1, 1)  # they overlap their people by .36
    there = torch.ones(2, 1, dtype=torch.bool)
    monkeypatch.setattr(objective, "_detector", lambda *_: ({}, far, torch.zeros(2, 1, dtype=torch.int64), there))
    both = pointed(3)
    both.keypoints = {1: np.zeros((17, 3), np.float32)} if joints else {}
    losses = objective(Batch.of([both, sample(1)]), 0)
    # the labels of who has joints are unknown, and of two RoIs one teaches nothing then
    taught = INDEX_WEIGHT * math.log(25 / 6) / (2 if joints else 1)
    assert float(losses["iuv_possible"]) == pytest.approx(taught, rel=1e-4)


def test_an_objective_is_still_a_module_that_turns_to_half_precision() -> None:
    """Whether its maps have half the size is said by another name than `nn.Module.half`."""
    objective = Objective(tiny_network(tiny_recipe({})), half=True)
    assert {p.dtype for p in objective.half().parameters()} == {torch.float16}
