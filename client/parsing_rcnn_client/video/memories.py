"""What is remembered of each track, and the people whom memories show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.maps.framing import unseen
from parsing_rcnn.people import People
from parsing_rcnn_client.video.votes import Averages, Votes

Box = NDArray[np.float32]
Scores = NDArray[np.float32]


@dataclass
class Memory:
    """What is remembered of one track.

    Attributes:
        box: in the last frame, covered by the maps.
        shown: the steadied box.
        speed: float64 [4] of the edges, box heights a second.
        time: of the last analysed frame with this track, seconds.
        score: of the person.
        parts: labels, and what they come from.
        charts: the same of I.
        uv: uint8 [2,S,S].
        part_scores: the last score above 0 of each class that was found in the last analysed frame, shown or averaged.
        iuv_scores: the same of each I.
    """

    box: Box
    shown: Box
    speed: NDArray[np.float64]
    time: float
    score: float
    parts: Votes | Averages | None
    charts: Votes | None
    uv: NDArray[np.uint8] | None
    part_scores: Scores | None
    iuv_scores: Scores | None

    @property
    def shown_part_scores(self) -> Scores | None:
        """Scores of the parts, 0 for those that no cell shows."""
        return _as_shown(self.part_scores, self.parts)

    @property
    def shown_iuv_scores(self) -> Scores | None:
        """Scores of I, 0 for those that no cell shows."""
        return _as_shown(self.iuv_scores, self.charts)


def last_scores(
    known: Scores | None, scores: Scores | None, labels: NDArray[np.uint8] | None, votes: Votes | Averages | None
) -> Scores | None:
    """The last score above 0 of each class that is found, shown or averaged.

    Voting may show a class for some frames after it was last found. A class that left the memory has no score there.

    Args:
        known: from earlier frames.
        scores: of this one.
        labels: found in it, uint8 [S,S].
        votes: after it.
    """
    if known is None or scores is None or known.shape != scores.shape or labels is None or votes is None:
        return scores
    old = np.where(scores > 0, 0, known)
    averaged = votes.classes if isinstance(votes, Averages) else ()
    gone = set(unseen(votes.labels, old)) & set(unseen(labels, old)) - set(averaged)
    old[list(gone)] = 0
    return np.where(scores > 0, scores, old)


def people_of(memories: Sequence[Memory], blank: People) -> People:
    """The people whom the memories show; maps that one of them lacks are left out.

    Args:
        memories: one or more.
        blank: an empty `People` with the size of the frame and the taxonomy.
    """
    parts = [m.parts.labels for m in memories if m.parts is not None]
    part_scores = [scores for m in memories if (scores := m.shown_part_scores) is not None]
    iuv_scores = [scores for m in memories if (scores := m.shown_iuv_scores) is not None]
    iuv = [np.concatenate([m.charts.labels[None], m.uv]) for m in memories if m.charts is not None and m.uv is not None]
    return replace(
        blank,
        boxes=np.stack([m.box for m in memories]),
        scores=np.array([m.score for m in memories], np.float32),
        parts=np.stack(parts) if len(parts) == len(memories) else None,
        part_scores=np.stack(part_scores) if len(part_scores) == len(memories) else None,
        iuv=np.stack(iuv) if len(iuv) == len(memories) else None,
        iuv_scores=np.stack(iuv_scores) if len(iuv_scores) == len(memories) else None,
    )


def _as_shown(scores: Scores | None, votes: Votes | Averages | None) -> Scores | None:
    if scores is None or votes is None or not (hidden := unseen(votes.labels, scores)):
        return scores
    shown = scores.copy()
    shown[hidden] = 0
    return shown
