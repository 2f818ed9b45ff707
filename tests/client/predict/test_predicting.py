"""Many pictures, some in flight, when the engine goes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import numpy as np

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.codecs import png
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.predicting import predict_all
from parsing_rcnn_client.predict.sources import Source

PICTURE = png.encode_rgb(np.zeros((8, 8, 3), np.uint8))


class _Going:
    """Answers three pictures and is gone for the first, which it has held until then."""

    def __init__(self) -> None:
        self.others = threading.Barrier(4)

    def analyze(self, picture: bytes, options: Options) -> People:
        self.others.wait(30)
        if picture == PICTURE:
            raise EngineUnavailable("it is gone")
        return People.empty((8, 8))


def test_what_was_answered_before_the_engine_went_is_reported(tmp_path: Path) -> None:
    sources = [Source(Path(f"{i}.png"), tmp_path / str(i), PICTURE + bytes([i] * (i > 0))) for i in range(6)]
    report = predict_all(cast(Analyzer, _Going()), Options(tasks=frozenset()), sources, in_flight=4, resume=False)
    assert report.stopped == "it is gone"
    assert [one["source"] for one in report.pictures] == ["1.png", "2.png", "3.png"]
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["1.json", "2.json", "3.json"]
    assert report.failed == {}
