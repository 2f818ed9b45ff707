"""Writing files that are there whole or not at all, and locking the folder of a run."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import OutputError

_PARTIAL = re.compile(r".+\.[0-9a-f]{16}\.partial")
_LEFT = 24 * 60 * 60  # seconds after which nobody writes a partial file any more


@contextmanager
def replacing(path: Path, option: str = "--out") -> Iterator[Path]:
    """Yield the path of a new file beside `path`, and move that file to `path` if all goes well.

    The name of that file has a part drawn by chance, so that several may write `path` at once, in containers too: the
    last one stays. What a killed process leaves, `make_folder` and `held` remove.

    Args:
        option: of the command that names the place, for the message.

    Raises:
        OutputError: it could not be written; `path` is unchanged.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with writing(path, option):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Turn an `OSError` into an `OutputError` that names `path` and `option`."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, option) from error


def unwritable(path: Path, error: OSError, option: str = "--out") -> OutputError:
    """The error for a file or folder that could not be written."""
    why = error.strerror or str(error)[:200]  # shutil.Error lists all the files of a folder
    return OutputError(
        f"{path}: cannot be written ({why}); make room or get the right to write there, or name another {option}"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8.

    Raises:
        OutputError: see `replacing`.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write JSON for people to read.

    Raises:
        OutputError: see `replacing`.
    """
    write_text(path, json.dumps(document, indent=2) + "\n")


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture (BGR, as OpenCV has it) or a label map. Unlike `cv2.imwrite`, it leaves no half-written file.

    Raises:
        OutputError: see `replacing`.
    """
    data = cv2.imencode(".png", image)[1].tobytes()
    with replacing(path) as partial:
        partial.write_bytes(data)


def make_folder(out: Path, option: str = "--out") -> None:
    """Make a folder and check that files can be written there, before the work whose results they hold.

    Partial files older than a day, of processes that were killed, are removed.

    Args:
        option: of the command that names the folder, for the message.

    Raises:
        OutputError: they cannot.
    """
    with writing(out, option):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(bytes(4096))
    _sweep(out, _LEFT)


def _sweep(folder: Path, age: float) -> None:
    """Remove the partial files of a folder that nobody has written to for so many seconds."""
    newest = time.time() - age
    with suppress(OSError):
        for path in folder.glob("*.partial"):
            if _PARTIAL.fullmatch(path.name) and path.stat().st_mtime <= newest:
                path.unlink(missing_ok=True)


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Lock the folder of a run (`out`/.lock). The lock ends with the process, however that ends.

    It is a POSIX lock, which belongs to this process alone: loaders, which may outlive a killed run by seconds, do not
    hold it. On Windows, and on file systems without locks, nothing is locked. Once it has the lock, partial files that
    a killed run left there are removed.

    Raises:
        OutputError: another process has it, or nothing can be written there.
    """
    make_folder(out)
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = out / ".lock"
    with writing(path):
        file = path.open("a")
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise OutputError(
                f"{out}: another run is writing here; wait for its end or stop it, or name another --out"
            ) from error
        except OSError:  # no locks here
            pass
        else:
            _sweep(out, 0)
        yield
