"""Large pictures are drawn within a bound of memory, and small ones do not wait for them."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from structlog.testing import capture_logs

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from parsing_rcnn.stopping import check_stopped
from server import offload as offload_module
from server.offload import Offload
from server.responses import answers
from server.settings import Settings
from tests.server.clock import Deadlines
from tests.server.conftest import Live, Slow
from tests.server.helpers import metric, post, until

URL = "/v1/analyze?render=overlay"
PNG = {"Accept": "image/png"}


class Nobody(Slow):
    """Finds nobody, whatever the picture."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        height, width = image.shape[:2] if not isinstance(image, bytes) else Image.open(io.BytesIO(image)).size[::-1]
        return People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (height, width))


class Watched:
    """The real drawing, which waits for a signal, and counts who draws at the same time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)
        self.drawing, self.most = 0, 0
        self._render, self._lock = answers.render, threading.Lock()
        monkeypatch.setattr(answers, "render", self.render)

    def render(self, image: bytes, *rest: Any) -> bytes:
        if len(image) < 2000:  # the small one
            return self._render(image, *rest)
        with self._lock:
            self.drawing += 1
            self.most = max(self.most, self.drawing)
        self.begun.release()
        assert self.gate.wait(120)
        try:
            return self._render(image, *rest)
        finally:
            with self._lock:
                self.drawing -= 1


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(buffer, "JPEG")
    return buffer.getvalue()


def gateway(pixels: int, load: Callable[[], Slow] = Nobody) -> Live:
    live = Live(Settings(), load)
    live.app.state.service.offload = Offload(pixels)
    return live


def test_large_pictures_are_drawn_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, large = Watched(monkeypatch), jpeg(2000, 1500)
    with gateway(5_000_000) as live, ThreadPoolExecutor(4) as pool:
        address = f"http://{live.address}{URL}"
        answered = [pool.submit(httpx.post, address, content=large, headers=PNG, timeout=120) for _ in range(4)]
        assert watched.begun.acquire(timeout=60)
        until(lambda: metric(live, "parsing_rcnn_held") == 4)
        assert not watched.begun.acquire(timeout=0.3)  # room for one of three megapixels, not for two
        small = httpx.post(address, content=jpeg(64, 48), headers=PNG, timeout=120)
        assert small.status_code == 200
        watched.gate.set()
        for answer in answered:
            assert Image.open(io.BytesIO(answer.result().content)).size == (2000, 1500)
    assert watched.most == 1
    assert live.app.state.service.offload.held == 0


def test_as_many_as_there_is_room_for_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, large = Watched(monkeypatch), jpeg(2000, 1500)
    with gateway(7_000_000) as live, ThreadPoolExecutor(4) as pool:
        address = f"http://{live.address}{URL}"
        answered = [pool.submit(httpx.post, address, content=large, headers=PNG, timeout=120) for _ in range(4)]
        assert all(watched.begun.acquire(timeout=60) for _ in range(2))
        assert not watched.begun.acquire(timeout=0.3)
        watched.gate.set()
        assert [answer.result().status_code for answer in answered] == [200] * 4
    assert watched.most == 2


def test_one_picture_always_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.gate.set()
    with gateway(1_000_000) as live:
        answer = httpx.post(f"http://{live.address}{URL}", content=jpeg(2000, 1500), headers=PNG, timeout=120)
        assert answer.status_code == 200


def test_who_goes_leaves_the_room_to_what_is_still_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, large = Watched(monkeypatch), jpeg(2000, 1500)
    with gateway(5_000_000) as live, ThreadPoolExecutor(1) as pool:
        gone = [post(live, large, "Accept: image/png\r\n") for _ in range(2)]  # one is drawn, one waits for room
        assert watched.begun.acquire(timeout=60)
        until(lambda: metric(live, "parsing_rcnn_held") == 2)
        for connection in gone:
            connection.close()
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
        answer = pool.submit(httpx.post, f"http://{live.address}{URL}", content=large, headers=PNG, timeout=120)
        assert not watched.begun.acquire(timeout=0.3)  # a thread is not interrupted, nor is its memory free
        watched.gate.set()
        assert answer.result().status_code == 200
    assert watched.most == 1


def test_large_pictures_come_in_the_order_of_coming_and_full_hd_waits_for_none() -> None:
    begun: list[str] = []
    first, gate = threading.Event(), threading.Event()

    def work(name: str) -> None:
        begun.append(name)
        first.set()
        assert gate.wait(120)

    async def draw() -> None:
        offload = Offload(6_000_000)
        large = [asyncio.create_task(offload.run(3_000_000, work, "first"))]
        await asyncio.to_thread(first.wait, 120)
        for pixels, name in ((6_000_000, "alone"), (2_500_000, "after it")):  # the last would fit beside the first
            large.append(asyncio.create_task(offload.run(pixels, work, name)))
            await asyncio.sleep(0)
        await offload.run(1920 * 1080, begun.append, "full hd")
        gate.set()
        await asyncio.gather(*large)
        assert offload.held == 0
        await offload.close()

    asyncio.run(asyncio.wait_for(draw(), 60))
    assert begun == ["first", "full hd", "alone", "after it"]


class Crowd(Slow):
    """Finds four people, each as large as the picture."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        width, height = Image.open(io.BytesIO(image)).size if isinstance(image, bytes) else image.shape[1::-1]
        boxes = np.tile(np.array([0, 0, width, height], np.float32), (4, 1))
        parts = np.ones((4, 8, 8), np.uint8)
        return People(boxes, np.full(4, 0.9, np.float32), (height, width), parts=parts)


@pytest.mark.parametrize("ends", ["the client goes", "the deadline comes"])
def test_work_for_which_nobody_waits_ends_at_the_next_person(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crop, begun, gate, cropped = People.crop, threading.Event(), threading.Event(), []
    deadlines = Deadlines(monkeypatch)

    def slowly(people: People, index: int, exact: bool = False) -> Any:
        cropped.append(index)
        if index == 1:
            begun.set()
            assert gate.wait(120)
        return crop(people, index, exact)

    monkeypatch.setattr(People, "crop", slowly)
    with gateway(5_000_000, Crowd) as live:
        offload = live.app.state.service.offload
        connection = post(live, jpeg(2000, 1500), "X-Timeout-Ms: 20000\r\n")
        assert begun.wait(60)
        if ends == "the client goes":
            connection.close()
        else:
            deadlines.come()
            assert connection.recv(4000).startswith(b"HTTP/1.1 504")
            connection.close()
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
        assert offload.held == 5_000_000  # it was told to end, but has not
        gate.set()
        until(lambda: offload.held == 0)
    assert cropped == [0, 1]


def test_people_larger_than_their_picture_count(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    with gateway(64_000_000, Crowd) as live, ThreadPoolExecutor(1) as pool:
        address = f"http://{live.address}{URL}"
        answer = pool.submit(httpx.post, address, content=jpeg(1000, 900), headers=PNG, timeout=120)
        assert watched.begun.acquire(timeout=60)
        assert live.app.state.service.offload.held == 4 * 1000 * 900
        watched.gate.set()
        assert answer.result().status_code == 200


def test_photos_pass_a_giant_and_do_not_starve_the_next_one() -> None:
    begun: list[str] = []
    gates = {name: threading.Event() for name in ("giant", "photo", "second giant", "second photo")}

    def work(name: str) -> None:
        begun.append(name)
        assert gates[name].wait(120)

    async def draw() -> None:
        offload = Offload(20_000_000)
        tasks = {}
        for pixels, name in ((64, "giant"), (3, "photo"), (20, "second giant"), (3, "second photo")):
            tasks[name] = asyncio.create_task(offload.run(pixels * 1_000_000, work, name))
            await asyncio.sleep(0)  # it stands in the line
        await asyncio.to_thread(until, lambda: begun == ["giant", "photo"])
        gates["photo"].set()  # the reserve is free for the second one
        await asyncio.to_thread(until, lambda: begun == ["giant", "photo", "second photo"])
        gates["giant"].set()  # the second photo is still drawn
        await asyncio.to_thread(until, lambda: begun[3:] == ["second giant"])
        for gate in gates.values():
            gate.set()
        await asyncio.gather(*tasks.values())
        await asyncio.sleep(0)
        assert (offload.held, offload.lent) == (0, 0)
        await offload.close()

    asyncio.run(asyncio.wait_for(draw(), 240))


def test_who_leaves_the_line_lets_the_next_one_in() -> None:
    gate = threading.Event()

    async def draw() -> list[Any]:
        offload = Offload(6_000_000)
        first = asyncio.create_task(offload.run(3_000_000, gate.wait, 120))
        await asyncio.sleep(0)
        large = asyncio.create_task(offload.run(6_000_000, lambda: "large"))
        after = asyncio.create_task(offload.run(3_000_000, lambda: "after"))
        await asyncio.sleep(0)
        large.cancel()
        found = [await after]  # there is room for it beside the first
        gate.set()
        found.append(await first)
        await offload.close()
        return found

    assert asyncio.run(asyncio.wait_for(draw(), 120)) == ["after", True]


def test_the_end_stops_what_runs_and_does_not_wait_for_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload_module, "_CLOSING", 0.5)
    begun, gate = threading.Semaphore(0), threading.Event()

    def stops() -> None:
        begun.release()
        while True:
            check_stopped()
            gate.wait(0.01)

    def hangs() -> None:
        begun.release()
        gate.wait()

    async def end() -> str:
        offload = Offload()
        stopping, hanging = (asyncio.create_task(offload.run(1, work)) for work in (stops, hangs))
        for _ in range(2):
            await asyncio.to_thread(begun.acquire)
        with capture_logs() as lines:
            await offload.close()
        with pytest.raises(EngineUnavailable, match="the gateway stops"):
            await stopping
        with pytest.raises(EngineUnavailable, match="the gateway stops"):
            await offload.run(3_000_000, hangs)
        assert offload.held == 0
        hanging.cancel()
        return str(lines[-1]["event"])

    try:
        said = asyncio.run(asyncio.wait_for(end(), 120))
    finally:
        gate.set()
    assert "cannot be interrupted" in said


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not tied to cores here")
def test_threads_are_for_the_cores_that_the_gateway_may_use() -> None:
    allowed, gate = os.sched_getaffinity(0), threading.Event()
    os.sched_setaffinity(0, {min(allowed)})
    try:
        offload = Offload()
    finally:
        os.sched_setaffinity(0, allowed)

    async def twenty() -> int:
        before = set(threading.enumerate())
        work = [asyncio.create_task(offload.run(1, gate.wait, 120)) for _ in range(20)]
        await asyncio.sleep(0)  # each has handed its work over
        begun = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("offload")]
        gate.set()
        assert all(await asyncio.gather(*work))
        await offload.close()
        return len(begun)

    assert asyncio.run(twenty()) == 1 + 4


def test_what_no_thread_could_be_started_for_does_not_run_later(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def fails(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def short_of_threads() -> None:
        offload = Offload()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fails)
            with pytest.raises(EngineUnavailable, match="starts no thread for this now: can't start new thread"):
                await offload.run(60_000_000, done.append, "refused")
        assert (offload.held, offload.lent) == (0, 0)
        await offload.run(60_000_000, done.append, "asked again")
        await offload.close()
        with pytest.raises(EngineUnavailable, match="the gateway stops"):
            await offload.run(1, done.append, "late")

    asyncio.run(short_of_threads())
    assert done == ["asked again"]
