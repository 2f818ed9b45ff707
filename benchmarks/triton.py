"""Triton's ensembles by perf_analyzer, beside the engine in this process and the gateway, on the same picture.

    make serve-triton                                # in another terminal
    python -m benchmarks.triton --photo PHOTO --out out/benchmarks/triton.json

Rows: the embedded engine (one after another), perf_analyzer over gRPC and HTTP at each concurrency, the gateway at each
concurrency. Milliseconds are medians; people per execution of a head come from Triton's statistics. Prints a Markdown
table. perf_analyzer is the one that scripts/install_triton.sh unpacks, or the one on PATH.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import Client

UNPACKED = Path(__file__).resolve().parent.parent / ".triton" / "perf_analyzer"
HEADS = ("parsing", "densepose_head")


@dataclass(frozen=True)
class Row:
    """One measurement: pictures a second, milliseconds, and people a head computed at once (None: not Triton)."""

    name: str
    concurrency: int
    per_second: float
    p50_ms: float
    p95_ms: float
    people_per_execution: float | None = None


def find_perf_analyzer() -> tuple[str, dict[str, str]]:
    """(program, environment).

    Raises:
        FileNotFoundError: it is nowhere.
    """
    unpacked = UNPACKED / "perf_analyzer"
    if unpacked.is_file():
        return str(unpacked), {**os.environ, "LD_LIBRARY_PATH": str(UNPACKED)}
    found = shutil.which("perf_analyzer")
    if found is None:
        raise FileNotFoundError(f"no perf_analyzer in {UNPACKED} or on PATH: run scripts/install_triton.sh")
    return found, dict(os.environ)


def perf_analyzer(
    address: str, protocol: str, model: str, photo: bytes, concurrency: int, seconds: float
) -> tuple[float, float, float]:
    """(requests a second, p50, p95 in milliseconds) of one run of perf_analyzer."""
    program, environment = find_perf_analyzer()
    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder) / "in.json", Path(folder) / "out.csv"
        # a BYTES element carries its length in front
        element = len(photo).to_bytes(4, "little") + photo
        content = {"content": {"b64": base64.b64encode(element).decode()}, "shape": [1]}
        data.write_text(json.dumps({"data": [{"IMAGE": content}]}))
        command = [
            program, "-m", model, "-u", address, "-i", protocol, "--input-data", str(data), "--concurrency-range",
            str(concurrency), "--measurement-interval", str(int(1000 * seconds)), "--max-trials", "3",
            # three windows whatever they say: the spread belongs into the report, not into a refusal
            "--stability-percentage", "999", "--percentile", "95", "-f", str(report),
        ]  # fmt: skip
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not report.is_file():
            raise RuntimeError(
                f"perf_analyzer ended with status {ended.returncode}: {(ended.stderr or ended.stdout)[-2000:]}"
            )
        with report.open() as file:
            (row,) = csv.DictReader(file)
    return (
        float(row["Inferences/Second"]),
        float(row["p50 latency"]) / 1000,
        float(row["p95 latency"]) / 1000,
    )


def people_per_execution(http: str) -> Callable[[], float | None]:
    """Call the result after some load: people that a head computed at once, on average since now."""

    def counts() -> tuple[int, int]:
        totals = [0, 0]
        for head in HEADS:
            with urllib.request.urlopen(f"http://{http}/v2/models/{head}/stats", timeout=10) as answer:
                (found,) = json.load(answer)["model_stats"]
            totals[0] += found["inference_count"]
            totals[1] += found["execution_count"]
        return totals[0], totals[1]

    before = counts()

    def since() -> float | None:
        people, executions = (b - a for a, b in zip(before, counts(), strict=True))
        return people / executions if executions else None

    return since


def load(ask: Callable[[], Any], concurrency: int, seconds: float) -> tuple[float, float, float]:
    """(answers a second, p50, p95 in milliseconds) of threads that each ask one after another."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def run() -> None:
        while time.perf_counter() < end:
            begin = time.perf_counter()
            ask()
            times.append(1000 * (time.perf_counter() - begin))

    threads = [threading.Thread(target=run) for _ in range(concurrency)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - begin
    ordered = sorted(times)
    return len(times) / spent, statistics.median(times), ordered[int(0.95 * (len(ordered) - 1))]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    photo = options.photo.read_bytes()
    rows = []
    pipeline = Pipeline(options.repository)
    people = len(pipeline.analyze(photo))
    load(lambda: pipeline.analyze(photo), 1, 1.0)
    rows.append(Row("embedded engine", 1, *load(lambda: pipeline.analyze(photo), 1, options.seconds)))
    for protocol, address in (("grpc", options.grpc), ("http", options.http)):
        for concurrency in options.concurrency:
            since = people_per_execution(options.http)
            found = perf_analyzer(address, protocol, options.model, photo, concurrency, options.seconds)
            rows.append(Row(f"Triton, {protocol}", concurrency, *found, since()))
    if options.gateway is not None:
        with Client.connect(options.gateway) as client:
            for concurrency in options.concurrency:
                rows.append(Row("gateway, npz", concurrency, *load(lambda: client.analyze(photo), concurrency, 5.0)))
    return {"people": people, "model": options.model, "rows": [asdict(row) for row in rows]}


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"| {result['people']} people, {result['model']} | at once | pictures/s | p50 ms | p95 ms | people/execution |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        people = "" if row["people_per_execution"] is None else f"{row['people_per_execution']:.1f}"
        lines.append(
            f"| {row['name']} | {row['concurrency']} | {row['per_second']:.1f} | {row['p50_ms']:.1f} "
            f"| {row['p95_ms']:.1f} | {people} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--repository", type=Path, help="of the embedded engine (default: the shipped one)")
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    parser.add_argument("--http", default="127.0.0.1:8000")
    parser.add_argument("--gateway", help="for example http://127.0.0.1:8080")
    parser.add_argument("--model", default="human_analysis")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except (OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    print(table(result))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
