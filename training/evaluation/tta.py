"""Test-time augmentation: a picture is read at several sizes and mirrored, and the probabilities are averaged.

This follows the evaluation published with Parsing R-CNN: the boxes of all views go through one NMS, then the heads read
every view at the final boxes. Maps of mirrored views are mirrored back: left and right parts are exchanged, and U and V
replaced by the table that the recipe names (`data.uv_symmetry`, of SMPL's charts), or as our own charts mirror.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from parsing_rcnn.analyzer import OptionKeywords, Options
from parsing_rcnn.codecs.picture import Picture, load
from parsing_rcnn.geometry import Window
from parsing_rcnn.heads import resolve_options
from parsing_rcnn.inference.views import Source
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Stopwatch
from parsing_rcnn.runtime import parsing_outputs
from parsing_rcnn.taxonomy import DENSEPOSE_COARSE
from training.config import Config
from training.data.iuv import FLIPS_U, FLIPS_V, MIRRORED, PointSymmetry
from training.engine import (
    LIGHT_CANVASES,
    TorchAnalyzer,
    covered,
    detected,
    refuse_diverged,
    scaled_canvas,
    to_images,
)
from training.model.answers import iuv_answer, iuv_scores, part_answer
from training.model.branch import doubled
from training.model.parsing_rcnn import ParsingRCNN

Maps = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class CanvasView:
    """A picture as the network sees it: canvas uint8 [H,W,3], the picture's place on it, and whether it is mirrored."""

    canvas: NDArray[np.uint8]
    window: Window
    flipped: bool = False

    def mirrored(self) -> CanvasView:
        """The view with the picture mirrored in its place; the padding stays."""
        canvas = self.canvas.copy()
        canvas[:, : self._columns] = canvas[:, : self._columns][:, ::-1]
        return CanvasView(canvas, self.window, not self.flipped)

    def boxes_to(self, other: CanvasView, boxes: Tensor) -> Tensor:
        """Boxes [n,4] on this canvas -> the same boxes on the canvas of another view of the picture."""
        scale = [getattr(other.window, f"scale_{axis}") / getattr(self.window, f"scale_{axis}") for axis in "xyxy"]
        moved = self._turned(boxes) * boxes.new_tensor(scale)
        return other._turned(moved)

    def _turned(self, boxes: Tensor) -> Tensor:
        if not self.flipped:
            return boxes
        return torch.stack([self._columns - boxes[:, 2], boxes[:, 1], self._columns - boxes[:, 0], boxes[:, 3]], 1)

    @property
    def _columns(self) -> int:
        return covered(self.window)[1]


def unflip_parts(maps: Tensor, table: NDArray[np.uint8]) -> Tensor:
    """Maps [n,C,S,S] of a mirrored picture -> of the picture; `table` exchanges left and right classes."""
    return maps.flip(-1)[:, torch.from_numpy(table.astype(np.int64)).to(maps.device)]


def unflip_iuv(coarse: Tensor, index: Tensor, u: Tensor, v: Tensor, tables: Tensor | None = None) -> Maps:
    """The DensePose head's maps of a mirrored picture -> of the picture.

    Args:
        tables: fp32 [2,24,256,256], mirrored U and V, by part, V * 255 and U * 255 (`PointSymmetry`). None: as our own
            charts mirror, where U or V of four parts is reversed.
    """
    if tables is None:
        u, v = u.clone(), v.clone()
        u[:, FLIPS_U] = 1 - u[:, FLIPS_U]
        v[:, FLIPS_V] = 1 - v[:, FLIPS_V]
    else:
        part = torch.arange(tables.shape[1], device=u.device)[:, None, None]
        row, column = ((m[:, 1:].clamp(0, 1) * 255).long() for m in (v, u))
        u, v = (torch.cat([m[:, :1], table[part, row, column]], 1) for m, table in zip((u, v), tables, strict=True))
    u, v = unflip_parts(u, MIRRORED), unflip_parts(v, MIRRORED)
    regions = DENSEPOSE_COARSE.flip_table()[: coarse.shape[1]]  # of two channels (somebody or not) none is a left side
    return unflip_parts(coarse, regions), unflip_parts(index, MIRRORED), u, v


class AugmentedAnalyzer(TorchAnalyzer):
    """A network in torch that looks at every picture several times.

    Args:
        model, config, version, canvases: as for `TorchAnalyzer`.
        scales: short sides (pixels) of further views, rounded up to multiples of 32.
        flip: mirror every view as well.
        symmetry: DensePose's UV_symmetry_transforms.mat, how U and V mirror (None: as the recipe says).

    Raises:
        DatasetError: the symmetry is needed and not there.
    """

    def __init__(
        self,
        model: ParsingRCNN,
        config: Config,
        version: str = "",
        canvases: Sequence[tuple[int, int]] = LIGHT_CANVASES,
        *,
        scales: Sequence[int] = (),
        flip: bool = False,
        symmetry: Path | None = None,
    ) -> None:
        super().__init__(model, config, version, canvases)
        self.scales, self.flip = tuple(scales), flip
        self.tables = _tables(symmetry or config.data.uv_symmetry, model) if flip and config.train.densepose else None
        views = [*(["mirrored"] if flip else []), *(f"short side {scale}" for scale in scales)]
        self._info = replace(self._info, runtime=", ".join([self._info.runtime, *views]))

    @torch.inference_mode()
    def analyze(
        self,
        image: Picture,
        options: Options | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """See `GraphPipeline.analyze`."""
        options = resolve_options(self._info, options, keywords)
        watch = Stopwatch()
        views, features, boxes, scores, count = self.look(load(image, bgr=bgr), options, watch)
        answers = self.answers(views, features, options, watch)
        return self.result(views, boxes[:count], scores[:count], answers, watch)

    def look(
        self, image: Picture, options: Options, watch: Stopwatch
    ) -> tuple[list[CanvasView], list[Tensor], Tensor, Tensor, int]:
        """The views of a picture and the RoI features [n,C,S,S] of each, boxes [n,4] on the first view's canvas, scores
        [n], and how many are people: with none, n is still 1.

        Raises:
            ParsingRCNNError: the image or an option is not usable.
            DivergedError: see `detected`.
        """
        options.validate()
        views = self._all_views(Source(load(image), self.limits), options, watch)
        pyramids = [self.model.pyramid(to_images(view.canvas, self.model)) for view in views]
        boxes, scores, count = self._detect_all(views, pyramids, options)
        features = [
            self.model.roi_features(pyramid, [views[0].boxes_to(view, boxes)])
            for view, pyramid in zip(views, pyramids, strict=True)
        ]
        watch.lap("detector")
        return views, features, boxes, scores, count

    def answers(
        self, views: Sequence[CanvasView], features: Sequence[Tensor], options: Options, watch: Stopwatch
    ) -> dict[str, Tensor]:
        """Answers of the heads for RoIs, averaged over all views, by the names of `parsing_rcnn.runtime.Graphs`.

        Raises:
            DivergedError: a head's scores are not finite.
        """
        answers: dict[str, Tensor] = {}
        if "parsing" in options.tasks:
            names = parsing_outputs(probabilities=options.part_probs)
            answers |= dict(zip(names, part_answer(self._parsing(views, features)), strict=False))
            watch.lap("parsing")
        if "densepose" in options.tasks:
            half = [self.model.densepose(own, half=True) for own in features]
            coarse, index = half[0][:2] if len(half) == 1 else (p.log() for p in _mean(views, half, self.tables)[:2])
            maps = _mean(views, [(doubled(c), doubled(i), doubled(u), doubled(v)) for c, i, u, v in half], self.tables)
            background = self.model.config.densepose_background
            answers["IUV"] = iuv_answer(*maps, background)
            answers["IUV_SCORES"] = iuv_scores(coarse, index, background)
            watch.lap("densepose")
        refuse_diverged(*(answers[name] for name in ("PART_SCORES", "IUV_SCORES") if name in answers))
        return answers

    def result(
        self,
        views: Sequence[CanvasView],
        boxes: Tensor,
        scores: Tensor,
        answers: Mapping[str, Tensor],
        watch: Stopwatch,
    ) -> People:
        """The people with these boxes [n,4] on the first view's canvas, these scores [n], and n rows of `answers`."""
        maps = {name: answer[: len(boxes)].cpu().numpy() for name, answer in answers.items()}
        return self.people(views[0].window, boxes.cpu().numpy(), scores.cpu().numpy(), maps, watch)

    def _all_views(self, source: Source, options: Options, watch: Stopwatch) -> list[CanvasView]:
        first = CanvasView(*self.preprocess(source, options, watch))
        height, width = first.window.height, first.window.width
        shapes = [scaled_canvas(height, width, scale) for scale in self.scales]
        views = [first, *(CanvasView(*self.preprocess(source, options, watch, [shape])) for shape in shapes)]
        return [*views, *(view.mirrored() for view in views)] if self.flip else views

    def _detect_all(
        self, views: Sequence[CanvasView], pyramids: Sequence[dict[int, Tensor]], options: Options
    ) -> tuple[Tensor, Tensor, int]:
        """Boxes, scores and count, as `look` returns them."""
        boxes, scores = [], []
        for view, pyramid in zip(views, pyramids, strict=True):
            found = detected(self.model, pyramid, self.extent(view.canvas, view.window))
            sure = found.scores >= options.confidence
            boxes.append(view.boxes_to(views[0], found.boxes[sure]))
            scores.append(found.scores[sure])
            anybody = view.boxes_to(views[0], found.boxes[:1]), found.scores[:1]
        all_boxes, all_scores = torch.cat(boxes), torch.cat(scores)
        keep = nms(all_boxes, all_scores, self.model.config.box.nms_iou)[: options.max_people]
        return (*anybody, 0) if not len(keep) else (all_boxes[keep], all_scores[keep], len(keep))

    def _parsing(self, views: Sequence[CanvasView], features: Sequence[Tensor]) -> Tensor:
        """Class logits [n,C,S,S]; of several views, the logarithms of their mean probabilities."""
        if len(features) == 1:
            return self.model.parsing(features[0])
        table = self._taxonomy.flip_table()
        found = [torch.softmax(self.model.parsing(own), 1) for own in features]
        turned = [unflip_parts(p, table) if view.flipped else p for view, p in zip(views, found, strict=True)]
        return torch.stack(turned).mean(0).log()


def _mean(views: Sequence[CanvasView], found: Sequence[Maps], tables: Tensor | None) -> Maps:
    """Mean probabilities of regions and parts, mean U and V, of the DensePose maps of each view."""
    turned = []
    for view, (coarse, index, u, v) in zip(views, found, strict=True):
        maps = (torch.softmax(coarse, 1), torch.softmax(index, 1), u, v)
        turned.append(unflip_iuv(*maps, tables) if view.flipped else maps)
    coarse, index, u, v = (torch.stack(planes).mean(0) for planes in zip(*turned, strict=True))
    return coarse, index, u, v


def _tables(path: Path | None, model: ParsingRCNN) -> Tensor | None:
    """The tables of mirrored U and V of a file, fp32 [2,24,256,256] on the device of the network."""
    if path is None:
        return None
    symmetry = PointSymmetry.read(path)
    assert symmetry.u is not None
    assert symmetry.v is not None
    return torch.from_numpy(np.stack([symmetry.u, symmetry.v])).to(model.mean.device)
