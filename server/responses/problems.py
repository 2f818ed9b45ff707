"""Answers that are errors: RFC 9457 problem details, or the Open Inference Protocol's form below `/v2`."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from server.requests.options import wrong_options

MEDIA_TYPE = "application/problem+json"

UNEXPECTED = "an unexpected error was logged under this request id; please report it"


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
    """The answer to a request that failed. Where waiting helps, a header says how long."""
    note(request.scope, error)
    headers = headers_of(error)
    if error.status == HTTPStatus.REQUEST_TIMEOUT:  # the rest of its body is not waited for, nor sent again here
        headers["Connection"] = "close"
    if request.url.path.startswith("/v2"):  # the Open Inference Protocol has a form of its own
        return Response(orjson.dumps({"error": error.detail}), error.status, headers, "application/json")
    return Response(orjson.dumps(describe(request, error, errors)), error.status, headers, MEDIA_TYPE)


def headers_of(error: ParsingRCNNError) -> dict[str, str]:
    """Headers of an error: Retry-After in whole seconds, rounded up, and WWW-Authenticate where a key is missing."""
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def note(scope: MutableMapping[str, Any], error: ParsingRCNNError) -> None:
    """Record an error as the answer to its request, for the log."""
    if "noted" in scope:
        scope["noted"].problem = error


def describe(
    request: HTTPConnection, error: ParsingRCNNError, errors: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The fields of `Problem` for an answer, or for one of its pictures. The error is counted for the log."""
    if "noted" in request.scope:
        request.scope["noted"].failed[error.code] += 1
    return document(error, request.url.path, request.scope.get("request_id", ""), errors)


def document(
    error: ParsingRCNNError, instance: str, request_id: str, errors: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The fields of `Problem`, also for a request that could not be read.

    Args:
        error: what is wrong.
        instance: path of the request; empty where it is not known.
        request_id: its id, as in the header X-Request-ID.
        errors: one entry for each invalid option.
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
    """Declare in OpenAPI how a key is sent, for every route that may answer 401. Keys are optional there, as a gateway
    may have none."""
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


def declare_refusals(document: dict[str, Any]) -> None:
    """Declare in OpenAPI what stands before every route: pages from elsewhere (403) and other hosts (421); and the
    header that says when to come again."""
    wait = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
    for path, operations in document["paths"].items():
        kind, schema = ("application/json", "Error") if path.startswith("/v2") else (MEDIA_TYPE, "Problem")
        content = {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        for method, operation in operations.items():
            answers = operation["responses"]
            for status in (403, 421) if method == "post" else (421,):
                answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
            for later in {"429", "503"} & set(answers):
                answers[later]["headers"] = wait


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
        reason = error.detail if error.detail != phrase else remedies.get(error.status_code, phrase)
        if allowed := (error.headers or {}).get("Allow"):
            reason += f": {allowed}"
        detail = f"{request.method} {request.url.path}: {reason}"
        code = phrase.lower().replace(" ", "-")
        answer = problem(request, _Plain(error.status_code, code, phrase, detail))
        note(request.scope, _Plain(error.status_code, code, phrase, reason))  # the log has method and path
        answer.headers.update(error.headers or {})
        return answer
