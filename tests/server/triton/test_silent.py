"""A server that answers nobody, as one whose processes were stopped: it is killed, and another takes its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from server.supervisor.installation import Installation
from tests.server.helpers import spare_ports


def test_a_server_that_answers_nobody_is_killed_and_started_again(installation: Installation, repository: Path) -> None:
    """Soon: it does not get the time that one has which still answers what it accepted."""
    ports = spare_ports(3)
    named = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    command = [sys.executable, "-m", "parsing_rcnn", "triton", "--profile", "cpu", "--repository", str(repository)]
    supervisor = subprocess.Popen(
        [*command, *named, "--log-format", "json", "--drain-seconds", "600"], stderr=subprocess.PIPE, text=True
    )
    limit = threading.Timer(480, supervisor.kill)
    limit.start()
    assert supervisor.stderr is not None
    lines, servers, left = [], [], ""
    for line in supervisor.stderr:
        entry = json.loads(line)
        if entry.get("source") == "tritonserver":
            continue
        lines.append(entry)
        if entry["event"] != "ready":
            continue
        servers.append(entry["pid"])
        if len(servers) == 1:
            os.kill(servers[0], signal.SIGSTOP)
        else:
            found = subprocess.run(["pgrep", "-g", str(servers[0])], capture_output=True, text=True, check=False)
            left = found.stdout
            supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    limit.cancel()
    events = [(line["level"], line["event"].partition(":")[0]) for line in lines]
    assert events[events.index(("info", "ready")) :] == [
        ("info", "ready"),
        ("info", "Triton is ready"),
        ("error", "the server does not answer"),
        ("error", "the server does not end and is killed"),
        ("warning", "the server is started again"),
        ("info", "starting"),
        ("info", "ready"),
        ("info", "Triton is ready"),
    ]
    first, second = servers
    assert first != second
    (killed,) = [line for line in lines if line["event"] == "the server does not end and is killed"]
    assert (killed["pid"], killed["idle"]) == (first, False)
    assert left == ""  # its models went along
    assert not list(Path("/dev/shm").glob(f"prcnn_{ports[1]}_*"))
