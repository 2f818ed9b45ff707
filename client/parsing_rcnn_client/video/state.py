"""The state of a live source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class State:
    """What a live source did so far, and what is wrong with it.

    Attributes:
        name: of the source, without a password.
        frames: that came.
        shown: that left.
        dropped: that were too old when there was time for them.
        analysed: answered by the engine.
        failed: that the engine did not answer.
        lost: that an output did not take which was away.
        reconnects: times that the source was opened again.
        connected: whether it delivers now.
        problem: of the source, until it delivers again, or what ended the work on it.
        engine_problem: why the last frame had no answer of the engine, until one has.
        output_problem: why the last picture was lost, until one leaves.
        lag: seconds between the arrival of a frame and its showing, the longest of late.
    """

    name: str
    frames: int = 0
    shown: int = 0
    dropped: int = 0
    analysed: int = 0
    failed: int = 0
    lost: int = 0
    reconnects: int = 0
    connected: bool = False
    problem: str | None = None
    engine_problem: str | None = None
    output_problem: str | None = None
    lag: float = 0.0
