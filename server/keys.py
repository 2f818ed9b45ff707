"""API keys: a file of names and SHA-256 hashes, which is read again whenever it changes."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import structlog

from parsing_rcnn.errors import InvalidOptions

if sys.platform != "win32":
    import fcntl

log = structlog.get_logger("server")

_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})[ \t]+([0-9a-f]{64})\Z")
_AGAIN = 60.0  # seconds after which the log repeats that the file cannot be used
_TEXT = "utf-8-sig"  # some editors begin a file with a byte order mark


class KeyFile:
    """A file of lines `name sha256-of-the-key`; empty lines and `#` comments are skipped. A name may have several
    lines, so that a new key can be handed out before the old one is revoked. With no key in the file, nobody gets in.

    Keys are long and random, so a fast hash is enough; passwords would need a slow one. While the file cannot be read
    (as in the moment when an editor replaces it), or has an invalid line, the keys known so far stay valid, and the log
    says so until the file is repaired.

    Raises:
        InvalidOptions: the file cannot be read, or has an invalid line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._sums: list[tuple[str, str]] = []
        self._said, self._when = "", -math.inf  # the last complaint about the file, and when
        self._read()

    def name_of(self, key: str) -> str | None:
        """The name of a key's owner; None if the key is unknown. The time this takes does not reveal how much of a key
        is right."""
        try:
            self._read()
            self._said = ""
        except InvalidOptions as error:
            now = time.monotonic()
            if error.detail != self._said or now - self._when >= _AGAIN:
                self._said, self._when = error.detail, now
                log.error("the key file cannot be used, the keys before it stay valid", reason=error.detail)
        given = hashlib.sha256(key.encode()).hexdigest()
        found = [name for name, known in self._sums if hmac.compare_digest(known, given)]
        return found[0] if found else None

    def _read(self) -> None:
        try:
            status = self.path.stat()
            # a copied file may have the same time, and another key the same size: then inode or ctime differ
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)
            if stamp == self._stamp:
                return
            text = self.path.read_text(_TEXT)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidOptions(
                f"the key file {self.path} cannot be read: {error}; `parsing-rcnn key NAME --file {self.path}` makes "
                "one, and one without a key lets nobody in"
            ) from None
        self._sums, self._stamp = _entries(self.path, text), stamp
        if not self._sums:
            log.warning("the key file has no key: nobody comes in", file=str(self.path), remedy="parsing-rcnn key NAME")


def add_key(path: Path, name: str, *, another: bool = False) -> str:
    """Append the hash of a new key to the file, and return the key. A new file is readable by its owner only.

    Args:
        path: of the file.
        name: the owner of the key.
        another: allow the name to have a key already, which stays valid.

    Raises:
        InvalidOptions: the name is not plain, or is in the file already; or the file cannot be written, or has an
            invalid line, because of which gateways would not accept the key.
    """
    key = f"prcnn_{secrets.token_urlsafe(32)}"
    line = f"{name} {hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.match(line):
        raise InvalidOptions(f"{name!r}: a name is 1-64 letters, digits, dots, underscores and hyphens")
    with _alone(path, os.O_CREAT) as file:
        before = file.read().decode(_TEXT)
        if not another and name in [old for old, _ in _entries(path, before)]:
            raise InvalidOptions(
                f"{path} has a key named {name}: --another gives {name} a second one, --revoke {name} takes the first "
                "away; or choose another name"
            )
        file.write((f"{line}\n" if before.endswith("\n") or not before else f"\n{line}\n").encode())
    return key


def count_keys(path: Path) -> dict[str, int]:
    """Name -> number of its keys, in the order of the file.

    Raises:
        InvalidOptions: the file cannot be read, or has an invalid line.
    """
    try:
        names = [name for name, _ in _entries(path, path.read_text(_TEXT))]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptions(f"the key file {path} cannot be read: {error}") from None
    return {name: names.count(name) for name in dict.fromkeys(names)}


def revoke_keys(path: Path, name: str) -> int:
    """Remove all keys of a name from the file. Returns how many there were.

    Raises:
        InvalidOptions: there is none; the file cannot be written; or a remaining line is invalid, because of which
            running gateways would keep the keys that they know. The file is left as it was.
    """
    with _alone(path) as file:
        text = file.read().decode(_TEXT)
        _entries(path, text, besides=name)
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if _whose(line) != name]
        if len(kept) == len(lines):
            raise InvalidOptions(f"{path} has no key named {name}: `parsing-rcnn key --list --file {path}` names them")
        # Written in place, because a container may have mounted the file itself, and truncated only afterwards, so that
        # it is never empty: a gateway that reads it meanwhile finds half a line, and keeps the keys that it knows.
        file.seek(0)
        file.write("".join(kept).encode())
        file.truncate()
    return len(lines) - len(kept)


@contextmanager
def _alone(path: Path, flags: int = 0) -> Iterator[BinaryIO]:
    """The file, open and locked. Otherwise, of two commands that both read before they write, one would undo the other.

    Raises:
        InvalidOptions: it cannot be opened, read or written.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDWR | flags, mode=0o600), "r+b") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            yield file
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptions(f"the key file {path} cannot be written: {error}") from None


def _whose(line: str) -> str | None:
    """The name at the beginning of a line; None for an empty line or a comment."""
    words = line.split(maxsplit=1)
    return words[0] if words and not words[0].startswith("#") else None


def _entries(path: Path, text: str, besides: str | None = None) -> list[tuple[str, str]]:
    """(name, hash) of each entry, without those of the name `besides`.

    Raises:
        InvalidOptions: a line is neither an entry nor empty nor a comment.
    """
    sums: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if _whose(line) in (None, besides):
            continue
        entry = _LINE.match(line.strip())
        if entry is None:
            raise InvalidOptions(
                f"{path}, line {number}: not `name sha256`; mend it or take it out: until then running "
                "gateways keep the keys that they know, and `parsing-rcnn key` does not change the file"
            )
        sums.append((entry[1], entry[2]))
    return sums
