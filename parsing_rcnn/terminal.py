"""Messages on a terminal, where text from others is shown but cannot control the terminal.

A command goes on where its messages cannot be written: a terminal may be closed, and a disk may be full.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

_GONE = (errno.EIO, errno.EPIPE)  # a terminal that was closed, a pipe that nobody reads: for good, unlike a full disk


def printable(text: str, kept: str = "") -> str:
    r"""The text with unprintable characters escaped: control codes, line breaks, marks of writing direction.

    Args:
        text: from anybody.
        kept: unprintable characters that stay as they are.

    Example:
        >>> printable("\x1b[31mred\n")
        '\\x1b[31mred\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Write a line to standard error, made `printable`; it is lost where it cannot be written."""
    import typer

    with _lost(sys.stderr):
        typer.echo(printable(text), err=True)


def tell(text: str) -> None:
    """Write a line to standard output, as the result of a command; it is lost where that is a closed terminal.

    Raises:
        OSError: it cannot be written for another reason.
    """
    import typer

    try:
        typer.echo(text)
    except OSError as error:
        if error.errno != errno.EIO or not _is_device(sys.stdout):  # in a file, it is a disk that fails
            raise
        _silence(sys.stdout.fileno())


def open_standard_files() -> None:
    """Open standard input, output and error where they are closed, for this process and those that it starts.

    What is opened later would get their numbers, and whatever a library or a program writes to them: libuv aborts if
    that is a connection, and the pipe of `parsing_rcnn_client.signals` would read it as signals.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(file, True)
    os.close(file)


def stderr_console() -> Console:
    """Where bars and tables are shown: standard error, but what cannot be written there is lost.

    An error in its place would end a command as a failure: also one that has been interrupted, and leaves its files
    whole just now.
    """
    from rich.console import Console

    there = sys.stderr is not None  # it is None where it was closed from the start, which rich knows
    return Console(stderr=True, file=cast("TextIO", _Lossy(sys.stderr)) if there else None)


class _Lossy:
    """A stream that drops what cannot be written. It is a terminal, and has an encoding, where the stream is and has.

    Args:
        stream: gets the rest.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        with _lost(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what waits in a buffer."""
        with _lost(self._stream):
            self._stream.flush()


@contextmanager
def _lost(stream: TextIO) -> Iterator[None]:
    """Let nobody see that the stream cannot be written.

    Where it never can be again, the null device takes its place. For Python keeps what it could not write, tries again
    at the end of the process, and makes the exit code 120 when that fails.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            with suppress(OSError):  # a stream of a test, for example, has no descriptor
                _silence(stream.fileno())


def _is_device(stream: TextIO) -> bool:
    """Whether a stream is a terminal, or was one: a closed one no longer says so."""
    try:
        return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    except OSError:  # of a test, for example: it has no descriptor
        return False


def _silence(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
