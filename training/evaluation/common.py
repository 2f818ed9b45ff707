"""What the evaluations share: scores of people, and the type of progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

SURE = 0.5  # who scores this counts as found, where a figure is not a precision-recall curve
LEAST_RANKED_SCORE = 0.05  # analyzers are asked for people down to this score: the tail of a precision-recall curve

# wraps a sequence that is walked: (items, name of the set) -> items
Progress = Callable[[Sequence[Any], str], Iterable[Any]]
