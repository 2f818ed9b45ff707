"""Scores of people that the evaluations share."""

from __future__ import annotations

SURE = 0.5  # who scores this counts as found, where a figure is not a precision-recall curve
LEAST_RANKED_SCORE = 0.05  # analyzers are asked for people down to this score: the tail of a precision-recall curve
