"""How long a body may take: as long as it arrives at a rate, and no longer than all of an answer."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from starlette.types import Message, Receive, Scope, Send

from server.errors import UploadTimeout
from server.middleware import body_limit
from server.middleware.body_limit import BodyLimit
from server.requests.memory import Share, UploadMemory
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import answered, open_gate, post, until

MiB = 1024 * 1024


def seconds_of(pieces: Sequence[tuple[float, int]], memory: UploadMemory | None = None) -> float:
    """When the last of these pieces (seconds since the one before, bytes) comes, or the body's time is over."""
    now, share = 0.0, Share(memory or UploadMemory(1024 * MiB))
    arrival = body_limit.Arrival(30, 0, share.memory)
    for pause, size in pieces:
        if now + pause > arrival.end:
            return arrival.end
        now += pause
        share.count(size)
        arrival.came(size, now)
    return now


def test_what_arrives_at_a_rate_is_waited_for() -> None:
    assert seconds_of([(1, 20_000)] * 500) == 500
    assert seconds_of([(1, 8192)] * 599) == 599
    assert seconds_of([(29, 29 * 8192)] * 20) == 580  # in pieces, as some networks deliver them


def test_a_trickle_is_cut() -> None:
    assert seconds_of([(1, 1)] * 1000) < 31
    assert seconds_of([(1, 4096)] * 1000) < 61


def test_nothing_is_held_for_who_stopped_sending() -> None:
    """However much came before, and however fast."""
    assert seconds_of([(1, 100_000_000), (1000, 1)]) == 31
    assert seconds_of([(1, 20_000)] * 100 + [(1, 1)] * 1000) < 131


def test_all_of_it_has_an_end() -> None:
    assert seconds_of([(1, 500_000)] * 1000) == 600
    arrival = body_limit.Arrival(3600, 0, UploadMemory(1))  # of who allows more
    arrival.came(10**9, 600)
    assert arrival.end == 3600


def test_half_of_the_memory_is_kept_for_who_sends_faster() -> None:
    """A few bodies that are sent fast but for their ends, and these at the rate, keep nobody out for longer than a
    trickle does."""
    ends = [(1, 8192)] * 1000
    full = UploadMemory(512 * MiB)
    Share(full).count(4 * 121 * MiB)  # four others
    assert seconds_of([(0.1, 121 * MiB), *ends], full) <= 31
    assert seconds_of([(1, 8192)] * 300 + [(0.1, 300 * MiB), *ends]) == 600  # 1024 MiB are more than twice as many
    assert seconds_of([(1, 8192)] * 300 + [(0.1, 600 * MiB), *ends]) < 331


@pytest.mark.parametrize(("others", "seconds"), [(240, 400), (256, 30)])
def test_a_photo_by_a_slow_uplink_has_its_time_beside_others(others: int, seconds: float) -> None:
    memory = UploadMemory(512 * MiB)
    Share(memory).count(others * MiB)
    assert seconds_of([(1, 20_000)] * 400, memory) == seconds


@pytest.mark.parametrize(("size", "others", "most"), [(20_000, 0, 100), (10, 0, 30), (20_000, 10**7, 30)])
def test_a_body_that_comes_slowly(monkeypatch: pytest.MonkeyPatch, size: int, others: int, most: int) -> None:
    """100 pieces, one a second, while others hold as many bytes: where its time is over the wait for the next one is
    ended, which would go on for ever."""
    clock = SimpleNamespace(now=0.0)
    sent: list[int] = []
    waits: list[tuple[asyncio.Timeout, float]] = []
    monkeypatch.setattr(body_limit, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def timeout(seconds: float) -> asyncio.Timeout:
        waits.append((asyncio.timeout(None), clock.now + seconds))
        return waits[-1][0]

    monkeypatch.setattr(body_limit, "asyncio", SimpleNamespace(timeout=timeout))

    async def receive() -> Message:
        assert len(waits) == len(sent) + 1  # each piece has a time of its own
        if clock.now + 1 > waits[-1][1]:
            clock.now = waits[-1][1]
            waits[-1][0].reschedule(0)
            await asyncio.Event().wait()
        clock.now += 1
        sent.append(size)
        return {"type": "http.request", "body": bytes(size), "more_body": len(sent) < 100}

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def send(message: Message) -> None: ...

    memory = UploadMemory(2 * 10**7)
    Share(memory).count(others)
    limited = BodyLimit(read, lambda _: 10**7, 30, memory, lambda *_: None)
    scope = {"type": "http", "path": "/v1/analyze", "headers": []}
    if most == 100:
        asyncio.run(limited(scope, receive, send))
    else:
        said = rf"after 30 s the body has {30 * size} bytes .* at 8192 bytes a second .* less than 10000000 bytes"
        with pytest.raises(UploadTimeout, match=said):
            asyncio.run(limited(scope, receive, send))
    assert len(sent) == most
    assert memory.held == others


def test_a_live_trickle_is_cut(photo_jpeg: bytes) -> None:
    with Live(Settings(upload_seconds=0.5), open_gate) as live, post(live, b"", declared=len(photo_jpeg)) as trickle:

        def cut() -> bool:
            if select.select([trickle], [], [], 0.05)[0]:
                return True
            trickle.sendall(b"\xff")
            return False

        until(cut)
        answer = answered(trickle)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_a_live_body_that_goes_on_arriving_is_read_to_its_end(
    photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 200 s by the gateway's clock, of which one piece takes 10."""
    now = [time.monotonic()]
    monkeypatch.setattr(body_limit, "time", SimpleNamespace(monotonic=lambda: now[0]))
    pieces, size = 20, 10 * 8192
    body = photo_jpeg + bytes(pieces * size - len(photo_jpeg))
    with Live(Settings(upload_seconds=30), open_gate) as live, post(live, b"", declared=len(body)) as slow:
        uploads: UploadMemory = live.app.state.uploads
        sent = 0

        def come() -> bool:
            return uploads.held == sent

        while sent < len(body):
            until(come)
            now[0] += 10
            slow.sendall(body[sent : sent + size])
            sent += size
        assert answered(slow).startswith(b"HTTP/1.1 200")
