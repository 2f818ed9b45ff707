"""What `stream` says of its sources, however soon they are over."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from parsing_rcnn_client.cli.stream_status import summary, wait
from parsing_rcnn_client.video.live import State

PROBLEM = "http://127.0.0.1:9: no answer (Connection refused)"


class Sources:
    """What `wait` looks at of a stream: whether it runs, as often as `turns` says, and its sources' states."""

    def __init__(self, *states: State, turns: Sequence[bool]) -> None:
        self.sources = [SimpleNamespace(state=state) for state in states]
        self._turns = iter(turns)

    @property
    def running(self) -> bool:
        return next(self._turns)


def said(capsys: pytest.CaptureFixture[str], sources: Sources) -> str:
    wait(sources, None)  # type: ignore[arg-type]
    return capsys.readouterr().err


def test_why_there_was_no_answer_is_said_however_soon_a_stream_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    states = (State("door.mp4", frames=3, failed=3, engine_problem=PROBLEM), State("yard.mp4", frames=3))
    assert said(capsys, Sources(*states, turns=[False])) == f"door.mp4: {PROBLEM}\n"


def test_what_was_said_last_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    state = State("door.mp4", connected=True, frames=3, failed=3, engine_problem=PROBLEM)
    assert said(capsys, Sources(state, turns=[True, True, False])) == f"door.mp4: {PROBLEM}\n"


def test_an_output_that_is_away_is_said_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    away = "rtmp://***@127.0.0.1/live: Connection refused"
    state = State("door.mp4", connected=True, frames=9, shown=2, dropped=1, lost=6, output_problem=away)
    assert said(capsys, Sources(state, turns=[True, False])) == f"door.mp4: {away}\n"
    assert summary(state) == "door.mp4: 9 frames, 2 shown, 1 dropped, 6 lost at the output"


def test_what_a_server_says_does_nothing_to_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State("[1].mp4", connected=True, frames=3, failed=3, engine_problem="\x1b]0;title\x07 [/red] [link=x]y")
    assert said(capsys, Sources(state, turns=[False])) == f"[1].mp4: {shown(state.engine_problem)}\n"
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich a terminal
    monkeypatch.setenv("COLUMNS", "200")
    table = said(capsys, Sources(state, turns=[True, False]))
    assert "\x1b]" not in table
    assert "[1].mp4 " in table
    assert f" {shown(state.engine_problem)}" in table


def shown(problem: str) -> str:
    return problem.replace("\x1b", r"\x1b").replace("\x07", r"\x07")
