"""The log of a run: TensorBoard, log.jsonl, and lines on standard output with the time left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from parsing_rcnn.errors import ParsingRCNNError, is_shortage
from training.config import TrainConfig
from training.data.sources import DatasetError
from training.files import unwritable
from training.validation import MeasuringStopped

REPORT_EVERY = 10


class RunLog:
    """Logs the losses of every tenth step and of the last, and the figures of validation pictures.

    Args:
        out: folder of the run.
        config: its schedule, scaled to its processes.
        step: the last step that is done; 0 starts log.jsonl anew.

    Raises:
        DatasetError: the files cannot be written, now or later.
    """

    def __init__(self, out: Path, config: TrainConfig, step: int) -> None:
        self.config = config
        self.out = out
        with self._writing():
            self.writer = SummaryWriter(str(out), purge_step=step)
            self.log = (out / "log.jsonl").open("a" if step else "w")
        self.last, self.reported = time.monotonic(), step

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        with self._writing(), self.log:
            self.writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.out, error) from error

    def step(self, step: int, elapsed: float, losses: dict[str, Tensor], *, last: bool) -> None:
        """Log a finished step, if it is a tenth one or the last."""
        if step % REPORT_EVERY and not last:
            return
        seconds = (time.monotonic() - self.last) / (step - self.reported)
        self.last, self.reported = time.monotonic(), step
        values = {name: round(float(loss), 4) for name, loss in losses.items()}
        with self._writing():
            for name, value in values.items():
                self.writer.add_scalar(f"loss/{name}", value, step)
        left = (self.config.iterations - step) * seconds / 60
        if self.config.time_budget_minutes is not None:
            left = min(left, self.config.time_budget_minutes - elapsed / 60)
        row = {"step": step, "s/batch": round(seconds, 2), "minutes": round(elapsed / 60, 1), **values}
        self._write(row)
        print(f"{json.dumps(row)} eta {max(left, 0.0):.0f} min", flush=True)  # the last step goes beyond a budget

    def validated(self, step: int, measure: Callable[[], dict[str, dict[str, float]]]) -> None:
        """Call `measure` for figures by split, and log them as a row of their own. Its time counts for no step.

        If a picture is broken or memory runs out, the row says so instead. Measuring that was stopped leaves no row.
        """
        begin = time.monotonic()
        row: dict[str, object] = {"step": step}
        try:
            figures = measure()
            row["validation"] = figures
        except MeasuringStopped:
            return
        except Exception as error:
            if not isinstance(error, (DatasetError, ParsingRCNNError)) and not is_shortage(error):
                raise
            figures = {}
            row |= {"validation": None, "validation_failed": str(error) or type(error).__name__}
        finally:
            self.last += time.monotonic() - begin
        with self._writing():
            for split, own in figures.items():
                for name, value in own.items():
                    self.writer.add_scalar(f"{split}/{name}", value, step)
        self._write(row)
        print(json.dumps(row), flush=True)

    def _write(self, row: dict[str, object]) -> None:
        with self._writing():
            self.log.write(json.dumps(row) + "\n")
            self.log.flush()
