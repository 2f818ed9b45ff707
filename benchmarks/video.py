"""Video annotation: does it stay in sync, keep people apart, hold still, and keep up?

    python -m benchmarks.video --data DATA [--out out/video.json] [--frames 300] [--threads 2]

DATA holds `ccp/{images,labels}` and `backgrounds`. On a walk of three people known to the pixel (benchmarks/walk.py):
identity switches, flicker, mean IoU of the parts and lag, as the engine says it and smoothed, analysing every frame
and every second. Flicker is the share of label pixels that change from frame to frame after the true motion is taken
out; that of IUV is the share of pixels that go to another chart, and by how much U and V of the others change (nothing
on the walk says what they should be). Then speed, side by side in turns: file in, annotated file out, with the seconds
of each stage and peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.make_eval import read_background, read_cut_outs
from benchmarks.walk import Truth, Walk
from parsing_rcnn.analyzer import Analyzer
from parsing_rcnn.geometry import iou
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client.video.annotate import Settings, annotate
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter
from parsing_rcnn_client.video.follow import Follower, Tracked, request
from parsing_rcnn_client.video.layers import Look, paint
from parsing_rcnn_client.video.media import Frame, VideoInfo
from parsing_rcnn_client.video.smoothing import STEADY, Smoothing
from training.data.sources import background_photos
from training.errors import DatasetError
from training.metrics.confusion import ConfusionMatrix

FPS = 30
_PEOPLE = 3  # of the walk


@dataclass
class Score:
    """What one way of following earned on a walk."""

    switches: int = 0
    missed: int = 0
    changed: int = 0
    compared: int = 0
    classes: ConfusionMatrix = field(default_factory=lambda: ConfusionMatrix(len(CIHP)))
    offsets: list[float] = field(default_factory=list)
    seconds: float = 0.0
    _owner: dict[int, int] = field(default_factory=dict)
    _last: tuple[Truth, NDArray[np.uint8]] | None = None
    _centres: dict[int, float] = field(default_factory=dict)

    def add(self, truth: Truth, tracked: Tracked) -> None:
        """Take the next frame."""
        labels = tracked.people.label_map()
        self.classes.add(truth.labels, labels)
        self._identities(truth, tracked)
        if self._last is not None:
            changed, compared = flicker(*self._last, truth, labels)
            self.changed, self.compared = self.changed + changed, self.compared + compared
        self._last = truth, labels

    def _identities(self, truth: Truth, tracked: Tracked) -> None:
        overlap = iou(truth.boxes, tracked.shown) if len(tracked.shown) else np.zeros((len(truth.boxes), 0))
        for person in range(len(truth.boxes)):
            if overlap.shape[1] == 0 or overlap[person].max() < 0.5:
                self.missed += 1
                continue
            best = int(overlap[person].argmax())
            number = int(tracked.numbers[best])
            self.switches += self._owner.setdefault(person, number) != number
            self._owner[person] = number
            centre = float(truth.boxes[person, [0, 2]].mean())
            speed = centre - self._centres.get(person, centre)
            self._centres[person] = centre
            if abs(speed) >= 1:  # pixels a frame; behind is positive
                self.offsets.append((centre - float(tracked.shown[best, [0, 2]].mean())) / speed)

    @property
    def flicker(self) -> float:
        """Share of label pixels that change."""
        return self.changed / max(self.compared, 1)

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that the walk holds."""
        return self.classes.mean_iou(true_classes=True)

    def report(self) -> dict[str, float | int]:
        """The figures."""
        return {
            "identity_switches": self.switches,
            "missed": self.missed,
            "flicker": round(self.flicker, 5),
            "miou": round(self.miou, 4),
            "box_lag_frames": round(statistics.median(self.offsets), 3) if self.offsets else 0.0,
            "follow_ms_per_frame": round(1000 * self.seconds, 2),
        }


@dataclass
class IuvScore:
    """How much IUV wavers on a walk: pixels that go to another chart, and the change of U and V of those that stay."""

    changed: int = 0
    compared: int = 0
    change: float = 0.0
    stayed: int = 0
    _last: tuple[Truth, NDArray[np.uint8]] | None = None

    def add(self, truth: Truth, tracked: Tracked) -> None:
        """Take the next frame."""
        iuv, _ = tracked.people.iuv_map()
        if self._last is not None:
            for before, now in _pairs(*self._last, truth, iuv):
                same = before[:, 0] == now[:, 0]
                self.changed, self.compared = self.changed + int((~same).sum()), self.compared + len(same)
                stays = same & (now[:, 0] > 0)
                self.change += float(np.abs(before[stays, 1:].astype(float) - now[stays, 1:]).mean(axis=1).sum())
                self.stayed += int(stays.sum())
        self._last = truth, iuv

    def report(self) -> dict[str, float | int]:
        """The figures: a share of pixels, and a mean change of U and V, which lie in 0..1."""
        return {
            "chart_flicker": round(self.changed / max(self.compared, 1), 5),
            "uv_change": round(self.change / max(self.stayed, 1) / 255, 5),
        }


def flicker(
    before: Truth, labels_before: NDArray[np.uint8], now: Truth, labels_now: NDArray[np.uint8]
) -> tuple[int, int]:
    """(label pixels that changed, pixels compared): those of people visible in both frames, motion taken out."""
    changed = compared = 0
    for old, new in _pairs(before, labels_before, now, labels_now):
        changed, compared = changed + int((old != new).sum()), compared + len(new)
    return changed, compared


def _pairs(
    before: Truth, map_before: NDArray[np.uint8], now: Truth, map_now: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Of each person the pixels visible in both frames, [n] or [n,c] of two maps [H,W] or [H,W,c]."""
    height, width = now.labels.shape
    for k in range(len(now.places)):
        # from now to before: through the cut-out
        full = [np.vstack([place[k], [0, 0, 1]]) for place in (before.places, now.places)]
        back = (full[0] @ np.linalg.inv(full[1]))[:2]
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        moved = np.asarray(cv2.warpAffine(map_before, back, (width, height), flags=flags), np.uint8)
        seen = cv2.warpAffine(before.instances, back, (width, height), flags=flags)
        both = (seen == k + 1) & (now.instances == k + 1)
        yield moved[both], map_now[both]


def score_walk(engine: Analyzer, walk: Walk) -> dict[str, dict[str, float | int]]:
    """Follow a walk in four ways over the same answers of the engine, parts and IUV each by itself."""
    wanted = request(engine, frozenset({"parsing", "densepose"}), 0.5, 64, STEADY)
    ways: dict[str, tuple[int, Smoothing | None]] = {
        "raw": (1, None),
        "smoothed": (1, STEADY),
        "raw, every 2nd": (2, None),
        "smoothed, every 2nd": (2, STEADY),
    }
    followers = {name: Follower(smoothing=smoothing) for name, (_, smoothing) in ways.items()}
    others = {name: Follower(smoothing=smoothing) for name, (_, smoothing) in ways.items()}
    scores, iuv_scores = {name: Score() for name in ways}, {name: IuvScore() for name in ways}
    for index, truth in enumerate(walk):
        frame = Frame(index, index / FPS, truth.image)
        people = engine.analyze(truth.image, wanted)
        charts = replace(people, parts=None, part_scores=None, part_probs=None)
        people = replace(people, iuv=None)
        for name, (every, _) in ways.items():
            begin = time.perf_counter()
            tracked = followers[name].follow(frame, people if index % every == 0 else None)
            scores[name].seconds += (time.perf_counter() - begin) / len(walk)
            scores[name].add(truth, tracked)
            iuv_scores[name].add(truth, others[name].follow(frame, charts if index % every == 0 else None))
    return {name: scores[name].report() | iuv_scores[name].report() for name in ways}


def measure_speed(engine: Analyzer, walk: Walk, rounds: int) -> dict[str, Any]:
    """File in, annotated file out; every frame and every second analysed, in turns."""
    runs: dict[str, list[dict[str, Any]]] = {"every frame": [], "every 2nd": []}
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/walk.mp4"
        _write(source, (truth.image for truth in walk), walk.size)
        for _ in range(rounds):
            for name, every in (("every frame", 1), ("every 2nd", 2)):
                reader = FFmpegReader(source)
                writer = FFmpegWriter(f"{folder}/out.mp4", reader.info)
                summary = annotate(engine, reader, writer, Settings(every=every))
                writer.close()
                slowest = max(summary.busy.values())
                stages = {stage: round(1000 * s / summary.frames, 2) for stage, s in summary.busy.items()}
                runs[name].append({"fps": summary.fps, "over_slowest": summary.seconds / slowest, "ms": stages})
    result: dict[str, Any] = {
        name: {
            "fps": round(statistics.median(r["fps"] for r in each), 2),
            "time_over_slowest_stage": round(statistics.median(r["over_slowest"] for r in each), 3),
            "stage_ms_per_frame": each[-1]["ms"],
        }
        for name, each in runs.items()
    }
    pairs = zip(runs["every 2nd"], runs["every frame"], strict=True)
    result["every_2nd_over_every_frame"] = round(statistics.median(a["fps"] / b["fps"] for a, b in pairs), 3)
    result["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return result


def _write(path: str, images: Iterator[NDArray[np.uint8]], size: tuple[int, int]) -> None:
    writer = FFmpegWriter(path, VideoInfo(size[1], size[0], FPS))
    for index, image in enumerate(images):
        writer.write(image, index / FPS)
    writer.close()


def measure_drawing(engine: Analyzer, truth: Truth) -> dict[str, float]:
    """Milliseconds of one 1080p frame, by layers (medians of 30), drawn in place as `annotate` does."""
    image = np.asarray(cv2.resize(truth.image, (1920, 1080), interpolation=cv2.INTER_LINEAR), np.uint8)
    people: People = engine.analyze(image)
    numbers = np.arange(1, len(people) + 1)
    found = {}
    atlas = np.full((6 * 64, 4 * 64, 3), (200, 120, 40), np.uint8)
    for layers in (("parts", "boxes"), ("iuv", "boxes"), ("anonymise",), ("contours",), ("texture",)):
        times, look = [], Look(layers=layers, atlas=atlas)
        for _ in range(30):
            canvas = image.copy()
            begin = time.perf_counter()
            paint(canvas, people, numbers, people.boxes, look)
            times.append(1000 * (time.perf_counter() - begin))
        found["+".join(layers)] = round(statistics.median(times), 2)
    return found


def make_walks(data: Path, frames: int, seed: int) -> tuple[Walk, Walk]:
    """(people walking, the same people still) of a seed.

    Raises:
        FileNotFoundError: there are no people below `data`.
        DatasetError: there are no backgrounds, or fewer than three whole people, or a picture is damaged.
    """
    people = read_cut_outs(data / "ccp")
    if len(people) < _PEOPLE:
        raise DatasetError(f"{data / 'ccp'}: the walk needs {_PEOPLE} people, and label maps here hold {len(people)}")
    rng = np.random.default_rng(seed)
    chosen = [people[i] for i in rng.choice(len(people), _PEOPLE, replace=False)]
    backgrounds = background_photos(data / "backgrounds", validation=True)
    background = read_background(backgrounds[int(rng.integers(len(backgrounds)))])
    return Walk(chosen, background, seed, frames=frames), Walk(chosen, background, seed, frames=frames // 4, still=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--model")
    chosen = parser.parse_args(arguments)
    try:
        walking, still = make_walks(chosen.data, chosen.frames, chosen.seed)
    except (DatasetError, FileNotFoundError) as error:
        sys.exit(f"video: {error}")
    engine = Pipeline(model=chosen.model, threads=chosen.threads)
    report = {
        "engine": engine.info.runtime,
        "model": engine.info.name,
        "frames": len(walking),
        "walking": score_walk(engine, walking),
        "still": score_walk(engine, still),
        "draw_1080p_ms": measure_drawing(engine, walking.frame(0)),
        "speed_720p": measure_speed(engine, walking, chosen.rounds) if chosen.rounds else None,
    }
    text = json.dumps(report, indent=2)
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
