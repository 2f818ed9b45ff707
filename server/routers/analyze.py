"""`POST /v1/analyze`: a picture in three ways of sending it, an answer in five formats."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from parsing_rcnn.limits import MAX_TIMEOUT_MS
from server.requests.call import TIMEOUT_HEADER, Route
from server.requests.inputs import call_of, query_options, read_picture, while_connected
from server.requests.negotiation import accepted, choose
from server.requests.options import AnalyzeOptions, Format
from server.responses.documents import Analysis, reference
from server.responses.headers import answer_headers
from server.responses.problems import responses
from server.service import Service

router = APIRouter(tags=["analysis"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
EXAMPLE_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
"""One grey pixel, PNG in base64: /docs sends an example as it is, beside the query's defaults, and it must be read."""

FORM_OPTIONS = {
    "type": "string",
    "description": "Options as a JSON object.",
    "examples": ["{}"],  # without one /docs sends the word `string`; an option here would win over the query's field
}
_REQUEST_BODY = {
    "required": True,
    "content": {
        "image/jpeg": _BINARY,
        "image/png": _BINARY,
        "image/webp": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "The picture."},
                    "options": FORM_OPTIONS,
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "image": {
                        "type": "object",
                        "required": ["type", "value"],
                        "properties": {
                            "type": {"enum": ["base64", "url"], "description": "url: where the gateway allows it."},
                            "value": {"type": "string"},
                        },
                    },
                    "options": reference(AnalyzeOptions),
                },
            },
            "example": {"image": {"type": "base64", "value": EXAMPLE_PICTURE}, "options": {"max_side": 1024}},
        },
    },
}
EXAMPLE = {
    "inference_id": "0f5e3c",
    "model": {"name": "light", "version": "1"},
    "image": {"width": 1280, "height": 720},
    "time": 0.041,
    "timings_ms": {"decode": 4.1, "detector": 28.9, "parsing": 3.9},
    "predictions": [
        {
            "x": 640.0,
            "y": 360.0,
            "width": 200.0,
            "height": 500.0,
            "bbox": [540.0, 110.0, 740.0, 610.0],
            "confidence": 0.98,
            "class": "person",
            "class_id": 0,
            "detection_id": "0",
            "tracker_id": None,
            "offset": [540, 110],
            "rle": {"size": [720, 1280], "counts": "..."},
            "parts": [{"class": "Hair", "class_id": 2, "score": 0.91, "area": 5123}],
            "parts_png": "iVBORw0...",
            "densepose": {
                "shape_chw": [3, 500, 200],
                "labels_uv_str": "iVBORw0...",
                "score": 0.83,
                "charts": [{"class": "Torso (front)", "class_id": 2, "score": 0.87, "area": 20418}],
            },
        }
    ],
    "warnings": [],
}


TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Milliseconds after which the answer is of no use: then 504, and nothing is computed any more.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
}


@router.post(
    "/v1/analyze",
    operation_id="analyze",
    summary="Find and parse everybody in one picture",
    response_class=Response,
    openapi_extra={"requestBody": _REQUEST_BODY, "parameters": [TIMEOUT_PARAMETER]},
    responses={
        200: {
            "description": "The people, by score; the type is negotiated with Accept.",
            "content": {
                Format.JSON.value: {"schema": reference(Analysis), "example": EXAMPLE},
                Format.PNG.value: _BINARY,
                Format.JPEG.value: _BINARY,
                Format.NPZ.value: _BINARY,
                Format.ZIP.value: _BINARY,
            },
        },
        **responses(400, 401, 406, 408, 413, 415, 422, 429, 503, 504),
    },
)
async def analyze(request: Request, options: Annotated[AnalyzeOptions, Depends(query_options)]) -> Response:
    """Send the picture as the raw body, as the part `file` of a form, or in JSON.

    Options come in the query, in the form's part `options` (JSON) or in the JSON body, which win over the query.
    """
    accept = accepted(request.headers)
    choose(accept, None)  # what can never be made is refused before the body is read; that may name another rendering
    service: Service = request.app.state.service
    call = call_of(request, Route.ANALYZE)
    with service.counting(call.route):
        service.admit(call)
        picture, options = await read_picture(request, options, call)
        request.scope["model"] = options.model
        wanted = choose(accept, options.render)
    answer = await while_connected(request, service.analyze(picture.data, options, wanted, call))
    headers = answer_headers(answer.model, answer.stages, answer.warnings)
    return Response(answer.body, media_type=answer.media_type, headers={**headers, "Vary": "Accept"})
