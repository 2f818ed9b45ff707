"""The log of a run: TensorBoard, log.jsonl, and lines on standard output with the time left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from parsing_rcnn.errors import ParsingRCNNError, is_shortage
from training.config import TrainConfig
from training.errors import DatasetError, DivergedError
from training.files import writing
from training.log_rows import ends_within_a_row, read_rows
from training.validation import MeasuringStopped

REPORT_EVERY = 10


class RunLog:
    """Logs the losses of every tenth step and of the last, and the figures of validation pictures.

    Args:
        out: folder of the run.
        config: its schedule, scaled to its processes.
        step: the last step that is done; 0 starts log.jsonl anew.

    Raises:
        OutputError: the files cannot be written, now or later.
    """

    def __init__(self, out: Path, config: TrainConfig, step: int) -> None:
        self.config = config
        self.out = out
        with writing(self.out):
            self.writer = SummaryWriter(str(out), purge_step=step + 1)  # what a killed run logged beyond its checkpoint
            self.log = (out / "log.jsonl").open("a" if step else "w")
            if ends_within_a_row(out / "log.jsonl"):
                self.log.write("\n")
        self.last, self.reported = time.monotonic(), step

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        with writing(self.out), self.log:
            self.writer.close()

    def step(self, step: int, elapsed: float, losses: dict[str, Tensor], *, last: bool) -> None:
        """Log a finished step, if it is a tenth one or the last."""
        if step % REPORT_EVERY and not last:
            return
        seconds = (time.monotonic() - self.last) / (step - self.reported)
        self.last, self.reported = time.monotonic(), step
        values = {name: round(float(loss), 4) for name, loss in losses.items()}
        with writing(self.out):
            for name, value in values.items():
                self.writer.add_scalar(f"loss/{name}", value, step)
        left = (self.config.iterations - step) * seconds / 60
        if self.config.time_budget_minutes is not None:
            left = min(left, self.config.time_budget_minutes - elapsed / 60)
        row: dict[str, object] = {
            "step": step,
            "s/batch": round(seconds, 2),
            "minutes": round(elapsed / 60, 1),
            **values,
        }
        self._write(row)
        print(f"{json.dumps(row)} eta {max(left, 0.0):.0f} min", flush=True)  # the last step goes beyond a budget

    def validated(self, step: int, measure: Callable[[], dict[str, dict[str, float]]]) -> bool:
        """Call `measure` for figures by split, and log them as a row of their own. Its time counts for no step.

        If a picture is broken, memory runs out or the weights have diverged, the row says so instead. Measuring that
        was stopped leaves no row. Returns whether there is one.
        """
        begin = time.monotonic()
        row: dict[str, object] = {"step": step}
        try:
            figures = measure()
            row["validation"] = figures
        except MeasuringStopped:
            return False
        except Exception as error:
            if not isinstance(error, (DatasetError, DivergedError, ParsingRCNNError)) and not is_shortage(error):
                raise
            figures = {}
            row |= {"validation": None, "validation_failed": str(error) or type(error).__name__}
        finally:
            self.last += time.monotonic() - begin
        with writing(self.out):
            for split, own in figures.items():
                for name, value in own.items():
                    self.writer.add_scalar(f"{split}/{name}", value, step)
        self._write(row)
        print(json.dumps(row), flush=True)
        return True

    def _write(self, row: dict[str, object]) -> None:
        with writing(self.out):
            self.log.write(json.dumps(row) + "\n")
            self.log.flush()


def is_measured(out: Path, step: int) -> bool:
    """Whether the log of a run has a row of validation pictures of a step."""
    log = out / "log.jsonl"
    rows = read_rows(log) if log.is_file() else []
    return any("validation" in row and row.get("step") == step for row in rows)
