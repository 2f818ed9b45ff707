"""A video with everybody's head hidden: `python examples/video.py walk.mp4 hidden.mp4` (needs ffmpeg)."""

import sys

from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.video.annotate import Settings, annotate
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter
from parsing_rcnn_client.video.layers import Look


def main(source: str, result: str) -> None:
    reader = FFmpegReader(source)
    writer = FFmpegWriter(result, reader.info, sound_of=source if reader.info.audio else None)
    look = Look(layers=("anonymise",), hide="heads")
    summary = annotate(Pipeline(), reader, writer, Settings(look=look, every=2))
    writer.close()
    print(f"{summary.frames} frames, {summary.tracks} people, {summary.fps:.0f} fps")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (ParsingRCNNError, OSError) as error:
        sys.exit(f"error: {error}")
