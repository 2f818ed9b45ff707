"""Messages on a terminal, where text from others is shown but cannot control the terminal."""

from __future__ import annotations


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
    """Write a line to standard error, made `printable`."""
    import typer

    typer.echo(printable(text), err=True)
