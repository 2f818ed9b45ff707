"""Accuracy against speed: a point for each design, and for each measure the line of those that none beats in both.

    python -m benchmarks.pareto --out docs/pictures/pareto.png \\
        --point fast out/evaluation/fast/results.json out/benchmarks/fast.json \\
        --point large out/evaluation/large/results.json out/benchmarks/large.json

Each point is a name, what `parsing-rcnn evaluate` wrote and what `python -m benchmarks.embedded` wrote, measured on one
quiet machine one after the other. Prints a Markdown table; the plot needs matplotlib (requirements/bench.txt).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import require_matplotlib


@dataclass(frozen=True)
class Point:
    """A design.

    Attributes:
        name: its name.
        fps: median frames a second, one person, the tasks of the benchmark.
        miou: of 20 classes on held-out photos, 0..1.
        groups, gps: person AP50 on group photos and GPS AP on synthetic people, 0..1.
    """

    name: str
    fps: float
    miou: float
    groups: float
    gps: float


MEASURES = {
    "miou": "photos: mIoU of 20 classes, %",
    "groups": "groups: person AP50, %",
    "gps": "synthetic people: GPS AP, %",
}
"""Accuracies of a `Point`: attribute -> label in the plot."""


def read_point(name: str, evaluation: Path, speed: Path) -> Point:
    """Read one design.

    Raises:
        ValueError: a file lacks a figure; the message names both.
    """
    try:
        figures = json.loads(evaluation.read_text())
        return Point(
            name,
            float(json.loads(speed.read_text())["engine"]["fps_median"]),
            float(figures["photos"]["miou"]),
            float(figures["groups"]["ap_50"]),
            float(figures["synthetic"]["gps_ap"]),
        )
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(f"point {name!r}: {evaluation} or {speed}: {error} is missing") from error


def front(points: Sequence[Point], measure: str) -> list[Point]:
    """The points that no other beats in both speed and one of `MEASURES`, by speed."""

    def beaten(p: Point) -> bool:
        return any(q.fps > p.fps and getattr(q, measure) > getattr(p, measure) for q in points)

    return sorted((p for p in points if not beaten(p)), key=lambda p: p.fps)


def table(points: Sequence[Point]) -> str:
    """Markdown, fastest first."""
    lines = ["| model | fps | photos: mIoU % | groups: AP50 % | synthetic: GPS AP % |", "|---|---:|---:|---:|---:|"]
    for p in sorted(points, key=lambda p: -p.fps):
        lines.append(f"| {p.name} | {p.fps:.1f} | {100 * p.miou:.1f} | {100 * p.groups:.1f} | {100 * p.gps:.1f} |")
    return "\n".join(lines) + "\n"


def plot(points: Sequence[Point], out: Path) -> None:
    """Draw the points and the front of each measure as PNG or SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(MEASURES), figsize=(11, 3.6), dpi=120)
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        line = front(points, measure)
        axes.plot([p.fps for p in line], [100 * getattr(p, measure) for p in line], color="#2a6fdb", lw=1, zorder=1)
        for p in points:
            place = (p.fps, 100 * getattr(p, measure))
            axes.scatter(*place, color="#2a6fdb", zorder=2)
            axes.annotate(p.name, place, textcoords="offset points", xytext=(6, 5))
        axes.set_title(title, fontsize="medium")
        axes.grid(alpha=0.3)
        axes.margins(0.22, 0.15)
    figure.supxlabel("frames a second, 1080p JPEG in, one person, parts and IUV out, two cores", fontsize="medium")
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pareto", description="Accuracy against speed.")
    parser.add_argument("--point", nargs=3, action="append", required=True, metavar=("NAME", "EVALUATION", "SPEED"))
    parser.add_argument("--out", type=Path, help="the plot (default: only the table)")
    options = parser.parse_args(arguments)
    if options.out is not None:
        require_matplotlib("pareto")
    try:
        points = [read_point(name, Path(evaluation), Path(speed)) for name, evaluation, speed in options.point]
    except ValueError as error:
        print(f"pareto: {error}", file=sys.stderr)
        return 1
    print(table(points))
    if options.out is not None:
        plot(points, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
