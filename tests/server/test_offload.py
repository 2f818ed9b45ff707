"""Large pictures are drawn within a bound of memory, and small ones do not wait for them."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from server.offload import Offload
from server.responses import answers
from server.settings import Settings
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


def gateway(pixels: int) -> Live:
    live = Live(Settings(), Nobody)
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
