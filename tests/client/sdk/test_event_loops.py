"""`AsyncClient` in one event loop after the other: nothing of an earlier one is left."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from parsing_rcnn.people import People
from parsing_rcnn_client import AsyncClient, AsyncGateway
from parsing_rcnn_client.sdk.per_loop import PerLoop

ROOT = Path(__file__).resolve().parents[3]

LOOPS = """
import asyncio, gc, json, os, sys, weakref
import numpy as np
from parsing_rcnn_client import AsyncClient

client, loops, counts = AsyncClient.connect(sys.argv[1], in_flight=1), weakref.WeakSet(), []


async def ask():
    loops.add(asyncio.get_running_loop())
    picture = np.zeros((64, 64, 3), np.uint8)
    await asyncio.gather(*(client.analyze(picture) for _ in range(2)))  # one of which waits for the other


def run_and_close(work):
    # as asyncio.run, without an end for what is left in the loop
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    loop.close()


for _ in range(20):
    {run}(ask())
    gc.collect()
    counts.append((len(os.listdir("/proc/self/fd")), len(loops)))
asyncio.run(client.close())
gc.collect()
counts.append((len(os.listdir("/proc/self/fd")), len(loops)))
print(json.dumps(counts))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors as Linux lists them")
@pytest.mark.parametrize("run", ["asyncio.run", "run_and_close"])
def test_no_connection_and_no_loop_is_left(gateway_url: str, run: str) -> None:
    command = [sys.executable, "-c", LOOPS.format(run=run), gateway_url]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    descriptors, loops = zip(*json.loads(done.stdout), strict=True)
    assert max(descriptors[1:]) <= descriptors[0]
    assert max(loops) <= 1


def test_an_object_is_released_once_in_its_loop() -> None:
    released: list[tuple[int, object]] = []

    async def release(made: int) -> None:
        await asyncio.sleep(0)
        released.append((made, asyncio.get_running_loop()))

    numbers = iter(range(9))
    each = PerLoop(lambda: next(numbers), release)

    async def use(*, close: bool) -> object:
        number = each.get()
        assert each.get() == number
        if close:
            await asyncio.gather(each.close(), each.close())
            assert each.get() == number + 1
        return asyncio.get_running_loop()

    first, second = asyncio.run(use(close=False)), asyncio.run(use(close=True))
    assert released == [(0, first), (1, second), (2, second)]
    assert len(each) == 0


def test_what_takes_time_is_done_beside_the_event_loop(gateway_url: str, photo_jpeg: bytes) -> None:
    readers: list[int] = []

    class File(io.BytesIO):
        def read(self, *size: Any) -> bytes:
            readers.append(threading.get_ident())
            return super().read(*size)

    async def ask() -> list[int]:
        gateway = AsyncGateway(gateway_url)
        found = [len(await gateway.analyze(File(photo_jpeg), tasks=()))]
        await gateway.close()
        async with AsyncClient.connect(gateway_url) as client:
            found.append(len(await client.analyze(File(photo_jpeg), tasks=())))
            async for people in client.analyze_many([File(photo_jpeg)], tasks=()):
                assert isinstance(people, People)
                found.append(len(people))
        return found

    assert min(asyncio.run(ask())) >= 1
    assert len(readers) == 3
    assert threading.get_ident() not in readers
