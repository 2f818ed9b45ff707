"""What the weights of a run are worth on the way: figures of validation pictures, every so many steps."""

from __future__ import annotations

import math

from training.config import Config
from training.data.datasets.check import find_datasets
from training.data.sources import DatasetError
from training.engine import TorchAnalyzer
from training.evaluate_datasets import evaluate_dataset
from training.keypoint_analyzer import KeypointAnalyzer
from training.model.parsing_rcnn import ParsingRCNN


class Validation:
    """Splits of the folders in `data.annotated` that are kept for measuring: of each the first pictures.

    Args:
        config: a recipe with `train.evaluate_every`.

    Raises:
        DatasetError: there is no such split.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.every = config.train.evaluate_every or 1
        folders = [path for path in config.data.annotated if path.is_dir()]  # a file is trained on, whatever it is
        self.readers = [reader for path in folders for reader in find_datasets(path) if reader.validation]
        if not self.readers:
            raise DatasetError(
                "train.evaluate_every: no folder in data.annotated has a split to measure on; name a dataset's folder, "
                "or leave it out and measure by `evaluate --checkpoint`"
            )

    def measure(self, model: ParsingRCNN) -> dict[str, dict[str, float]]:
        """Figures by split, as `evaluate --dataset` has them, fractions 0..1; the network is left in eval mode.

        Raises:
            DatasetError: a picture or its labels are missing or broken.
        """
        kind = KeypointAnalyzer if self.config.model.keypoints else TorchAnalyzer
        analyzer = kind(model, self.config)
        found = {}
        for reader in self.readers:
            result = evaluate_dataset(
                analyzer, reader, lambda items, _: items, most=self.config.train.evaluate_pictures
            )
            numbers = {name: value for name, value in result.figures.items() if isinstance(value, float)}
            found[reader.name] = {name: round(value, 4) for name, value in numbers.items() if not math.isnan(value)}
        return found
