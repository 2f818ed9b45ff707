"""Losses and sampling by hand."""

from __future__ import annotations

import math

import torch

from training.config import RpnConfig
from training.losses.box import box_loss
from training.losses.parsing import IGNORE_LABEL, parsing_loss, parsing_targets
from training.losses.proposals import proposal_loss
from training.losses.sampling import LabelledPeople, balanced, match


def people(boxes: list[list[float]], ignore: list[list[float]] | None = None, certain: bool = True) -> LabelledPeople:
    """One picture."""
    persons = torch.tensor(boxes).reshape(1, -1, 4)
    ignored = torch.tensor(ignore or []).reshape(1, -1, 4)
    return LabelledPeople(persons, torch.ones(persons.shape[:2], dtype=torch.bool), ignored, torch.tensor([certain]))


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
    labels, index = match(anchors[None], labelled, 0.7, 0.3, scores=torch.zeros(1, 5), best_for_each=True)
    assert labels.tolist() == [[1, -1, 0, -1, 1]]
    assert index[0, 0] == 0
    assert index[0, 4] == 1


def test_the_best_anchor_of_somebody_is_still_its_own_nearest_persons() -> None:
    """As torchvision's matcher: it becomes positive, and learns the box of the person that it overlaps most."""
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    # the only anchor that touches the child (IoU 0.16) lies on the parent (IoU 0.8)
    parent, child = [0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 4.0, 4.0]
    for order in ([parent, child], [child, parent]):
        labels, index = match(anchors[None], people(order), 0.7, 0.3, scores=torch.zeros(1, 2), best_for_each=True)
        assert labels.tolist() == [[1, 0]]
        assert order[int(index[0, 0])] == parent


def test_likely_unlabelled_people_are_not_background() -> None:
    boxes = torch.tensor([[[50.0, 50.0, 60.0, 60.0], [0.0, 0.0, 10.0, 4.0]]])
    scores = torch.tensor([[0.9, 0.9]])
    labelled = people([[0.0, 0.0, 10.0, 10.0]], certain=False)
    labels, _ = match(boxes, labelled, 0.5, 0.5, scores=scores, best_for_each=False)
    assert labels.tolist() == [[-1, 0]]  # far from people and scored: ignored; a piece of a labelled person: background
    certain, _ = match(boxes, people([[0.0, 0.0, 10.0, 10.0]]), 0.5, 0.5, scores=scores, best_for_each=False)
    assert certain.tolist() == [[0, 0]]


def test_somebody_labelled_inside_an_ignored_region_is_somebody() -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    labelled = people([box], [[0.0, 0.0, 50.0, 50.0]])
    labels, _ = match(torch.tensor([[box]]), labelled, 0.5, 0.5, scores=torch.zeros(1, 1), best_for_each=False)
    assert labels.tolist() == [[1]]


def test_an_overlap_of_just_the_threshold_makes_a_person() -> None:
    half = torch.tensor([[[0.0, 0.0, 10.0, 5.0]]])
    labels, _ = match(half, people([[0.0, 0.0, 10.0, 10.0]]), 0.5, 0.5, scores=torch.zeros(1, 1), best_for_each=False)
    assert labels.tolist() == [[1]]


def test_only_anchors_that_overlap_somebody_as_much_as_the_best_one_are_the_best() -> None:
    # of somebody whom no anchor overlaps enough: IoU 0.25, 0.25 and 0.2
    anchors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [-10.0, -10.0, 10.0, 10.0], [0.0, 0.0, 10.0, 2.0]])
    labelled = people([[0.0, 0.0, 10.0, 10.0]])
    labels, _ = match(anchors[None], labelled, 0.7, 0.3, scores=torch.zeros(1, 3), best_for_each=True)
    assert labels.tolist() == [[1, 1, 0]]


def test_pictures_of_a_batch_are_matched_as_each_alone() -> None:
    """What fills up the shorter lists is nobody and hides nothing."""
    generator = torch.Generator().manual_seed(0)

    def boxes(*shape: int) -> torch.Tensor:
        low, side = torch.rand(*shape, 2, generator=generator) * 60, torch.rand(*shape, 2, generator=generator) * 40
        return torch.cat([low, low + side], -1)

    persons, ignored, candidates, scores = (
        boxes(3, 5),
        boxes(3, 2),
        boxes(3, 400),
        torch.rand(3, 400, generator=generator),
    )
    counts, hidden, certain = (5, 2, 0), (0, 2, 1), (False, True, False)
    present = torch.arange(5) < torch.tensor(counts)[:, None]
    kept = torch.arange(2) < torch.tensor(hidden)[:, None]
    together = LabelledPeople(persons * present[..., None], present, ignored * kept[..., None], torch.tensor(certain))
    for best in (False, True):
        labels, index = match(candidates, together, 0.5, 0.3, scores=scores, best_for_each=best)
        assert {-1, 0, 1} == set(labels.unique().tolist())
        for number, (count, hide, sure) in enumerate(zip(counts, hidden, certain, strict=True)):
            alone = people(persons[number, :count].tolist(), ignored[number, :hide].tolist(), sure)
            row = slice(number, number + 1)
            wanted, owner = match(candidates[row], alone, 0.5, 0.3, scores=scores[row], best_for_each=best)
            assert torch.equal(labels[row], wanted)
            assert torch.equal(index[row][wanted == 1], owner[wanted == 1])


def test_sampling_keeps_its_limits() -> None:
    labels = torch.tensor([[1] * 30 + [0] * 500 + [-1] * 10, [1] * 3 + [0] * 20 + [-1] * 517])
    drawn = balanced(labels, 64, 0.25, torch.Generator().manual_seed(0))
    assert drawn.positives.sum(1).tolist() == [16, 3]
    assert drawn.negatives.sum(1).tolist() == [48, 20]
    for row in range(2):
        positive, negative = drawn.positive[row][drawn.positives[row]], drawn.negative[row][drawn.negatives[row]]
        assert set(labels[row][positive].tolist()) == {1}
        assert set(labels[row][negative].tolist()) == {0}
        assert len(set(positive.tolist()) | set(negative.tolist())) == len(positive) + len(negative)


def test_half_of_the_negatives_are_the_hardest() -> None:
    labels = torch.tensor([[1] * 4 + [0] * 496])
    hardness = torch.arange(500.0)[None] / 500  # of the background, the last are the hardest
    seen = torch.zeros(500)
    for seed in range(20):
        drawn = balanced(labels, 24, 0.25, torch.Generator().manual_seed(seed), hardness)
        negative = drawn.negative[drawn.negatives]
        assert len(negative) == len(set(negative.tolist())) == 20
        assert set(range(490, 500)) <= set(negative.tolist())
        seen[negative] += 1
    assert int((seen[4:490] > 0).sum()) > 100  # the other half is drawn anew each time


def test_beside_many_people_half_of_the_negatives_are_the_hardest_still() -> None:
    labels = torch.zeros(1, 10_000, dtype=torch.int64)
    labels[0, :50] = 1
    hardness = torch.linspace(1, 0, 10_000)[None]  # of the background, the first are the hardest
    drawn = balanced(labels, 8, 0.5, torch.Generator().manual_seed(0), hardness)
    negative = drawn.negative[drawn.negatives].tolist()
    assert len(negative) == 4  # beside four people
    assert {50, 51} == {number for number in negative if number < 60}  # the others are any of thousands


def test_box_loss_by_hand() -> None:
    scores = torch.zeros(4, 2)
    deltas = torch.tensor([[0.5, 0.0, 0.0, 3.0]] * 4)
    labels = torch.tensor([1, 0, 0, 0])
    classification, regression = box_loss(scores, deltas, labels, torch.zeros(4, 4))
    assert math.isclose(float(classification), math.log(2), rel_tol=1e-6)
    # one positive of four: (0.5^2 / 2 + (3 - 0.5)) / 4
    assert math.isclose(float(regression), (0.125 + 2.5) / 4, rel_tol=1e-6)


def test_proposal_loss_by_hand() -> None:
    # the person lies one pixel right of the second anchor: IoU 90 / 110, and dx should be 0.1
    anchors = torch.tensor([[100.0, 100.0, 110.0, 110.0], [0.0, 0.0, 10.0, 10.0]])
    deltas = torch.zeros(1, 2, 4)
    deltas[0, 1, 0] = 0.6
    labelled, generator = people([[1.0, 0.0, 11.0, 10.0]]), torch.Generator().manual_seed(0)
    objectness, box = proposal_loss(torch.zeros(1, 2), deltas, anchors, labelled, RpnConfig(), generator)
    assert math.isclose(float(objectness), math.log(2), rel_tol=1e-6)
    # 0.5 too far, smooth L1 of beta 1/9: d - beta / 2; the mean is over both anchors, and one of them has no box
    assert math.isclose(float(box), (0.5 - 0.5 / 9) / 2, rel_tol=1e-5)


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
    pictures = torch.tensor([1, 1])
    both = torch.stack([torch.zeros_like(parts), parts]), torch.stack([torch.zeros_like(instances), instances])
    targets = parsing_targets(*both, rois, pictures, torch.tensor([1, 2]), 4)
    assert targets[0].tolist() == [[0, 1, 0, 0], [4, 5, 0, 0], [8, 9, 0, 0], [12, 13, 0, 0]]
    assert targets[1].tolist() == [[2, 2, 3, 3], [2, 2, 3, 3], [6, 6, 7, 7], [6, 6, 7, 7]]


def test_parsing_targets_are_read_in_the_middles_of_cells() -> None:
    parts = torch.arange(8).repeat(8, 1)[None]
    own = torch.ones(1, 8, 8, dtype=torch.int64), torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([0])
    assert parsing_targets(parts, *own, torch.tensor([1]), 2).tolist() == [[[2, 6], [2, 6]]]  # cells of 4 pixels


def test_parsing_targets_keep_255_whoever_is_there() -> None:
    parts = torch.tensor([[[5, 5, 255, 255, 255, 0]] * 6])
    instances = torch.tensor([[[1, 1, 1, 0, 2, 0]] * 6])
    targets = parsing_targets(parts, instances, torch.tensor([[0.0, 0, 6, 6]]), torch.tensor([0]), torch.tensor([1]), 6)
    assert targets[0, 0].tolist() == [5, 5, 255, 255, 255, 0]


def test_parsing_loss_ignores_255() -> None:
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 1] = 100.0
    targets = torch.tensor([[[1, 1], [IGNORE_LABEL, IGNORE_LABEL]]])
    assert float(parsing_loss(logits, targets)) < 1e-6
    assert float(parsing_loss(logits, torch.full((1, 2, 2), IGNORE_LABEL))) == 0
    uniform = parsing_loss(torch.zeros(1, 4, 2, 2), targets)
    assert math.isclose(float(uniform), 2 * math.log(4), rel_tol=1e-6)
