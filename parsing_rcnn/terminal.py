"""What is said on a terminal: text that others sent is shown there, and does nothing to it."""

from __future__ import annotations


def printable(text: str, kept: str = "") -> str:
    r"""The text with what is not printable escaped: control codes, ends of lines, marks that turn the direction.

    Args:
        text: of anybody.
        kept: characters that stay although they are not printable.

    Example:
        >>> printable("\x1b[31mred\n")
        '\\x1b[31mred\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """A line on standard error, `printable`."""
    import typer

    typer.echo(printable(text), err=True)
