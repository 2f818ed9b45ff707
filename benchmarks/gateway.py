"""What the gateway adds to the engine's time, and what it does with twice as much as it can answer.

    python -m benchmarks.gateway --photo PHOTO --out out/benchmarks/gateway.json

Starts a gateway with the embedded engine and posts a 1080p JPEG with five people (`--people`), one request after
another, the kinds of answers in turns. The client's milliseconds minus those of the detector and the heads
(`Server-Timing`) are what the gateway adds: decoding, sending, pasting and encoding.

Then requests arrive at twice the rate that the gateway can answer, whether or not earlier ones have been answered. It
reports the latencies of accepted and of refused requests, counted from when each was due, and the gateway's memory.
Requests accepted in the first moments, while the places for bursts fill, are reported separately.

PHOTO should show that many people. Where it shows fewer, the detector's next best boxes make up for the others, and the
cost of encoding those says nothing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import queue
import re
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.environment import machine
from benchmarks.frames import HEIGHT, WIDTH, frame_of, jpeg, read_photo
from benchmarks.rounds import percentile
from benchmarks.serving import gateway

ENGINE = ("detector", "parsing", "densepose")
JSON, LABELS = "application/json", {"include": "parts,label_map", "mask_format": "none"}
KINDS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("JSON, label PNGs", JSON, LABELS),
    ("JSON, label and IUV PNGs, silhouettes (default)", JSON, {}),
    ("JSON, an RLE for every part", JSON, {"include": "masks,part_masks"}),
    ("npz", "application/x-npz", {}),
    ("PNG, overlay", "image/png", {}),
    ("JPEG, overlay", "image/jpeg", {}),
)
ONSET = 1.5  # first seconds of the overload, reported separately
SENDERS = 64  # connections of the overload: more than the gateway has places


@dataclass(frozen=True)
class Answer:
    """One answer, as the client saw it.

    Attributes:
        status: of HTTP; 0 where the answer did not arrive whole.
        ms: from when the request was due to the end of the answer.
        stages: milliseconds by stage, from `Server-Timing`.
        size: of the body, bytes.
        due: when the request was due (time.perf_counter).
    """

    status: int
    ms: float
    stages: Mapping[str, float]
    size: int
    due: float = 0.0


@dataclass(frozen=True)
class Work:
    """The request to repeat: the gateway's port, a JPEG, and how many people the answer is to have."""

    port: int
    body: bytes
    people: int


class Gateway:
    """A kept-alive connection. Answers have `people` people, whatever the picture shows.

    Where it shows fewer, boxes of low scores make up for the others.
    """

    def __init__(self, port: int, people: int = 5) -> None:
        self._people = {"max_people": people, "confidence": 0}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def post(self, body: bytes, accept: str, options: Mapping[str, Any], due: float | None = None) -> Answer:
        """Send a picture and read the answer.

        Args:
            due: when the request was due, from which its time counts (time.perf_counter); None: now.
        """
        begin = time.perf_counter() if due is None else due
        address = "/v1/analyze?" + urlencode({**self._people, **options})
        try:
            self._connection.request("POST", address, body, {"Accept": accept})
            response = self._connection.getresponse()
            data = response.read()
        except (http.client.HTTPException, OSError):
            self._connection.close()
            return Answer(0, 1000 * (time.perf_counter() - begin), {}, 0, begin)
        ms = 1000 * (time.perf_counter() - begin)
        timing = re.findall(r"(\w+);dur=([\d.]+)", response.headers.get("Server-Timing", ""))
        if response.will_close:
            self._connection.close()
        return Answer(response.status, ms, {name: float(value) for name, value in timing}, len(data), begin)


def memory_mb(process: int) -> dict[str, float]:
    """Resident memory of a process, MB: "now", and the "peak" so far (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {"now": kilobytes["VmRSS"] / 1024, "peak": kilobytes["VmHWM"] / 1024}


def overheads(work: Work, rounds: int) -> list[dict[str, Any]]:
    """One row for each kind of answer: milliseconds seen by the client, of the engine, and of everything else."""
    client = Gateway(work.port, work.people)
    given: list[list[Answer]] = [[] for _ in KINDS]
    for turn in range(rounds + 3):  # the first three meet cold caches and do not count
        for answers, (_, accept, options) in zip(given, KINDS, strict=True):
            answer = client.post(work.body, accept, options)
            if answer.status != 200:
                raise RuntimeError(f"the gateway answered with status {answer.status}")
            if turn >= 3:
                answers.append(answer)
    rows = []
    for (name, _, _), answers in zip(KINDS, given, strict=True):
        engine = [sum(a.stages.get(s, 0.0) for s in ENGINE) for a in answers]
        rest = [a.ms - e for a, e in zip(answers, engine, strict=True)]
        rows.append(
            {
                "answer": name,
                "kilobytes": answers[0].size / 1024,
                "ms_median": statistics.median(a.ms for a in answers),
                "engine_ms_median": statistics.median(engine),
                "overhead_ms_median": statistics.median(rest),
                "overhead_ms_p95": percentile(rest, 0.95),
                "stages_ms_median": {
                    s: statistics.median(a.stages[s] for a in answers) for s in answers[0].stages if s not in ENGINE
                },
            }
        )
    return rows


def at_once(work: Work, clients: int, seconds: float) -> list[Answer]:
    """Answers to `clients` clients, each of which sends its next request as soon as it has its answer."""
    answers: list[Answer] = []
    end = time.perf_counter() + seconds

    def ask() -> None:
        client = Gateway(work.port, work.people)
        while time.perf_counter() < end:
            answers.append(client.post(work.body, JSON, LABELS))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def arriving(work: Work, rate: float, seconds: float) -> list[Answer]:
    """Answers to requests that arrive at `rate` a second, whether or not earlier ones have been answered."""
    due: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    answers: list[Answer] = []

    def send() -> None:
        client = Gateway(work.port, work.people)
        while (when := due.get()) is not None:
            answers.append(client.post(work.body, JSON, LABELS, due=when))

    threads = [threading.Thread(target=send) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    begin = time.perf_counter()
    for k in range(int(rate * seconds)):
        when = begin + k / rate
        time.sleep(max(0.0, when - time.perf_counter()))
        due.put(when)
    for _ in threads:
        due.put(None)
    for thread in threads:
        thread.join()
    return answers


def overload(work: Work, seconds: float) -> dict[str, Any]:
    """Latencies of one client alone, and of requests at twice the rate that can be answered (see `load_figures`)."""
    one, both = at_once(work, 1, seconds), at_once(work, 2, seconds)
    return load_figures(one, both, arriving(work, 2 * len(both) / seconds, 2 * seconds), seconds)


def load_figures(
    one: Sequence[Answer], both: Sequence[Answer], answers: Sequence[Answer], seconds: float
) -> dict[str, Any]:
    """The figures of the answers to one client, to two at once, and to requests at twice the rate of those two.

    A kind of answer that nobody got has a count of 0 and no latencies; `p99_ratio` is None without answers to one
    client or without accepted ones.

    Args:
        seconds: how long the clients asked; the requests arrived for twice as long.
    """
    alone, most = [a.ms for a in one], len(both) / seconds
    # the places for bursts fill once, before the first refusal says that this is more than a burst
    onset = min((a.due for a in answers), default=0.0) + ONSET
    good = [a.ms for a in answers if a.status == 200 and a.due >= onset]
    first = [a.ms for a in answers if a.status == 200 and a.due < onset]
    refused = [a.ms for a in answers if a.status == 503]
    return {
        "alone": _latencies(alone),
        "most_per_second": most,
        "offered_per_second": 2 * most,
        "onset": {"seconds": ONSET, "count": len(first), "ms_most": max(first, default=0.0)},
        "accepted": _latencies(good),
        "accepted_per_second": len(good) / (2 * seconds - ONSET),
        "refused": _latencies(refused),
        "neither": len(answers) - len(first) - len(good) - len(refused),
        "p99_ratio": percentile(good, 0.99) / percentile(alone, 0.99) if good and alone else None,
    }


def _latencies(ms: Sequence[float]) -> dict[str, Any]:
    if not ms:
        return {"count": 0}
    return {"count": len(ms), "ms_median": statistics.median(ms), "ms_p99": percentile(ms, 0.99)}


def table(document: Mapping[str, Any]) -> str:
    """The figures in Markdown."""
    lines = [
        "| answer | kB | client ms | engine ms | the rest, median | p95 |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {r['answer']} | {r['kilobytes']:.0f} | {r['ms_median']:.1f} | {r['engine_ms_median']:.1f} "
            f"| {r['overhead_ms_median']:.1f} | {r['overhead_ms_p95']:.1f} |"
            for r in document["overhead"]
        ),
    ]
    load = document["overload"]
    lines += [
        "",
        f"One client alone: {_alone(load['alone'])}. Two at once: {load['most_per_second']:.1f} pictures a second.",
        f"{load['offered_per_second']:.1f} a second offered: {_answered(load)}; in the first "
        f"{load['onset']['seconds']:g} s, when the places for bursts fill, up to {load['onset']['ms_most']:.0f} ms.",
    ]
    if load["refused"]["count"]:
        refused = load["refused"]
        lines.append(
            f"{refused['count']} refused (503) after {refused['ms_median']:.1f} ms, p99 {refused['ms_p99']:.1f} ms; "
            f"{load['neither']} neither."
        )
    memory = document["memory_mb"]
    lines.append(f"Memory of the gateway: {memory['now']:.0f} MB, {memory['peak']:.0f} MB at its peak.")
    return "\n".join(lines)


def _alone(alone: Mapping[str, Any]) -> str:
    return f"{alone['ms_median']:.0f} ms, p99 {alone['ms_p99']:.0f} ms" if alone["count"] else "none answered"


def _answered(load: Mapping[str, Any]) -> str:
    accepted = load["accepted"]
    if not accepted["count"]:
        return "none answered"
    ratio = "" if load["p99_ratio"] is None else f" ({load['p99_ratio']:.1f} times that of one alone)"
    return (
        f"{load['accepted_per_second']:.1f} answered, {accepted['ms_median']:.0f} ms, "
        f"p99 {accepted['ms_p99']:.0f} ms{ratio}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="a picture of people; default: a drawn figure")
    parser.add_argument("--people", type=int, default=5, help="how many people every answer has, 1 to 64")
    parser.add_argument("--rounds", type=int, default=60, help="requests of each kind of answer")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load; twice as long for the overload")
    parser.add_argument("--out", type=Path, help="where to write everything as JSON")
    options = parser.parse_args(arguments)
    if not 1 <= options.people <= 64:
        parser.error(f"--people {options.people}: 1 to 64")
    if options.seconds < 2:
        parser.error(f"--seconds {options.seconds:g}: at least 2, of which the first {ONSET:g} are told apart")
    try:
        body = jpeg(frame_of(read_photo(options.photo)))
    except OSError as error:
        parser.exit(1, f"error: {error}\n")
    document: dict[str, Any] = {"machine": machine(), "frame": f"{WIDTH}x{HEIGHT} JPEG, {len(body)} bytes"}
    document["people"] = options.people
    try:
        with gateway() as (port, process):
            work = Work(port, body, options.people)
            document["overhead"] = overheads(work, options.rounds)
            document["overload"] = overload(work, options.seconds)
            document["memory_mb"] = memory_mb(process)
    except RuntimeError as error:
        parser.exit(1, f"error: {error}\n")
    print(f"{document['frame']}, people: {document['people']}; {document['machine']['cpu']}\n\n{table(document)}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
