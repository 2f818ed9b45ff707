"""Samples as one set of tensors, and what the objective makes of pictures that differ in everything."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import nms

from tests.training.tiny import tiny_network, tiny_recipe
from training.data.batch import Batch
from training.data.sample import PlacedPoints, Sample
from training.model.suppression import nms_of_each
from training.objective import Objective, _met_before

SIDE = 64


def sample(people: int, *, part: int, mapped: tuple[int, ...] = (), certain: bool = True) -> Sample:
    """People side by side, all of one part class; those `mapped` have that number as their IUV's part too."""
    width = SIDE // max(people, 1)
    instances = np.zeros((SIDE, SIDE), np.uint8)
    for person in range(people):
        instances[4:60, person * width + 2 : (person + 1) * width - 2] = person + 1
    boxes = [[p * width + 2, 4, (p + 1) * width - 2, 60] for p in range(people)]
    parts = np.where(instances > 0, part, 0).astype(np.uint8)
    iuv = np.where(np.isin(instances, mapped), part, 0)[..., None].repeat(3, 2).astype(np.uint8) if mapped else None
    image = np.full((SIDE, SIDE, 3), 30 * part, np.uint8)
    return Sample(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(1, people + 1),
        np.array([[0, 0, 9, 9]] * (people % 2), np.float32).reshape(-1, 4),
        parts,
        instances,
        certain,
        iuv=iuv,
        mapped=mapped,
        origin=f"picture of {part}",
    )


def mixed() -> list[Sample]:
    """Two people, nobody, three people of whom one has an IUV map."""
    return [sample(2, part=5), sample(0, part=1, certain=False), sample(3, part=7, mapped=(2,))]


def test_a_batch_says_of_each_sample_what_it_says_of_itself() -> None:
    samples = mixed()
    batch = Batch.of(samples)
    assert len(batch) == 3
    assert batch.boxes.shape == (3, 3, 4)
    assert not batch.all_certain
    assert batch.origins == ("picture of 5", "picture of 1", "picture of 7")
    assert batch.iuv is not None
    for row, own in enumerate(samples):
        count, ignored = len(own.boxes), len(own.ignore)
        assert batch.present[row].tolist() == [True] * count + [False] * (3 - count)
        np.testing.assert_array_equal(batch.boxes[row, :count], own.boxes)
        assert batch.ids[row].tolist() == [*own.instance_ids.tolist(), *[0] * (3 - count)]
        np.testing.assert_array_equal(batch.ignore[row, :ignored], own.ignore)
        assert not batch.ignore[row, ignored:].any()
        assert [int(i) for i in batch.ids[row][batch.mapped[row]]] == list(own.mapped)
        for name, values in (("images", own.image), ("parts", own.parts), ("instances", own.instances)):
            np.testing.assert_array_equal(getattr(batch, name)[row], values)
        np.testing.assert_array_equal(batch.iuv[row], np.zeros_like(own.image) if own.iuv is None else own.iuv)
    assert Batch.of(samples[:2]).iuv is None


def test_a_loader_hands_it_over_whole() -> None:
    batch = Batch.of(mixed())
    again = pickle.loads(pickle.dumps(batch.to(torch.device("cpu"))))
    for field in fields(Batch):
        one, other = getattr(batch, field.name), getattr(again, field.name)
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other


def test_rois_read_the_labels_of_their_own_picture_and_person() -> None:
    samples = mixed()
    objective = Objective(tiny_network(tiny_recipe({})), densepose=True)
    batch = Batch.of(samples)
    owners = torch.arange(3).expand(3, 3)
    drawn = objective._labelled(batch, batch.boxes, owners, batch.present)
    assert len(drawn.rois) == 5
    assert drawn.iuv is not None
    assert [tuple(p) for p in zip(drawn.pictures.tolist()[:1], drawn.owners.tolist()[:1], strict=True)] == [(2, 1)]
    assert len(drawn.iuv) == 1
    assert set(drawn.iuv[0, 0].unique().tolist()) == {7}
    for roi, picture, owner, parts in zip(drawn.rois, drawn.pictures, drawn.owners, drawn.parts, strict=True):
        assert torch.equal(roi, batch.boxes[picture, owner])
        assert set(parts.unique().tolist()) == {samples[int(picture)].parts.max()}


def test_no_more_rois_of_a_picture_than_the_recipe_has() -> None:
    branch = {**tiny_recipe({}).model.branch.model_dump(), "rois_per_image": 2}
    objective = Objective(tiny_network(tiny_recipe({}, branch=branch)), densepose=True)
    batch = Batch.of(mixed())
    seen = set()
    for seed in range(20):
        objective.generator.manual_seed(seed)
        drawn = objective._labelled(batch, batch.boxes, torch.arange(3).expand(3, 3), batch.present)
        assert drawn.pictures.bincount(minlength=3).tolist() == [2, 0, 2]
        seen |= {int(owner) for picture, owner in zip(drawn.pictures, drawn.owners, strict=True) if picture == 2}
    assert seen == {0, 1, 2}


def test_pointed_and_mapped_people_are_sorted_by_what_is_known() -> None:
    first, second = sample(3, part=4, mapped=(3,)), sample(2, part=6)
    frame = np.array([34, 4, 62, 60], np.float32)
    points = PlacedPoints(
        frame, *np.full((2, 1), 40, np.float32), np.array([2]), *np.full((2, 1), 0.5, np.float32),
        np.zeros((256, 256), np.uint8),
    )  # fmt: skip
    second.points = {2: points}
    second.instances[second.instances == 2] = 0
    objective = Objective(tiny_network(tiny_recipe({})), densepose=True)
    batch = Batch.of([first, second])
    drawn = objective._labelled(batch, batch.boxes, torch.arange(3).expand(2, 3), batch.present)
    order = list(zip(drawn.pictures.tolist(), drawn.owners.tolist(), strict=True))
    assert order[:2] == [(0, 2), (1, 1)]
    assert set(order[2:]) == {(0, 0), (0, 1), (1, 0)}
    assert drawn.points == [points]
    assert set(drawn.parts[1].unique().tolist()) == {255}  # what is annotated by points has no part labels
    losses = objective(batch, 0)
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    assert {"iuv_coarse", "iuv_index", "iuv_uv", "iuv_possible", "parsing"} <= set(losses)


def test_people_without_labels_train_the_detector_alone() -> None:
    batch = Batch.of([sample(2, part=5), sample(1, part=3)])
    unlabelled = copy.copy(batch)
    unlabelled.ids = torch.zeros_like(batch.ids)
    objective = Objective(tiny_network(tiny_recipe({})), densepose=True)
    with_labels, without = objective(batch, 0), objective(unlabelled, 0)
    assert float(with_labels["parsing"].detach()) > 0
    assert float(without["parsing"].detach()) == 0
    assert float(without["box_delta"].detach()) > 0


def test_few_numbers_of_rois_reach_a_gpu() -> None:
    assert [_met_before(count) for count in (0, 1, 128, 129, 159, 160, 300)] == [0, 1, 128, 128, 128, 160, 288]


@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_suppression_keeps_what_torchvision_keeps(iou: float) -> None:
    generator = torch.Generator().manual_seed(3)
    for count in (1, 7, 300):
        centre = torch.rand(3, count, 2, generator=generator) * 100
        side = torch.rand(3, count, 2, generator=generator) * 60 + 1
        boxes = torch.cat([centre - side / 2, centre + side / 2], -1)
        usable = torch.rand(3, count, generator=generator) > 0.1
        kept = nms_of_each(boxes, usable, iou)
        for row in range(3):
            rows = torch.nonzero(usable[row])[:, 0]
            wanted = rows[nms(boxes[row, rows], -torch.arange(len(rows)).float(), iou)]
            assert torch.nonzero(kept[row])[:, 0].tolist() == sorted(wanted.tolist())


def test_long_chains_of_suppression() -> None:
    """Every box overlaps its neighbours: each second one stays, which takes as many rounds as there are boxes."""
    left = torch.arange(60.0) * 4
    boxes = torch.stack([left, torch.zeros(60), left + 10, torch.full((60,), 10.0)], 1)[None]
    kept = nms_of_each(boxes, torch.ones(1, 60, dtype=torch.bool), 0.4)
    assert kept[0].tolist() == [number % 2 == 0 for number in range(60)]


@pytest.mark.parametrize("more", [{}, {"least_side": 9.0}, {"rank_by_probability": True}])
def test_proposals_of_a_batch_are_those_of_each_picture(more: dict[str, object]) -> None:
    rpn = {**tiny_recipe({}).model.rpn.model_dump(), "pre_nms": 30, "proposals_train": 25, **more}
    model = tiny_network(tiny_recipe({}, rpn=rpn)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        pyramid = model.pyramid(torch.rand(3, 3, 128, 96, generator=generator) * 255)
        logits, deltas, anchors = model.rpn(pyramid)
        logits = [torch.randn(x.shape, generator=generator) for x in logits]  # of which no two are as probable
        deltas = [torch.randn(x.shape, generator=generator) * 0.5 for x in deltas]
        boxes, there = model.rpn.propose_for_training(logits, deltas, anchors, (128, 96))
        for picture in range(3):
            alone = model.rpn.propose(
                [x[picture] for x in logits], [x[picture] for x in deltas], anchors, (128, 96), 25
            )
            assert there[picture].sum() == len(alone) > 5
            torch.testing.assert_close(boxes[picture][there[picture]], alone)
