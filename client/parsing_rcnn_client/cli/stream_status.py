"""What `parsing-rcnn stream` shows about its sources while it runs, and at the end."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parsing_rcnn.terminal import printable, say, stderr_console

if TYPE_CHECKING:
    from parsing_rcnn_client.video.live import Live
    from parsing_rcnn_client.video.state import State

_AT_FIRST = "connecting"
_PAUSE = 1.0  # seconds between two lines about one source; doubled with each line until it is steady
_LONGEST = 60.0


def wait(live: Live, seconds: float | None) -> None:
    """Wait for the end, or `seconds`, and show how the sources are: a table, or on no terminal a line each."""
    from rich.live import Live as Display
    from rich.table import Table
    from rich.text import Text

    def goes_on() -> bool:
        return live.running and (seconds is None or time.monotonic() - begin < seconds)

    def plain(said: str) -> Text:
        return Text(printable(said))

    def table() -> Table:
        shown = Table("source", "fps in", "fps out", "dropped", "lag ms", "state", box=None)
        passed = max(time.monotonic() - begin, 1e-3)
        for s in (source.state for source in live.sources):
            rates = (f"{s.frames / passed:.1f}", f"{s.shown / passed:.1f}", str(s.dropped), f"{1000 * s.lag:.0f}")
            # as text, for rich reads brackets as markup, and raises an error where they are none
            shown.add_row(plain(s.name), *rates, plain(_condition(s)))
        return shown

    begin, console, changes = time.monotonic(), stderr_console(), _Changes()
    try:
        if not console.is_terminal:
            while goes_on():
                time.sleep(0.1)
                changes.tell(live)
            return
        with Display(table(), console=console, refresh_per_second=4, transient=True) as display:
            while goes_on():
                time.sleep(0.1)
                display.update(table())
    finally:
        changes.tell_why(live)


def _condition(state: State) -> str:
    at_work = "live" if state.connected else "ending" if state.frames else _AT_FIRST
    return state.problem or state.output_problem or state.engine_problem or at_work


def summary(state: State) -> str:
    """A line about a source that has ended."""
    missed = f", {state.failed} without an answer" if state.failed else ""
    lost = f", {state.lost} lost at the output" if state.lost else ""
    frames = f"{state.frames} frame{'s' * (state.frames != 1)}"
    return f"{state.name}: {frames}, {state.shown} shown, {state.dropped} dropped{missed}{lost}"


@dataclass
class _Told:
    """The last line about a source and its time; its condition and since when. Times are of time.monotonic()."""

    said: str = _AT_FIRST
    said_at: float = -math.inf
    pause: float = _PAUSE
    now: str = _AT_FIRST
    since: float = -math.inf


class _Changes:
    """Prints a line when the condition of a source changes: soon, but for a source that changes often once a minute."""

    def __init__(self) -> None:
        self._told: defaultdict[int, _Told] = defaultdict(_Told)  # by the number of the source

    def tell(self, live: Live) -> None:
        """Print the changes of all sources."""
        now = time.monotonic()
        for number, source in enumerate(live.sources):
            name, condition = source.state.name, _condition(source.state)
            told = self._told[number]
            if condition != told.now:
                if now - told.since >= _LONGEST:  # it was steady
                    told.pause = _PAUSE
                told.now, told.since = condition, now
            if condition != told.said and now - told.said_at >= told.pause:
                _say(name, condition)
                told.said, told.said_at, told.pause = condition, now, min(2 * told.pause, _LONGEST)

    def tell_why(self, live: Live) -> None:
        """At the end: print why the last frames were lost or had no answer, unless it was the last line already."""
        for number, source in enumerate(live.sources):
            problem = source.state.output_problem or source.state.engine_problem
            if problem and problem != self._told[number].said:
                _say(source.state.name, problem)


def _say(name: str, condition: str) -> None:
    say(condition if condition.startswith(name) else f"{name}: {condition}")
