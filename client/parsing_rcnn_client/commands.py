"""`parsing-rcnn predict`, `annotate`, `stream`, `info` and `models`."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands. Runtimes are imported when a command runs, not before."""
    from parsing_rcnn_client.options import spread
    from parsing_rcnn_client.picture_commands import info, models, predict
    from parsing_rcnn_client.video_commands import annotate, stream

    for command in (predict, annotate, stream, info, models):
        app.command(command.__name__)(spread(command))
