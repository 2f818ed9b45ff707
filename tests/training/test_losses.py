"""Losses and sampling by hand."""

from __future__ import annotations

import math

import torch

from training.losses.box import box_loss
from training.losses.parsing import IGNORE_LABEL, parsing_loss, parsing_targets
from training.losses.sampling import People, balanced, match


def people(boxes: list[list[float]], ignore: list[list[float]] | None = None, certain: bool = True) -> People:
    return People(torch.tensor(boxes).reshape(-1, 4), torch.tensor(ignore or []).reshape(-1, 4), certain)


def test_match_thresholds_ignore_and_best_anchor() -> None:
    anchors = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],  # is the person
            [0.0, 0.0, 10.0, 5.0],  # IoU 0.5: neither
            [50.0, 50.0, 60.0, 60.0],  # background
            [20.0, 20.0, 30.0, 30.0],  # inside an ignore region
            [80.0, 0.0, 100.0, 20.0],  # IoU 0.25 with the second person, whose best anchor it is
        ]
    )
    labelled = people([[0.0, 0.0, 10.0, 10.0], [80.0, 0.0, 90.0, 10.0]], [[15.0, 15.0, 35.0, 35.0]])
    labels, index = match(anchors, labelled, 0.7, 0.3, scores=torch.zeros(5), best_for_each=True)
    assert labels.tolist() == [1, -1, 0, -1, 1]
    assert index[0] == 0
    assert index[4] == 1


def test_likely_unlabelled_people_are_not_background() -> None:
    boxes = torch.tensor([[50.0, 50.0, 60.0, 60.0], [0.0, 0.0, 10.0, 4.0]])
    scores = torch.tensor([0.9, 0.9])
    labelled = people([[0.0, 0.0, 10.0, 10.0]], certain=False)
    labels, _ = match(boxes, labelled, 0.5, 0.5, scores=scores, best_for_each=False)
    assert labels.tolist() == [-1, 0]  # far from people and scored: ignored; a piece of a labelled person: background
    certain, _ = match(boxes, people([[0.0, 0.0, 10.0, 10.0]]), 0.5, 0.5, scores=scores, best_for_each=False)
    assert certain.tolist() == [0, 0]


def test_sampling_keeps_its_limits() -> None:
    labels = torch.tensor([1] * 30 + [0] * 500 + [-1] * 10)
    positive, negative = balanced(labels, 64, 0.25, torch.Generator().manual_seed(0))
    assert len(positive) == 16
    assert len(negative) == 48
    assert set(labels[positive].tolist()) == {1}
    assert set(labels[negative].tolist()) == {0}


def test_box_loss_by_hand() -> None:
    scores = torch.zeros(4, 2)
    deltas = torch.tensor([[0.5, 0.0, 0.0, 3.0]] * 4)
    labels = torch.tensor([1, 0, 0, 0])
    classification, regression = box_loss(scores, deltas, labels, torch.zeros(4, 4))
    assert math.isclose(float(classification), math.log(2), rel_tol=1e-6)
    # one positive of four: (0.5^2 / 2 + (3 - 0.5)) / 4
    assert math.isclose(float(regression), (0.125 + 2.5) / 4, rel_tol=1e-6)


def test_no_positive_gives_a_finite_zero() -> None:
    _, regression = box_loss(torch.zeros(3, 2), torch.ones(3, 4), torch.zeros(3, dtype=torch.int64), torch.zeros(3, 4))
    assert float(regression) == 0
    nothing = torch.zeros(0, 20, 8, 8, requires_grad=True)
    loss = parsing_loss(nothing, torch.zeros(0, 8, 8, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0


def test_parsing_targets_cut_out_one_person() -> None:
    parts = torch.arange(16).reshape(4, 4)
    instances = torch.tensor([[1, 1, 2, 2]] * 4)
    rois = torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 4.0, 2.0]])
    targets = parsing_targets(parts, instances, rois, torch.tensor([1, 2]), 4)
    assert targets[0].tolist() == [[0, 1, 0, 0], [4, 5, 0, 0], [8, 9, 0, 0], [12, 13, 0, 0]]
    assert targets[1].tolist() == [[2, 2, 3, 3], [2, 2, 3, 3], [6, 6, 7, 7], [6, 6, 7, 7]]


def test_parsing_loss_ignores_255() -> None:
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 1] = 100.0
    targets = torch.tensor([[[1, 1], [IGNORE_LABEL, IGNORE_LABEL]]])
    assert float(parsing_loss(logits, targets)) < 1e-6
    assert float(parsing_loss(logits, torch.full((1, 2, 2), IGNORE_LABEL))) == 0
    uniform = parsing_loss(torch.zeros(1, 4, 2, 2), targets)
    assert math.isclose(float(uniform), 2 * math.log(4), rel_tol=1e-6)
