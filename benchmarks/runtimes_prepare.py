"""The models that `benchmarks.runtimes` measures: a recipe with random weights, exported, and in INT8 where it can be.

Runs the project's own commands, so that what is measured is what they write.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rounds import ROOT
from parsing_rcnn.repository import CARD, ModelRepository

COMMAND = (sys.executable, "-m", "parsing_rcnn")


@dataclass(frozen=True)
class Models:
    """What there is to measure.

    Attributes:
        checkpoint: for torch. exported: the fp32 repository. int8: the INT8 one, or None and `no_int8` says why.
    """

    checkpoint: Path
    exported: Path
    int8: Path | None
    no_int8: str


def prepare_models(
    recipe: Path, folder: Path, canvases: Sequence[tuple[int, int]], photos: Path | None, count: int
) -> Models:
    """Write into `folder` what is not there yet.

    Args:
        canvases: (height, width) that pictures are fitted to.
        photos: to calibrate INT8 on; None: no INT8. count: how many.

    Raises:
        RuntimeError: a command failed; its words are in the message.
    """
    checkpoint, exported, int8 = folder / "weights.safetensors", folder / "fp32", folder / "int8"
    if not checkpoint.is_file():
        run([sys.executable, "-m", "training.random_weights", str(recipe), "--out", str(folder)])
    if not (exported / CARD).is_file():
        run([*COMMAND, "export", str(checkpoint), "--out", str(exported), "--version", "random"])
        card = json.loads((exported / CARD).read_text())
        (exported / CARD).write_text(json.dumps({**card, "canvases": canvases}))
    missing = ""
    if photos is None:
        missing = "no --photos to calibrate on"
    elif not (int8 / CARD).is_file() or not ModelRepository.open(int8).quantised:  # of a version that wrote other files
        calibration = ("--calibrate", str(photos), "--count", str(count), "--sensitivity", "0", "--no-times")
        run([*COMMAND, "quantize", "--repository", str(exported), "--out", str(int8), *calibration])
    return Models(checkpoint, exported, None if missing else int8, missing)


def run(command: Sequence[str]) -> str:
    """What a command, a module of this repository, writes to standard output.

    Raises:
        RuntimeError: it failed; its words are in the message.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
