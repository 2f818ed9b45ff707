"""Files that are written by one run each: beside the result until it is whole, or as they grow. And folders.

Whoever writes a file, or holds a folder, has its lock, which ends with the process, however that ends. Where there are
no locks, as on Windows and on some network drives, nobody knows whether what lies there is still written: a file beside
the result is always a new one then, and what a killed run left stays.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from io import FileIO
from itertools import count
from pathlib import Path

from parsing_rcnn.errors import InvalidOptions

if sys.platform != "win32":
    import fcntl


class Unfinished:
    """What a run writes until it is whole, when it takes the name of the result.

    Where another run is at one of its own, this one's name has a number (FILE.2.part); so it has where a folder, a link
    or somebody else's file has the name. What a run left that was killed is replaced. Of two runs the one that ends
    last leaves the result.

    Args:
        whole: the result; its folder is there.
        name: of the file beside it, with ".part" in it.

    Attributes:
        path: of the file.
        file: the same, open to write, without a buffer.

    Raises:
        InvalidOptions: a run writes into the result itself, which it would lose.
        OSError: of every method, nothing can be written there.
    """

    def __init__(self, whole: Path, name: str) -> None:
        self._whole, self._ended = whole, False
        if is_written(whole):
            raise _taken(whole)
        head, part, tail = name.rpartition(".part")
        for number in count(1):
            self.path = whole.with_name(name if number == 1 else f"{head}.{number}{part}{tail}")
            if (begun := _begun(self.path)) is not None:
                self.file, self._has_lock = begun
                return

    def finish(self, instead: Path | None = None) -> None:
        """Take the name of the result. Safe to call twice.

        Args:
            instead: a file beside it that is the result, with which this one ends.
        """
        if self._ended:
            return
        self._let_go()
        (instead or self.path).replace(self._whole)
        if instead is not None:
            self.path.unlink(missing_ok=True)
        self._end()

    def drop(self) -> None:
        """Take the file away, unless it is finished. Whoever does so has more to tell than that it cannot be done."""
        if not self._ended:
            with suppress(OSError):
                self._let_go()
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            with suppress(OSError):
                self._end()

    def _let_go(self) -> None:
        """Close the file before it is renamed, without which Windows does not; but under a lock, without which another
        run might begin anew what is renamed."""
        if not self._has_lock:
            self.file.close()

    def _end(self) -> None:
        self._ended = True
        self.file.close()


def growing(path: Path) -> FileIO:
    """A file that is written from its beginning, and read by others meanwhile. What it held is lost.

    Raises:
        InvalidOptions: another run writes it, or will replace it when it is done.
        OSError: nothing can be written there.
    """
    file = None if is_written(path.with_name(f"{path.name}.part")) else _claimed(path)
    if file is None:
        raise _taken(path)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a pipe holds nothing
        file.truncate(0)
    return file


def held(folder: Path) -> int | None:
    """Lock a folder, which is made. Nothing is put into it.

    Returns:
        What is closed (`os.close`) when the folder is let go; None where there are no locks.

    Raises:
        InvalidOptions: another run holds it.
        OSError: there can be no such folder.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            place = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # whoever had made it took it away again
            continue
        except OSError:  # Windows opens none; nor can one that may be written into and not be read
            return None
        lock = _lock(place)
        if lock and _lies_at(folder, place):
            return place
        os.close(place)
        if lock is None:
            return None
        if not lock:
            raise InvalidOptions(
                f"{folder}: another run writes into this folder: wait for its end, or name another folder"
            )


def _taken(path: Path) -> InvalidOptions:
    return InvalidOptions(f"{path}: another run writes this file: wait for its end, or name another file")


def _begun(path: Path) -> tuple[FileIO, bool] | None:
    """A new file, and whether it has a lock; None where the name is taken."""
    while True:
        file, made = _opened(path)
        if file is None:
            return None
        if (lock := _lock(file)) is None and made:
            return file, False
        if not lock:  # another run's, or perhaps
            file.close()
            return None
        if not _lies_at(path, file):  # it was finished, or taken away, before it was locked
            file.close()
            continue
        if not os.fstat(file.fileno()).st_size:
            return file, True
        with file:  # its writer was killed; what that one had started may still be at it
            try:
                path.unlink()
            except PermissionError:  # of a folder where each may take away their own files alone
                return None


def _opened(path: Path) -> tuple[FileIO | None, bool]:
    """What lies there, and whether it was made now; None for a folder, a link, a pipe, and somebody else's file."""
    while True:
        with suppress(FileExistsError):
            return open(path, "xb", buffering=0), True
        try:
            file = open(path, "r+b", buffering=0, opener=_itself)  # noqa: SIM115 - whoever asked closes it
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not path.is_symlink():  # it was finished meanwhile
                continue
            return None, False
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file, False
        file.close()
        return None, False


def _claimed(path: Path) -> FileIO | None:
    """A file that may be locked, as it is; None where another one has it."""
    while True:
        file = open(path, "wb", buffering=0, opener=_untouched)  # noqa: SIM115 - whoever asked closes it
        if _lock(file) is False:
            file.close()
            return None
        if _lies_at(path, file):
            return file
        file.close()  # it was finished, or taken away, before it was locked


def _lies_at(path: Path, file: FileIO | int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file if isinstance(file, int) else file.fileno()), path.stat())
    return False


def _untouched(name: str, flags: int) -> int:
    return os.open(name, flags & ~os.O_TRUNC, 0o666)


def _at_once(name: str, flags: int) -> int:
    """Who is at the other end of a pipe is not waited for."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _itself(name: str, flags: int) -> int:
    """No file that a link points to."""
    return _at_once(name, flags | getattr(os, "O_NOFOLLOW", 0))


def is_written(path: Path) -> bool:
    """Whether a run has the lock of a file."""
    with suppress(OSError), open(path, "rb", buffering=0, opener=_at_once) as file:
        return _lock(file, alone=False) is False
    return False


def _lock(file: FileIO | int, *, alone: bool = True) -> bool | None:
    """Lock a file, alone or beside others who only look: whether that was possible; None where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
