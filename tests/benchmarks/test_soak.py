"""The soak: every kind of client for a few seconds, and what it makes of the samples."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from benchmarks import soak
from benchmarks.serving import family
from benchmarks.soak import Seen, main, memory_mb, sample, verdict


def row(minutes: float, memory: float, **outcomes: int) -> dict[str, Any]:
    return {"minutes": minutes, "memory_mb": memory, "files": 20, "threads": 9, "outcomes": outcomes}


def test_growth_is_that_of_the_second_half() -> None:
    # the first half warms up; then 1 MB in two minutes
    rows = [row(0, 100, **{"200": 4}), row(1, 300), row(2, 400), row(3, 400.5), row(4, 401, frame=2, left=1)]
    summary = verdict(rows)
    assert summary["growth_mb_per_hour"] == pytest.approx(30)
    assert summary["faults"] == {}
    assert summary["memory_mb"] == {"begin": 100, "end": 401, "most": 401}
    assert verdict([row(1, 5, **{"500": 1, "0": 2, "503": 7})])["faults"] == {"500": 1, "0": 2}


def test_memory_is_that_of_every_process_that_a_server_started() -> None:
    # sh and what it runs: both are seen, and a process that ended is not an error
    with subprocess.Popen(["sh", "-c", "sleep 60; true"]) as process:
        while len(family(process.pid)) < 2:
            pass
        group = family(process.pid)
        assert memory_mb(group) > memory_mb(group[:1]) > 0
        taken = sample({"a": process.pid, "b": group[1]}, Seen(), time.monotonic())
        assert taken["memory_mb"] == pytest.approx(sum(taken["memory_mb_of"].values()))
        assert taken["threads"] == 3  # the sleeper counts for both
        os.kill(group[1], signal.SIGKILL)  # its parent reaps it and ends: an orphan would go at the kernel's leisure
    assert memory_mb(group) == 0


def test_options_that_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--shared-memory"])
    assert "--triton" in capsys.readouterr().err


def slow_clock(monkeypatch: pytest.MonkeyPatch, enough: Callable[[Counter[str]], bool]) -> None:
    """A soak's clock goes on when its clients have seen enough, however long that takes."""
    seen: Counter[str] = Counter()
    now, add = 0.0, Seen.add

    def counted(own: Seen, outcome: str, ms: float | None = None) -> None:
        add(own, outcome, ms)
        seen[outcome] += 1

    def sleep(seconds: float) -> None:
        nonlocal now
        end = time.monotonic() + 120
        while not enough(seen):
            assert time.monotonic() < end, seen
            time.sleep(0.02)
        now += seconds

    monkeypatch.setattr(Seen, "add", counted)
    monkeypatch.setattr(soak, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))


class Cut(BaseHTTPRequestHandler):
    """Answers that end before they are whole."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"pre')
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def not_json(stream: ServerConnection) -> None:
    for _ in stream:
        stream.send("no JSON")


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        (lambda: ThreadingHTTPServer(("127.0.0.1", 0), Cut), "0"),
        (lambda: serve(not_json, "127.0.0.1", 0), "stream: JSONDecodeError"),
    ],
    ids=["answers", "frames"],
)
def test_broken_answers_are_faults_every_time(
    server: Callable[[], ThreadingHTTPServer | Server], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_clock(monkeypatch, lambda seen: seen[fault] > 1)
    out = tmp_path / "soak.json"
    with server() as broken:
        thread = threading.Thread(target=broken.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{broken.socket.getsockname()[1]}"
        try:
            with pytest.raises(SystemExit):
                main(["--minutes", "0.06", "--every", "1", "--url", url, "--pid", str(os.getpid()), "--out", str(out)])
        finally:
            broken.shutdown()
            thread.join()
    assert json.loads(out.read_text())["summary"]["faults"][fault] > 1


def test_all_kinds_of_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "PEOPLE", (1, 2))  # compiled when the gateway is ready
    kinds = {"200", "frame", "left", "415", "400", "422"}
    slow_clock(monkeypatch, lambda seen: kinds <= seen.keys())
    out = tmp_path / "soak.json"
    main(["--minutes", "0.2", "--every", "2", "--pause", "0.2", "--out", str(out)])
    document = json.loads(out.read_text())
    assert len(document["rows"]) >= 4
    outcomes = document["summary"]["outcomes"]
    assert kinds <= outcomes.keys(), outcomes
