"""`POST /v1/analyze`: a picture in three ways of sending it, an answer in three formats."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from parsing_rcnn.errors import InvalidImage
from server.negotiation import choose
from server.problems import BodyTooLarge, MalformedRequest, responses
from server.service import AnalyzeOptions, Format, Service

router = APIRouter(tags=["analysis"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
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
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "The picture."},
                    "options": {"type": "string", "description": "Options as a JSON object."},
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {
                        "type": "object",
                        "required": ["type", "value"],
                        "properties": {"type": {"const": "base64"}, "value": {"type": "string", "format": "byte"}},
                    },
                    "options": {"$ref": "#/components/schemas/AnalyzeOptions"},
                },
            },
            "example": {"image": {"type": "base64", "value": "/9j/4AAQ..."}, "options": {"confidence": 0.6}},
        },
    },
}
_EXAMPLE = {
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
            "densepose": {"shape_chw": [3, 500, 200], "labels_uv_str": "iVBORw0..."},
        }
    ],
    "warnings": [],
}


@router.post(
    "/v1/analyze",
    operation_id="analyze",
    summary="Find and parse everybody in one picture",
    response_class=Response,
    openapi_extra={"requestBody": _REQUEST_BODY},
    responses={
        200: {
            "description": "The people, by score; the type is negotiated with Accept.",
            "content": {
                Format.JSON.value: {"schema": {"type": "object"}, "example": _EXAMPLE},
                Format.PNG.value: _BINARY,
                Format.NPZ.value: _BINARY,
            },
        },
        **responses(400, 406, 413, 415, 422, 503),
    },
)
async def analyze(request: Request, options: Annotated[AnalyzeOptions, Query()]) -> Response:
    """Send the picture as the raw body, as the part `file` of a form, or as base64 in JSON.

    Options come in the query, in the form's part `options` (JSON) or in the JSON body, which win over the query.
    """
    wanted = choose(request.headers.get("accept"), options.render)
    image, options = await _read(request, options)
    service: Service = request.app.state.service
    answer = await service.analyze(image, options, wanted)
    timing = ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in answer.stages.items())
    return Response(answer.body, media_type=answer.media_type, headers={"Server-Timing": timing, "Vary": "Accept"})


async def _read(request: Request, options: AnalyzeOptions) -> tuple[bytes, AnalyzeOptions]:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request, options)
    body = await request.body()
    if kind == "application/json":
        return _from_json(body, options)
    # whatever the type says (curl says x-www-form-urlencoded), the bytes decide; the decoder refuses what is no image
    if not body:
        raise InvalidImage("the body is empty: send the bytes of a JPEG, PNG or WebP picture")
    return body, options


async def _from_form(request: Request, options: AnalyzeOptions) -> tuple[bytes, AnalyzeOptions]:
    try:
        form: FormData = await request.form(max_files=1, max_fields=4)
    except BodyTooLarge:
        raise
    except HTTPException as error:
        raise MalformedRequest(f"the form cannot be read: {error.detail}") from None
    try:
        file, more = form.get("file"), form.get("options")
        if not isinstance(file, UploadFile):
            raise MalformedRequest("the form has no part `file` with a file name: curl -F file=@photo.jpg sends one")
        image = await file.read()
    finally:
        await form.close()
    if more is None:
        return image, options
    if not isinstance(more, str):
        raise MalformedRequest("the part `options` of the form is a file: send it as a plain field with a JSON object")
    return image, _merged(options, _object(more, "the part `options`"))


def _from_json(body: bytes, options: AnalyzeOptions) -> tuple[bytes, AnalyzeOptions]:
    document = _object(body, "the body")
    unknown = sorted(set(document) - {"image", "options"})
    if unknown:
        raise MalformedRequest(f"the body has unknown fields: {', '.join(unknown)}; it holds `image` and `options`")
    image = document.get("image")
    if not isinstance(image, dict) or image.get("type") != "base64" or not isinstance(image.get("value"), str):
        raise MalformedRequest('`image` is an object {"type": "base64", "value": "..."}; other types are not accepted')
    try:
        data = base64.b64decode(image["value"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(
            f"`image.value` is not base64 ({error}): encode the file's bytes, no data: prefix"
        ) from None
    more = document.get("options", {})
    if not isinstance(more, dict):
        raise MalformedRequest("`options` is not an object")
    return data, _merged(options, more)


def _object(text: bytes | str, what: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"{what} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise MalformedRequest(f"{what} is JSON, but not an object")
    return document


def _merged(options: AnalyzeOptions, more: dict[str, Any]) -> AnalyzeOptions:
    try:
        return options.merged(more)
    except ValidationError as error:
        located = [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        raise RequestValidationError(located) from None
