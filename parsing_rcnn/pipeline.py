"""Photo -> canvas -> detector -> heads -> `People` in one process: the engine behind the CLI, the gateway and verify.

The same steps as requests to a Triton server are in server/engines/triton.py; graphs are compared without pictures in
export/parity/comparison.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import ModelInfo, OptionKeywords, Options
from parsing_rcnn.codecs.image import ImageLimits
from parsing_rcnn.codecs.picture import Picture, load
from parsing_rcnn.geometry import PAD_VALUE, Region, Window
from parsing_rcnn.heads import resolve_options, untrained
from parsing_rcnn.inference.compiled import in_order
from parsing_rcnn.inference.tiles import staying, tiles_of, united_with_tiles
from parsing_rcnn.inference.two_sizes import United, united
from parsing_rcnn.inference.views import Source, placed, useful_side
from parsing_rcnn.maps.framing import framed
from parsing_rcnn.models import SecondSize, Sizes, sizes_of
from parsing_rcnn.people import People
from parsing_rcnn.repository import GRAPHS, ModelRepository
from parsing_rcnn.runtime import Graphs, Runtime
from parsing_rcnn.stopping import check_stopped
from parsing_rcnn.taxonomy import Taxonomy
from parsing_rcnn.tensors import from_tensors

Detections = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Boxes [n,4] on the canvas, scores [n] and RoI features [n,C,32,32]; the features have one row even with nobody."""


class Stopwatch:
    """Milliseconds by stage, for `People.timings`."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._begin = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`."""
        now = time.perf_counter()
        self.stages[stage] = round(self.stages.get(stage, 0.0) + 1000 * (now - self._last), 3)
        self.stages["total"] = round(1000 * (now - self._begin), 3)
        self._last = now


class GraphPipeline:
    """All steps from picture to `People` around the three graphs, whatever runs those. Implements `Analyzer`.

    Args:
        graphs: detector and heads.
        info: of the model; pictures are fitted to its `canvases`.
        taxonomy: of the part classes.
        limits: which pictures are accepted.
        second: a second size at which every picture is analysed as well, unless `Options.model` names another model.

    Attributes:
        sweep: remove specks from the maps (`parsing_rcnn.maps.specks`). Set to False to measure by a published
            protocol, which has no such step.
    """

    def __init__(
        self,
        graphs: Graphs,
        info: ModelInfo,
        taxonomy: Taxonomy,
        limits: ImageLimits | None = None,
        second: SecondSize | None = None,
    ) -> None:
        self.graphs, self._own = graphs, Sizes(info.canvases, second)
        self.limits = limits or ImageLimits()
        self.sweep = True
        self._info, self._taxonomy = info, taxonomy
        self._nobody: dict[tuple[str, bool], dict[str, NDArray[Any]]] = {}

    @property
    def info(self) -> ModelInfo:
        """What runs."""
        return self._info

    def analyze(
        self,
        image: Picture,
        options: Options | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """Find everybody in one picture.

        Args:
            image: an encoded JPEG, PNG or WebP, the path of one, an upright uint8 [H,W,3] RGB array, or a picture of
                Pillow.
            options: what to compute.
            bgr: the array is BGR, as OpenCV has it.
            keywords: fields of `Options`, instead of `options`: `analyze(image, tasks="parsing", confidence=0.3)`.
                Without `tasks`, the tasks whose head is trained are computed.

        Raises:
            ParsingRCNNError: the image or an option is not usable.
            TypeError: as of `Options.of`.
        """
        options = resolve_options(self._info, options, keywords)
        options.validate()
        watch = Stopwatch()
        window, (boxes, scores, features) = self._everybody(Source(load(image, bgr=bgr), self.limits), options, watch)
        count = len(boxes)
        maps: dict[str, NDArray[Any]] = {}
        if "parsing" in options.tasks:
            head = partial(self.graphs.parsing, features, probabilities=options.part_probs)
            maps |= self._head(("parsing", options.part_probs), head, count)
            watch.lap("parsing")
        if "densepose" in options.tasks:
            maps |= self._head(("densepose", False), partial(self.graphs.densepose, features), count)
            watch.lap("densepose")
        return self.people(window, boxes, scores, maps, watch, options.region)

    def _everybody(self, source: Source, options: Options, watch: Stopwatch) -> tuple[Window, Detections]:
        """Whom the views of a picture show that the options ask for: where the picture lies on the first view's canvas,
        and the people on that."""
        sizes = self._sizes(options)
        canvas, window = self.preprocess(source, options, watch, None if options.model is None else sizes.canvases)
        detections = self._detect(canvas, window, options, watch)
        if options.tiles > 1:
            detections = self._unite_tiles(window, detections, source, options, watch)
        elif sizes.second is not None:
            detections = self._unite_sizes(window, detections, source, sizes.second, options, watch)
        return window, detections

    def _sizes(self, options: Options) -> Sizes:
        """The sizes of the model that the options name. Graphs are compiled for a size when it is first needed."""
        return self._own if options.model is None else sizes_of(self._info.card, options.model)

    def _detect(self, canvas: NDArray[np.uint8], window: Window, options: Options, watch: Stopwatch) -> Detections:
        """The people on one canvas."""
        check_stopped()  # with tiles this is the seventeenth at most
        found = self._detector(canvas, window, np.array([options.confidence, options.max_people], np.float32))
        watch.lap("detector")
        count = int(found["COUNT"][0])
        # a static detector has more rows than people
        return found["BOXES"][:count], found["SCORES"][:count], found["ROI_FEATURES"][: max(count, 1)]

    def _unite_sizes(
        self, window: Window, first: Detections, source: Source, second: SecondSize, options: Options, watch: Stopwatch
    ) -> Detections:
        """Join the detections on the canvas of `window` with those on a canvas of the second size.

        The picture is decoded for each size anew, as by a server that gets one request for each, so both give the same
        numbers.
        """
        canvas, other = self.preprocess(source, options, watch, second.canvases)
        boxes, scores, features = self._detect(canvas, other, options, watch)
        boxes = other.onto(window, boxes)
        # people are compared by what the picture shows of them
        inside = (window.clip(first[0], options.region), window.clip(boxes, options.region))
        who = united(inside, (first[1], scores), second.below, options.confidence, options.max_people)
        return _taken(who, first, (boxes, scores, features))

    def _unite_tiles(
        self, window: Window, first: Detections, source: Source, options: Options, watch: Stopwatch
    ) -> Detections:
        """Join the detections on the canvas of `window` with those on a canvas for each tile of the picture."""
        region = options.region or (0, 0, source.width, source.height)
        none = np.zeros((0, 4), np.float32)
        on_canvas, boxes, scores, features = none, none, first[1][:0], first[2][:0]
        for tile in tiles_of(region, options.tiles):
            own = replace(options, region=tile)
            canvases = None if options.model is None else self._sizes(options).canvases
            canvas, other = self.preprocess(source, own, watch, canvases)
            found = self._detect(canvas, other, options, watch)
            shown = other.to_image(found[0], tile)
            rows = staying((boxes, scores), (shown, found[1]), tile, region, options.max_people)
            boxes, scores = np.concatenate([boxes, shown])[rows], np.concatenate([scores, found[1]])[rows]
            on_canvas = np.concatenate([on_canvas, other.onto(window, found[0])])[rows]
            features = np.concatenate([features, found[2][: len(shown)]])[rows]
        ours = (window.to_image(first[0], options.region), first[1])
        who = united_with_tiles(ours, (boxes, scores), region, options.confidence, options.max_people)
        return _taken(who, first, (on_canvas, scores, features))

    def _detector(
        self,
        canvas: NDArray[np.uint8],
        window: Window,
        limits: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        """Run the detector. `window` is for subclasses: a network in torch may need to know where the picture lies."""
        return self.graphs.detector(canvas, limits)

    def _head(
        self, key: tuple[str, bool], head: Callable[[], dict[str, NDArray[Any]]], count: int
    ) -> dict[str, NDArray[Any]]:
        """A head's answer for `count` people.

        With nobody, the head runs once, on a dummy row, to learn the shapes and dtypes of an empty answer.
        """
        if count == 0 and key in self._nobody:
            return self._nobody[key]
        check_stopped()
        answers = head()
        self._nobody.setdefault(key, {name: answer[:0].copy() for name, answer in answers.items()})
        return {name: answer[:count] for name, answer in answers.items()}

    def people(
        self,
        window: Window,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        maps: Mapping[str, NDArray[Any]],
        watch: Stopwatch,
        region: Region | None = None,
    ) -> People:
        """The result, made of boxes [n,4] on the canvas, scores [n] and the tensors of the heads that were run. Boxes
        end at the edges of the picture, or of this region of it."""
        boxes, maps = framed(window, boxes, maps, region, sweep=self.sweep)
        watch.lap("postprocess")
        return from_tensors(
            {**maps, "BOXES": boxes, "SCORES": scores},
            (int(window.height), int(window.width)),
            taxonomy=self._taxonomy,
            timings=watch.stages,
            untrained=untrained(self._info),
        )

    def preprocess(
        self,
        source: Source,
        options: Options,
        watch: Stopwatch,
        canvases: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[NDArray[np.uint8], Window]:
        """A picture -> (canvas uint8 [H,W,3] with it or `options.region` of it, where the upright original lies on it).

        Args:
            canvases: (height, width) to choose from instead of the model's own.

        Raises:
            InvalidOptions: the region is not inside the picture.
            ParsingRCNNError: as of `parsing_rcnn.codecs.image.decode`.
        """
        canvases = canvases or self._info.canvases
        if options.region is not None:
            source.check(options.region)
        image = source.decoded(useful_side(source, options, canvases))
        watch.lap("decode")
        canvas, window = placed(image, source, options, canvases)
        watch.lap("preprocess")
        return canvas, window

    def close(self) -> None:
        """Nothing to release: memory goes with the object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Pipeline(GraphPipeline):
    """The embedded engine: implements `Analyzer` in this process, with no server.

    Args:
        repository: a model repository (None: found as `ModelRepository.open` says).
        model: one of the card's models, "fast", "large" or "accurate" (None: the card's default). Pictures whose
            `Options.model` names another are analysed with that one.
        runtime, precision, threads, graphs: see `Runtime`.
        limits: which pictures are accepted.

    Example:
        >>> people = Pipeline().analyze("photo.jpg")  # doctest: +SKIP
        >>> people.boxes.shape, people.parts.shape  # doctest: +SKIP
        ((2, 4), (2, 128, 128))
    """

    def __init__(
        self,
        repository: str | Path | None = None,
        *,
        model: str | None = None,
        runtime: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        limits: ImageLimits | None = None,
        graphs: Sequence[str] = GRAPHS,
    ) -> None:
        with in_order():
            self.repository = ModelRepository.open(repository, model)
            self.runtime = Runtime(self.repository, runtime, precision, threads, graphs=graphs)
        info, second = self.repository.info(self.runtime.name), self.repository.second_size
        super().__init__(self.runtime, info, self.repository.taxonomy, limits, second)

    def analyze(
        self,
        image: Picture,
        options: Options | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """See `GraphPipeline.analyze`."""
        with in_order():  # around all of it: a daemon thread inside OpenCV crashes the end of the process, too
            return super().analyze(image, options, bgr=bgr, **keywords)

    def warm(self) -> Iterator[list[Callable[[], object]]]:
        """Run the graphs that the first pictures need, so that these wait for no compilation: each canvas, both heads
        for each number of people that they are compiled for, and the probabilities of one person, for the exact paste.

        Yields:
            calls, which may be done side by side; all of them before the next list.
        """
        second, heads = self._own.second, self.runtime
        rows: list[tuple[int, ...]] = []  # shapes of one person's features

        def detect(canvas: tuple[int, int]) -> None:
            found = self.runtime.detector(np.full((*canvas, 3), PAD_VALUE, np.uint8), np.array([0, 1], np.float32))
            rows.append(found["ROI_FEATURES"].shape[1:])

        canvases = (*self._own.canvases, *(() if second is None else second.canvases))
        yield [partial(detect, canvas) for canvas in canvases]
        calls: list[Callable[[], object]] = []
        for features in heads.every_size(rows[0]):  # of zeros, since no picture is sure to have as many people
            calls += [partial(heads.parsing, features, probabilities=False), partial(heads.densepose, features)]
        yield [*calls, partial(heads.parsing, np.zeros((1, *rows[0]), np.float32), probabilities=True)]


def _taken(who: United, first: Detections, second: Detections) -> Detections:
    """The detections of whom each is taken from one of two views, with boxes on one canvas."""
    boxes = who.take(first[0], second[0])
    rows = who.take(first[2][: len(first[0])], second[2][: len(second[0])])
    return boxes, who.scores, rows if len(rows) else first[2][:1]
