"""What a newcomer does: `make serve-triton`, the first photo, Ctrl-C. Before the end both processes are killed once.

    python3 scripts/check_serve_triton.py [ARGUMENTS OF MAKE]

Ends with status 1, and the end of the log, when the gateway is not ready within three minutes, the photo of
docs/pictures is not answered, service does not come back after a kill, or something goes on after Ctrl-C.
Run by .ci/run.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "docs" / "pictures" / "astronaut.jpg"
READY, END, WELL = 180.0, 60.0, 10.0  # seconds


def main() -> None:
    """Start, ask, stop."""
    names = ("PARSING_RCNN_PORT", "TRITON_HTTP_PORT", "TRITON_GRPC_PORT", "TRITON_METRICS_PORT")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = {**os.environ, **{name: str(port) for name, port in ports.items()}}
    url = f"http://127.0.0.1:{ports['PARSING_RCNN_PORT']}"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so would the server
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            ["make", "serve-triton", *sys.argv[1:]],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until_ready(f"{url}/readyz", server, begin)
            people = analyze(f"{url}/v1/analyze")
            print(f"make serve-triton: {people} people in the first photo after {time.monotonic() - begin:.0f} s")
            for command in ("triton", "serve"):
                begin = time.monotonic()
                kill(f"-m parsing_rcnn {command} ", server)
                refused = wait_until_served(f"{url}/v1/analyze", server, begin)
                said = ", ".join(f"{count} x {reason}" for reason, count in refused.items()) or "nothing refused"
                seconds = time.monotonic() - begin - WELL
                print(f"`parsing-rcnn {command}` killed: service after {seconds:.0f} s ({said})")
            os.killpg(server.pid, signal.SIGINT)  # what a terminal sends
            server.wait(END)
            wait_until_gone(ports)
        except (RuntimeError, OSError, http.client.HTTPException, ValueError, subprocess.TimeoutExpired) as error:
            log.seek(0)
            sys.exit(f"{log.read()[-4000:]}\nerror: {error}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)  # it failed, or make ended before what it had started


def wait_until_ready(url: str, server: subprocess.Popen[bytes], begin: float) -> None:
    """Until the gateway can analyse."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            reason = f"{url} says {error.code}: {error.read().decode()[:300]}"
        except OSError as error:
            reason = f"{url}: {error}"
        if server.poll() is not None:
            raise RuntimeError(f"make ended with status {server.returncode}")
        if time.monotonic() - begin > READY:
            raise RuntimeError(f"not ready within {READY:.0f} s: {reason}")
        time.sleep(0.5)


def kill(command: str, server: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process of this command line in the server's session.

    Raises:
        RuntimeError: there is none, or more than one.
    """
    listing = ["pgrep", "--session", str(server.pid), "--full", "--", command]
    processes = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
    if len(processes) != 1:
        raise RuntimeError(f"processes of `{command}`: {', '.join(processes) or 'none'}; one should run")
    os.kill(int(processes[0]), signal.SIGKILL)


def wait_until_served(url: str, server: subprocess.Popen[bytes], begin: float) -> Counter[str]:
    """Until photos are answered for ten seconds; what was said before: only 503 and broken connections may be."""
    refused: Counter[str] = Counter()
    well_since = None
    while well_since is None or time.monotonic() - well_since < WELL:
        try:
            analyze(url)
            well_since = well_since or time.monotonic()
            continue
        except urllib.error.HTTPError as error:
            if error.code != 503 or not error.headers.get("Retry-After"):
                raise
            refused["503"] += 1
        except (OSError, http.client.HTTPException) as error:  # the latter: an answer that was cut off
            refused[type(getattr(error, "reason", error)).__name__] += 1
        well_since = None
        if server.poll() is not None:
            raise RuntimeError(f"make ended with status {server.returncode}")
        if time.monotonic() - begin > READY:
            raise RuntimeError(f"no service {READY:.0f} s after a process was killed: {dict(refused)}")
        time.sleep(0.2)
    return refused


def wait_until_gone(ports: dict[str, int]) -> None:
    """Until nobody listens on these ports."""
    end = time.monotonic() + END
    while left := [name for name, port in ports.items() if listening(port)]:
        if time.monotonic() > end:
            raise RuntimeError(f"{END:.0f} s after Ctrl-C something listens on {', '.join(left)}")
        time.sleep(0.2)


def analyze(url: str) -> int:
    """People that the gateway finds in the photo."""
    request = urllib.request.Request(url, PHOTO.read_bytes(), {"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        people = len(json.load(answer)["predictions"])
    if not people:
        raise RuntimeError(f"nobody was found in {PHOTO}")
    return people


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def listening(port: int) -> bool:
    """Whether somebody answers on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
