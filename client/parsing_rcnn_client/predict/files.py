"""Folders and patterns to the files that they stand for, and where those lie."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_SEPARATOR = f"[{re.escape(os.sep + (os.altsep or ''))}]"
_DEEP = re.compile(rf"(?:^|(?<={_SEPARATOR}))\*\*(?:{_SEPARATOR}+|$)")


class Real:
    """Where files lie, links followed: of each folder found out once, as a folder may have very many."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def name(self, path: Path) -> Path:
        """The path with its folder's links followed; its last name stays."""
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = folder.resolve()
        return self._folders[folder] / path.name

    def file(self, path: Path) -> Path:
        """`path.resolve()`."""
        return path.resolve() if path.name in ("", "..") or os.path.islink(path) else self.name(path)


def beneath(folder: str) -> Iterator[str]:
    """All files below a folder, those of folders that links lead to as well.

    Each folder is looked into once, by the name without a link where there is one, so that links which lead back end.
    """
    for place in _folders(folder, hidden=True):
        yield from (entry.path for entry in _entries(place) if not _is_folder(entry))


def matches(pattern: str) -> Iterator[str]:
    """What a pattern of the shell stands for; ** is any number of folders, those as in `beneath`. Names that begin
    with a dot are named by patterns alone that do so.
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
    """A folder and all below it: those that no link leads to before the others."""
    waiting, seen = deque([top]), set()
    while waiting:
        links: list[str] = []
        stack = [waiting.popleft()]
        while stack:
            place = stack.pop()
            try:
                state = os.stat(place)
            except OSError:  # it has gone, or may not be looked at
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
    except OSError:  # it may not be looked into
        return []
