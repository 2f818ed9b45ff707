"""A camera, an address or a file on a web page: `python examples/live.py 0` (needs ffmpeg; Ctrl-C ends it)."""

import contextlib
import sys
import time

from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.video.ffmpeg import FFmpegReader
from parsing_rcnn_client.video.live import Live, LiveSettings
from parsing_rcnn_client.video.programs import is_endless
from parsing_rcnn_client.video.sinks import MjpegPage


def main(source: str, port: str = "8090") -> None:
    try:
        page = MjpegPage(int(port))
    except (InvalidOptions, OverflowError, ValueError):  # it is taken, or none
        sys.exit(f"error: no page can be shown at port {port}: choose another, python examples/live.py SOURCE PORT")
    place = page.sink(source)
    camera = is_endless(source)  # else a file, which is played at its own speed and ends
    live = Live(Pipeline(), LiveSettings(mode="low-latency"))
    live.add(source, lambda: FFmpegReader(source, live=camera, pace=not camera), lambda reader: place, endless=camera)
    print(f"watch at {page.url}", flush=True)
    state, told = live.sources[0].state, None
    with contextlib.suppress(KeyboardInterrupt):
        while live.running:
            time.sleep(0.1)
            if state.problem != told:
                told = state.problem
                print(told or "live", flush=True)
    try:
        live.close()  # raises what ended it, also where it never worked
    finally:
        page.close()
    print(f"{state.shown} frames shown, {state.dropped} dropped")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (ParsingRCNNError, OSError) as error:
        sys.exit(f"error: {error}")
