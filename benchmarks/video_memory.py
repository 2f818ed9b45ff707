"""Does memory stay flat over a long video?

    python -m benchmarks.video_memory --data DATA [--frames 10000] [--every 1] [--out FILE.json] [--plot FILE.png]

A walk of three people (benchmarks/walk.py) at 320x180, over and over, from file to annotated file with JSON lines and
COCO annotations, by the embedded engine. The resident memory of this process and of its ffmpeg processes is noted every
hundredth of the run; reported are megabytes at a tenth, at the half and at the end, and the slope of a line through all
notes after the first tenth, where buffers and caches fill.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.environment import require_matplotlib
from benchmarks.video import make_walks
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.video.annotate import Settings, annotate
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter
from parsing_rcnn_client.video.media import VideoInfo
from parsing_rcnn_client.video.records import CocoVideo, JsonLines
from training.errors import DatasetError

SIZE = (320, 180)
PERIOD = 100  # frames that are repeated


def resident() -> tuple[float, float]:
    """Megabytes of this process, and of its children together."""
    page = resource.getpagesize() / 1e6
    children: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        children += (task / "children").read_text().split()
    own = int(Path("/proc/self/statm").read_text().split()[1]) * page
    return own, sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) * page for child in children)


def summarise(notes: Sequence[tuple[int, float, float]], frames: int) -> dict[str, Any]:
    """Figures of (frame, own, children) notes."""
    settled = np.array([note for note in notes if note[0] >= frames / 10])
    found: dict[str, Any] = {"frames": frames}
    for column, name in ((1, "process"), (2, "ffmpeg")):
        slope = float(np.polyfit(settled[:, 0], settled[:, column], 1)[0])
        middle = settled[len(settled) // 2, column]
        found[name] = {
            "mb_at_a_tenth": round(float(settled[0, column]), 1),
            "mb_at_the_half": round(float(middle), 1),
            "mb_at_the_end": round(float(settled[-1, column]), 1),
            "mb_more_per_1000_frames": round(1000 * slope, 3),
        }
    return found


def measure(data: Path, frames: int, every: int, threads: int | None) -> list[tuple[int, float, float]]:
    """(frame, megabytes of this process, of its children), a hundred of them."""
    notes: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/walk.mp4"
        writer = FFmpegWriter(source, VideoInfo(*SIZE, 30))
        for index, truth in enumerate(make_walks(data, PERIOD, 0)[0]):
            small = np.asarray(cv2.resize(truth.image, SIZE, interpolation=cv2.INTER_AREA), np.uint8)
            writer.write(small, index / 30)
        writer.close()
        reader = FFmpegReader(source, loop=frames // PERIOD - 1)
        out = FFmpegWriter(f"{folder}/out.mp4", reader.info)
        lines = JsonLines(Path(f"{folder}/a.jsonl"))
        coco = CocoVideo(Path(f"{folder}/a.json"), "walk", reader.info)

        def progress(done: int) -> None:
            if done % (frames // 100) == 0:
                notes.append((done, *resident()))

        settings = Settings(every=every)
        summary = annotate(Pipeline(threads=threads), reader, out, settings, records=[lines, coco], progress=progress)
        for finished in (out, lines, coco):
            finished.close()
        if summary.frames != frames:
            raise RuntimeError(f"{summary.frames} frames of {frames} came")
    return notes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and draw; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=10_000, help="a multiple of 100")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="needs matplotlib (requirements/bench.txt)")
    chosen = parser.parse_args(arguments)
    if chosen.frames < 1000 or chosen.frames % 100:
        parser.error("--frames is a multiple of 100, at least 1000")
    if chosen.plot is not None:
        require_matplotlib("video_memory")
    try:
        notes = measure(chosen.data, chosen.frames, chosen.every, chosen.threads)
    except (DatasetError, FileNotFoundError) as error:
        sys.exit(f"video_memory: {error}")
    report = {
        **summarise(notes, chosen.frames),
        "analysed_every": chosen.every,
        "cores": os.cpu_count(),
        "notes": notes,
    }
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(report) + "\n")
    if chosen.plot is not None:
        _draw(notes, chosen.plot)
    print(json.dumps({name: value for name, value in report.items() if name != "notes"}, indent=2))


def _draw(notes: Sequence[tuple[int, float, float]], path: Path) -> None:
    from matplotlib import pyplot

    table = np.array(notes)
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    axes.plot(table[:, 0], table[:, 1], label="parsing-rcnn annotate")
    axes.plot(table[:, 0], table[:, 2], label="ffmpeg, reading and writing")
    axes.set(xlabel="frames", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
