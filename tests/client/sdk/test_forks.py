"""Clients that are used on both sides of a fork: every picture has its own answer, and no child hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parsing_rcnn.pipeline import Pipeline
from tests.client.sdk.kserve import somebody

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PROGRAM = """
import asyncio, multiprocessing, sys, threading
import numpy as np
from parsing_rcnn_client import AsyncClient, Client

kind, url, tiles = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = Client.connect(url, 100) if kind == "gateway" else Client.triton(url, 100)
several = AsyncClient.connect(url, 100) if kind == "gateway" else AsyncClient.triton(url, 100)

def size(height):
    return client.analyze(np.zeros((height, 32, 3), np.uint8), tasks=(), tiles=tiles).image_size

async def sizes(heights):
    asked = (several.analyze(np.zeros((height, 32, 3), np.uint8), tasks=()) for height in heights)
    return [people.image_size for people in await asyncio.gather(*asked)]

def work(first, said):
    heights = range(first, first + 12)
    try:
        wrong = [height for height in heights if size(height) != (height, 32)]
        wrong += [height for height, found in zip(heights, asyncio.run(sizes(heights))) if found != (height, 32)]
        client.close()
        said.put(f"wrong: {wrong}")
    except BaseException as error:
        said.put(repr(error))

# what children inherit: open connections, threads of pools, and what a thread is just doing
assert size(99) == (99, 32) and asyncio.run(sizes([98])) == [(98, 32)]
fork = multiprocessing.get_context("fork")
said, over = fork.Queue(), threading.Event()

def go_on():
    while not over.is_set():
        size(97)

busy = threading.Thread(target=go_on)
if sys.argv[4] == "busy":
    busy.start()
children = [fork.Process(target=work, args=(100 + 20 * k, said)) for k in range(4)]
for child in children:
    child.start()
for child in children:
    print(said.get(timeout=400))
for child in children:
    child.join(100)
    print("ended with", child.exitcode)
over.set()
if busy.ident:
    busy.join()
print("parent", size(96))
"""


def fork_and_ask(kind: str, url: str, *, tiles: int = 1, busy: bool = True) -> None:
    command = [sys.executable, "-c", PROGRAM, kind, url, str(tiles), "busy" if busy else "quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.stdout.splitlines() == ["wrong: []"] * 4 + ["ended with 0"] * 4 + ["parent (96, 32)"], done.stderr


def test_each_child_of_a_gateway_s_client_has_its_own_answers(gateway_url: str) -> None:
    fork_and_ask("gateway", gateway_url)


@pytest.mark.parametrize("tiles", [1, 2])
def test_each_child_of_a_client_of_triton_s_http_has_its_own_answers(tiles: int) -> None:
    """With tiles, every second request comes from a pool of threads."""
    pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    with somebody() as url:
        fork_and_ask("triton", url, tiles=tiles)


@contextmanager
def over_grpc(pipeline: Pipeline) -> Iterator[str]:
    pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    from tests.client.sdk.test_triton import Ensembles, serving

    with serving(Ensembles(pipeline)) as url:
        yield url


@pytest.mark.parametrize("busy", [False, True])
def test_each_child_of_a_client_of_triton_s_grpc_has_its_own_answers(pipeline: Pipeline, busy: bool) -> None:
    with over_grpc(pipeline) as url:
        fork_and_ask("triton", url, busy=busy)


STREAM = """
import os, sys
import numpy as np
from parsing_rcnn_client import Client

def camera():
    while True:
        yield np.zeros((40, 40, 3), np.uint8)

answers = Client.connect(sys.argv[1], 100).stream(camera())
print(next(answers).people, flush=True)
child = os.fork()
try:
    print("child" if not child else "parent", next(answers).people, flush=True)
except Exception as error:
    print(type(error).__name__, error, flush=True)
if child:
    print(os.waitpid(child, 0)[1])
    answers.close()
else:
    os._exit(0)
"""


def test_a_stream_is_of_the_process_that_began_it(gateway_url: str) -> None:
    pytest.importorskip("websockets", reason="needs parsing-rcnn-client[stream]")
    command = [sys.executable, "-c", STREAM, gateway_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    nobody = "People(0 in 40x40; parts, iuv)"
    said = f"EngineUnavailable {gateway_url}: this stream is of the process that forked this one; begin one here"
    assert sorted(done.stdout.splitlines()) == sorted([nobody, f"parent {nobody}", said, "0"]), done.stderr
