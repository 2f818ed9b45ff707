"""Triton's ensembles beside the embedded engine and the gateway, on pictures of nobody, one, five and twenty people.

    python -m benchmarks.triton --photo PHOTO --out out/benchmarks/triton

PHOTO shows one whole person (default: a drawn figure). Starts a Triton server (or uses the one of --grpc and --http), a
gateway before it, and a gateway with the engine in its own process. Measured at every concurrency are:

- the embedded engine as its gateway runs it, four pictures at once;
- the ensemble over gRPC, HTTP and shared memory, by perf_analyzer, or by tritonclient where that program does not run;
- the gateways, answering npz.

How many people a head computes at once, and how long each step takes, are differences of Triton's statistics. Writes
OUT.json, OUT.csv, OUT.md, and with matplotlib OUT.png: latency against throughput, and the steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.crowd import NobodyFound, crowd, cut_out
from benchmarks.environment import machine
from benchmarks.frames import read_photo
from benchmarks.perf import TRANSPORTS, Load, threads_load, triton_load
from benchmarks.serving import gateway, triton_server
from benchmarks.triton_report import write
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import Client

Picture = tuple[int, int, bytes]  # people drawn, people found, JPEG
WORKERS = 4  # of the gateway's engine
HEADS = ("parsing", "densepose_head")
STEPS = ("preprocess", "detector", *HEADS, "postprocess")


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        system: what answered.
        asked, people: how many were drawn into the picture, and how many of them the engine finds.
        concurrency: requests at a time.
        per_second, p50_ms, p95_ms: throughput, and latencies in milliseconds.
        client: "pa" (perf_analyzer), "python", or "sdk".
        people_per_execution: how many people a head computed at once, on average; Triton only.
        stages: milliseconds of a request by step, and by its waiting time ("STEP queue"); Triton only.
    """

    system: str
    asked: int
    people: int
    concurrency: int
    per_second: float
    p50_ms: float
    p95_ms: float
    client: str = "python"
    people_per_execution: float | None = None
    stages: dict[str, float] = field(default_factory=dict)


def statistics_of(http: str) -> dict[str, dict[str, int]]:
    """{step: counters since the server began}; times in nanoseconds."""
    found = {}
    for step in STEPS:
        with urllib.request.urlopen(f"http://{http}/v2/models/{step}/stats", timeout=10) as answer:
            (model,) = json.load(answer)["model_stats"]
        own = model["inference_stats"]
        found[step] = {
            "requests": own["success"]["count"],
            "people": model["inference_count"],
            "executions": model["execution_count"],
            "queue": own["queue"]["ns"],
            "compute": sum(own[f"compute_{part}"]["ns"] for part in ("input", "infer", "output")),
        }
    return found


def differences(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> tuple[float | None, dict[str, float]]:
    """(people that a head computed at once, milliseconds of each step and of waiting for it) between two readings."""
    moved = {step: {name: value - before[step][name] for name, value in own.items()} for step, own in after.items()}
    executions = sum(moved[head]["executions"] for head in HEADS)
    people = sum(moved[head]["people"] for head in HEADS) / executions if executions else None
    stages = {}
    for step, own in moved.items():
        if own["requests"]:
            stages[step] = own["compute"] / own["requests"] / 1e6
            stages[f"{step} queue"] = own["queue"] / own["requests"] / 1e6
    return people, stages


def rows_of(options: argparse.Namespace, pictures: Sequence[Picture], pipeline: Pipeline) -> Iterator[Row]:
    """Measure everything; each row comes as soon as it is measured."""

    def row(system: str, picture: Picture, concurrency: int, load: Load, **more: Any) -> Row:
        asked, people, _ = picture
        return Row(system, asked, people, concurrency, load.per_second, load.p50_ms, load.p95_ms, **more)

    with ThreadPoolExecutor(WORKERS) as engine:

        def analyze(photo: bytes) -> People:
            return engine.submit(pipeline.analyze, photo).result()

        for picture, concurrency in product(pictures, options.concurrency):
            load = photo_load(analyze, picture[2], concurrency, options.seconds)
            yield row("embedded engine", picture, concurrency, load)
    with ExitStack() as running:
        http, grpc = options.http, options.grpc
        if grpc is None:
            server = running.enter_context(triton_server(options.repository))
            http, grpc = server.http, server.grpc
        for picture, concurrency in product(pictures, options.concurrency):
            for transport in options.transports:
                before = statistics_of(http)
                load, client = triton_load(
                    transport, http, grpc, options.model, picture[2], concurrency, options.seconds
                )
                together, stages = differences(before, statistics_of(http))
                yield row(
                    f"Triton, {transport}", picture, concurrency, load,
                    client=client, people_per_execution=together, stages=stages,
                )  # fmt: skip
        before_triton = ["--engine", "triton", "--triton-url", grpc]
        for name, arguments in (
            ("gateway before Triton", before_triton),
            ("gateway before Triton, shared memory", [*before_triton, "--triton-shared-memory"]),
            ("gateway, embedded engine", []),
        ):
            if not arguments:
                running.close()  # Triton makes room
            with gateway(arguments) as (port, _), Client.connect(f"http://127.0.0.1:{port}") as sdk:
                for picture, concurrency in product(pictures, options.concurrency):
                    load = photo_load(sdk.analyze, picture[2], concurrency, options.seconds)
                    yield row(name, picture, concurrency, load, client="sdk")


def photo_load(analyze: Callable[[bytes], People], photo: bytes, concurrency: int, seconds: float) -> Load:
    """The load of `concurrency` threads that have one photo analysed again and again."""
    ask = partial(analyze, photo)
    return threads_load(lambda: ask, concurrency, seconds)


def product(pictures: Sequence[Picture], concurrency: Sequence[int]) -> Iterator[tuple[Picture, int]]:
    """Every picture at every concurrency."""
    return ((picture, count) for picture in pictures for count in concurrency)


def pictures_of(photo: NDArray[np.uint8], counts: Sequence[int], pipeline: Pipeline) -> list[Picture]:
    """(people drawn, people found, 1080p JPEG) of each."""
    person = cut_out(pipeline, photo)
    drawn = [(count, crowd(photo, person, count)) for count in counts]
    return [(count, len(pipeline.analyze(picture)), picture) for count, picture in drawn]


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """All rows, and on what they were measured."""
    photo = read_photo(options.photo)
    pipeline = Pipeline(options.repository)
    pictures = pictures_of(photo, options.people, pipeline)
    about = {"machine": machine(), "model": options.model, "runtime": pipeline.info.runtime}
    rows = []
    for row in rows_of(options, pictures, pipeline):
        say(f"{row.system}, {row.people} people, {row.concurrency} at once: {row.per_second:.1f} pictures/s")
        rows.append(asdict(row))
    return {**about, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="of one whole person (default: a drawn figure)")
    parser.add_argument("--repository", type=Path, help="model repository (default: the shipped one)")
    parser.add_argument("--grpc", help="a Triton server that runs already: host:port of gRPC; needs --http")
    parser.add_argument("--http", help="its HTTP: host:port")
    parser.add_argument("--model", default="human_analysis", choices=["human_analysis", "human_parsing", "densepose"])
    parser.add_argument("--people", type=int, nargs="+", default=[0, 1, 5, 20])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--transports", nargs="+", default=list(TRANSPORTS), choices=TRANSPORTS)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement (perf_analyzer takes three)")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/triton"), help="without an ending")
    options = parser.parse_args(arguments)
    if (options.grpc is None) != (options.http is None):
        parser.error("--grpc and --http go together")
    try:
        result = measure(options, lambda line: print(line, file=sys.stderr, flush=True))
    except (OSError, RuntimeError, NobodyFound) as error:
        sys.exit(f"error: {error}")
    print(write(result, options.out))


if __name__ == "__main__":
    main()
