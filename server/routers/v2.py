"""`/v2`: the Open Inference Protocol with Triton's names, so its clients and perf_analyzer work without a Triton."""

from __future__ import annotations

import time
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from parsing_rcnn import __version__
from parsing_rcnn.analyzer import Options
from parsing_rcnn.ensembles import ENSEMBLES, number, options_of
from parsing_rcnn.errors import ModelNotFound, ParsingRCNNError
from parsing_rcnn.limits import MAX_TIMEOUT_MS
from parsing_rcnn.people import People
from parsing_rcnn.tensors import to_tensors
from server.catalogue import VERSION, Catalogue
from server.engines.base import Engine
from server.inference_protocol import InferRequest, encode, parse
from server.requests.call import Call, Route
from server.requests.inputs import aside, call_of, read_body, reading, refuse_coding, while_connected
from server.requests.memory import Share
from server.responses.documents import Error, reference
from server.responses.headers import answer_headers
from server.routers.analyze import EXAMPLE_PICTURE
from server.service import Service

router = APIRouter(tags=["open inference protocol"])

_OF_THE_PROTOCOL = frozenset(
    {"timeout", "binary_data_output", "priority", "sequence_id", "sequence_start", "sequence_end"}
)
"""Parameters that Triton's clients send on their own; all but the first two are ignored."""

_Model = Annotated[str, Path(openapi_examples={name: {"value": name} for name in ENSEMBLES})]

EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics")
LENGTH_HEADER = "Inference-Header-Content-Length"


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declarations for OpenAPI: the protocol's own form of an error."""
    content = {"application/json": {"schema": reference(Error)}}
    return {s: {"description": HTTPStatus(s).phrase, "content": content} for s in statuses}


def _gives(example: Any) -> dict[int | str, dict[str, Any]]:
    """Declarations for OpenAPI: a JSON answer with an example, and 401."""
    content = {"application/json": {"schema": {"type": "array" if isinstance(example, list) else "object"}}}
    content["application/json"]["example"] = example
    return {200: {"description": "As Triton answers.", "content": content}, **_errors(401)}


def _catalogue(request: Request) -> Catalogue:
    found: Catalogue = request.app.state.catalogue
    return found


def _known(request: Request, model: str) -> str:
    if model not in ENSEMBLES:
        raise ModelNotFound(f"there is no model {model[:60]!r}: choose one of {', '.join(ENSEMBLES)}")
    version = request.path_params.get("version", VERSION)
    if version != VERSION:
        raise ModelNotFound(f"{model} has the version {VERSION}, not {str(version)[:20]!r}")
    return model


_EXAMPLE_MODEL = {
    "name": "densepose",
    "versions": [VERSION],
    "platform": "parsing_rcnn",
    "inputs": [{"name": "IMAGE", "datatype": "BYTES", "shape": [1]}],
    "outputs": [{"name": "BOXES", "datatype": "FP32", "shape": [-1, 4]}],
}
_EXAMPLE_INPUT = {"name": "IMAGE", "data_type": "TYPE_STRING", "dims": [1]}
_EXAMPLE_CONFIGURATION = {"name": "densepose", "platform": "parsing_rcnn", "input": [_EXAMPLE_INPUT]}
_EXAMPLE_STATISTICS = {
    "model_stats": [
        {
            "name": "densepose",
            "version": VERSION,
            "inference_count": 7,
            "inference_stats": {"success": {"count": 7, "ns": 245000000}},
        }
    ]
}


@router.get(
    "/v2",
    operation_id="v2_server",
    summary="Name, version and extensions of the server",
    responses=_gives({"name": "parsing-rcnn", "version": __version__, "extensions": list(EXTENSIONS)}),
)
async def server() -> dict[str, Any]:
    """Server metadata."""
    return {"name": "parsing-rcnn", "version": __version__, "extensions": list(EXTENSIONS)}


@router.get("/v2/health/live", operation_id="v2_live", summary="Is the process alive?", response_class=Response)
async def live() -> Response:
    """200 while the process can answer."""
    return Response()


@router.get(
    "/v2/health/ready",
    operation_id="v2_ready",
    summary="Can it infer now?",
    response_class=Response,
    responses=_errors(503),
)
async def ready(request: Request) -> Response:
    """200 when every model is ready."""
    engine: Engine = request.app.state.engine
    engine.check()
    return Response()


@router.get(
    "/v2/models/stats",
    operation_id="v2_all_statistics",
    summary="Statistics of all models",
    responses=_gives(_EXAMPLE_STATISTICS),
)
async def all_statistics(request: Request) -> dict[str, Any]:
    """Counts and times since the start."""
    found = _catalogue(request).statistics
    return {"model_stats": [statistics.document(name) for name, statistics in found.items()]}


@router.post(
    "/v2/repository/index",
    operation_id="v2_index",
    summary="The models",
    responses=_gives([{"name": "densepose", "version": VERSION, "state": "READY", "reason": ""}]),
)
async def index(request: Request) -> list[dict[str, str]]:
    """Names and states: one engine computes them all, so they are ready together."""
    engine: Engine = request.app.state.engine
    reason = engine.not_ready
    state = "READY" if reason is None else "UNAVAILABLE"
    return [{"name": name, "version": VERSION, "state": state, "reason": reason or ""} for name in ENSEMBLES]


@router.get(
    "/v2/models/{model}",
    operation_id="v2_model",
    summary="Tensors of a model",
    responses=_gives(_EXAMPLE_MODEL) | _errors(404),
)
@router.get("/v2/models/{model}/versions/{version}", include_in_schema=False)
async def metadata(request: Request, model: _Model) -> dict[str, Any]:
    """Model metadata."""
    return _catalogue(request).metadata(_known(request, model))


@router.get(
    "/v2/models/{model}/ready",
    operation_id="v2_model_ready",
    summary="Can this model infer now?",
    response_class=Response,
    responses=_errors(401, 404, 503),
)
@router.get("/v2/models/{model}/versions/{version}/ready", include_in_schema=False, response_class=Response)
async def model_ready(request: Request, model: _Model) -> Response:
    """200 when it can."""
    _known(request, model)
    return await ready(request)


@router.get(
    "/v2/models/{model}/config",
    operation_id="v2_config",
    summary="A model's configuration",
    responses=_gives(_EXAMPLE_CONFIGURATION) | _errors(404),
)
@router.get("/v2/models/{model}/versions/{version}/config", include_in_schema=False)
async def configuration(request: Request, model: _Model) -> dict[str, Any]:
    """Triton's `ModelConfig` as JSON: perf_analyzer asks for it."""
    return _catalogue(request).configurations[_known(request, model)]


@router.get(
    "/v2/models/{model}/stats",
    operation_id="v2_statistics",
    summary="A model's statistics",
    responses=_gives(_EXAMPLE_STATISTICS) | _errors(404),
)
@router.get("/v2/models/{model}/versions/{version}/stats", include_in_schema=False)
async def statistics(request: Request, model: _Model) -> dict[str, Any]:
    """Counts and times since the start."""
    name = _known(request, model)
    return {"model_stats": [_catalogue(request).statistics[name].document(name)]}


_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["inputs"]},
            "example": {
                "inputs": [
                    {
                        "name": "IMAGE",
                        "datatype": "BYTES",
                        "shape": [1],
                        "parameters": {"content_type": "base64"},
                        "data": [EXAMPLE_PICTURE],
                    }
                ],
                "outputs": [{"name": "BOXES"}, {"name": "SCORES"}],
                "parameters": {"confidence": 0.6},
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


_ANSWER = {
    "description": "Tensors, as JSON or as bytes behind a JSON header",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["model_name", "outputs"]},
            "example": {
                "model_name": "densepose",
                "model_version": VERSION,
                "outputs": [{"name": "SCORES", "datatype": "FP32", "shape": [1], "data": [0.94]}],
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


@router.post(
    "/v2/models/{model}/infer",
    operation_id="v2_infer",
    summary="Infer: the people of one picture as tensors",
    response_class=Response,
    openapi_extra={"requestBody": _BODY},
    responses={200: _ANSWER, **_errors(400, 401, 404, 408, 413, 415, 422, 429, 503, 504)},
)
@router.post("/v2/models/{model}/versions/{version}/infer", include_in_schema=False, response_class=Response)
async def infer(request: Request, model: _Model) -> Response:
    """IMAGE is BYTES [1], an encoded picture. Parameters: confidence, max_people, max_side, region, tiles, model,
    timeout (us)."""
    catalogue, service = _catalogue(request), _service(request)
    statistics = catalogue.statistics[_known(request, model)]
    call = call_of(request, Route.INFER)
    with service.counting(call.route):
        service.admit(call)
        refuse_coding(request)
        async with reading(call):
            body = await read_body(request)
        share: Share = request.scope["share"]
        share.hold(len(body))  # the picture is copied out of it
        length_of_json = request.headers.get(LENGTH_HEADER)
        parsed = await aside(request, len(body), parse, body, length_of_json, catalogue.outputs(model))
        del body
        share.keep(len(parsed.image))
        options, call = _options(model, parsed, call)
        info = service.engine.info
        used = (info.of(options.model).name, info.version)
        request.scope["model"] = options.model
    length: int | None = None

    def write(people: People) -> bytes:
        nonlocal length
        tensors = to_tensors(people)
        wanted = {name: tensors[name] for name in catalogue.outputs(model)}
        answer, length = encode(model, VERSION, parsed, wanted)
        return answer

    begin = time.perf_counter()
    try:
        body, stages = await while_connected(request, service.run(parsed.image, options, write, call))
    except ParsingRCNNError:
        statistics.fail(1000 * (time.perf_counter() - begin))
        raise
    statistics.add(stages)
    kind = "application/json" if length is None else "application/octet-stream"
    more = {} if length is None else {LENGTH_HEADER: str(length)}
    return Response(body, 200, answer_headers(used, stages, []) | more, kind)


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _options(model: str, request: InferRequest, call: Call) -> tuple[Options, Call]:
    """The options of an analysis, and the call with the deadline of the parameter `timeout`. Triton's clients send
    parameters as numbers, or as the text of numbers.

    Raises:
        InvalidOptions: one is unknown, no number, or out of its range.
    """
    options = replace(options_of(request.parameters, _OF_THE_PROTOCOL), tasks=ENSEMBLES[model])
    microseconds = min(number(int, "timeout", request.parameters.get("timeout", 0)), 1000 * MAX_TIMEOUT_MS)
    if microseconds > 0:
        end = time.monotonic() + microseconds / 1e6
        if call.deadline is None or end < call.deadline:
            call = replace(call, deadline=end, timeout="the parameter `timeout`")
    options.validate()
    return options, call
