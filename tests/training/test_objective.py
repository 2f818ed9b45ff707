"""Which RoIs train the branches, and what a batch without anybody does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.tiny import tiny_network, tiny_recipe
from training.data.batch import Batch
from training.data.sample import PlacedPoints, Sample
from training.losses.densepose import points_loss
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
