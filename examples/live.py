"""A camera, an address or a file on a web page: `python examples/live.py 0` (needs ffmpeg; Ctrl-C ends it)."""

import contextlib
import sys
import time

from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, is_live
from parsing_rcnn_client.video.live import Live, LiveSettings
from parsing_rcnn_client.video.sinks import MjpegPage


def main(source: str, port: str = "8090") -> None:
    page = MjpegPage(int(port))
    place = page.sink(source)
    camera = is_live(source)
    live = Live(Pipeline(), LiveSettings(mode="low-latency", reconnect=camera))
    live.add(source, lambda: FFmpegReader(source, pace=not camera), lambda reader: place)
    print(f"watch at {page.url}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while live.running:
            time.sleep(0.1)
    live.close()
    page.close()
    state = live.sources[0].state
    print(f"{state.shown} frames shown, {state.dropped} dropped")


if __name__ == "__main__":
    main(*sys.argv[1:])
