"""Files and folders that only one run may write at a time.

A result is written to a file beside it until it is complete (`Unfinished`), or grows in place (`growing`). The run that
writes a file, or holds a folder (`held`), keeps a lock on it; the system frees the lock when the process ends, however
it ends. Windows and some network drives have no such locks, so nobody can tell whether a file there is still being
written: every run then starts a new file beside the result, and the file of a killed run stays.
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
    """A file beside a result, which is renamed to the result once it is complete.

    If another run is writing the file of this name, this run's name gets a number (FILE.2.part); likewise if the name
    belongs to a folder, a link, or another user's file. The file of a killed run is replaced. If two runs write the
    same result, that of the run that ends last stays.

    Args:
        whole: path of the result; its folder must exist.
        name: of the file beside it, with ".part" in it.

    Attributes:
        path: of the file beside the result.
        file: that file, open for writing, without a buffer.

    Raises:
        InvalidOptions: another run is writing into the result itself, and would lose what it writes.
        OSError: by every method, if nothing can be written there.
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
        """Rename the file to the result. Safe to call twice.

        Args:
            instead: another file beside the result, which becomes the result; this one is then deleted.
        """
        if self._ended:
            return
        self._let_go()
        (instead or self.path).replace(self._whole)
        if instead is not None:
            self.path.unlink(missing_ok=True)
        self._end()

    def drop(self) -> None:
        """Delete the file, unless it is finished. Errors are ignored: callers have a more important one to report."""
        if not self._ended:
            with suppress(OSError):
                self._let_go()
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            with suppress(OSError):
                self._end()

    def _let_go(self) -> None:
        """Close the file before it is renamed, as Windows demands. But a locked file stays open: if the lock were gone
        before the renaming, another run might start anew with this file.
        """
        if not self._has_lock:
            self.file.close()

    def _end(self) -> None:
        self._ended = True
        self.file.close()


def growing(path: Path) -> FileIO:
    """Open a file that others may read while it is written. Its former content is lost.

    Raises:
        InvalidOptions: another run is writing it, or will replace it when it finishes.
        OSError: nothing can be written there.
    """
    file = None if is_written(path.with_name(f"{path.name}.part")) else _claimed(path)
    if file is None:
        raise _taken(path)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a pipe holds nothing
        file.truncate(0)
    return file


def held(folder: Path) -> int | None:
    """Lock a folder, which is created if needed. Nothing is put into it.

    Returns:
        A file descriptor; `os.close` unlocks the folder. None where there are no locks.

    Raises:
        InvalidOptions: another run has the lock.
        OSError: the folder cannot be created.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            place = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another run had created it, and deleted it again
            continue
        except OSError:  # Windows cannot open folders, and nobody can open one without the permission to read it
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
    """A new file, and whether it is locked; None if the name is taken."""
    while True:
        file, made = _opened(path)
        if file is None:
            return None
        if (lock := _lock(file)) is None and made:
            return file, False
        if not lock:  # another run has it; or, without locks, may have it
            file.close()
            return None
        if not _lies_at(path, file):  # it was finished, or deleted, before it was locked
            file.close()
            continue
        if not os.fstat(file.fileno()).st_size:
            return file, True
        with file:  # its run was killed, but programs that this run had started may still write into it
            try:
                path.unlink()
            except PermissionError:  # in a folder where users may delete only their own files
                return None


def _opened(path: Path) -> tuple[FileIO | None, bool]:
    """The file at a path, and whether it was created now; no file for a folder, a link, a pipe, or another user's."""
    while True:
        with suppress(FileExistsError):
            return open(path, "xb", buffering=0), True
        try:
            file = open(path, "r+b", buffering=0, opener=_itself)  # noqa: SIM115 - the caller closes it
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not path.is_symlink():  # it was finished meanwhile
                continue
            return None, False
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file, False
        file.close()
        return None, False


def _claimed(path: Path) -> FileIO | None:
    """Open and lock a file, with its content; None if another run has the lock."""
    while True:
        file = open(path, "wb", buffering=0, opener=_untouched)  # noqa: SIM115 - the caller closes it
        if _lock(file) is False:
            file.close()
            return None
        if _lies_at(path, file):
            return file
        file.close()  # it was finished, or deleted, before it was locked


def _lies_at(path: Path, file: FileIO | int) -> bool:
    """Whether an open file, or descriptor, is still the one at this path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file if isinstance(file, int) else file.fileno()), path.stat())
    return False


def _untouched(name: str, flags: int) -> int:
    """Open without deleting the content."""
    return os.open(name, flags & ~os.O_TRUNC, 0o666)


def _at_once(name: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _itself(name: str, flags: int) -> int:
    """Open without following a link."""
    return _at_once(name, flags | getattr(os, "O_NOFOLLOW", 0))


def is_written(path: Path) -> bool:
    """Whether a run has the lock of a file, and so is still writing it."""
    with suppress(OSError), open(path, "rb", buffering=0, opener=_at_once) as file:
        return _lock(file, alone=False) is False
    return False


def _lock(file: FileIO | int, *, alone: bool = True) -> bool | None:
    """Try to lock a file or a folder, without waiting.

    Args:
        file: an open file, or a descriptor.
        alone: exclusively; False shares the lock with others who only look.

    Returns:
        Whether it is locked now; None where there are no locks.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
