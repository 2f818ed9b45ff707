"""The proxy's files, by nginx and Caddy themselves: what a gateway gives, it gives through them."""

from __future__ import annotations

import io
import json
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from benchmarks.serving import free_ports
from server.settings import Settings
from tests.server.conftest import Live, Slow

PROXY = Path(__file__).resolve().parents[2] / "deploy" / "proxy"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
AROUND = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class Nginx:
    """nginx with our file as it is but for ports and the certificate, before a gateway on 127.0.0.1."""

    def __init__(self, folder: Path, gateway: int) -> None:
        self.folder, (self.port, self.plain) = folder, free_ports(2)
        text = (PROXY / "nginx.conf").read_text()
        for old, new in (
            ("listen 80;", f"listen 127.0.0.1:{self.plain};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;"),
            ("server 127.0.0.1:8080;", f"server 127.0.0.1:{gateway};"),
            ("/etc/ssl/photos.example.pem", str(folder / "photos.pem")),
            ("/etc/ssl/private/photos.example.key", str(folder / "photos.key")),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "site.conf").write_text(text)
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder))
        self.command = [str(NGINX), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        self.tls = ssl.create_default_context(cafile=str(folder / "photos.pem"))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Nginx]:
        checked = subprocess.run([*self.command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        with subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True) as process:
            try:
                end = time.monotonic() + 30
                while True:
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                            break
                    assert process.poll() is None, process.communicate()[1]
                    assert time.monotonic() < end
                    time.sleep(0.02)
                yield self
            finally:
                process.terminate()
                said = process.communicate(timeout=30)[1]
        assert "[emerg]" not in said
        assert "[alert]" not in said

    def client(self, caller: str = "127.0.0.1") -> httpx.Client:
        return httpx.Client(
            transport=httpx.HTTPTransport(verify=self.tls, local_address=caller), base_url=self.url, timeout=60
        )


Before = Callable[[int], AbstractContextManager[Nginx]]


@pytest.fixture
def before(tmp_path: Path) -> Before:
    """Starts nginx before the gateway of a port."""
    if NGINX is None:
        pytest.skip("needs nginx (Debian's package nginx-light)")
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, which makes a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=photos.example", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "photos.key",
         "-out", tmp_path / "photos.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return lambda port: Nginx(tmp_path, port).running()


def noise(side: int) -> bytes:
    """A PNG of at least 3 * side * side bytes."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def test_pictures_batches_and_streams_go_through(before: Before, photo_jpeg: bytes) -> None:
    large = noise(700)
    assert len(large) > 1 << 20  # beyond which nginx by itself takes no body
    with Live(Settings(trusted_proxies="127.0.0.1"), None) as live, before(live.port) as nginx:
        with nginx.client() as client:
            answer = client.post("/v1/analyze?include=", content=large)
            assert (answer.status_code, answer.json()["image"]) == (200, {"width": 700, "height": 700})
            files = [("file", ("me.jpg", photo_jpeg)), ("file", ("noise.png", large)), ("file", ("no.txt", b"no"))]
            results = client.post("/v1/analyze/batch?include=", files=files).json()["results"]
            assert [result["status"] for result in results] == [200, 200, 415]
            assert client.post("/v1/analyze", content=photo_jpeg, headers={"Origin": nginx.url}).status_code == 200
            foreign = client.post("/v1/analyze", content=photo_jpeg, headers={"Origin": "https://else.example"})
            assert foreign.status_code == 403
            assert client.get("/metrics").status_code == 403
            assert client.get("/readyz").status_code == 200
        moved = httpx.get(f"http://127.0.0.1:{nginx.plain}/docs?x=1", headers={"Host": "photos.example"})
        assert (moved.status_code, moved.headers["location"]) == (308, "https://photos.example/docs?x=1")
        address = f"wss://127.0.0.1:{nginx.port}/v1/stream?include="
        with connect(address, ssl=nginx.tls, origin=Origin(nginx.url), max_size=None) as stream:
            for number in (1, 2):
                stream.send(struct.pack("<II", number, 0) + large)
                found = json.loads(stream.recv(60))
                assert (found["frame_id"], found["image"]["width"]) == (number, 700)
        with pytest.raises(InvalidStatus, match="403"):
            connect(address, ssl=nginx.tls, origin=Origin("https://else.example"))


def test_refusals_are_the_gateways_own(before: Before, photo_jpeg: bytes) -> None:
    slow = Slow()
    settings = Settings(workers=1, queue=0, max_bytes=1_000_000)
    with Live(settings, lambda: slow) as live, before(live.port) as nginx, nginx.client() as client:
        large = client.post("/v1/analyze", content=noise(700))
        assert large.status_code == 413
        assert "the limit is 1398870" in large.json()["detail"]
        with ThreadPoolExecutor() as pool:
            first = pool.submit(client.post, "/v1/analyze", content=photo_jpeg)
            assert slow.begun.acquire(timeout=30)
            try:
                busy = client.post("/v1/analyze", content=photo_jpeg)
            finally:
                slow.gate.set()
            assert first.result().status_code == 200
        assert busy.status_code == 503
        assert int(busy.headers["retry-after"]) >= 1
        assert busy.headers["content-type"] == "application/problem+json"


@contextmanager
def half_sent(nginx: Nginx, length: int, body: bytes) -> Iterator[ssl.SSLSocket]:
    """A connection on which a picture of so many bytes is begun."""
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: photos.example\r\nContent-Length: {length}\r\n\r\n"
    raw = socket.create_connection(("127.0.0.1", nginx.port), timeout=20)
    with nginx.tls.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
        tls.sendall(head.encode() + body)
        yield tls


def test_uploads_and_callers_are_seen_by_the_gateway_as_they_are(before: Before, photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(hosts="photos.example"), lambda: slow) as live, before(live.port) as nginx:
        with half_sent(nginx, 100_000_000, photo_jpeg) as tls:  # nginx by itself asks when it has all of them
            assert tls.recv(1000).startswith(b"HTTP/1.1 413 ")
        with half_sent(nginx, len(photo_jpeg), photo_jpeg):
            assert slow.begun.acquire(timeout=30)
        end = time.monotonic() + 25
        while 'parsing_rcnn_answers_total{status="499"} 1.0' not in (
            text := httpx.get(f"http://{live.address}/metrics").text
        ):
            assert time.monotonic() < end, text
            time.sleep(0.02)
        slow.gate.set()


def test_callers_have_their_own_share(before: Before, photo_jpeg: bytes) -> None:
    open_gate = Slow()
    open_gate.gate.set()
    settings = Settings(rate=0.01, burst=1, trusted_proxies="127.0.0.1")
    with Live(settings, lambda: open_gate) as live, before(live.port) as nginx:

        def asks(caller: str, **headers: str) -> int:
            with nginx.client(caller) as client:
                return client.post("/v1/analyze", content=photo_jpeg, headers=headers).status_code

        assert [asks("127.0.0.2"), asks("127.0.0.2"), asks("127.0.0.3")] == [200, 429, 200]
        assert asks("127.0.0.3", **{"X-Forwarded-For": "192.0.2.7"}) == 429  # the proxy's word counts, not the caller's


def test_caddy_understands_its_file() -> None:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("needs caddy (Debian's package caddy)")
    command = [program, "validate", "--adapter", "caddyfile", "--config", str(PROXY / "Caddyfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
