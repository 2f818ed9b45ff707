"""The JSON of answers as types, for OpenAPI only: `parsing_rcnn.codecs.json` writes answers, without a check by these.

A field that may be absent is `NotRequired`; it is never null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict  # typing's own has what pydantic needs from Python 3.12 on

from server.requests.options import AnalyzeOptions
from server.responses.problems import Problem


class RLE(TypedDict):
    """COCO run lengths."""

    size: Annotated[tuple[int, int], Field(description="(height, width).")]
    counts: Annotated[str, Field(description="As `pycocotools.mask.decode` reads them.")]


class Point(TypedDict):
    """A corner of an outline, pixels."""

    x: int
    y: int


class Part(TypedDict):
    """A part of a person."""

    class_: Annotated[str, Field(alias="class", description="Its name in the model's taxonomy.", examples=["Hair"])]
    class_id: Annotated[int, Field(description="Its value in label maps.", examples=[2])]
    score: NotRequired[Annotated[float, Field(description="Mean probability where it is.", examples=[0.91])]]
    area: Annotated[int, Field(description="Pixels.", examples=[5123])]
    crop_rle: NotRequired[
        Annotated[RLE, Field(description="Where it is, cut to the box at `offset`. Of include=part_masks.")]
    ]


class Chart(TypedDict):
    """A part of a person's surface: one I."""

    class_: Annotated[str, Field(alias="class", description="Its name in DensePose.", examples=["Torso (front)"])]
    class_id: Annotated[int, Field(ge=1, le=24, description="I.", examples=[2])]
    score: NotRequired[Annotated[float, Field(description="Mean probability where it is.", examples=[0.87])]]
    area: Annotated[int, Field(description="Pixels.", examples=[20418])]


class DensePose(TypedDict):
    """A person's I, U, V, as detectron2's DensePose writes its results."""

    shape_chw: Annotated[tuple[int, int, int], Field(description="(3, height, width), cut to the box at `offset`.")]
    labels_uv_str: Annotated[str, Field(description="PNG in base64: I, U times 255, V times 255 as red, green, blue.")]
    score: NotRequired[Annotated[float, Field(description="Mean probability of I where it is.", examples=[0.83])]]
    charts: Annotated[list[Chart], Field(description="Each I that is there.")]


class Prediction(TypedDict):
    """A person."""

    x: Annotated[float, Field(description="Middle of the box, pixels of the upright picture.", examples=[640.0])]
    y: Annotated[float, Field(description="Middle of the box.", examples=[360.0])]
    width: float
    height: float
    bbox: Annotated[
        tuple[float, float, float, float],
        Field(description="(x1, y1, x2, y2), x2 and y2 exclusive.", examples=[(540.0, 110.0, 740.0, 610.0)]),
    ]
    confidence: Annotated[float, Field(ge=0, le=1, examples=[0.98])]
    class_: Annotated[Literal["person"], Field(alias="class")]
    class_id: Literal[0]
    detection_id: Annotated[str, Field(description="The person's index, by score.", examples=["0"])]
    tracker_id: Annotated[
        int | None,
        Field(description="Who it is in every frame of /v1/stream?track=true, from 1. Else null.", examples=[None]),
    ]
    offset: Annotated[
        tuple[int, int],
        Field(description="(x, y) in the picture of whatever is cut to the box.", examples=[(540, 110)]),
    ]
    rle: NotRequired[Annotated[RLE, Field(description="The silhouette in the whole picture. Of mask_format=rle.")]]
    mask_png: NotRequired[
        Annotated[str, Field(description="The same, cut to the box: 0 or 255, PNG in base64. Of mask_format=png.")]
    ]
    points: NotRequired[
        Annotated[list[Point], Field(description="The first of `polygons`, as Roboflow's answers have it.")]
    ]
    polygons: NotRequired[
        Annotated[
            list[list[Point]],
            Field(
                description="The outline of every piece of the silhouette, largest first, by its outermost pixels; "
                "holes are filled, dots and lines a pixel wide are left out. Of mask_format=polygon."
            ),
        ]
    ]
    parts: NotRequired[Annotated[list[Part], Field(description="Of include=parts or part_masks.")]]
    parts_png: NotRequired[
        Annotated[str, Field(description="Classes, cut to the box: grey PNG in base64. Of include=label_map.")]
    ]
    densepose: NotRequired[Annotated[DensePose, Field(description="Of include=iuv.")]]


class ImageSize(TypedDict):
    """Of the upright picture, pixels."""

    width: int
    height: int


class ModelName(TypedDict):
    """What answered."""

    name: Annotated[str, Field(description="Of the weights, and of the model that was asked for: `light accurate`.")]
    version: str


class Analysis(TypedDict):
    """The people of one picture."""

    inference_id: Annotated[str, Field(examples=["0f5e3c"])]
    model: Annotated[ModelName, Field(examples=[{"name": "light", "version": "4"}])]
    time: Annotated[float, Field(description="Seconds that the engine took.", examples=[0.041])]
    image: Annotated[ImageSize, Field(examples=[{"width": 1280, "height": 720}])]
    predictions: Annotated[list[Prediction], Field(description="By score.", examples=[[]])]
    inds_png: NotRequired[
        Annotated[
            str,
            Field(
                description="Who is where in the whole picture: k = predictions[k-1], 0 = nobody; grey PNG in base64. "
                "Somebody is where a part is or I > 0, of the tasks computed; where people overlap, one of them is in "
                "front. Of include=inds.",
                examples=["iVBORw0..."],
            ),
        ]
    ]
    timings_ms: Annotated[
        dict[str, float], Field(description="Milliseconds by stage.", examples=[{"decode": 4.1, "detector": 28.9}])
    ]
    warnings: Annotated[list[str], Field(description="What these maps are not good for.", examples=[[]])]


class BatchResult(Analysis):
    """One picture of a batch that was analysed."""

    index: Annotated[int, Field(description="Of the picture in the request.")]
    name: Annotated[str, Field(description="Of its file; empty where it has none.")]
    status: Literal[200]


class BatchProblem(TypedDict):
    """One picture of a batch that was not."""

    index: int
    name: str
    status: Annotated[int, Field(ge=400, lt=600)]
    problem: Problem


class Batch(TypedDict):
    """The results of a batch."""

    results: Annotated[list[BatchResult | BatchProblem], Field(description="In the order sent.", examples=[[]])]


class StreamAnswer(Analysis):
    """What `/v1/stream` answers to a frame, in a text message."""

    frame_id: Annotated[int, Field(description="The client's number of the frame.")]
    dropped: Annotated[int, Field(description="Frames of this stream that newer ones replaced so far.")]


class StreamProblem(TypedDict):
    """What it says of a frame that cannot be analysed; the stream goes on."""

    frame_id: Annotated[int | None, Field(description="null: of a message that is no frame.")]
    dropped: int
    problem: Problem


class Error(TypedDict):
    """An error as the Open Inference Protocol has it."""

    error: Annotated[str, Field(description="What is wrong, and what to do.")]


DECLARED: tuple[type, ...] = (Problem, AnalyzeOptions, Analysis, Batch, StreamAnswer, StreamProblem, Error)


def reference(schema: type) -> dict[str, str]:
    """A reference to one of `DECLARED`."""
    return {"$ref": f"#/components/schemas/{schema.__name__}"}


def schemas() -> dict[str, Any]:
    """Name -> JSON schema of `DECLARED` and whatever these consist of."""
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        (kind.__name__, "validation", TypeAdapter(kind)) for kind in DECLARED
    ]
    _, found = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    defined: dict[str, Any] = found["$defs"]
    return defined
