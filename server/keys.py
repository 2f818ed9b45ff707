"""API keys: a file of names and SHA-256 sums, read again whenever it changes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path

import structlog

from parsing_rcnn.errors import InvalidOptions

log = structlog.get_logger("server")

_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})[ \t]+([0-9a-f]{64})\Z")


class KeyFile:
    """Lines `name sha256-of-the-key`; empty lines and `#` comments are skipped. A name with several lines has as many
    keys, so that a new one can be handed out before the old one is taken away.

    Keys are random and long, so a plain hash of them cannot be searched for; passwords would need a slow one. Where the
    file is changed into one that cannot be used, the keys that were known stay known, and the log says so.

    Raises:
        InvalidOptions: the file cannot be read, has a line that is no entry, or holds no key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._sums: list[tuple[str, str]] = []
        self._said: str | None = None  # of a file that cannot be used
        self._read()

    def name_of(self, key: str) -> str | None:
        """Whose key this is, or None; the time that takes does not tell how much of it is right."""
        try:
            self._read()
            self._said = None
        except InvalidOptions as error:
            if error.detail != self._said:
                self._said = error.detail
                log.error("the key file cannot be used, the keys before it stay", reason=error.detail)
        given = hashlib.sha256(key.encode()).hexdigest()
        found = [name for name, known in self._sums if hmac.compare_digest(known, given)]
        return found[0] if found else None

    def _read(self) -> None:
        try:
            status = self.path.stat()
            # copies keep the time of a file, and another key makes it no longer: the inode and its change tell
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)
            if stamp == self._stamp:
                return
            lines = self.path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidOptions(f"the key file {self.path} cannot be read: {error}") from None
        sums: list[tuple[str, str]] = []
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            entry = _LINE.match(text)
            if entry is None:
                raise InvalidOptions(f"{self.path}, line {number}: not `name sha256`; `parsing-rcnn key` adds a line")
            sums.append((entry[1], entry[2]))
        if not sums:
            raise InvalidOptions(f"{self.path} holds no key: `parsing-rcnn key NAME --file {self.path}` adds one")
        self._sums, self._stamp = sums, stamp


def add_key(path: Path, name: str) -> str:
    """Append a new key's sum to the file (made readable for its owner only) and return the key.

    Raises:
        InvalidOptions: the name is not plain, or stands in the file; or that cannot be written.
    """
    key = f"prcnn_{secrets.token_urlsafe(32)}"
    line = f"{name} {hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.match(line):
        raise InvalidOptions(f"{name!r}: a name is 1-64 letters, digits, dots, underscores and hyphens")
    try:
        before = path.read_text() if path.exists() else ""
        if any(old.split()[:1] == [name] for old in before.splitlines()):
            raise InvalidOptions(f"{path} has a key named {name}: choose another name, or remove that line first")
        path.touch(mode=0o600)
        with path.open("a") as file:
            file.write(f"{line}\n" if before.endswith("\n") or not before else f"\n{line}\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptions(f"the key file {path} cannot be written: {error}") from None
    return key
