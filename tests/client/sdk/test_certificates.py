"""A gateway behind TLS, with a certificate of an authority of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import AsyncClient, Client
from server.app import create_app
from server.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
MAKE = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a certificate that signs itself, its key)"""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, which makes a certificate")
    folder = tmp_path_factory.mktemp("pem")
    certificate, key = folder / "ca.pem", folder / "key.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*shlex.split(MAKE), *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def asked() -> list[dict[str, str]]:
    """The headers of every request."""
    return []


@pytest.fixture(scope="module")
def url(pem: tuple[Path, Path], asked: list[dict[str, str]], pipeline: Pipeline) -> Iterator[str]:
    app = create_app(Settings(), lambda: pipeline)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            asked.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await app(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    certificate, key = map(str, pem)
    server = uvicorn.Server(uvicorn.Config(noting, log_level="error", ssl_certfile=certificate, ssl_keyfile=key))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    with Client.connect(address, verify=ssl.create_default_context(cafile=certificate)) as client:
        _ = client.info  # waits until it is ready
    yield address
    server.should_exit = True
    thread.join(30)
    listener.close()


def test_an_authority_of_one_s_own_is_given(url: str, pem: tuple[Path, Path], photo_jpeg: bytes) -> None:
    verify = ssl.create_default_context(cafile=pem[0])
    with Client.connect(url, verify=verify) as client:
        assert len(client.analyze(photo_jpeg, tasks=())) >= 1

    async def ask() -> int:
        async with AsyncClient.connect(url, verify=verify) as client:
            return len(await client.analyze(photo_jpeg, tasks=()))

    assert asyncio.run(ask()) >= 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but this machine's own authorities."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_environment_names_authorities(
    url: str, pem: tuple[Path, Path], tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable == "SSL_CERT_DIR":
        hashed = ["openssl", "x509", "-in", str(pem[0]), "-noout", "-hash"]
        name = subprocess.run(hashed, check=True, capture_output=True, text=True).stdout.strip()
        shutil.copy(pem[0], tmp_path / f"{name}.0")
    monkeypatch.setenv(variable, str(pem[0] if variable == "SSL_CERT_FILE" else tmp_path))
    with Client.connect(url) as client:
        assert client.info.classes
    if variable == "SSL_CERT_FILE":
        monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
        with pytest.raises(InvalidOptions, match=r"^SSL_CERT_FILE=.*none\.pem: no certificates can be read there"):
            Client.connect(url)


@pytest.mark.usefixtures("machine")
def test_a_certificate_of_a_stranger_is_refused_at_once_and_the_remedy_named(
    url: str, photo_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = (
        rf"^{url}: its certificate is refused \(self.signed certificate\); where an authority of your own signed it, "
        r"give that: verify=ssl\.create_default_context\(cafile='ca\.pem'\), on the command line --ca ca\.pem, or SSL_"
    )
    with Client.connect(url, timeout=3000) as client, pytest.raises(EngineUnavailable, match=wanted):
        client.analyze(photo_jpeg)

    async def ask() -> None:
        async with AsyncClient.connect(url, timeout=3000) as client:
            await client.analyze(photo_jpeg)

    with pytest.raises(EngineUnavailable, match=wanted):
        asyncio.run(ask())
    assert not caplog.records  # which would tell that it is asked again


def test_headers_go_with_every_request(
    url: str, pem: tuple[Path, Path], asked: list[dict[str, str]], photo_jpeg: bytes
) -> None:
    pytest.importorskip("websockets", reason="needs parsing-rcnn-client[stream]")
    verify, headers = ssl.create_default_context(cafile=pem[0]), {"X-Team": "blue", "Authorization": "Token t"}
    asked.clear()
    with Client.connect(url, verify=verify, headers=headers, api_key="k") as client:
        client.analyze(photo_jpeg, tasks=())
        list(client.stream([photo_jpeg], tasks=()))
    assert len(asked) == 3
    for found in asked:  # what runs, the picture, the stream
        assert (found["x-team"], found["authorization"], found["x-api-key"]) == ("blue", "Token t", "k")


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"X Team": "a"}, "'X Team' is no name of a header"),
        ({"X-Team": "se\ncret"}, "the value of X-Team is not a text"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, str], says: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(InvalidOptions, match=f"^headers: {says}") as refused:
            client.connect("http://127.0.0.1:9", headers=headers)
        assert "cret" not in str(refused.value)
    with pytest.raises(TypeError, match=r"^verify: expected ssl\.create_default_context"):
        Client.connect("https://127.0.0.1:9", verify="ca.pem")  # type: ignore[arg-type]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "from parsing_rcnn.cli import main; main()", *words]
    around = {name: text for name, text in os.environ.items() if not name.startswith("SSL_CERT")}
    return subprocess.run(start, cwd=ROOT, env=around, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_line_takes_a_file(url: str, pem: tuple[Path, Path], tmp_path: Path) -> None:
    done = command("info", "--server", url, "--ca", str(pem[0]), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"]
    refused = command("info", "--server", url)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "--ca ca.pem" in refused.stderr
    (tmp_path / "empty.pem").write_text("nothing")
    for words, says in (
        (("info", "--server", url, "--ca", str(tmp_path / "empty.pem")), "no certificates in PEM can be read there"),
        (("info", "--ca", str(pem[0])), "--ca is about the certificate of --server: it goes with --server"),
        (("models", "--ca", str(pem[0])), "--ca is about the certificate of --server: it goes with --server"),
    ):
        done = command(*words)
        assert done.returncode == 2
        assert says in done.stderr
