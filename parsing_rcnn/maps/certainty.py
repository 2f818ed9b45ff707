"""How sure the maps of people are: what results are ranked by besides the score of the box.

A box may hold a person for certain, and maps that nobody should believe: of somebody behind others, or far away. Ranked
by both, the maps that are right come first. (Yang et al., "Renovating Parsing R-CNN for Accurate Multiple Human
Parsing", ECCV 2020, rank parsing by a score that a branch of its own learns; here it is the probability of what is
shown, which the heads have anyway.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import TASKS

if TYPE_CHECKING:
    from parsing_rcnn.people import People


def certainty(people: People, task: str) -> NDArray[np.float32]:
    """How sure the map of a task is of what it shows of each person.

    Args:
        people: of one picture.
        task: "parsing" or "densepose".

    Returns:
        float32 [n]: the mean probability of the parts over the cells that show one with a score, 0 where none does; 1
        where there are no probabilities (`People.part_scores`, `People.iuv_scores`).

    Raises:
        ValueError: there is no such task.

    Example:
        >>> from parsing_rcnn.people import People
        >>> box, score = np.array([[2, 1, 6, 7]], np.float32), np.array([0.8], np.float32)
        >>> hat, sure = np.full((1, 4, 4), 1, np.uint8), np.full((1, 20), 0.5, np.float32)
        >>> certainty(People(box, score, (8, 8), parts=hat, part_scores=sure), "parsing")
        array([0.5], dtype=float32)
    """
    if task not in TASKS:
        raise ValueError(f"task: {task!r} is unknown; choose from {', '.join(TASKS)}")
    if task == "parsing":
        labels, sure = people.parts, people.part_scores
    else:
        labels, sure = None if people.iuv is None else people.iuv[:, 0], people.iuv_scores
    found = np.ones(len(people), np.float32)
    if labels is not None and sure is not None:
        for index, cells in enumerate(labels):
            counts = np.bincount(cells.ravel(), minlength=sure.shape[1])[1:]
            counts *= sure[index, 1:] > 0  # without a score a part was not looked at, which says nothing against it
            found[index] = (counts * sure[index, 1:]).sum() / max(counts.sum(), 1)
    return found
