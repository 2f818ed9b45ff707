"""Speed of the embedded engine: a 1080p JPEG in, `People` with parts and IUV out, one person, one after another.

    python -m benchmarks.embedded --photo photo.jpg --torch-python path/to/python --out out/benchmarks/embedded.json

With --torch-python (an interpreter with torch and torchvision) Mask R-CNN runs beside it on the same bytes, each in its
own process, in turns. Ratios between the two hold better than absolute times on a busy machine; the load is noted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import machine, why_no_torch
from benchmarks.frames import HEIGHT, WIDTH, frame_of, jpeg, read_photo
from benchmarks.rounds import WorkerError, answer, ratios, side_by_side, summarise


def prepare(options: argparse.Namespace) -> tuple[Mapping[str, Any], Callable[[], Mapping[str, float]]]:
    """(facts, a function that takes the encoded picture to `People` and returns its stage times)."""
    from parsing_rcnn.analyzer import Options
    from parsing_rcnn.pipeline import Pipeline

    data = options.worker.read_bytes()
    engine = Pipeline(
        options.repository,
        model=options.model,
        runtime=options.runtime,
        precision=options.precision,
        threads=options.threads,
    )
    wanted = Options(max_people=options.people, tasks=frozenset(options.tasks.split(",")))
    people = engine.analyze(data, wanted)

    def step() -> Mapping[str, float]:
        return engine.analyze(data, wanted).timings

    for _ in range(5):  # the first pictures meet cold caches
        step()
    about = {
        "name": f"parsing-rcnn {engine.info.name} {engine.info.version}, {options.tasks}",
        "runtime": engine.info.runtime,
        "threads": options.threads,
        "people": len(people),
        "score": float(people.scores[0]) if len(people) else None,
    }
    return about, step


def measure(options: argparse.Namespace, frame: Path) -> dict[str, Any]:
    """Run the engine, and the peer where an interpreter for it was given; figures of both."""
    before = machine()
    own = [sys.executable, "-m", "benchmarks.embedded", "--worker", str(frame), "--threads", str(options.threads)]
    own += ["--runtime", options.runtime, "--precision", options.precision]
    own += ["--repository", str(options.repository)] if options.repository else []
    own += ["--model", options.model] if options.model else []
    own += ["--tasks", options.tasks, "--people", str(options.people)]
    commands = [own]
    if options.torch_python:
        peer = [options.torch_python, "-m", "benchmarks.peer_maskrcnn", str(frame)]
        commands.append([*peer, "--sides", *map(str, options.sides), "--threads", str(options.threads)])
    results = side_by_side(commands, options.threads, (options.frames, options.peer_frames), options.rounds)
    document: dict[str, Any] = {"machine": before, "frame": f"{WIDTH}x{HEIGHT} JPEG, {frame.stat().st_size} bytes"}
    for name, (about, answers) in zip(("engine", "peer"), results, strict=False):
        document[name] = {**about, **summarise(answers)}
    if len(results) == 2:
        (_, ours), (_, theirs) = results
        document["times_faster"] = ratios(ours, theirs)
    return document


def print_table(document: Mapping[str, Any]) -> None:
    """The figures on standard output."""
    print(f"{document['frame']}; {document['machine']['cpu']}, load before {document['machine']['load_before']}")
    for name in ("engine", "peer"):
        if name not in document:
            continue
        row = document[name]
        print(f"\n{row['name']}\n  {row['runtime']}, {row['threads']} threads, people: {row['people']}")
        print(f"  {row['frames']} frames: {row['fps_median']:.1f} fps median ({row['ms_median']:.1f} ms), ", end="")
        print(f"{row['fps_p95']:.1f} fps at p95 ({row['ms_p95']:.1f} ms); peak memory {row['peak_rss_mb']:.0f} MB")
        for stage, ms in row["stages_ms_median"].items():
            print(f"    {stage:12} {ms:8.2f} ms")
    if "times_faster" in document:
        ratio = document["times_faster"]
        spread = f"[{ratio['least_round']:.1f}-{ratio['greatest_round']:.1f} over the rounds]"
        print(f"\ntimes faster than the peer: {ratio['median']:.1f} {spread}")
    if not document["engine"]["people"]:
        print("\nnobody was found in this picture, the heads ran on a dummy row: give --photo with a person")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded", description="Speed of the embedded engine.")
    parser.add_argument("--photo", type=Path, help="a photo with a person (default: a drawn figure)")
    parser.add_argument("--repository", type=Path, help="model repository (default: the shipped one)")
    parser.add_argument("--model", help="one of the repository's: fast (default), large or accurate")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tasks", default="parsing,densepose", help="parsing, densepose or both")
    parser.add_argument("--people", type=int, default=1, help="the most people of the picture that are read")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=200, help="pictures for the engine")
    parser.add_argument("--peer-frames", type=int, default=30, help="pictures for the peer")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--torch-python", help="interpreter with torch and torchvision (default: no peer)")
    parser.add_argument("--sides", type=int, nargs=2, default=(384, 640), help="short and long, of the peer's input")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/embedded.json"))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not 1 <= options.rounds <= min(options.frames, options.peer_frames):
        parser.error(f"--rounds {options.rounds}: needs 1 to min(--frames, --peer-frames), a frame in every round")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the JSON."""
    options = parse(arguments)
    if options.worker:
        answer(lambda: prepare(options))
        return 0
    if options.torch_python and (why := why_no_torch(options.torch_python)) is not None:
        print(f"embedded: --torch-python: {why}", file=sys.stderr)
        return 1
    try:
        photo = read_photo(options.photo)
    except OSError as error:
        print(f"embedded: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.jpg"
        frame.write_bytes(jpeg(frame_of(photo)))
        try:
            document = measure(options, frame)
        except WorkerError as error:
            print(f"embedded: {error}", file=sys.stderr)
            return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print_table(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
