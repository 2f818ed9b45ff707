"""Hours of everything at once: does the gateway's memory stay flat, do files stay open, do answers stay quick?

    python -m benchmarks.soak --minutes 30 --photo PHOTO --out out/soak.json --plot out/soak.png
    python -m benchmarks.soak --minutes 30 --triton ...      # before a Triton server of its own

Starts a gateway (or watches the one of --url and --pid). These clients run at the same time: pictures in every answer
format with one to many people, a video stream, connections that are cut while they send, bodies that are no pictures,
and wrong options. Every few seconds (--every) it notes memory, open files and threads, and the latencies and outcomes
since the last note. Memory is that of all watched processes, with --triton also the server's and its models'; a shared
page counts once (PSS). It exits with status 1 when a client saw what it should not: a status of 500, or no answer.
--plot needs matplotlib (requirements/bench.txt).
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from websockets.sync.client import connect

from benchmarks.environment import require_matplotlib
from benchmarks.frames import frame_of, jpeg, read_photo
from benchmarks.gateway import KINDS, Gateway
from benchmarks.rounds import percentile
from benchmarks.serving import family, gateway, triton_server

ALLOWED = frozenset({200, 400, 413, 415, 422, 503})
PEOPLE = (1, 3, 8, 23)  # of a picture, in turns


@dataclass
class Seen:
    """What the clients saw since the last sample."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    latencies: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: str, ms: float | None = None) -> None:
        """Note one outcome, and the latency (ms) of a request that was answered."""
        with self.lock:
            self.outcomes[outcome] += 1
            if ms is not None:
                self.latencies.append(ms)

    def take(self) -> tuple[list[float], dict[str, int]]:
        """Latencies and outcomes since the last call."""
        with self.lock:
            taken = self.latencies, dict(self.outcomes)
            self.latencies, self.outcomes = [], Counter()
        return taken


class Load:
    """Clients of every kind, each on a thread of its own, until `stop`."""

    def __init__(self, port: int, frame: bytes, pause: float) -> None:
        self.port, self.frame, self.pause = port, frame, pause
        self.seen, self.stop = Seen(), threading.Event()
        kinds: tuple[Callable[[], None], ...] = (self._pictures, self._pictures, self._stream, self._leave, self._wrong)
        self._threads = [threading.Thread(target=self._forever, args=(kind,)) for kind in kinds]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _forever(self, kind: Callable[[], None]) -> None:
        while not self.stop.is_set():
            try:
                kind()
            except Exception as error:  # whatever it is, a client that ends unseen would pass for one that is served
                self.seen.add(f"{kind.__name__.strip('_')}: {type(error).__name__}")
                self.stop.wait(1)

    def _pictures(self) -> None:
        client = Gateway(self.port)
        for turn in range(200):
            _, accept, options = KINDS[turn % len(KINDS)]
            answer = client.post(self.frame, accept, {**options, "max_people": PEOPLE[turn % len(PEOPLE)]})
            self.seen.add(str(answer.status), answer.ms if answer.status == 200 else None)
            if self.stop.wait(self.pause):
                return

    def _stream(self) -> None:
        address = f"ws://127.0.0.1:{self.port}/v1/stream?include=masks,parts&max_people=4&confidence=0"
        with connect(address, max_size=None, open_timeout=60) as stream:
            for number in range(100):
                stream.send(struct.pack("<II", number, 0) + self.frame)
                document = json.loads(stream.recv(60))
                self.seen.add("frame" if "predictions" in document else str(document["problem"]["status"]))
                if self.stop.wait(self.pause):
                    return

    def _leave(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(self.frame)}\r\n\r\n"
            sent = np.random.default_rng().integers(1, len(self.frame) + 1)
            connection.sendall(head.encode() + self.frame[:sent])
            self.seen.add("left")
        self.stop.wait(5 * self.pause)

    def _wrong(self) -> None:
        client = Gateway(self.port)
        for body, options in ((b"no picture", {}), (self.frame[:900], {}), (b"", {}), (self.frame, {"max_side": 1})):
            self.seen.add(str(client.post(body, "application/json", options).status))
            if self.stop.wait(5 * self.pause):
                return


def memory_mb(processes: Sequence[int]) -> float:
    """Memory of processes together; a page that several share counts once (Linux)."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:  # it ended
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024


def count(processes: Sequence[int], what: str) -> int:
    """Entries of a folder of /proc of all processes together."""
    found = 0
    for process in processes:
        with suppress(OSError):
            found += len(list(Path(f"/proc/{process}/{what}").iterdir()))
    return found


def sample(roots: Mapping[str, int], seen: Seen, begin: float) -> dict[str, Any]:
    """One row: the state of these processes and their descendants, and what was seen since the last one."""
    groups = {name: family(process) for name, process in roots.items()}
    processes = [process for group in groups.values() for process in group]
    memory = {name: memory_mb(group) for name, group in groups.items()}
    latencies, outcomes = seen.take()
    return {
        "minutes": (time.monotonic() - begin) / 60,
        "memory_mb": sum(memory.values()),
        "memory_mb_of": memory,
        "files": count(processes, "fd"),
        "threads": count(processes, "task"),
        "ms_median": statistics.median(latencies) if latencies else None,
        "ms_p99": percentile(latencies, 0.99) if latencies else None,
        "outcomes": outcomes,
    }


def verdict(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the rows say together; growth is the slope of the second half."""
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes.update(row["outcomes"])
    later = rows[len(rows) // 2 :]
    slope = 0.0
    if len(later) > 1:
        slope = float(np.polyfit([r["minutes"] for r in later], [r["memory_mb"] for r in later], 1)[0])
    memory = [row["memory_mb"] for row in rows]
    bad = {k: n for k, n in outcomes.items() if not (k.isdigit() and int(k) in ALLOWED) and k not in ("frame", "left")}
    return {
        "minutes": rows[-1]["minutes"],
        "outcomes": dict(outcomes),
        "faults": bad,
        "memory_mb": {"begin": memory[0], "end": memory[-1], "most": max(memory)},
        "growth_mb_per_hour": 60 * slope,
        "files": {"begin": rows[0]["files"], "end": rows[-1]["files"]},
        "threads": {"begin": rows[0]["threads"], "end": rows[-1]["threads"]},
    }


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Memory, open files and latencies over time."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    minutes = [row["minutes"] for row in rows]
    figure, (memory, latency) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 5), layout="constrained")
    memory.plot(minutes, [row["memory_mb"] for row in rows], color="#2b6cb0", label="all")
    for name in rows[0]["memory_mb_of"] if len(rows[0]["memory_mb_of"]) > 1 else ():
        memory.plot(minutes, [row["memory_mb_of"][name] for row in rows], linewidth=0.8, label=name)
    memory.legend()
    memory.set(ylabel="memory, MB", ylim=(0, None))
    files = memory.twinx()
    files.plot(minutes, [row["files"] for row in rows], color="#b7791f", linewidth=0.8)
    files.set(ylabel="open files", ylim=(0, None))
    for name, colour in (("ms_median", "#2f855a"), ("ms_p99", "#c53030")):
        latency.plot(minutes, [row[name] for row in rows], color=colour, label=name.removeprefix("ms_"))
    latency.set(xlabel="minutes", ylabel="answered after, ms", ylim=(0, None))
    latency.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _options(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Ends with a message where options contradict each other."""
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds that a client waits after an answer")
    parser.add_argument("--photo", type=Path, help="a picture of people; default: a drawn figure")
    parser.add_argument("--url", help="a gateway that runs already, on this machine")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--triton", action="store_true", help="put a Triton server behind the gateway")
    parser.add_argument("--shared-memory", action="store_true", help="with --triton: between the two")
    parser.add_argument("--out", type=Path, help="where to write everything as JSON")
    parser.add_argument("--plot", type=Path, help="where to draw it")
    options = parser.parse_args(arguments)
    if (options.url is None) != (options.pid is None):
        parser.error("--url and --pid go together")
    if options.url and options.triton:
        parser.error("--triton starts a gateway of its own: leave --url out")
    if options.shared_memory and not options.triton:
        parser.error("--shared-memory goes with --triton")
    if options.plot:
        require_matplotlib("soak")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = _options(parser, arguments)
    try:
        frame = jpeg(frame_of(read_photo(options.photo)))
    except OSError as error:
        parser.exit(1, f"error: {error}\n")
    rows: list[dict[str, Any]] = []
    with ExitStack() as running:
        roots, given = {}, []
        if options.triton:
            server = running.enter_context(triton_server())
            roots["triton"] = server.pid
            given = ["--engine", "triton", "--triton-url", server.grpc]
            given += ["--triton-shared-memory"] if options.shared_memory else []
        if options.url:
            port, roots["gateway"] = urlsplit(options.url).port, options.pid
        else:
            port, roots["gateway"] = running.enter_context(gateway(given))
        with Load(port, frame, options.pause) as load:
            begin = time.monotonic()
            while time.monotonic() - begin < 60 * options.minutes:
                time.sleep(options.every)
                rows.append(sample(roots, load.seen, begin))
        summary = verdict(rows)  # written before the servers are ended, which may fail as well
        print(json.dumps(summary, indent=1))
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps({"summary": summary, "rows": rows}))
        if options.plot:
            plot(rows, options.plot)
    if summary["faults"]:
        parser.exit(1, f"error: clients saw {summary['faults']}\n")


if __name__ == "__main__":
    main()
