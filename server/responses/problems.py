"""Errors as RFC 9457 problem details. Expected errors have a status; any other is a 500 that reveals nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions, ParsingRCNNError
from server.requests.options import NAMED, AnalyzeOptions

MEDIA_TYPE = "application/problem+json"

UNEXPECTED = "an unexpected error was logged under this request id; please report it"


class BodyTooLarge(ParsingRCNNError):
    """The request body is beyond the limit."""

    status = 413
    code = "body-too-large"
    title = "The request body is too large"


class MalformedRequest(ParsingRCNNError):
    """The body is not what its content type says."""

    status = 400
    code = "malformed-request"
    title = "The request cannot be read"


class UnsupportedCoding(ParsingRCNNError):
    """The body is compressed as a whole."""

    status = 415
    code = "unsupported-coding"
    title = "The content coding is not supported"


class UploadTimeout(ParsingRCNNError):
    """The body did not arrive in time."""

    status = 408
    code = "upload-timeout"
    title = "The upload took too long"


class HeadersTooLarge(ParsingRCNNError):
    """The request's line and headers are beyond the limit."""

    status = 431
    code = "headers-too-large"
    title = "The headers are too large"


class Unauthorized(ParsingRCNNError):
    """No key, or one that is not known."""

    status = 401
    code = "unauthorized"
    title = "A key is needed"


class RateLimited(ParsingRCNNError):
    """One caller sent more than its share."""

    status = 429
    code = "rate-limited"
    title = "Too many pictures"


class Busy(EngineUnavailable):
    """Every place for pictures, uploads, streams or connections is taken: the engine is healthy, and busy."""

    code = "busy"
    title = "The gateway is busy"


class NotAcceptable(ParsingRCNNError):
    """None of the types that the client accepts can be made."""

    status = 406
    code = "not-acceptable"
    title = "No acceptable representation"


class ForeignPage(ParsingRCNNError):
    """A page from elsewhere asks, through its visitor's browser."""

    status = 403
    code = "foreign-page"
    title = "Pages from elsewhere may not ask"


class UnknownHost(ParsingRCNNError):
    """The request was meant for another name."""

    status = 421
    code = "unknown-host"
    title = "The host is not known here"


class NotFound(ParsingRCNNError):
    """Nothing is at the address."""

    status = 404
    code = "not-found"
    title = "Not Found"


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:parsing-rcnn:image-too-large"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the request.")
    request_id: str
    errors: list[dict[str, Any]] | None = Field(None, description="One entry for each option that is not valid.")
    retry_after: int | None = Field(None, description="Seconds, in a stream's answers; by HTTP it is a header.")


def problem(request: HTTPConnection, error: ParsingRCNNError, errors: list[dict[str, Any]] | None = None) -> Response:
    """A problem+json response; where waiting helps, it says how long."""
    note(request.scope, error)
    headers = headers_of(error)
    if request.url.path.startswith("/v2"):  # the Open Inference Protocol has a form of its own
        return Response(orjson.dumps({"error": error.detail}), error.status, headers, "application/json")
    return Response(orjson.dumps(describe(request, error, errors)), error.status, headers, MEDIA_TYPE)


def headers_of(error: ParsingRCNNError) -> dict[str, str]:
    """Headers of an answer that is an error: Retry-After in whole seconds, rounded up, and how to send a key."""
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def note(scope: MutableMapping[str, Any], error: ParsingRCNNError) -> None:
    """Record an error as the answer of its request, for the line in the log."""
    if "noted" in scope:
        scope["noted"].problem = error


def describe(
    request: HTTPConnection, error: ParsingRCNNError, errors: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The fields of `Problem`, of an answer or of one of its pictures. Counted for the line in the log."""
    if "noted" in request.scope:
        request.scope["noted"].failed[error.code] += 1
    return document(error, request.url.path, request.scope.get("request_id", ""), errors)


def document(
    error: ParsingRCNNError, instance: str, request_id: str, errors: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The fields of `Problem`, also where there is no request that could be read.

    Args:
        error: what is wrong.
        instance: path of the request; empty where it is not known.
        request_id: its id, as the header X-Request-ID has it.
        errors: one entry for each option that is not valid.
    """
    return Problem(
        type=f"urn:parsing-rcnn:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=instance,
        request_id=request_id,
        errors=errors,
    ).model_dump(exclude_none=True)


class _Plain(ParsingRCNNError):
    """An error that a framework raised, with its status."""

    def __init__(self, status: int, code: str, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.title = status, code, title


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declarations of problems for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {s: {"description": HTTPStatus(s).phrase, "content": {MEDIA_TYPE: schema}} for s in statuses}


def declare_keys(document: dict[str, Any]) -> None:
    """Say in OpenAPI how a key is sent, wherever 401 is an answer: a gateway without keys asks for none."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `parsing-rcnn key`."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path in document["paths"].values():
        for operation in path.values():
            if "401" in operation["responses"]:
                operation["security"] = [{}, {"bearer": []}, {"header": []}]
            # FastAPI's own form of errors; ours are problems
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def listed(names: Sequence[str]) -> str:
    """Names that a client sent, as text for an error: they may be many and long, so both are cut."""
    return ", ".join(f"`{name[:40]}`" for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def wrong_options(errors: Sequence[Mapping[str, Any]], *more: str, outer: int = 1) -> tuple[list[dict[str, Any]], str]:
    """The first options that are not valid, as entries of `Problem.errors` and as one line of text.

    Args:
        errors: pydantic's.
        more: options that the route has beyond `AnalyzeOptions`.
        outer: how many items of an error's `loc` come before the option ("query", for example, in FastAPI's errors).
    """
    told: list[dict[str, Any]] = [
        {"option": (".".join(map(str, e["loc"][outer:])) or str(e["loc"][0]))[:60], "reason": reason(e, *more)}
        for e in errors[:NAMED]
    ]
    line = "; ".join(f"{e['option']}: {e['reason']}" for e in told)
    return told, line + ("; ..." if len(errors) > NAMED else "")


def reason(error: Mapping[str, Any], *more: str) -> str:
    """Why an option is not valid, in words that help.

    Args:
        error: one of pydantic's.
        more: options that the route has beyond `AnalyzeOptions`.
    """
    if error["type"] == "extra_forbidden":
        return f"there is no such option; there are {', '.join([*AnalyzeOptions.model_fields, *more])}"
    return str(error["msg"])


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(ParsingRCNNError)
    async def expected(request: Request, error: ParsingRCNNError) -> Response:
        return problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors, detail = wrong_options(error.errors())
        return problem(request, InvalidOptions(detail), errors)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        remedies = {404: "there is nothing at this address; /docs has a list", 405: "other methods are taken here"}
        own = error.detail if error.detail != phrase else remedies.get(error.status_code, phrase)
        if allowed := (error.headers or {}).get("Allow"):
            own += f": {allowed}"
        detail = f"{request.method} {request.url.path}: {own}"
        code = phrase.lower().replace(" ", "-")
        answer = problem(request, _Plain(error.status_code, code, phrase, detail))
        note(request.scope, _Plain(error.status_code, code, phrase, own))  # the log's line has method and path already
        answer.headers.update(error.headers or {})
        return answer
