"""What answers is no gateway, or one that means harm: the SDK says so in its own words, commands show what was said."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.codecs import npz
from parsing_rcnn.errors import DeadlineExceeded, InvalidImage, ParsingRCNNError, UnsupportedImage
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import AsyncClient, Busy, Client, GatewayError
from parsing_rcnn_client.sdk.wire import read_error

ROOT = Path(__file__).resolve().parents[3]
ESCAPES = "\x1b]0;title\x07\x1b[31mred\nerror: forged"
SHOWN = r"\x1b]0;title\x07\x1b[31mred\nerror: forged"
YEARS = b"Wed, 21 Oct 2099 07:28:07 GMT"
DEEP = b"[" * 200_000
CARD = {"name": "light", "version": "1", "files": {"detector": {"file": "a", "bytes": 1, "sha256": ESCAPES}}}
MODEL: dict[str, Any] = {
    "name": "light",
    "version": "1",
    "runtime": "openvino",
    "tasks": {"parsing": True},
    "classes": CIHP.classes,
    "canvases": [[320, 320]],
    "card": CARD,
}


class Impostor:
    """An ASGI application that answers every question for its models, its pictures and its frames with what it has."""

    def __init__(self, models: Any = MODEL, people: bytes = b"", frame: str = "", **refusal: Any) -> None:
        self._models = models if isinstance(models, bytes) else json.dumps([models]).encode()
        self._people, self._frame, self._refusal = people, frame, refusal
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["type"] == "websocket":
            await self._answer_frames(receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        self.asked += 1
        body = self._models if scope["path"] == "/v1/models" else self._people
        status = 200
        if self._refusal and (scope["path"] != "/v1/models" or not self._people):
            status, body = self._refusal["status"], self._refusal["body"]
        headers = [(b"retry-after", self._refusal["after"])] if "after" in self._refusal else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer_frames(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": self._frame})


Serve = Callable[..., AbstractContextManager[str]]


def refusal(detail: str, code: str = "forbidden") -> bytes:
    return json.dumps({"detail": detail, "type": f"urn:parsing-rcnn:{code}"}).encode()


def crowd(count: int) -> bytes:
    return npz.encode(People(np.zeros((count, 4), np.float32), np.zeros(count, np.float32), (9, 9)))


def cut_short() -> bytes:
    data = npz.encode(People.empty((9, 9)))
    start = data.index(b"boxes.npy") + len("boxes.npy")
    return data[:start] + b"\xff\xff\xff" + data[start + 3 :]


@pytest.mark.parametrize(
    ("people", "says"),
    [(b"<html>", "not an npz of people"), (cut_short(), "not an npz of people"), (crowd(65), "at most 64 people")],
)
def test_an_answer_that_is_no_npz_of_people(serve_app: Serve, people: bytes, says: str) -> None:
    async def ask(url: str) -> None:
        async with AsyncClient.connect(url, timeout=30) as client:
            await client.analyze(b"picture")

    with serve_app(Impostor(people=people)) as url, Client.connect(url, timeout=30) as client:
        with pytest.raises(GatewayError, match=f"{says}.*is this a Parsing R-CNN gateway") as refused:
            client.analyze(b"picture")
        assert (refused.value.status, refused.value.code) == (502, "bad-answer")
        with pytest.raises(GatewayError, match=says):
            asyncio.run(ask(url))


def test_as_many_people_as_can_be_are_read(serve_app: Serve) -> None:
    with serve_app(Impostor(people=crowd(64))) as url, Client.connect(url, timeout=30) as client:
        assert len(client.analyze(b"picture")) == 64


@pytest.mark.parametrize(
    "models",
    [DEEP, b"[1]", b"[]", b"{}", MODEL | {"canvases": [[float("inf"), 1]]}, MODEL | {"tasks": 1}, MODEL | {"card": 1}],
    ids=["deep", "number", "none", "document", "infinity", "tasks", "card"],
)
def test_an_answer_that_names_no_model(serve_app: Serve, models: Any) -> None:
    says = pytest.raises(GatewayError, match="names no model")
    with serve_app(Impostor(models)) as url, Client.connect(url, timeout=30) as client, says:
        _ = client.info


@pytest.mark.parametrize("body", [DEEP, b"[1]", b"1", b'{"detail": "of a proxy"}', b"<html>"])
def test_a_refusal_that_is_no_problem(serve_app: Serve, body: bytes) -> None:
    app = Impostor(people=b"x", status=403, body=body)
    says = pytest.raises(GatewayError, match="the answer is HTTP 403; is this a Parsing R-CNN gateway")
    with serve_app(app) as url, Client.connect(url, timeout=30) as client, says:
        client.analyze(b"picture")


@pytest.mark.parametrize(
    ("after", "seconds"), [(b"nan", 0.05), (b"inf", 60), (b"-inf", 0.05), (b"soon", 1), (YEARS, 60)]
)
def test_a_time_that_is_none_is_not_waited_for(serve_app: Serve, after: bytes, seconds: float) -> None:
    app = Impostor(people=b"x", status=429, body=refusal("enough", "overloaded"), after=after)
    with serve_app(app) as url, Client.connect(url, timeout=30, retry=False) as client:
        with pytest.raises(Busy, match="enough") as refused:
            client.analyze(b"picture")
        assert refused.value.retry_after == seconds


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ("Wed, 21 Oct 2015 07:28:07 GMT", 7),
        ("Wed, 21 Oct 2015 07:28:07 -0000", 7),
        ("Wednesday, 21-Oct-15 07:28:07 GMT", 7),
        ("Wed, 21 Oct 2099 07:28:07 GMT", 60),
        ("Wed, 21 Oct 2015 07:20:00 GMT", 0.05),
        ("Wed, 99 Oct 2015 07:20:00 GMT", 1),
    ],
)
def test_a_date_to_be_asked_again_at_is_by_the_clock_of_the_server(after: str, seconds: float) -> None:
    headers = {"retry-after": after, "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    error = read_error(503, headers, refusal("enough", "overloaded"), "http://here")
    assert isinstance(error, Busy)
    assert error.retry_after == seconds


def test_a_date_without_that_of_the_answer_is_by_our_clock() -> None:
    begin = datetime.now(UTC)
    soon = format_datetime(begin + timedelta(seconds=40), usegmt=True)
    error = read_error(503, {"retry-after": soon}, refusal("enough", "overloaded"), "http://here")
    assert isinstance(error, Busy)
    passed = (datetime.now(UTC) - begin).total_seconds()
    assert 39 - passed <= error.retry_after <= 40  # a date has whole seconds


@pytest.mark.parametrize("after", [b"0", b"-1", b"nan"])
def test_a_busy_server_that_names_no_time_is_asked_less_and_less_often(serve_app: Serve, after: bytes) -> None:
    app = Impostor(people=b"x", status=503, body=refusal("enough", "overloaded"), after=after)
    given_up = pytest.raises((Busy, DeadlineExceeded))  # the last answer may be just too late
    with serve_app(app) as url, Client.connect(url, timeout=3) as client, given_up:
        client.analyze(b"picture")
    assert app.asked < 30  # at 20 a second it were 60


@pytest.mark.parametrize(
    "frame",
    [
        '{"frame_id": Infinity, "problem": {"status": 400}}',
        '{"frame_id": 0, "problem": {"status": 1e999}}',
        '{"frame_id": 0, "problem": []}',
        "[" * 200_000,
        "1",
    ],
    ids=["number", "status", "problem", "deep", "document"],
)
def test_what_is_no_answer_to_a_frame(serve_app: Serve, frame: str) -> None:
    says = pytest.raises(GatewayError, match="what came is no answer to a frame")
    with serve_app(Impostor(frame=frame)) as url, Client.connect(url, timeout=30) as client, says:
        list(client.stream([b"frame"]))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parsing_rcnn", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("command", ["models", "info", "predict", "annotate", "stream"])
def test_a_refusal_does_nothing_to_a_terminal(serve_app: Serve, photo: Path, tmp_path: Path, command: str) -> None:
    given = {
        "predict": [str(photo), "-o", str(tmp_path / "out")],
        "annotate": [str(photo), "-o", str(tmp_path / "out.mp4")],
        "stream": [str(photo), "-o", str(tmp_path / "out.mp4")],
    }
    with serve_app(Impostor(status=403, body=refusal(ESCAPES))) as url:
        done = run(command, *given.get(command, []), "--server", url)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {SHOWN}"
    assert "\x1b" not in done.stderr


def test_a_refused_picture_does_nothing_to_a_terminal(serve_app: Serve, photo: Path, tmp_path: Path) -> None:
    with serve_app(Impostor(people=b"x", status=422, body=refusal(ESCAPES, "invalid-options"))) as url:
        done = run("predict", str(photo), "-o", str(tmp_path / "out"), "--server", url)
    assert done.returncode == 1
    assert f"failed: {photo}: {SHOWN}\n" in done.stderr


def test_names_of_a_server_do_nothing_to_a_terminal(serve_app: Serve) -> None:
    with serve_app(Impostor(MODEL | {"version": ESCAPES, "card": CARD | {"name": ESCAPES}})) as url:
        about, listed = run("info", "--server", url), run("models", "--server", url)
    assert f"version      {SHOWN}\n" in about.stdout
    assert listed.stdout.startswith(f"{SHOWN} 1 in {url}\n")
    assert "\x1b" not in about.stdout + listed.stdout


@pytest.mark.parametrize("card", [{}, {"files": {"detector": 1}}, CARD | {"files": []}])
def test_a_server_that_lists_no_files(serve_app: Serve, card: dict[str, Any]) -> None:
    with serve_app(Impostor(MODEL | {"card": card})) as url:
        done = run("models", "--server", url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {url}/v1/models does not list the files of a model")


def test_a_refusal_has_the_id_under_which_the_gateway_logs_it(gateway_url: str) -> None:
    with Client.connect(gateway_url, headers={"X-Request-ID": "photo-17"}) as client:
        with pytest.raises(UnsupportedImage) as refused:
            client.analyze(b"no picture at all")
        assert refused.value.request_id == "photo-17"
        with pytest.raises(InvalidImage) as unread:
            client.analyze("nothing.jpg")
        assert unread.value.request_id is None  # nothing was sent
    with Client.connect(gateway_url) as client:
        found = [
            error for error in client.analyze_many([b"no picture", b"none"]) if isinstance(error, ParsingRCNNError)
        ]
    identities = {error.request_id for error in found}
    assert len(identities) == 2
    assert None not in identities


def test_the_message_shows_the_id_where_only_the_log_says_what_went_wrong() -> None:
    body = {**json.loads(refusal("something is wrong here", "internal-error")), "request_id": "4f2a"}
    error = read_error(500, {}, json.dumps(body).encode(), "http://here")
    assert (error.request_id, str(error)) == ("4f2a", "something is wrong here (request 4f2a)")
    error = read_error(502, {"x-request-id": "of a proxy"}, b"", "http://here")
    assert error.request_id == "of a proxy"
    for odd in (b"[]", b'{"request_id": 3}', b'"text"', b"null"):
        assert read_error(500, {}, odd, "http://here").request_id is None
