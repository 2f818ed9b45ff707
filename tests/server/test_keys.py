"""The file of keys, as the commands write it: whole, also where several do at once."""

from __future__ import annotations

import codecs
import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from parsing_rcnn.errors import InvalidOptions
from server.app import create_app
from server.keys import KeyFile, add_key, count_keys, revoke_keys
from server.settings import Settings
from tests.server.helpers import command, open_gate


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def test_no_key_is_made_that_no_gateway_would_take(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.write_text("# people\n\nbob has no sum\n")
    before = keys.read_bytes()
    assert command(monkeypatch, "key", "alice", "--file", str(keys)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "line 3: " in told.err
    assert "does not change the file" in told.err
    assert keys.read_bytes() == before


def test_a_file_may_begin_with_the_mark_of_its_encoding(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an editor of Windows leaves it."""
    line = f"bob {hashlib.sha256(b'secret').hexdigest()}\r\n"
    keys.write_bytes(codecs.BOM_UTF8 + line.encode())
    assert command(monkeypatch, "key", "bob", "--file", str(keys)) == 1
    assert "a key named bob" in capsys.readouterr().err
    assert command(monkeypatch, "key", "alice", "--file", str(keys)) == 0
    alice = capsys.readouterr().out.strip()
    with TestClient(create_app(Settings(keys=keys), open_gate)) as client:

        def status(key: str) -> int:
            return client.get("/v1/taxonomies", headers={"X-API-Key": key}).status_code

        assert (status("secret"), status(alice)) == (200, 200)
        assert command(monkeypatch, "key", "--revoke", "bob", "--file", str(keys)) == 0
        assert (status("secret"), status(alice)) == (401, 200)
    assert count_keys(keys) == {"alice": 1}


def test_commands_at_the_same_time_lose_nothing(keys: Path) -> None:
    """One reads the file before another has written it, over and over."""
    goes = [f"goes{k}" for k in range(200)]
    for name in goes:
        add_key(keys, name)
    stays = [f"stays{k}" for k in range(200)]
    with ThreadPoolExecutor(4) as pool:
        pairs = [
            (pool.submit(add_key, keys, new), pool.submit(revoke_keys, keys, old))
            for new, old in zip(stays, goes, strict=True)
        ]
    assert [revoked.result() for _, revoked in pairs] == [1] * len(goes)
    known = KeyFile(keys)
    assert [known.name_of(made.result()) for made, _ in pairs] == stays
    assert sorted(count_keys(keys)) == sorted(stays)


@pytest.mark.parametrize("word", ["#", ""])
def test_comments_and_empty_lines_are_nobodys(
    word: str, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.write_text("# people\n\n")
    assert command(monkeypatch, "key", "--revoke", word, "--file", str(keys)) == 1
    assert "no key named" in capsys.readouterr().err
    assert keys.read_text() == "# people\n\n"


def test_a_file_in_another_encoding_is_one_that_cannot_be_used(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell of Windows writes it, over one that the gateway knows."""
    alice = add_key(keys, "alice")
    known = KeyFile(keys)
    keys.write_text(keys.read_text(), "utf-16")
    before = keys.read_bytes()
    with capture_logs() as lines:
        assert (known.name_of(alice), known.name_of("other")) == ("alice", None)
    assert ["cannot be read" in line["reason"] for line in lines] == [True]
    with pytest.raises(InvalidOptions, match="cannot be read"):
        KeyFile(keys)
    for arguments in (("bob",), ("--list",), ("--revoke", "alice")):
        assert command(monkeypatch, "key", *arguments, "--file", str(keys)) == 1
        assert "the key file" in capsys.readouterr().err
    assert keys.read_bytes() == before


@pytest.mark.parametrize("arguments", [("--list",), ("--revoke", "alice")])
def test_no_file_is_made_but_for_a_key(
    arguments: tuple[str, ...], keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "key", *arguments, "--file", str(keys)) == 1
    assert f"the key file {keys} cannot be" in capsys.readouterr().err
    assert not keys.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="files do not say there when they were changed")
def test_a_key_that_is_replaced_in_place_is_refused_though_the_file_says_that_it_is_as_old(keys: Path) -> None:
    """As copies do that keep the time of what they copy."""

    def write(key: str) -> int:
        keys.write_text(f"alice {hashlib.sha256(key.encode()).hexdigest()}\n")
        os.utime(keys, (1, 1))
        return keys.stat().st_ctime_ns

    first = write("old")
    known = KeyFile(keys)
    assert known.name_of("old") == "alice"
    while write("new") == first:  # file systems count in some milliseconds
        pass
    assert (known.name_of("old"), known.name_of("new")) == (None, "alice")
