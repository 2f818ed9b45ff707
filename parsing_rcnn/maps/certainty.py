"""How sure the maps of people are, by which results are ranked besides the score of the box.

A box can certainly hold a person although its maps are poor: somebody behind others, or far away. Ranked by both, the
right maps come first. (Yang et al., "Renovating Parsing R-CNN for Accurate Multiple Human Parsing", ECCV 2020, rank
parsing by a score that a branch of its own learns. Here it is the probability of the classes shown, which the heads
compute anyway.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import TASKS
from parsing_rcnn.people import People


def certainty(people: People, task: str) -> NDArray[np.float32]:
    """How sure each person's map of a task is of the parts that it shows.

    Args:
        people: of one picture.
        task: "parsing" or "densepose".

    Returns:
        float32 [n]: the mean probability of the parts over all cells that show a part with a score; 0 where no cell
        does, 1 where the people have no probabilities (`People.part_scores`, `People.iuv_scores`).

    Raises:
        ValueError: there is no such task.

    Example:
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
            counts *= sure[index, 1:] > 0  # a part without a score was not measured, which says nothing against it
            found[index] = (counts * sure[index, 1:]).sum() / max(counts.sum(), 1)
    return found
