"""The steps of the pipeline as Triton python models: the classes behind `model_repository/*/1/model.py`.

Each step runs the embedded engine's own code, so both give the same numbers. Triton's utilities module exists only in
Triton's stub processes and is handed over by model.py, so this module can be imported without Triton.
"""

from __future__ import annotations

import json
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import region_of
from parsing_rcnn.ensembles import MODEL, PROBE, REGION, ROWS, options_of
from parsing_rcnn.errors import InvalidImage, InvalidOptions, ParsingRCNNError
from parsing_rcnn.geometry import PAD_VALUE, Window
from parsing_rcnn.inference.contention import Siblings
from parsing_rcnn.inference.views import Source
from parsing_rcnn.limits import MAX_PEOPLE
from parsing_rcnn.maps.framing import framed
from parsing_rcnn.models import all_canvases
from parsing_rcnn.pipeline import Pipeline, Stopwatch
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Runtime

Arrays = dict[str, NDArray[Any]]

_PROBED = (64, 64)
"""(height, width) of the canvas of a probe (`server/supervisor/probes.py`)."""


class Step(ABC):
    """What all models share.

    Class attributes:
        utils: Triton's `triton_python_backend_utils`, set by model.py.
        ranks: (rank, watched_ranks) of this model among `Siblings`. Detectors watch detectors and heads. Heads watch
            detectors only, because two heads work on the same picture.
    """

    utils: ClassVar[Any]
    ranks: ClassVar[tuple[int, int]] = (0, 2)

    def initialize(self, args: Mapping[str, str]) -> None:
        """Called once by Triton with the model's folder and configuration."""
        self.configuration = json.loads(args["model_config"])
        self.outputs = [output["name"] for output in self.configuration["output"]]
        self.repository = Path(args["model_repository"]).parent
        self.contention = Siblings(*self.ranks)
        self.open()
        for alone in (True, False):  # graphs are compiled differently for running beside another picture
            with self.contention.assuming(alone=alone):  # all models warm up at the same time, so none would be alone
                self.warm()

    @abstractmethod
    def open(self) -> None:
        """Load what the step needs."""

    def warm(self) -> None:  # noqa: B027
        """Run once, so that what the first requests need is compiled."""

    def setting(self, name: str, default: str = "") -> str:
        """A parameter of the model's configuration."""
        found = self.configuration.get("parameters", {}).get(name, {})
        return str(found.get("string_value", default))

    def runtime(self, graph: str) -> Runtime:
        """The runtime of one graph, by the configuration's parameters `runtime`, `precision` and `threads`."""
        threads = self.setting("threads")
        repository = ModelRepository.open(self.repository)
        kind, precision = self.setting("runtime", "auto"), self.setting("precision", "auto")
        count = int(threads) if threads else None
        return Runtime(repository, kind, precision, count, graphs=(graph,), contention=self.contention)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Called by Triton with one or more requests. Returns one response for each."""
        with self.contention.handling_request():
            return self.answers(requests)

    @abstractmethod
    def answers(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request."""

    def inputs(self, request: Any) -> Arrays:
        """Tensors of a request; optional ones may be absent."""
        return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}

    def respond(self, request: Any, arrays: Arrays) -> Any:
        """A response with those of the arrays that the request asks for."""
        wanted = [name for name in request.requested_output_names() if name in arrays]
        return self.utils.InferenceResponse([self.utils.Tensor(n, np.ascontiguousarray(arrays[n])) for n in wanted])

    def refuse(self, error: ParsingRCNNError) -> Any:
        """An error response whose text is `code: detail`, which `parsing_rcnn.ensembles.refusal_of` reads."""
        kind = self.utils.TritonError
        code = kind.INVALID_ARG if 400 <= error.status < 500 else kind.UNAVAILABLE
        return self.utils.InferenceResponse(error=kind(f"{error.code}: {error.detail}", code))

    def fail(self) -> Any:
        """The response to an unexpected error. The stack trace goes to the log; Triton would send it to the client."""
        traceback.print_exc()
        kind = self.utils.TritonError
        detail = "internal-error: an unexpected error; the server's log has it, please report it"
        return self.utils.InferenceResponse(error=kind(detail, kind.INTERNAL))


class Single(Step):
    """A model that answers requests one by one."""

    def answers(self, requests: Sequence[Any]) -> list[Any]:
        return [self._one(request) for request in requests]

    def _one(self, request: Any) -> Any:
        try:
            return self.respond(request, self.run(self.inputs(request), json.loads(request.parameters() or "{}")))
        except ParsingRCNNError as error:
            return self.refuse(error)
        except Exception:
            return self.fail()

    @abstractmethod
    def run(self, inputs: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        """Named arrays of one request -> named arrays of its answer."""


class Preprocess(Single):
    """IMAGE, and the parameters confidence, max_people, max_side, model and region -> CANVAS, WINDOW, LIMITS."""

    def open(self) -> None:
        self.pipeline = Pipeline(self.repository, graphs=())
        card = self.pipeline.repository
        self.models = {name: replace(card, model=name) for name in card.card.get("models", {})}
        self.own = self.canvases(self.setting(MODEL) or None)

    def canvases(self, model: str | None) -> tuple[tuple[int, int], ...]:
        """(height, width) of the canvases of one of the card's models; None: of the card itself.

        Raises:
            InvalidOptions: there is no such model, or it takes two requests.
        """
        if model is None:
            return self.pipeline.repository.canvases
        alone = [name for name, chosen in self.models.items() if chosen.second_size is None]
        choices = ", ".join(alone) or "none: the card names no models"
        if model not in self.models:
            raise InvalidOptions(f"{MODEL}: there is no {model[:60]!r} in this repository; choose from {choices}")
        if model not in alone:
            raise InvalidOptions(
                f"{MODEL}: {model!r} sees every picture at two sizes, which is two requests, whose answers the gateway "
                f"(`parsing-rcnn serve --engine triton`) and the SDK (`Client.triton`) put together; ask those or "
                f"the embedded engine (--embedded), or choose from {choices}"
            )
        return self.models[model].canvases

    def run(self, inputs: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        image = inputs["IMAGE"].reshape(-1)
        if len(image) != 1:
            raise InvalidImage(f"IMAGE holds {len(image)} pictures; send one a request")
        options = options_of(parameters)
        options.validate()
        canvases = self.own if options.model is None else self.canvases(options.model)
        if options.tiles > 1:
            raise InvalidOptions(
                "tiles: that is a request for each tile, whose answers the gateway (`parsing-rcnn serve --engine "
                "triton`) and the SDK (`Client.triton`) put together; ask those, or give region, x1,y1,x2,y2"
            )
        source = Source(bytes(image[0]), self.pipeline.limits)
        canvas, window = self.pipeline.preprocess(source, options, Stopwatch(), canvases)
        return {
            "CANVAS": canvas,
            "WINDOW": window.to_array(),
            "LIMITS": np.array([options.confidence, options.max_people], np.float32),
        }


class Detector(Single):
    """CANVAS, LIMITS -> BOXES, SCORES, COUNT, ROI_FEATURES.

    ROI_FEATURES has at least one row; with nobody in the picture that row is NaN. Only the canvases of the card and of
    a probe are accepted: every further size would be compiled and hold memory for ever.
    """

    def open(self) -> None:
        self.graph = self.runtime("detector")
        self.canvases = all_canvases(self.graph.repository.card)

    def warm(self) -> None:
        for height, width in self.canvases:
            self.graph.detector(np.full((height, width, 3), PAD_VALUE, np.uint8), np.array([0, 1], np.float32))

    def run(self, inputs: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        canvas, limits = inputs["CANVAS"], inputs["LIMITS"]
        if canvas.shape not in [(*sides, 3) for sides in (*self.canvases, _PROBED)]:
            known = ", ".join(f"{height}x{width}" for height, width in self.canvases)
            raise InvalidOptions(f"CANVAS: shape {canvas.shape}; [H,W,3] with HxW one of {known}")
        if not (0 <= limits[0] <= 1 and 0 <= limits[1] <= MAX_PEOPLE):
            raise InvalidOptions(f"LIMITS: {limits.tolist()}; a score of 0..1 and at most {MAX_PEOPLE} people")
        # other processes make room for a picture, but not for a probe
        self.contention.visible_to_others = PROBE not in parameters
        found = self.graph.detector(canvas, limits)
        if found["COUNT"][0] == 0:  # an ensemble has to pass a row on; the heads need not compute it
            found["ROI_FEATURES"] = np.full_like(found["ROI_FEATURES"], np.nan)
        return found


class Head(Step):
    """A head over the RoIs of all waiting requests, which are computed together and split up again.

    Rows of nobody (see `Detector`) are answered with zeros, without computing them; `Postprocess` cuts them off.
    """

    ranks = (1, 1)

    def open(self) -> None:
        self.graph = self.runtime(self.configuration["name"])

    def warm(self) -> None:
        dims = self.configuration["input"][0]["dims"]
        for features in self.graph.every_size([int(length) for length in dims]):
            self.compute(features, set(self.outputs) - {"PART_PROBS"})

    def answers(self, requests: Sequence[Any]) -> list[Any]:
        try:
            # people of several pictures: the next ones may be computed beside them
            with self.contention.assuming(alone=False) if len(requests) > 1 else nullcontext():
                return self._together(requests)
        except Exception:
            return [self.fail() for _ in requests]

    def _together(self, requests: Sequence[Any]) -> list[Any]:
        features = [self.inputs(request)["ROI_FEATURES"] for request in requests]
        names = {name for request in requests for name in request.requested_output_names()}
        together = features[0] if len(features) == 1 else np.concatenate(features)
        answers = self._of_people(together, names)
        ends = np.cumsum([len(own) for own in features])
        return [
            self.respond(request, {name: array[end - len(own) : end] for name, array in answers.items()})
            for request, own, end in zip(requests, features, ends, strict=True)
        ]

    def _of_people(self, features: NDArray[np.float32], names: set[str]) -> Arrays:
        somebody = ~np.isnan(features[:, 0, 0, 0])
        if somebody.all():
            return self.compute(features, names)
        if somebody.any():
            found = self.compute(features[somebody], names)
        else:
            found = {name: self._nothing(name) for name in names}
        return {name: self._spread(array, somebody) for name, array in found.items()}

    def _nothing(self, name: str) -> NDArray[Any]:
        """An output with no rows, in the shape and dtype that the configuration gives."""
        (output,) = (o for o in self.configuration["output"] if o["name"] == name)
        return np.zeros((0, *map(int, output["dims"])), self.utils.triton_string_to_numpy(output["data_type"]))

    @staticmethod
    def _spread(array: NDArray[Any], somebody: NDArray[np.bool_]) -> NDArray[Any]:
        """The rows of `array` where `somebody` is True [n], and zeros elsewhere."""
        whole = np.zeros((len(somebody), *array.shape[1:]), array.dtype)
        whole[somebody] = array
        return whole

    @abstractmethod
    def compute(self, features: NDArray[np.float32], names: set[str]) -> Arrays:
        """ROI_FEATURES [n,C,32,32] to the named outputs, [n,...] each."""


class Parsing(Head):
    """ROI_FEATURES -> PARTS, PART_SCORES and, on request, PART_PROBS."""

    def compute(self, features: NDArray[np.float32], names: set[str]) -> Arrays:
        return self.graph.parsing(features, probabilities="PART_PROBS" in names)


class DensePose(Head):
    """ROI_FEATURES -> IUV, IUV_SCORES."""

    def compute(self, features: NDArray[np.float32], names: set[str]) -> Arrays:
        return self.graph.densepose(features)


class Postprocess(Single):
    """Boxes to pixels of the upright original, and maps that cover them; the row that stands for nobody is cut off."""

    def open(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        window = Window.from_array(inputs["WINDOW"])
        count = int(inputs["COUNT"][0])
        names = [name for name in ("SCORES", *ROWS) if name in inputs]
        maps = {name: inputs[name][:count] for name in names}
        region = region_of(parameters[REGION]) if REGION in parameters else None
        boxes, rows = framed(window, inputs["BOXES"][:count], maps, region)
        return {
            "BOXES": boxes,
            "IMAGE_SIZE": np.array([window.height, window.width]).astype(np.int32),
            **rows,
        }
