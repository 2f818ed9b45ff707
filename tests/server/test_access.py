"""Keys, shares and origins."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from parsing_rcnn.errors import InvalidOptions
from server.app import create_app
from server.keys import KeyFile, add_key
from server.settings import Settings
from tests.server.clock import Share
from tests.server.conftest import Live, wait_until_ready
from tests.server.helpers import command, open_gate, refused


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def test_only_known_keys_come_in(keys: Path, photo_jpeg: bytes) -> None:
    alice, bob = add_key(keys, "alice"), add_key(keys, "bob")
    assert alice not in keys.read_text()
    assert os.stat(keys).st_mode & 0o077 == 0
    with TestClient(create_app(Settings(keys=keys), open_gate)) as client:
        wait_until_ready(client)
        for path in ("/", "/healthz", "/livez", "/v2/health/ready", "/assets/page.js", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        for path in ("/v1/models", "/v1/taxonomies", "/metrics", "/v2", "/v2/models/densepose"):
            assert client.get(path).status_code == 401, path
        refused(client.post("/v1/analyze", content=photo_jpeg), 401, "Bearer")
        wrong = client.post("/v1/analyze", content=photo_jpeg, headers={"X-API-Key": alice[:-1]})
        refused(wrong, 401, "not known")
        assert wrong.headers["www-authenticate"] == "Bearer"
        for headers in ({"Authorization": f"Bearer {alice}"}, {"X-API-Key": bob}, {"authorization": f"bearer {bob}"}):
            assert client.post("/v1/analyze", content=photo_jpeg, headers=headers).status_code == 200


def test_keys_change_while_it_runs(keys: Path) -> None:
    old = add_key(keys, "old")
    with TestClient(create_app(Settings(keys=keys), open_gate)) as client:
        wait_until_ready(client)

        def status(key: str) -> int:
            return client.get("/v1/taxonomies", headers={"X-API-Key": key}).status_code

        assert status(old) == 200
        new = add_key(keys, "new")
        assert (status(old), status(new)) == (200, 200)
        keys.write_text("\n".join(line for line in keys.read_text().splitlines() if not line.startswith("old")))
        assert (status(old), status(new)) == (401, 200)
        good = keys.read_text()
        with capture_logs() as lines:
            keys.write_text("rubbish\n")
            assert [(status(old), status(new)) for _ in range(2)] == [(401, 200)] * 2
            keys.unlink()
            assert (status(old), status(new)) == (401, 200)
        reasons = [line["reason"] for line in lines if line["log_level"] == "error"]
        assert len(reasons) == 2  # each is said once
        assert "line 1" in reasons[0]
        assert "cannot be read" in reasons[1]
        keys.write_text(f"{good}\nalso {hashlib.sha256(old.encode()).hexdigest()}\n")
        assert (status(old), status(new)) == (200, 200)
        with capture_logs() as lines:
            keys.unlink()
            assert (status(old), status(new)) == (200, 200)
        # it was well in between
        assert ["cannot be read" in line["reason"] for line in lines if line["log_level"] == "error"] == [True]


@pytest.mark.parametrize("left", ["", "\n", "# nobody any more\n"])
def test_a_file_without_keys_lets_nobody_in(keys: Path, left: str) -> None:
    alice = add_key(keys, "alice")
    with TestClient(create_app(Settings(keys=keys), open_gate)) as client:
        wait_until_ready(client)

        def status() -> int:
            return client.get("/v1/taxonomies", headers={"X-API-Key": alice}).status_code

        assert status() == 200
        good = keys.read_text()
        keys.write_text(left)
        with capture_logs() as lines:
            assert (status(), status()) == (401, 401)
        said = [(line["log_level"], line["event"]) for line in lines if line["event"] != "request"]
        assert said == [("warning", "the key file has no key: nobody comes in")]
        keys.unlink()  # which does not bring back what was taken away
        assert status() == 401
        keys.write_text(good)
        assert status() == 200


def test_a_gateway_starts_without_keys_and_takes_the_first(keys: Path) -> None:
    """As it would be left when it is started again after its last key was taken away."""
    keys.write_text("# soon\n")
    with TestClient(create_app(Settings(keys=keys), open_gate)) as client:
        assert client.get("/v1/taxonomies", headers={"X-API-Key": "anything"}).status_code == 401
        assert client.get("/v1/taxonomies").status_code == 401
        alice = add_key(keys, "alice")
        assert client.get("/v1/taxonomies", headers={"X-API-Key": alice}).status_code == 200


def test_the_log_says_again_that_the_file_cannot_be_used(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, now = add_key(keys, "alice"), [1000.0]
    known = KeyFile(keys)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keys.unlink()  # as an editor does that writes a new file in its place
    with capture_logs() as lines:
        for later in (0, 30, 59, 60, 119, 120):
            now[0] = 1000.0 + later
            assert known.name_of(alice) == "alice"
    assert len(lines) == 3
    assert all("parsing-rcnn key NAME" in line["reason"] for line in lines)


def test_a_key_that_is_replaced_is_refused_though_the_file_is_as_long(keys: Path) -> None:
    def write(key: str, second: int) -> None:
        keys.write_text(f"alice {hashlib.sha256(key.encode()).hexdigest()}\n")
        os.utime(keys, (second, second))

    write("old", 1)
    known = KeyFile(keys)
    assert known.name_of("old") == "alice"
    write("new", 2)
    assert (known.name_of("old"), known.name_of("new")) == (None, "alice")


def test_a_key_that_is_replaced_is_refused_though_the_file_is_as_long_and_as_old(keys: Path) -> None:
    def write(path: Path, key: str) -> None:
        path.write_text(f"alice {hashlib.sha256(key.encode()).hexdigest()}\n")
        os.utime(path, (1, 1))

    write(keys, "old")
    known = KeyFile(keys)
    assert known.name_of("old") == "alice"
    other = keys.with_suffix(".new")
    write(other, "new")
    other.replace(keys)
    assert (known.name_of("old"), known.name_of("new")) == (None, "alice")


def test_a_name_has_two_keys_while_one_is_replaced(keys: Path) -> None:
    keys.write_text("".join(f"alice {hashlib.sha256(key.encode()).hexdigest()}\n" for key in ("old", "new")))
    known = KeyFile(keys)
    assert (known.name_of("old"), known.name_of("new"), known.name_of("other")) == ("alice", "alice", None)


def test_a_key_is_added_to_a_file_without_a_last_line_end(keys: Path) -> None:
    alice = add_key(keys, "alice")
    keys.write_text(keys.read_text().rstrip("\n"))  # as some editors leave it
    bob = add_key(keys, "bob")
    known = KeyFile(keys)
    assert (known.name_of(alice), known.name_of(bob)) == ("alice", "bob")
    assert len(keys.read_text().splitlines()) == 2


def test_key_files_are_checked_at_the_start(keys: Path) -> None:
    with pytest.raises(InvalidOptions, match="cannot be read"):
        KeyFile(keys)
    for text, word in (("bob hash", "line 1"), ("# people\na b c", "line 2")):
        keys.write_text(text)
        with pytest.raises(InvalidOptions, match=word):
            KeyFile(keys)
    keys.write_text(f"# people\n\nbob {hashlib.sha256(b'secret').hexdigest()}\n")
    assert KeyFile(keys).name_of("secret") == "bob"
    assert KeyFile(keys).name_of("secret ") is None


def test_the_command_makes_keys(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "key", "carol", "--file", str(keys)) == 0
    assert KeyFile(keys).name_of(capsys.readouterr().out.strip()) == "carol"
    assert command(monkeypatch, "key", "car", "--file", str(keys)) == 0  # the beginning of a name is another name
    assert KeyFile(keys).name_of(capsys.readouterr().out.strip()) == "car"
    for name, word in (("carol", "another name"), ("../x", "1-64 letters"), (65 * "x", "1-64 letters")):
        assert command(monkeypatch, "key", name, "--file", str(keys)) == 1
        assert word in capsys.readouterr().err


def test_a_key_is_replaced_by_the_command_alone(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new one is handed out before the old one goes; a gateway that runs sees each step."""

    def said(*arguments: str) -> str:
        capsys.readouterr()
        assert command(monkeypatch, "key", *arguments, "--file", str(keys)) == 0
        return capsys.readouterr().out.strip()

    keys.write_text("# people\n")
    keys.chmod(0o640)
    old, bob = said("alice"), said("bob")
    known = KeyFile(keys)
    new = said("alice", "--another")
    assert [known.name_of(key) for key in (old, new, bob)] == ["alice", "alice", "bob"]
    listed = said("--list")
    assert listed.splitlines() == ["alice  2 keys", "bob  1 key"]
    assert command(monkeypatch, "key", "alice", "--file", str(keys)) == 1
    assert "--another" in capsys.readouterr().err
    assert said("--revoke", "alice") == "alice: 2 keys revoked"
    assert [known.name_of(key) for key in (old, new, bob)] == [None, None, "bob"]
    assert command(monkeypatch, "key", "--revoke", "alice", "--file", str(keys)) == 1
    assert "no key named alice" in capsys.readouterr().err
    assert said("--revoke", "bob") == f"bob: 1 key revoked; {keys} lets nobody in now"
    assert known.name_of(bob) is None
    assert keys.read_text() == "# people\n"
    assert os.stat(keys).st_mode & 0o777 == 0o640  # whoever could read it still can
    assert said("--list") == ""


def test_a_revocation_that_no_gateway_would_see_is_refused(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = add_key(keys, "alice")
    known = KeyFile(keys)
    with keys.open("a") as file:
        file.write("bob has no sum\n")
    before = keys.read_bytes()
    for arguments in (("--revoke", "alice"), ("--list",)):
        assert command(monkeypatch, "key", *arguments, "--file", str(keys)) == 1
        said = capsys.readouterr().err
        assert "line 2: " in said
        assert "running gateways keep the keys that they know" in said
    assert keys.read_bytes() == before
    assert known.name_of(alice) == "alice"
    assert command(monkeypatch, "key", "--revoke", "bob", "--file", str(keys)) == 0  # which takes that line away
    assert command(monkeypatch, "key", "--revoke", "alice", "--file", str(keys)) == 0
    assert known.name_of(alice) is None


@pytest.mark.parametrize("wrong", [(), ("alice", "--list"), ("alice", "--revoke", "alice"), ("--another", "--list")])
def test_the_command_does_one_thing(
    wrong: tuple[str, ...], keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "key", *wrong, "--file", str(keys)) == 2
    assert "give one of NAME" in capsys.readouterr().err
    assert not keys.exists()


def test_streams_need_keys_too(keys: Path) -> None:
    key = add_key(keys, "alice")
    with Live(Settings(keys=keys), open_gate) as live:
        url = f"ws://{live.address}/v1/stream"
        with pytest.raises(InvalidStatus) as refusal:
            connect(url, open_timeout=60)
        assert refusal.value.response.status_code == 401
        with connect(url, additional_headers={"Authorization": f"Bearer {key}"}, open_timeout=60):
            pass
        # how a browser's script sends one
        with connect(url, subprotocols=["parsing-rcnn.v1", f"key.{key}"], open_timeout=60) as socket:  # type: ignore[list-item]
            assert socket.subprotocol == "parsing-rcnn.v1"
        for offered in ([f"key.{key}"], [f"key.{key}", "chat"]):  # of which none is spoken here
            with pytest.raises(InvalidStatus) as refusal:
                connect(url, subprotocols=offered, open_timeout=60)  # type: ignore[arg-type]
            assert refusal.value.response.status_code == 400
            assert b"Sec-WebSocket-Protocol is without parsing-rcnn.v1" in refusal.value.response.body
            assert key.encode() not in refusal.value.response.body


def test_an_open_stream_ends_with_its_key(keys: Path, photo_jpeg: bytes) -> None:
    key, other = add_key(keys, "alice"), add_key(keys, "bob")
    frame = struct.pack("<II", 1, 0) + photo_jpeg
    with Live(Settings(keys=keys), open_gate) as live:
        url = f"ws://{live.address}/v1/stream"
        with connect(url, additional_headers={"X-API-Key": key}, open_timeout=60) as socket:
            socket.send(frame)
            assert "predictions" in json.loads(socket.recv(60))
            keys.write_text("\n".join(line for line in keys.read_text().splitlines() if not line.startswith("alice")))
            socket.send(frame)
            assert json.loads(socket.recv(60))["problem"]["status"] == 401
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(60)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        with connect(url, additional_headers={"X-API-Key": other}, open_timeout=60):
            pass


def test_each_caller_has_a_share(keys: Path, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    Share(monkeypatch)
    alice, bob = add_key(keys, "alice"), add_key(keys, "bob")
    with TestClient(create_app(Settings(keys=keys, rate=0.01, burst=3), open_gate)) as client:
        wait_until_ready(client)

        def send(key: str):  # type: ignore[no-untyped-def]
            return client.post("/v1/analyze", content=photo_jpeg, headers={"X-API-Key": key})

        assert [send(alice).status_code for _ in range(3)] == [200] * 3
        too_many = send(alice)
        refused(too_many, 429, "0.01 pictures a second")
        assert too_many.headers["retry-after"] == "100"  # so long a token takes
        assert "come back in 100 s" in too_many.json()["detail"]
        assert send(bob).status_code == 200
        files = [("file", (f"{k}.jpg", photo_jpeg)) for k in range(3)]
        refused(client.post("/v1/analyze/batch", files=files, headers={"X-API-Key": bob}), 429, "3 more")
        assert client.post("/v1/analyze/batch", files=files[:2], headers={"X-API-Key": bob}).status_code == 200
        never = client.post("/v1/analyze/batch", files=[*files, files[0]], headers={"X-API-Key": bob})
        refused(
            never, 429, "4 at once, your share is 3", "at most 3 in a batch"
        )  # the other limit, which no time heals
        assert "second" not in never.json()["detail"]
        assert "retry-after" not in never.headers


@pytest.mark.parametrize(("proxies", "status"), [("", 429), ("192.0.2.0/24", 429), ("192.0.2.1, 127.0.0.0/8", 200)])
def test_only_trusted_proxies_say_who_calls(proxies: str, status: int, photo_jpeg: bytes) -> None:
    def send(live: Live, *callers: str) -> int:
        headers = [("X-Forwarded-For", caller) for caller in callers]
        address = f"http://{live.address}/v1/analyze"
        return httpx.post(address, content=photo_jpeg, headers=headers, timeout=60).status_code

    with Live(Settings(rate=0.01, burst=1, trusted_proxies=proxies), open_gate) as live:
        assert send(live, "203.0.113.5") == 200
        assert send(live, "203.0.113.6") == status
        assert send(live, "203.0.113.6") == 429
        # what a caller says by itself stands before what the proxy says of it
        assert send(live, "203.0.113.7, 203.0.113.6") == send(live, "203.0.113.8", "203.0.113.6") == 429


def test_a_machine_has_one_share_whatever_its_address_is_written_as(photo_jpeg: bytes) -> None:
    with Live(Settings(rate=0.01, burst=1, trusted_proxies="127.0.0.0/8"), open_gate) as live:

        def statuses(*callers: str) -> list[int]:
            address = f"http://{live.address}/v1/analyze"
            headers = [{"X-Forwarded-For": caller} for caller in callers]
            sent = [httpx.post(address, content=photo_jpeg, headers=each, timeout=60) for each in headers]
            return [answer.status_code for answer in sent]

        assert statuses("2001:db8:0:1::1", "2001:DB8:0:1:0::1", "2001:db8:0:1::2", "2001:db8:0:2::1") == [
            200, 429, 429, 200,
        ]  # fmt: skip
        assert statuses("6.6.6.6", "::ffff:6.6.6.6", "::ffff:606:606", "::ffff:6.6.6.7") == [200, 429, 429, 200]
        with capture_logs() as lines:
            assert statuses("2001:db8:0:3::1", "somebody") == [200, 200]
        said = [line for line in lines if line["event"] == "request"]
        assert [(line["client"], line.get("key")) for line in said] == [("2001:db8:0:3::1", None), ("somebody", None)]


@pytest.mark.parametrize("wrong", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.1 10.0.0.2"])
def test_proxies_are_addresses(wrong: str) -> None:
    with pytest.raises(ValueError, match="an address or a network"):
        Settings(trusted_proxies=wrong)


def test_other_origins_need_leave() -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    with TestClient(create_app(Settings(), open_gate)) as client:
        assert "access-control-allow-origin" not in client.options("/v1/analyze", headers=asked).headers
    with TestClient(create_app(Settings(cors="https://shop.example"), open_gate)) as client:
        granted = client.options("/v1/analyze", headers=asked).headers
        assert granted["access-control-allow-origin"] == "https://shop.example"
        lengths = "Inference-Header-Content-Length"
        for header in ("X-API-Key", "X-Timeout-Ms", lengths, "traceparent"):
            wanted = {**asked, "Access-Control-Request-Headers": header.lower()}
            assert client.options("/v2/models/densepose/infer", headers=wanted).status_code == 200, header
        answer = client.get("/healthz", headers={"Origin": "https://shop.example"})
        assert lengths in answer.headers["access-control-expose-headers"]
        other = client.get("/healthz", headers={"Origin": "https://other.example"}).headers
        assert "access-control-allow-origin" not in other


def test_a_bad_key_file_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "serve", "--keys", str(tmp_path / "none.txt")) == 1
    assert "none.txt" in capsys.readouterr().err
