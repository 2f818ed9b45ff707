"""How long a body may take: as long as it arrives at a rate, and no longer than all of an answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from starlette.types import Message, Receive, Scope, Send

from server.errors import UploadTimeout
from server.middleware import body_limit
from server.middleware.body_limit import BodyLimit
from server.requests.memory import UploadMemory


def seconds_of(pieces: list[tuple[float, int]]) -> float:
    """When the last of these pieces (seconds since the one before, bytes) comes, or the body's time is over."""
    now, arrival = 0.0, body_limit.Arrival(30, 0)
    for pause, size in pieces:
        if now + pause > arrival.end:
            return arrival.end
        now += pause
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
    assert seconds_of([(1, 1_000_000)] * 1000) == 600
    arrival = body_limit.Arrival(3600, 0)  # of who allows more
    arrival.came(10**9, 600)
    assert arrival.end == 3600


@pytest.mark.parametrize(("size", "arrives"), [(20_000, True), (10, False)])
def test_a_body_that_comes_slowly(monkeypatch: pytest.MonkeyPatch, size: int, arrives: bool) -> None:
    """100 pieces, one a second."""
    clock, sent = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(body_limit, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def receive() -> Message:
        clock.now += 1
        sent.append(size)
        if not arrives and clock.now > 31:
            raise TimeoutError  # as of the loop, whose own time does not pass
        return {"type": "http.request", "body": bytes(size), "more_body": len(sent) < 100}

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    async def send(message: Message) -> None: ...

    limited = BodyLimit(read, lambda _: 10**7, 30, UploadMemory(10**7), lambda *_: None)
    scope = {"type": "http", "path": "/v1/analyze", "headers": []}
    if arrives:
        asyncio.run(limited(scope, receive, send))
        assert len(sent) == 100
    else:
        with pytest.raises(UploadTimeout, match=r"after 32 s the body has 310 bytes .* at 8192 bytes a second"):
            asyncio.run(limited(scope, receive, send))
