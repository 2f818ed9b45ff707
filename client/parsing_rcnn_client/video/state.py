"""The state of a live source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class State:
    """What a live source has done so far, and what is wrong with it.

    Attributes:
        name: of the source, without a password.
        frames: number of frames that came.
        shown: number of frames that were shown or sent.
        dropped: number of frames that a newer one replaced before they could be used.
        analysed: number of frames with a result of the engine.
        failed: number of frames for which the engine gave no result.
        lost: number of pictures that were lost because the output was away.
        reconnects: how often the source was opened again.
        connected: whether the source delivers frames now.
        problem: what is wrong with the source, until it delivers again; or what ended the work on it.
        engine_problem: why the engine gave no result for the last frame, until it gives one again.
        output_problem: why the last picture was lost, until one is sent again.
        lag: seconds between the arrival of a frame and its showing, the longest of the last frames.
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
