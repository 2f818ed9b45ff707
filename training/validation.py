"""Measuring a run while it trains: figures on validation pictures, every so many steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from training.config import Config
from training.data.datasets.check import find_datasets, refuse_no_pictures
from training.engine import TorchAnalyzer
from training.errors import DatasetError
from training.evaluation.datasets import evaluate_dataset
from training.evaluation.keypoint_analyzer import KeypointAnalyzer
from training.model.parsing_rcnn import ParsingRCNN


class MeasuringStopped(Exception):
    """Measuring was given up: the figures are no longer wanted."""


class Validation:
    """The validation splits in the folders of `data.annotated`, of which the first pictures are measured.

    Args:
        config: a recipe with `train.evaluate_every`.

    Attributes:
        readers: by the name of the split; the folder comes before it where two folders have splits of the same name.

    Raises:
        DatasetError: there is no such split, or one has no pictures or other part classes than the recipe trains.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        labels = config.model.taxonomy
        folders = [path for path in config.data.annotated if path.is_dir()]  # a file is trained on, whatever it is
        every = ((path, reader) for path in folders for reader in find_datasets(path, taxonomy=labels))
        found = [(path, reader) for path, reader in every if reader.validation]
        if not found:
            raise DatasetError(
                "train.evaluate_every: no folder in data.annotated has a split to measure on; name a dataset's folder, "
                "or leave it out and measure by `evaluate --checkpoint`"
            )
        classes = config.model.parsing_classes
        for path, reader in found:
            refuse_no_pictures(reader)
            if config.train.parsing and reader.classes not in (None, classes):
                raise DatasetError(
                    f"train.evaluate_every: {path}: {reader.name} has {reader.classes} part classes, and "
                    f"model.parsing_classes is {classes}; leave that folder or train.evaluate_every out"
                )
        names = Counter(reader.name for _, reader in found)
        self.readers = {
            reader.name if names[reader.name] == 1 else f"{path}: {reader.name}": reader for path, reader in found
        }

    def measure(self, model: ParsingRCNN, stopped: Callable[[], bool]) -> dict[str, dict[str, float]]:
        """Figures by split, as `evaluate --dataset` has them, fractions 0..1; the network is left in eval mode.

        Args:
            stopped: asked before every picture whether to give up.

        Raises:
            DatasetError: a picture or its labels are missing or broken.
            MeasuringStopped: `stopped` said so.
        """

        def pictures(items: Iterable[Any], _: str) -> Iterator[Any]:
            for item in items:
                if stopped():
                    raise MeasuringStopped
                yield item

        kind = KeypointAnalyzer if self.config.model.keypoints else TorchAnalyzer
        analyzer = kind(model, self.config)
        found = {}
        for name, reader in self.readers.items():
            result = evaluate_dataset(analyzer, reader, pictures, most=self.config.train.evaluate_pictures)
            numbers = {figure: value for figure, value in result.figures.items() if isinstance(value, float)}
            found[name] = {figure: round(value, 4) for figure, value in numbers.items() if not math.isnan(value)}
        return found
