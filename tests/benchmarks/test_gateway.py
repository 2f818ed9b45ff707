"""The benchmark of the gateway, against a real one."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.gateway import Work, main, overload, table


def test_every_request_is_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rounds", "2", "--seconds", "2", "--people", "3", "--out", str(tmp_path / "gateway.json")])
    document = json.loads((tmp_path / "gateway.json").read_text())
    assert document["people"] == 3
    for row in document["overhead"]:
        assert 0 < row["engine_ms_median"] < row["ms_median"]
        assert {"decode", "encode", "queue"} <= row["stages_ms_median"].keys()
    load = document["overload"]
    sent = int(load["offered_per_second"] * 4)
    assert load["onset"]["count"] + load["accepted"]["count"] + load["refused"]["count"] + load["neither"] == sent
    assert load["neither"] == 0
    assert document["memory_mb"]["peak"] >= document["memory_mb"]["now"] > 50
    assert "| JSON, label PNGs |" in capsys.readouterr().out


class Refusing(BaseHTTPRequestHandler):
    """Answers after 50 ms, as many connections as `overload` opens before the overload; all others are refused."""

    protocol_version, connections = "HTTP/1.1", 0

    def setup(self) -> None:
        super().setup()
        Refusing.connections += 1
        self.status = 200 if Refusing.connections <= 3 else 503

    def do_POST(self) -> None:
        if self.status == 200:
            time.sleep(0.05)
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_gateway_that_accepts_nothing_is_told_of(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            load = overload(Work(server.server_port, b"", 1), 0.8)
        finally:
            server.shutdown()
    assert (load["accepted"], load["p99_ratio"], load["neither"]) == ({"count": 0}, None, 0)
    assert load["refused"]["count"] == int(load["offered_per_second"] * 1.6)
    page = table({"overhead": [], "overload": load, "memory_mb": {"now": 1, "peak": 2}})
    assert "a second offered: none answered; in the first 1.5 s, when the places for bursts fill, up to 0 ms." in page
    assert f"{load['refused']['count']} refused (503)" in page


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no")
    with pytest.raises(SystemExit):
        main(["--photo", str(tmp_path / "x.jpg")])


@pytest.mark.parametrize("wrong", [("--seconds", "1"), ("--people", "0"), ("--people", "65")])
def test_what_cannot_be_measured_is_refused(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert f"{wrong[0]} {wrong[1]}: " in capsys.readouterr().err
