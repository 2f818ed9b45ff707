"""Writing what commands of this package make: graphs, and reports as a page with JSON beside it.

What cannot be written is an `OutputError` that says what to do (`training.files`).
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import onnx

from training.files import make_folder, replacing, unwritable, write_text


def save_graph(graph: onnx.ModelProto, path: Path) -> None:
    """Write an ONNX file. A server that reads it meanwhile gets the old one or the whole new one.

    Raises:
        OutputError: it cannot be written; `path` is unchanged.
    """
    with replacing(path) as partial:
        onnx.save(graph, partial, format="protobuf")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written; `path` is unchanged.
    """
    with replacing(path) as partial:
        partial.write_bytes(data)


def claim_report(page: Path, option: str = "--out") -> None:
    """Make the folder of a report and check that it can be written, before the work that it describes.

    Args:
        option: of the command that names the page, for the message.

    Raises:
        OutputError: it cannot.
    """
    make_folder(page.parent, option)
    for path in (page, page.with_suffix(".json")):
        if path.is_dir():
            raise unwritable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), option)


def write_report(page: Path, text: str, document: Any) -> None:
    """Write a report: `text` (Markdown) to `page`, and `document` to the same name with .json.

    Raises:
        OutputError: they cannot be written.
    """
    write_text(page, text)
    write_text(page.with_suffix(".json"), json.dumps(document, indent=1) + "\n")
