"""Weights of a run as an `Analyzer`, without export: the network runs in torch, inside the pipeline that serves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.card import STEP
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.geometry import PAD_VALUE, Window
from parsing_rcnn.inference.views import Source
from parsing_rcnn.own_classes import write_taxonomy
from parsing_rcnn.pipeline import GraphPipeline, Stopwatch
from parsing_rcnn.runtime import DENSEPOSE_OUTPUTS, DETECTOR_OUTPUTS, parsing_outputs
from training.checkpoint import load_model
from training.config import Config
from training.errors import CheckpointError, DivergedError
from training.model.answers import iuv_answer, iuv_scores, part_answer
from training.model.branch import doubled
from training.model.parsing_rcnn import Detections, ParsingRCNN

LIGHT_CANVASES = ((384, 640), (640, 384), (512, 512))
LONGEST = 4000  # pixels of a canvas's longer side


class TorchGraphs:
    """A network as `parsing_rcnn.runtime.Graphs`, on the device that holds it."""

    def __init__(self, model: ParsingRCNN) -> None:
        self.model = model.eval()
        self.name = f"torch {torch.__version__} fp32 on {model.mean.device}"

    def detector(self, canvas: NDArray[np.uint8], limits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        answer: dict[str, NDArray[Any]] = self.detect(canvas, limits, (canvas.shape[0], canvas.shape[1]))
        return answer

    @torch.inference_mode()
    def detect(
        self, canvas: NDArray[np.uint8], limits: NDArray[np.float32], extent: tuple[int, int]
    ) -> dict[str, NDArray[Any]]:
        """As `detector`, for a picture on the first `extent` rows and columns of the canvas, where boxes end.

        Raises:
            DivergedError: see `detected`.
        """
        pyramid = self.model.pyramid(to_images(canvas, self.model))
        found = detected(self.model, pyramid, extent)
        count = int((found.scores >= float(limits[0]))[: int(limits[1])].sum())
        boxes, scores = found.boxes[: max(count, 1)], found.scores[: max(count, 1)]
        features = self.model.roi_features(pyramid, [boxes])
        answer = (boxes.cpu().numpy(), scores.cpu().numpy(), np.array([count], np.int32), features.cpu().numpy())
        return dict(zip(DETECTOR_OUTPUTS, answer, strict=True))

    @torch.inference_mode()
    def parsing(self, features: NDArray[np.float32], *, probabilities: bool) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        logits = self.model.parsing(torch.from_numpy(features).to(self.model.mean.device))
        names, answer = parsing_outputs(probabilities=probabilities), part_answer(logits)
        refuse_diverged(answer[1])
        return {name: t.cpu().numpy() for name, t in zip(names, answer, strict=False)}

    @torch.inference_mode()
    def densepose(self, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        maps = self.model.densepose(torch.from_numpy(features).to(self.model.mean.device), half=True)
        background = self.model.config.densepose_background
        coarse, index, u, v = (doubled(plane) for plane in maps)
        answer = (iuv_answer(coarse, index, u, v, background), iuv_scores(maps[0], maps[1], background))
        refuse_diverged(answer[1])
        return {name: t.cpu().numpy() for name, t in zip(DENSEPOSE_OUTPUTS, answer, strict=True)}


def detected(model: ParsingRCNN, pyramid: Mapping[int, Tensor], extent: tuple[int, int]) -> Detections:
    """What `ParsingRCNN.detect` finds.

    Raises:
        DivergedError: a box or a score is not finite.
    """
    found = model.detect(pyramid, extent)
    refuse_diverged(found.boxes, found.scores)
    return found


def refuse_diverged(*values: Tensor) -> None:
    """Refuse what only weights of a run that has diverged compute.

    Raises:
        DivergedError: a value is not finite.
    """
    if not all(bool(torch.isfinite(own).all()) for own in values):
        raise DivergedError(
            "these weights give numbers that are not finite: the run has diverged; take an earlier checkpoint, or "
            "train with a lower train.learning_rate"
        )


def to_images(canvas: NDArray[np.uint8], model: ParsingRCNN) -> Tensor:
    """A canvas uint8 [H,W,3] as a batch of one for `ParsingRCNN.pyramid`, on the device of the network."""
    return torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))[None].to(model.mean.device)


def load_checkpoint(path: Path, device: str = "cpu") -> tuple[ParsingRCNN, Config, str]:
    """The network of a run with its weights, its recipe, and how far it was trained ("step 5400").

    Raises:
        CheckpointError: the weights or the recipe beside them are absent or do not fit, or there is no such device.
    """
    model, config = load_model(path)
    try:
        model = model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"device {device!r}: torch cannot use it here ({error}); try cpu or cuda") from error
    if path.is_dir():
        return model, config, "as exported"
    facts = json.loads(path.with_suffix(".json").read_text())
    return model, config, f"step {facts['step']}" if "step" in facts else path.stem


class TorchAnalyzer(GraphPipeline):
    """The embedded pipeline on a network in torch.

    Args:
        model: on any device.
        config: its recipe.
        version: of the weights.
        canvases: (height, width) of the network inputs, multiples of 32. They are not used if the recipe has
            `data.test_short_side`: every picture then gets a canvas of its own size.

    Example:
        >>> analyzer = TorchAnalyzer(*load_checkpoint(Path("runs/light/weights.safetensors")))  # doctest: +SKIP
        >>> analyzer.analyze(Path("photo.jpg").read_bytes()).label_map()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: ParsingRCNN,
        config: Config,
        version: str = "",
        canvases: Sequence[tuple[int, int]] = LIGHT_CANVASES,
    ) -> None:
        self.model, self.config = model, config
        self._torch = graphs = TorchGraphs(model)
        taxonomy = config.model.taxonomy
        info = ModelInfo(
            name=config.name,
            version=version,
            runtime=graphs.name,
            tasks={"parsing": config.train.parsing, "densepose": config.train.densepose},
            classes=taxonomy.classes,
            canvases=tuple(canvases),
            card={"taxonomy": write_taxonomy(taxonomy), "recipe": config.model_dump(mode="json")},
        )
        super().__init__(graphs, info, taxonomy)

    def preprocess(
        self,
        source: Source,
        options: Options,
        watch: Stopwatch,
        canvases: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[NDArray[np.uint8], Window]:
        """See `GraphPipeline`.

        Raises:
            InvalidOptions: a region, or tiles: a canvas of the picture's own size has none.
        """
        if options.region is not None:
            raise InvalidOptions("region, tiles: a checkpoint looks at whole pictures; export it for others")
        data = self.config.data
        own = canvases is None and data.test_short_side is not None
        if canvases is None and data.test_short_side is not None:
            canvases = [scaled_size(source.height, source.width, data.test_short_side, data.test_longest_side)]
        canvas, window = super().preprocess(source, options, watch, canvases)
        if own:
            height, width = padded(*canvas.shape[:2])
            beyond = ((0, height - canvas.shape[0]), (0, width - canvas.shape[1]), (0, 0))
            canvas = np.pad(canvas, beyond, constant_values=PAD_VALUE)
        if data.test_padding == "mean":
            rows, columns = covered(window)
            canvas[rows:] = canvas[:, columns:] = np.rint(self.config.model.pixel_mean)
        return canvas, window

    def extent(self, canvas: NDArray[np.uint8], window: Window) -> tuple[int, int]:
        """(rows, columns) of a canvas in which boxes may lie.

        With `data.test_short_side` they are clipped to the picture, as by detectron2, torchvision and the zoo. Exported
        graphs do not know the picture and clip them to the canvas; `parsing_rcnn.maps.framing` cuts them afterwards.
        """
        return (canvas.shape[0], canvas.shape[1]) if self.config.data.test_short_side is None else covered(window)

    def _detector(
        self, canvas: NDArray[np.uint8], window: Window, limits: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        answer: dict[str, NDArray[Any]] = self._torch.detect(canvas, limits, self.extent(canvas, window))
        return answer


def covered(window: Window) -> tuple[int, int]:
    """(rows, columns) of a canvas that the picture covers, from its upper left corner on."""
    return round(window.scale_y * window.height), round(window.scale_x * window.width)


def scaled_size(height: float, width: float, short: int, longest: int = LONGEST) -> tuple[int, int]:
    """(height, width) of a picture scaled to this short side, its long one at most `longest` pixels."""
    scale = min(short / min(height, width), longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def padded(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the smallest canvas, in steps of 32, that holds a picture."""
    rows, columns = (STEP * math.ceil(side / STEP) for side in (height, width))
    return rows, columns


def scaled_canvas(height: float, width: float, short: int) -> tuple[int, int]:
    """(height, width) of a canvas for a picture with about this short side: in steps of 32, which it fills."""
    return padded(*scaled_size(height, width, short))
