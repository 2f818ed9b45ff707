"""What a command writes: files that are there whole or not at all, and a folder that one run has for itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sources import DatasetError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write to, NAME.partial beside `path`, whose place it takes where all went well.

    Raises:
        DatasetError: it could not be written; `path` is what it was.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> DatasetError:
    """What to say of a file or folder that could not be written."""
    said = error.strerror or str(error)[:200]  # shutil.Error lists all the files of a folder
    return DatasetError(
        f"{path}: cannot be written ({said}); make room or get the right to write there, or name another --out"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8.

    Raises:
        DatasetError: see `replacing`.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write JSON for people to read.

    Raises:
        DatasetError: see `replacing`.
    """
    write_text(path, json.dumps(document, indent=2) + "\n")


def write_png(path: Path, image: NDArray[np.uint8], options: Sequence[int] = ()) -> None:
    """Write a picture (OpenCV's order of channels) or a label map; `cv2.imwrite` would leave half of one.

    Raises:
        DatasetError: see `replacing`.
    """
    data = cv2.imencode(".png", image, options)[1].tobytes()
    with replacing(path) as partial:
        partial.write_bytes(data)


def make_folder(out: Path) -> None:
    """Make a folder and find out whether files can be written there, before any work is done for them.

    Raises:
        DatasetError: they cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise unwritable(out, error) from error


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Have a run's folder for oneself: a lock on `out`/.lock, which goes with the process however that ends.

    The lock is of the process (POSIX): those that read pictures, which outlive a killed run by seconds, do not have it.
    Windows, and file systems that know no locks, go without.

    Raises:
        DatasetError: another process has it, or nothing can be written there.
    """
    make_folder(out)
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = out / ".lock"
    try:
        file = path.open("a")
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise DatasetError(
                f"{out}: another run is writing here; wait for its end or stop it, or name another --out"
            ) from error
        except OSError:  # no locks here
            pass
        yield
