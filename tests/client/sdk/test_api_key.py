"""A gateway that asks for keys: the SDK and every command send theirs, to that gateway only, and show it to nobody."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from parsing_rcnn.people import People
from parsing_rcnn_client import AsyncClient, Client, Gateway, GatewayError

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "PARSING_RCNN_API_KEY"


@pytest.fixture(autouse=True)
def no_key_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def by_threads(url: str, picture: bytes, **given: Any) -> People:
    with Client.connect(url, **given) as client:
        return client.analyze(picture, confidence=0.7)


def by_asyncio(url: str, picture: bytes, **given: Any) -> People:
    async def ask() -> People:
        async with AsyncClient.connect(url, **given) as client:
            return await client.analyze(picture, confidence=0.7)

    return asyncio.run(ask())


@pytest.mark.parametrize("analyze", [by_threads, by_asyncio])
def test_a_key_opens_the_gateway(
    guarded: tuple[str, str], photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch, analyze: Callable[..., People]
) -> None:
    url, key = guarded
    says = rf"send your key.*api_key=, on the command line --key, or the variable {VARIABLE}"
    with pytest.raises(GatewayError, match=says) as refused:
        analyze(url, photo_jpeg)
    assert refused.value.status == 401
    assert len(analyze(url, photo_jpeg, api_key=key)) == 1
    with pytest.raises(GatewayError, match=f"not known here.*{VARIABLE}") as unknown:
        analyze(url, photo_jpeg, api_key="prcnn_secret")
    assert "secret" not in str(unknown.value)
    monkeypatch.setenv(VARIABLE, f"{key}\n")  # as of a file
    assert len(analyze(url, photo_jpeg)) == 1
    with pytest.raises(GatewayError, match="send your key"):
        analyze(url, photo_jpeg, api_key="")


class Recorder:
    """An ASGI application that keeps the headers it was asked with."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status, self.headers = status, [(n.encode(), v.encode()) for n, v in headers.items()]
        self.asked: list[dict[bytes, bytes]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.asked.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b""})


def test_no_other_host_gets_the_key(serve_app: Any) -> None:
    elsewhere = Recorder(404)
    with serve_app(elsewhere) as other:
        for status in (301, 302, 303, 307, 308):
            gateway = Recorder(status, location=f"{other}/v1/models")
            with serve_app(gateway) as url, pytest.raises(GatewayError) as refused:
                _ = Gateway(url, api_key="secret").info
            assert refused.value.status == status
            assert gateway.asked[0][b"authorization"] == b"Bearer secret"
    assert elsewhere.asked == []


def test_a_key_goes_beside_the_password_of_a_proxy(serve_app: Any) -> None:
    gateway = Recorder(404)
    with serve_app(gateway) as url, pytest.raises(GatewayError) as refused:
        _ = Gateway(url.replace("//", "//me:password@"), api_key="secret").info
    assert gateway.asked[0][b"authorization"].startswith(b"Basic ")
    assert gateway.asked[0][b"x-api-key"] == b"secret"
    assert f"{url.replace('//', '//***@')}: the answer is HTTP 404" in str(refused.value)


@pytest.mark.parametrize("key", ["secret\r\nX-Other: 1", "secret\xe9", "sec ret", "secret\0"])
def test_what_can_be_no_key_is_refused_and_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidOptions, match=r"^api_key \(--key\): an API key is made of ASCII") as refused:
        Gateway("http://127.0.0.1:9", api_key=key)
    assert "sec" not in str(refused.value)
    shown = CliRunner().invoke(build(), ["info", "--server", "http://127.0.0.1:9", "--key", key])
    assert (shown.exit_code, "sec" in shown.output) == (2, False)


def test_an_address_is_shown_without_its_password() -> None:
    for address in ("http://me:secret@127.0.0.1:9", "http://me:sec/ret@host", "me:secret@host", "ftp://secret@host"):
        with pytest.raises(ParsingRCNNError) as refused:  # nobody answers, or it is no address
            _ = Gateway(address, timeout=0.2).info
        assert "sec" not in str(refused.value)
        shown = CliRunner().invoke(build(), ["info", "--server", address, "--timeout", "0.2"], catch_exceptions=True)
        assert "sec" not in f"{shown.output}{shown.exception}"
        with pytest.raises(TypeError) as mistaken:
            Client(address)  # type: ignore[arg-type]
        assert "sec" not in str(mistaken.value)


@pytest.fixture(params=["info", "models", "predict", "annotate", "stream"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """A command line up to the options of the engine."""
    name = request.param
    if name in ("info", "models"):
        return [name, "--json"]
    source = request.getfixturevalue("photo" if name == "predict" else "clip")
    out = tmp_path / "out" / ("" if name == "predict" else "clip.mp4")
    return [name, str(source), "-o", str(out), "--json"]


def test_commands_take_the_key_of_the_environment(guarded: tuple[str, str], command: list[str]) -> None:
    url, key = guarded
    line = [sys.executable, "-m", "parsing_rcnn", *command, "--server", url, "--timeout", "60"]

    def run(*more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **environment}
        return subprocess.run(
            [*line, *more], cwd=ROOT, env=env, capture_output=True, text=True, timeout=200, check=False
        )

    done = run(**{VARIABLE: key})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert key not in done.stdout + done.stderr
    wrong = run("--key", "prcnn_secret", **{VARIABLE: key})  # what is written is meant
    assert wrong.returncode == 1
    assert "not known here" in wrong.stderr
    assert VARIABLE in wrong.stderr
    assert "secret" not in wrong.stdout + wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("command", ["info", "models"])
def test_a_key_that_goes_nowhere_is_refused(command: str) -> None:
    done = CliRunner().invoke(build(), [command, "--key", "secret"])
    assert done.exit_code == 2
    assert "--key is what --server asks for" in done.stderr
    assert "secret" not in done.output
