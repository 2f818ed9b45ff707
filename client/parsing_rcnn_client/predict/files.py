"""Finds the files that folders and patterns stand for, and the real paths of files behind links."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from parsing_rcnn_client.names import real_path

_SEPARATOR = f"[{re.escape(os.sep + (os.altsep or ''))}]"
_DEEP = re.compile(rf"(?:^|(?<={_SEPARATOR}))\*\*(?:{_SEPARATOR}+|$)")


class Real:
    """Finds the real paths of files, with links followed.

    Each folder is resolved only once, because a folder may hold very many files. A link that leads back to itself is no
    error here: it stays in the path, and whoever opens the path gets the system's error.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def name(self, path: Path) -> Path:
        """The path with the links of its folder followed; the last name stays, even if it is a link."""
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = real_path(folder)
        return self._folders[folder] / path.name

    def file(self, path: Path) -> Path:
        """The path with all links followed."""
        return real_path(path) if path.name in ("", "..") or os.path.islink(path) else self.name(path)


def beneath(folder: str) -> Iterator[str]:
    """All files below a folder, including those in folders that links lead to.

    Each folder is visited once, by its path without links if it has one, so links that form a loop do no harm.
    """
    for place in _folders(folder, hidden=True):
        yield from (entry.path for entry in _entries(place) if not _is_folder(entry))


def matches(pattern: str) -> Iterator[str]:
    """The paths that match a shell pattern. ** matches any number of folders and follows links as `beneath` does. Names
    that begin with a dot match only a pattern that begins with a dot, too.
    """
    deep = _DEEP.search(pattern)
    if deep is None:
        yield from glob.iglob(pattern)
        return
    head, rest = pattern[: deep.start()], pattern[deep.end() :]
    for top in glob.iglob(head) if head else [os.curdir]:
        for place in _folders(top, hidden=False):
            yield from matches(os.path.join(glob.escape(place), rest or "*"))


def _folders(top: str, *, hidden: bool) -> Iterator[str]:
    """A folder and all folders below it; those reached through links come last."""
    waiting, seen = deque([top]), set()
    while waiting:
        links: list[str] = []
        stack = [waiting.popleft()]
        while stack:
            place = stack.pop()
            try:
                state = os.stat(place)
            except OSError:  # it is gone, or access is denied
                continue
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            yield place
            for entry in _entries(place):
                if _is_folder(entry) and (hidden or not entry.name.startswith(".")):
                    (links if entry.is_symlink() else stack).append(entry.path)
        waiting.extend(sorted(links))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # access is denied
        return []
