"""Writing files that are there whole or not at all, and locking the folder of a run."""

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
    """Yield a file to write to, NAME.partial beside `path`, and move it to `path` if all goes well.

    Raises:
        DatasetError: it could not be written; `path` is unchanged.
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
    """The error for a file or folder that could not be written."""
    why = error.strerror or str(error)[:200]  # shutil.Error lists all the files of a folder
    return DatasetError(
        f"{path}: cannot be written ({why}); make room or get the right to write there, or name another --out"
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
    """Write a picture (BGR, as OpenCV has it) or a label map. Unlike `cv2.imwrite`, it leaves no half-written file.

    Raises:
        DatasetError: see `replacing`.
    """
    data = cv2.imencode(".png", image, options)[1].tobytes()
    with replacing(path) as partial:
        partial.write_bytes(data)


def make_folder(out: Path) -> None:
    """Make a folder and check that files can be written there, before the work whose results they hold.

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
    """Lock the folder of a run (`out`/.lock). The lock ends with the process, however that ends.

    It is a POSIX lock, which belongs to this process alone: loaders, which may outlive a killed run by seconds, do not
    hold it. On Windows, and on file systems without locks, nothing is locked.

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
