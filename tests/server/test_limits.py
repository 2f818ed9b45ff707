"""Deadlines, clients that go, uploads that do not end: what a real socket shows."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable, InvalidImage
from server.admission import Admission, TokenBuckets
from server.app import create_app
from server.engines.embedded import EmbeddedEngine
from server.errors import RateLimited
from server.requests.call import Call
from server.settings import Settings
from tests.server.clock import Deadlines
from tests.server.conftest import Live, Slow, wait_until_ready
from tests.server.helpers import answered, metric, post, refused, until


def test_a_deadline_ends_the_wait(photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, deadlines = Slow(), Deadlines(monkeypatch)
    with TestClient(create_app(Settings(workers=1, queue=4), lambda: slow)) as client:
        wait_until_ready(client)
        answers = []

        def send() -> None:
            answers.append(client.post("/v1/analyze", content=photo_jpeg, headers={"X-Timeout-Ms": "300"}))

        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: slow.begun._value == 1 and "parsing_rcnn_held 2.0" in client.get("/metrics").text)
        deadlines.come()
        for thread in threads:
            thread.join(60)
        assert len(answers) == 2
        for answer in answers:
            refused(answer, 504, "X-Timeout-Ms")
        slow.gate.set()
        assert client.post("/v1/analyze", content=photo_jpeg).status_code == 200
        # one was in work, one waited and was never begun; then came this one
        assert sum(slow.begun.acquire(blocking=False) for _ in range(3)) == 2
        for wrong in ("0", "-5", "soon", "99999999999"):
            refused(client.post("/v1/analyze", content=photo_jpeg, headers={"X-Timeout-Ms": wrong}), 422, "600000")
        batch = client.post(
            "/v1/analyze/batch", files={"file": ("a.jpg", photo_jpeg)}, headers={"X-Timeout-Ms": "60000"}
        )
        assert batch.json()["results"][0]["status"] == 200


def test_after_a_deadline_no_picture_of_a_batch_is_begun(photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, deadlines = Slow(), Deadlines(monkeypatch)
    app = create_app(Settings(workers=4, queue=4), lambda: slow)
    with TestClient(app) as client, ThreadPoolExecutor(1) as sender:
        wait_until_ready(client)
        files = [("file", (f"{name}.jpg", photo_jpeg)) for name in "abcd"]
        sent = sender.submit(client.post, "/v1/analyze/batch", files=files, headers={"X-Timeout-Ms": "500"})
        until(lambda: slow.begun._value)
        deadlines.come()
        answer = sent.result(120)
        assert [result["status"] for result in answer.json()["results"]] == [504] * 4
        slow.gate.set()
        assert sum(slow.begun.acquire(timeout=0.1) for _ in range(4)) == 1


def test_a_picture_whose_turn_comes_after_the_deadline_is_left(photo_jpeg: bytes) -> None:
    """Also where the loop is too busy to cancel it in time."""
    slow = Slow()

    async def late() -> None:
        engine = EmbeddedEngine(lambda: slow, 1, 4)
        await engine.start()
        with pytest.raises(DeadlineExceeded, match="X-Timeout-Ms"):
            await engine.analyze(photo_jpeg, Options(), Call("analyze", "somebody", time.monotonic() - 1))
        await engine.close()

    asyncio.run(late())
    assert not slow.begun.acquire(blocking=False)


def test_nothing_is_begun_in_the_time_of_a_call_that_has_none_left() -> None:
    async def late() -> list[str]:
        begun = []
        with pytest.raises(DeadlineExceeded, match="X-Timeout-Ms"):
            async with Call("analyze", "somebody", time.monotonic() - 1).in_time():
                begun.append("a picture")
        return begun

    assert asyncio.run(late()) == []


def test_who_waits_and_goes_is_never_computed(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(workers=1, queue=4), lambda: slow) as live:
        first = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        second = post(live, photo_jpeg)
        until(lambda: metric(live, "parsing_rcnn_held") == 2)
        second.close()
        until(lambda: metric(live, "parsing_rcnn_held") == 1)
        assert metric(live, 'parsing_rcnn_requests_total{outcome="cancelled",route="analyze"}') == 1
        slow.gate.set()
        assert first.recv(4000).startswith(b"HTTP/1.1 200")
        first.close()
        assert not slow.begun.acquire(timeout=0.3)  # the second never began


def test_an_upload_must_end(photo_jpeg: bytes) -> None:
    with Live(Settings(upload_seconds=0.5), Slow) as live:
        lazy = post(live, photo_jpeg[:100], declared=len(photo_jpeg))
        answer = answered(lazy)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"upload-timeout" in answer
        assert b"0.5 s (--upload-seconds), and up to 600 s while it arrives at 8192 bytes a second" in answer
        assert b"\r\nconnection: close\r\n" in answer.lower()
        lazy.close()


def test_an_upload_that_its_client_ends_is_no_fault_of_ours(photo_jpeg: bytes) -> None:
    with Live(Settings(upload_seconds=600), Slow) as live:
        with capture_logs() as lines:
            aborted = post(live, photo_jpeg[:100], declared=len(photo_jpeg))
            aborted.close()
            until(lambda: any(line.get("path") == "/v1/analyze" for line in lines))
        assert [(line["event"], line["log_level"], line["status"]) for line in lines] == [("request", "info", 499)]
        assert metric(live, "parsing_rcnn_held") == 0


def test_uploads_together_are_bounded(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(upload_memory=len(photo_jpeg) + 1000), lambda: slow) as live:
        first = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        second = post(live, photo_jpeg, "Connection: close\r\n")
        answer = b""
        with suppress(ConnectionResetError):  # a connection is reset that is closed with some of the upload unread
            while piece := second.recv(4000):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in answer
        assert b"come back in 1 s" in answer
        slow.gate.set()
        assert first.recv(4000).startswith(b"HTTP/1.1 200")
        third = post(live, photo_jpeg)  # what was held is free again
        assert third.recv(4000).startswith(b"HTTP/1.1 200")
        for each in (first, second, third):
            each.close()


def test_what_never_fits_is_not_told_to_come_back(photo_jpeg: bytes) -> None:
    with TestClient(create_app(Settings(upload_memory=len(photo_jpeg) - 1), Slow)) as client:
        wait_until_ready(client)
        for body in (photo_jpeg, iter([photo_jpeg[:100], photo_jpeg[100:]])):  # with its length, and without
            answer = client.post("/v1/analyze", content=body)
            refused(answer, 413, "all uploads together may have")
            assert "--upload-memory" in answer.json()["detail"]
            assert "retry-after" not in answer.headers


def test_full_is_said_before_the_body_comes(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(workers=1, queue=0), lambda: slow) as live:
        first = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        refused_early = post(live, b"", declared=len(photo_jpeg))  # not a byte of its body was sent
        assert refused_early.recv(4000).startswith(b"HTTP/1.1 503")
        slow.gate.set()
        assert first.recv(4000).startswith(b"HTTP/1.1 200")
        first.close()
        refused_early.close()


def test_full_is_also_said_to_who_was_let_in_before(photo_jpeg: bytes) -> None:
    """There was a place when the upload began, and none when the picture was there."""
    slow = Slow()
    with Live(Settings(workers=1, queue=0), lambda: slow) as live:
        late = post(live, b"", "Expect: 100-continue\r\n", declared=len(photo_jpeg))
        assert late.recv(4000).startswith(b"HTTP/1.1 100")
        first = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        late.sendall(photo_jpeg)
        assert late.recv(4000).startswith(b"HTTP/1.1 503")
        assert metric(live, "parsing_rcnn_held") == 1
        slow.gate.set()
        assert first.recv(4000).startswith(b"HTTP/1.1 200")
        for each in (first, late):
            each.close()


def test_two_hundred_silent_connections_harm_nobody(photo_jpeg: bytes) -> None:
    slow = Slow()
    slow.gate.set()
    with Live(Settings(), lambda: slow) as live:
        silent = [socket.create_connection(("127.0.0.1", live.port), timeout=60) for _ in range(200)]
        busy = post(live, photo_jpeg)
        assert busy.recv(4000).startswith(b"HTTP/1.1 200")
        for connection in (*silent, busy):
            connection.close()


def test_the_wait_that_is_advised_grows_with_the_answers_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(1)
    for _ in range(60):  # answers that take 5 s
        with admission.place():
            now[0] += 5
    with admission.place(), pytest.raises(Exception, match="limit is 1: come back in 5 s") as refusal:
        admission.check()
    assert refusal.value.retry_after == 5  # type: ignore[attr-defined]
    assert admission.held == 0


def test_nobody_is_sent_away_for_longer_than_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(1)
    with admission.place():
        now[0] += 5000  # an answer took more than an hour
    with admission.place(), pytest.raises(EngineUnavailable, match="come back in 30 s") as refusal:
        admission.check()
    assert refusal.value.retry_after == 30


def test_the_wait_that_is_advised_is_of_answers_and_a_second_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(1)

    def advised() -> float | None:
        with pytest.raises(EngineUnavailable) as refusal:
            admission.check()
        return refusal.value.retry_after

    with admission.place():
        assert advised() == 1  # no answer is known yet
        now[0] += 25
    with suppress(InvalidImage), admission.place():
        assert advised() == 3  # a tenth of what the last one took
        now[0] += 1000
        raise InvalidImage("no answer")
    with admission.place():
        assert advised() == 3


def test_addresses_without_number_fill_no_memory_and_take_nobodys_share() -> None:
    buckets = TokenBuckets(0.001, 1)
    buckets.take("regular")
    held = []
    tracemalloc.start()
    for flood in range(4):
        for address in range(10_000):
            buckets.take(f"{flood} {address}")
            if address % 1000 == 0:
                with pytest.raises(RateLimited):  # who keeps asking is not forgotten
                    buckets.take("regular")
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] < 1.5 * held[0]
    buckets.take("newest")
    with pytest.raises(RateLimited):
        buckets.take("newest")


def test_buckets_fill_at_their_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    buckets = TokenBuckets(2.0, 4)
    buckets.take("a", 4)
    with pytest.raises(RateLimited) as refusal:
        buckets.take("a", 3)
    assert refusal.value.retry_after == 2  # 3 tokens at 2 a second: 1.5 s
    now[0] += 1.5
    buckets.take("a", 3)
    with pytest.raises(RateLimited):
        buckets.take("a", 1)
    now[0] += 1000
    with pytest.raises(RateLimited, match="at most 4"):
        buckets.take("a", 5)
    buckets.take("a", 4)
    TokenBuckets(None, 1).take("a", 1000)


def test_who_has_some_of_the_share_left_waits_for_the_rest_of_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    buckets = TokenBuckets(0.5, 4)
    buckets.take("a", 1)
    with pytest.raises(RateLimited, match="come back in 2 s") as refusal:
        buckets.take("a", 4)  # three are there, and the fourth takes 2 s; so many at once may come again
    assert refusal.value.retry_after == 2


def test_after_a_refusal_the_queue_is_short_until_calm_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    admission = Admission(6, busy=2)
    with ExitStack() as burst:
        for _ in range(6):  # a burst may fill every place
            burst.enter_context(admission.place())
        with pytest.raises(EngineUnavailable, match="limit is 6"):
            admission.check()
    with admission.place(), admission.place(), pytest.raises(EngineUnavailable, match="limit is 2"):
        admission.check()
    now[0] += 4  # refused 4 s ago: no calm yet, and this refusal counts as well
    with admission.place(), admission.place(), pytest.raises(EngineUnavailable, match="limit is 2"):
        admission.check()
    now[0] += 5
    with admission.place(), admission.place(), admission.place():
        admission.check()


def test_calm_or_not_no_more_than_every_place_is_taken() -> None:
    admission = Admission(1, busy=4)
    with admission.place():
        for _ in range(2):
            with pytest.raises(EngineUnavailable, match="limit is 1"):
                admission.check()


def test_a_deadline_ends_a_slow_upload_too(photo_jpeg: bytes) -> None:
    with Live(Settings(upload_seconds=600), Slow) as live:  # for so long nobody waits here
        lazy = post(live, photo_jpeg[:100], "X-Timeout-Ms: 300\r\n", declared=len(photo_jpeg))
        assert lazy.recv(4000).startswith(b"HTTP/1.1 504")
        lazy.close()


def test_what_is_no_picture_does_not_wait_for_one(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(queue=4), lambda: slow) as live:
        busy = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        for body, status in ((b"junk", 415), (photo_jpeg[:3], 400)):  # answered while the engine is at work
            wrong = post(live, body)
            assert wrong.recv(4000).startswith(f"HTTP/1.1 {status}".encode())
            wrong.close()
        slow.gate.set()
        assert busy.recv(4000).startswith(b"HTTP/1.1 200")
        busy.close()


def test_who_lent_a_place_waits_for_one_before_those_who_come_new() -> None:
    async def lend() -> None:
        admission = Admission(1)
        with admission.place() as place:
            place.lend()
            place.lend()  # it is lent already
            assert admission.held == 0
            with admission.place():
                waits = asyncio.create_task(place.again())
                await asyncio.sleep(0)
                assert not waits.done()
                with pytest.raises(EngineUnavailable, match="2 pictures are in work or waiting, the limit is 1"):
                    admission.check()
            await waits
            assert admission.held == 1
            place.lend()
        assert admission.held == 0

    asyncio.run(lend())


def test_who_gives_up_that_wait_leaves_no_place_behind() -> None:
    async def give_up(before: bool) -> int:
        admission = Admission(1)
        with admission.place() as place:
            place.lend()
            with admission.place():
                waits = asyncio.create_task(place.again())
                await asyncio.sleep(0)
                if before:
                    waits.cancel()
                    await asyncio.wait([waits])
            waits.cancel()  # else: when it has the place, and does not know yet
            await asyncio.wait([waits])
            assert waits.cancelled()
        with admission.place():
            return admission.held

    assert [asyncio.run(give_up(before)) for before in (True, False)] == [1, 1]
