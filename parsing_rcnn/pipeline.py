"""Photo -> canvas -> detector -> heads -> People: the one implementation behind the engine, the CLI and verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs.image import ImageLimits, check, decode
from parsing_rcnn.codecs.picture import Picture, load
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.geometry import Window, choose_canvas, fit, resize, turned_size
from parsing_rcnn.heads import asked, untrained
from parsing_rcnn.inference.compiled import in_order
from parsing_rcnn.inference.two_sizes import united
from parsing_rcnn.maps.framing import framed
from parsing_rcnn.models import SecondSize, Sizes, sizes_of
from parsing_rcnn.people import TASKS, ModelInfo, OptionKeywords, Options, People
from parsing_rcnn.repository import GRAPHS, ModelRepository
from parsing_rcnn.runtime import MAX_PEOPLE, Graphs, Runtime
from parsing_rcnn.taxonomy import Taxonomy

Detections = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Boxes [n,4], scores [n] and features of their RoIs, of nobody one row."""


class Stopwatch:
    """Milliseconds by stage, for `People.timings`."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._begin = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to `stage`."""
        now = time.perf_counter()
        self.stages[stage] = round(self.stages.get(stage, 0.0) + 1000 * (now - self._last), 3)
        self.stages["total"] = round(1000 * (now - self._begin), 3)
        self._last = now


class GraphPipeline:
    """The steps around three graphs, whatever runs them: implements `Analyzer`.

    Args:
        graphs: detector and heads.
        info: of the model; `canvases` are what pictures are fitted to.
        taxonomy: of the part classes.
        limits: of pictures.
        second: another size at which every picture is seen, too, of which no model is asked for.

    Attributes:
        sweep: remove specks from the maps (`parsing_rcnn.maps.specks`). Measurements by a published protocol, which has
            no such step, set it to False.
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
            bgr: the array is of OpenCV, blue first.
            keywords: fields of `Options`, instead of `options`: `analyze(image, tasks="parsing", confidence=0.3)`.
                Without `tasks` those whose head is trained are computed.

        Raises:
            ParsingRCNNError: the image or an option is not usable.
            TypeError: as of `Options.of`.
        """
        options = asked(self._info, options, keywords)
        validate(options)
        watch = Stopwatch()
        image = load(image, bgr=bgr)
        (canvas, window), *others = self._views(image, options, watch)
        found = self._detect(canvas, window, options)
        for another in others:
            found = self._unite(window, found, *another, options)
        boxes, scores, features = found
        watch.lap("detector")
        count = len(boxes)
        maps: dict[str, NDArray[Any]] = {}
        if "parsing" in options.tasks:
            head = partial(self.graphs.parsing, features, probabilities=options.part_probs)
            maps |= self._head(("parsing", options.part_probs), head, count)
            watch.lap("parsing")
        if "densepose" in options.tasks:
            maps |= self._head(("densepose", False), partial(self.graphs.densepose, features), count)
            watch.lap("densepose")
        return self.people(window, boxes, scores, maps, watch)

    def _views(self, image: Picture, options: Options, watch: Stopwatch) -> list[tuple[NDArray[np.uint8], Window]]:
        """The picture on a canvas, and on one of the second size where there is that: decoded for each size, as a
        server does that is asked for both, so that both give the same numbers."""
        sizes = self._sizes(options)
        views = [self.preprocess(image, options, watch, None if options.model is None else sizes.canvases)]
        if sizes.second is not None:
            views.append(self.preprocess(image, options, watch, sizes.second.canvases))
        return views

    def _sizes(self, options: Options) -> Sizes:
        """Those of the model asked for. Its graphs are compiled for them when they are first needed."""
        return self._own if options.model is None else sizes_of(self._info.card, options.model)

    def _detect(self, canvas: NDArray[np.uint8], window: Window, options: Options) -> Detections:
        """Boxes [n,4] on a canvas, scores [n] and features of their RoIs (of nobody one row)."""
        found = self._detector(canvas, window, np.array([options.confidence, options.max_people], np.float32))
        count = int(found["COUNT"][0])
        # a static detector has more rows than people
        return found["BOXES"][:count], found["SCORES"][:count], found["ROI_FEATURES"][: max(count, 1)]

    def _unite(
        self, window: Window, first: Detections, canvas: NDArray[np.uint8], other: Window, options: Options
    ) -> Detections:
        """What was found on the canvas of `window`, together with what is on a canvas of the second size."""
        second = self._sizes(options).second
        assert second is not None
        boxes, scores, features = self._detect(canvas, other, options)
        boxes = other.onto(window, boxes)
        limits = (second.below, options.confidence, options.max_people)
        seen = (window.clip(first[0]), window.clip(boxes))  # of people the picture's edge cuts, what is in the picture
        who = united(seen, (first[1], scores), *limits)
        rows = who.take(first[2][: len(first[0])], features[: len(boxes)])
        return who.take(first[0], boxes), who.scores, rows if len(rows) else features[:1]

    def _detector(
        self,
        canvas: NDArray[np.uint8],
        window: Window,
        limits: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        """What the detector says of a canvas; where the picture lies on it, a network in torch may want to know."""
        return self.graphs.detector(canvas, limits)

    def _head(
        self, key: tuple[str, bool], head: Callable[[], dict[str, NDArray[Any]]], count: int
    ) -> dict[str, NDArray[Any]]:
        """What a head says of `count` people. Of nobody it is asked once (about a dummy row), for shapes and types."""
        if count == 0 and key in self._nobody:
            return self._nobody[key]
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
    ) -> People:
        """The result, from boxes [n,4] on the canvas, scores [n] and what there is of the heads' tensors."""
        boxes, maps = framed(window, boxes, maps, sweep=self.sweep)
        watch.lap("postprocess")
        return People(
            boxes=boxes,
            scores=scores,
            image_size=(int(window.height), int(window.width)),
            parts=maps.get("PARTS"),
            part_scores=maps.get("PART_SCORES"),
            part_probs=maps.get("PART_PROBS"),
            iuv=maps.get("IUV"),
            iuv_scores=maps.get("IUV_SCORES"),
            taxonomy=self._taxonomy,
            timings=watch.stages,
            untrained=untrained(self._info),
        )

    def preprocess(
        self,
        image: Picture,
        options: Options,
        watch: Stopwatch,
        canvases: Sequence[tuple[int, int]] | None = None,
    ) -> tuple[NDArray[np.uint8], Window]:
        """Encoded picture, its path or RGB array -> (canvas uint8 [H,W,3], where the upright original lies on it).

        Args:
            canvases: (height, width) to choose from instead of the model's own.
        """
        canvases = canvases or self._info.canvases
        image = load(image)
        if isinstance(image, np.ndarray):
            height, width = image.shape[:2]
        else:
            header = check(image, self.limits)
            height, width = turned_size(header.height, header.width, header.orientation)
            image = decode(image, self.limits, max_side=_enough(height, width, options.max_side, canvases))
        watch.lap("decode")
        if options.max_side is not None and max(image.shape[:2]) > options.max_side:
            ratio = options.max_side / max(image.shape[:2])
            image = resize(image, max(round(image.shape[0] * ratio), 1), max(round(image.shape[1] * ratio), 1))
        canvas, inner = fit(image, canvases)
        scale_y, scale_x = image.shape[0] / height, image.shape[1] / width
        # as precise as the tensor WINDOW that carries it between the steps of a server
        exact = Window(inner.scale_y * scale_y, inner.scale_x * scale_x, inner.pad_top, inner.pad_left, height, width)
        window = Window.from_array(exact.to_array())
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
        model: one of those that the card names, "fast", "large" or "accurate" (None: the card's default), for pictures
            whose `Options.model` names none.
        runtime, precision, threads, graphs: see `Runtime`.
        limits: of pictures.

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
        with in_order():  # all of it: OpenCV, too, is left by daemon threads as what runs the graphs is
            return super().analyze(image, options, bgr=bgr, **keywords)


def _enough(height: int, width: int, max_side: int | None, canvases: Sequence[tuple[int, int]]) -> int | None:
    """The longest side that the canvas can show: decoding a JPEG beyond it is wasted."""
    canvas = choose_canvas(height, width, canvases)
    shown = round(max(height, width) * min(canvas[0] / height, canvas[1] / width))
    wanted = shown if max_side is None else min(shown, max_side)
    return wanted if wanted < max(height, width) else None


def validate(options: Options) -> None:
    """Check ranges.

    Raises:
        InvalidOptions: naming the option, its value and its range.
    """
    unknown = options.tasks - set(TASKS)
    if unknown:
        raise InvalidOptions(
            f"tasks: {', '.join(sorted(map(str, unknown)))} is unknown; choose from {', '.join(TASKS)}"
        )
    _within("confidence", options.confidence, 0, 1, whole=False)
    _within("max_people", options.max_people, 1, MAX_PEOPLE)
    if options.max_side is not None:
        _within("max_side", options.max_side, 32, 16384)


def _within(name: str, value: Any, low: int, high: int, *, whole: bool = True) -> None:
    number = isinstance(value, Integral if whole else Real)
    if not number:
        raise InvalidOptions(f"{name}: {value!r} is no {'whole ' * whole}number in {low}..{high}")
    if not low <= value <= high:
        raise InvalidOptions(f"{name}: {value} is outside {low}..{high}")
