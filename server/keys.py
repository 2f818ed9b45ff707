"""API keys: a file of names and SHA-256 sums, read again whenever it changes."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from pathlib import Path

import structlog

from parsing_rcnn.errors import InvalidOptions

log = structlog.get_logger("server")

_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})[ \t]+([0-9a-f]{64})\Z")
_AGAIN = 60.0  # seconds after which the log says again that the file cannot be used


class KeyFile:
    """Lines `name sha256-of-the-key`; empty lines and `#` comments are skipped. A name with several lines has as many
    keys, so that a new one can be handed out before the old one is taken away. A file without a key lets nobody in.

    Keys are random and long, so a plain hash of them cannot be searched for; passwords would need a slow one. Where the
    file cannot be read, as for the moment in which an editor replaces it, or has a line that is no entry, the keys that
    were known stay known, and the log says so until it is mended.

    Raises:
        InvalidOptions: the file cannot be read, or has a line that is no entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._sums: list[tuple[str, str]] = []
        self._said, self._when = "", -math.inf  # of a file that cannot be used
        self._read()

    def name_of(self, key: str) -> str | None:
        """Whose key this is, or None; the time that takes does not tell how much of it is right."""
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
            # copies keep the time of a file, and another key makes it no longer: the inode and its change tell
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)
            if stamp == self._stamp:
                return
            text = self.path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidOptions(
                f"the key file {self.path} cannot be read: {error}; `parsing-rcnn key NAME --file {self.path}` makes "
                "one, and one without a key lets nobody in"
            ) from None
        self._sums, self._stamp = _entries(self.path, text), stamp
        if not self._sums:
            log.warning("the key file has no key: nobody comes in", file=str(self.path), remedy="parsing-rcnn key NAME")


def add_key(path: Path, name: str, *, another: bool = False) -> str:
    """Append a new key's sum to the file (made readable for its owner only) and return the key.

    Args:
        path: of the file.
        name: whose key.
        another: whether the name may have one already, which stays.

    Raises:
        InvalidOptions: the name is not plain, or stands in the file; or that cannot be written.
    """
    key = f"prcnn_{secrets.token_urlsafe(32)}"
    line = f"{name} {hashlib.sha256(key.encode()).hexdigest()}"
    if not _LINE.match(line):
        raise InvalidOptions(f"{name!r}: a name is 1-64 letters, digits, dots, underscores and hyphens")
    try:
        before = path.read_text() if path.exists() else ""
        if not another and any(old.split()[:1] == [name] for old in before.splitlines()):
            raise InvalidOptions(
                f"{path} has a key named {name}: --another gives {name} a second one, --revoke {name} takes the first "
                "away; or choose another name"
            )
        path.touch(mode=0o600)
        with path.open("a") as file:
            file.write(f"{line}\n" if before.endswith("\n") or not before else f"\n{line}\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptions(f"the key file {path} cannot be written: {error}") from None
    return key


def count_keys(path: Path) -> dict[str, int]:
    """{name: how many keys it has}, in the order of the file.

    Raises:
        InvalidOptions: the file cannot be read, or has a line that is no entry.
    """
    try:
        names = [name for name, _ in _entries(path, path.read_text())]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptions(f"the key file {path} cannot be read: {error}") from None
    return {name: names.count(name) for name in dict.fromkeys(names)}


def revoke_keys(path: Path, name: str) -> int:
    """Take all keys of a name out of the file. Returns how many there were.

    Raises:
        InvalidOptions: there is none; the file cannot be written; or what stays in it has a line that is no entry, for
            which running gateways keep the keys that they know.
    """
    try:
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.split()[:1] != [name]]
        if len(kept) == len(lines):
            raise InvalidOptions(f"{path} has no key named {name}: `parsing-rcnn key --list --file {path}` names them")
        # in its place, which a container may have mounted by itself, and never empty before it is short: a gateway that
        # reads meanwhile finds half a line, and keeps what it knows for that moment
        with path.open("r+b") as file:
            file.write("".join(kept).encode())
            file.truncate()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptions(f"the key file {path} cannot be written: {error}") from None
    _entries(path, "".join(kept))
    return len(lines) - len(kept)


def _entries(path: Path, text: str) -> list[tuple[str, str]]:
    """(name, sum) of each line that is an entry.

    Raises:
        InvalidOptions: a line is neither that, nor empty, nor a comment.
    """
    sums: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        entry = _LINE.match(stripped)
        if entry is None:
            raise InvalidOptions(
                f"{path}, line {number}: not `name sha256`; mend it or take it out (`parsing-rcnn key` adds a line): "
                "until then running gateways keep the keys that they know"
            )
        sums.append((entry[1], entry[2]))
    return sums
