"""`parsing-rcnn predict`, `annotate`, `stream`, `info` and `models`."""

from __future__ import annotations

import typer

_EXAMPLES = {
    "predict": """
  parsing-rcnn predict photos/ -o out/ --resume
  parsing-rcnn predict team.jpg 'more/*.png' -o out/ --write json,npz
  parsing-rcnn predict photos/ -o out/ --layers anonymise --hide faces
  parsing-rcnn predict -o out/ -- -odd-name.jpg
""",
    "annotate": """
  parsing-rcnn annotate walk.mp4 -o walk_annotated.mp4 --jsonl walk.jsonl
  parsing-rcnn annotate walk.mp4 -o piece.mp4 --start 1:30 --end 2:00
  parsing-rcnn annotate walk.mp4 --npz walk_arrays/
""",
    "stream": """
  parsing-rcnn stream 0
  parsing-rcnn stream rtsp://camera/door -o door.mp4 --mode low-latency
  parsing-rcnn stream rtsp://camera/door --jsonl - --line gate=0,80%,100%,80%
""",
    "info": """
  parsing-rcnn info --server http://127.0.0.1:8080
""",
    "models": """
  parsing-rcnn models --model accurate
""",
}


def register(app: typer.Typer) -> None:
    """Add the commands. Runtimes are imported when a command runs, not before."""
    from parsing_rcnn_client.cli.annotate_command import annotate
    from parsing_rcnn_client.cli.model_commands import info, models
    from parsing_rcnn_client.cli.options import spread
    from parsing_rcnn_client.cli.predict_command import predict
    from parsing_rcnn_client.cli.stream_command import stream

    for command in (predict, annotate, stream, info, models):
        # the mark keeps the lines as they are
        app.command(command.__name__, epilog=f"\b\nExamples:{_EXAMPLES[command.__name__]}")(spread(command))
