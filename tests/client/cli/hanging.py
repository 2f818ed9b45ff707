"""An engine that hangs, for commands that must not wait for it."""

from __future__ import annotations

import threading
from typing import Any

from parsing_rcnn.pipeline import Pipeline

_LONGEST = 300.0  # seconds; whoever waits for it must have given up before


class Hanging:
    """The real pipeline, which does not answer from a moment on."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.hangs, self.asked, self.answers = threading.Event(), threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def analyze(self, *arguments: Any, **options: Any) -> Any:
        if self.hangs.is_set():
            self.asked.set()
            self.answers.wait(_LONGEST)
        return self._pipeline.analyze(*arguments, **options)
