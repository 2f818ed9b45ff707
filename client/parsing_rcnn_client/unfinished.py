"""Files that are written by one run each: beside the result until it is whole, or as they grow.

Whoever writes a file holds its lock, which ends with the process, however that ends. Where there are no locks, as on
Windows and on some network drives, runs are not told apart.
"""

from __future__ import annotations

import os
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

    Where another run is at one of its own, this one's name has a number (FILE.2.part). What a run left that was killed
    is replaced. Of two runs the one that ends last leaves the result.

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
        self._whole = whole
        if _is_written(whole):
            raise _taken(whole)
        head, part, tail = name.rpartition(".part")
        for number in count(1):
            self.path = whole.with_name(name if number == 1 else f"{head}.{number}{part}{tail}")
            if (file := _begun(self.path)) is not None:
                self.file = file
                return

    def finish(self, instead: Path | None = None) -> None:
        """Take the name of the result. Safe to call twice.

        Args:
            instead: a file beside it that is the result, with which this one ends.
        """
        if self.file.closed:
            return
        # under the lock: without it another run might begin anew what is renamed
        (instead or self.path).replace(self._whole)
        if instead is not None:
            self.path.unlink(missing_ok=True)
        self.file.close()

    def drop(self) -> None:
        """Take the file away, unless it is finished. Whoever does so has more to tell than that it cannot be done."""
        if not self.file.closed:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            with suppress(OSError):
                self.file.close()


def growing(path: Path) -> FileIO:
    """A file that is written from its beginning, and read by others meanwhile. What it held is lost.

    Raises:
        InvalidOptions: another run writes it, or will replace it when it is done.
        OSError: nothing can be written there.
    """
    file = None if _is_written(path.with_name(f"{path.name}.part")) else _claimed(path)
    if file is None:
        raise _taken(path)
    file.truncate(0)
    return file


def _taken(path: Path) -> InvalidOptions:
    return InvalidOptions(f"{path}: another run writes this file: wait for its end, or name another file")


def _begun(path: Path) -> FileIO | None:
    """A new file; None where another run writes it."""
    while (file := _claimed(path)) is not None:
        if not os.fstat(file.fileno()).st_size:
            return file
        path.unlink()  # its writer was killed; what that one had started may still be at it
        file.close()
    return None


def _claimed(path: Path) -> FileIO | None:
    """A file with its lock, as it is; None where another one has it."""
    while True:
        file = open(path, "wb", buffering=0, opener=_untouched)  # noqa: SIM115 - whoever asked closes it
        if not _locked(file):
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # it was finished, or taken away, before it was locked


def _untouched(name: str, flags: int) -> int:
    return os.open(name, flags & ~os.O_TRUNC, 0o666)


def _is_written(path: Path) -> bool:
    """Whether a run has the lock of a file."""
    with suppress(OSError), path.open("rb", buffering=0) as file:
        return not _locked(file, alone=False)
    return False


def _locked(file: FileIO, *, alone: bool = True) -> bool:
    """Lock a file, alone or beside others who only look; False where somebody else has the lock."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # there are no locks here
        return True
    return True
