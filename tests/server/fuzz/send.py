"""Sends the cases to a gateway and judges every answer. As a program: the long run.

python -m tests.server.fuzz.send --url http://127.0.0.1:8080 --cases 20000
"""

from __future__ import annotations

import argparse
import http.client
import json
import queue
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.server.fuzz.cases import QUERY, Case, case

SECONDS = 60.0  # an answer that takes longer hangs
ALLOWED = frozenset({200, 503, 504})  # and every 4xx


@dataclass
class Report:
    """What became of the cases."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    memory: list[tuple[int, float]] = field(default_factory=list)


class Sender:
    """One connection of each kind, opened again when the gateway closes it."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._stream: ClientConnection | None = None
        self._open = ExitStack()

    def send(self, one: Case) -> str:
        """The outcome: a status, or of broken HTTP "closed" or "waits" (for the rest of it).

        Raises:
            AssertionError: it is none that a client should see.
        """
        if one.kind == "frame":
            return self._frame(one)
        return self._raw(one) if one.raw else self._request(one)

    def _request(self, one: Case) -> str:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)
        try:
            headers = {k: v.encode("utf-8").decode("latin-1") for k, v in one.headers.items()}
            connection.request("POST", one.path, one.body, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        judge(answer.status, answer.headers.get("Content-Type", ""), body)
        return str(answer.status)

    def _raw(self, one: Case) -> str:
        received = b""
        with socket.create_connection((self.host, self.port), timeout=3) as connection:
            try:
                connection.sendall(one.body)
                while piece := connection.recv(65536):
                    received += piece
            except ConnectionError:
                return "closed"
            except TimeoutError:  # it waits for the rest of the request, or for the next one
                if not received:
                    return "waits"
        if not received:
            return "closed"
        status = int(received.split(None, 2)[1])
        assert status in ALLOWED or 400 <= status < 500, received[:200]
        return str(status)

    def _frame(self, one: Case) -> str:
        if self._stream is None:
            address = f"ws://{self.host}:{self.port}/v1/stream{QUERY}"
            self._stream = self._open.enter_context(connect(address, max_size=None, proxy=None, open_timeout=60))
        try:
            self._stream.send(one.body)
            answer = json.loads(self._stream.recv(SECONDS))
        except ConnectionClosed as closed:
            self._stream = None
            raise AssertionError(f"the stream was closed: {closed}") from None
        number = struct.unpack_from("<I", one.body)[0] if len(one.body) >= 8 else None
        assert answer["frame_id"] == number, answer
        if "problem" not in answer:
            return "200"
        status = answer["problem"]["status"]
        assert 400 <= status < 500 or status == 503, answer
        return f"{status}"

    def close(self) -> None:
        """Close the stream."""
        self._open.close()


def judge(status: int, kind: str, body: bytes) -> None:
    """An answer is a result, or an error that says what to do and shows nothing of the inside."""
    assert status in ALLOWED or 400 <= status < 500, (status, body[:300])
    if status >= 400:
        assert b"Traceback" not in body
        assert b".py" not in body
        document = json.loads(body)
        detail = document["error"] if set(document) == {"error"} else document["detail"]
        assert isinstance(detail, str)
        assert len(detail) < 2000
        assert kind.startswith(("application/problem+json", "application/json")), kind
        if status == 503:
            assert len(detail) > 10


def memory(host: str, port: int) -> float | None:
    """Megabytes that the gateway holds, by its own account."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 2**20
    return None


def run(url: str, seed: int, numbers: range, workers: int = 4, every: int = 1000, shout: bool = False) -> Report:
    """Send cases, several at a time.

    Args:
        url: of the gateway.
        every: so many cases, the gateway's memory is read.
        shout: print faults as they come, and the progress.
    """
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or 80
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for number in [*numbers, *[None] * workers]:
        waiting.put(number)
    report, lock = Report(), threading.Lock()

    def work() -> None:
        sender = Sender(host, port)
        while (number := waiting.get()) is not None:
            one, begin, fault = case(seed, number), time.monotonic(), ""
            try:
                outcome = sender.send(one)
            except Exception as error:
                outcome, fault = "FAULT", f"case {number} ({one.kind}): {type(error).__name__}: {error}"
            took = time.monotonic() - begin
            with lock:
                report.outcomes[one.kind, outcome] += 1
                report.slowest = max(report.slowest, (took, number))
                if fault:
                    report.faults.append(fault)
                done = sum(report.outcomes.values())
            if shout and fault:
                print(fault, flush=True)
            if done % every == 0 and (held := memory(host, port)) is not None:
                report.memory.append((done, held))
                if shout:
                    print(f"{done} cases, {held:.0f} MB, {len(report.faults)} faults", flush=True)
        sender.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report


def main() -> None:
    """The long run: prints a table of outcomes; leaves with 1 when there were faults."""
    parser = argparse.ArgumentParser(description="Send wrong requests to a running gateway and judge its answers.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to repeat one of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    asked = parser.parse_args()
    begin = time.monotonic()
    numbers = range(asked.first, asked.first + asked.cases)
    report = run(asked.url, asked.seed, numbers, asked.workers, shout=True)
    print(f"{asked.cases} cases in {time.monotonic() - begin:.0f} s")
    for kind in sorted({kind for kind, _ in report.outcomes}):
        outcomes = sorted((o, n) for (k, o), n in report.outcomes.items() if k == kind)
        print(f"{kind:8} " + "  ".join(f"{outcome}: {count}" for outcome, count in outcomes))
    print(f"slowest {report.slowest[0]:.2f} s (case {report.slowest[1]})")
    if report.memory:
        print("memory, MB: " + " ".join(f"{held:.0f}" for _, held in report.memory))
    raise SystemExit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
