"""Errors as RFC 9457 problem details. Expected errors carry their status; the rest is a 500 that tells nothing."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from parsing_rcnn.errors import ParsingRCNNError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

log = structlog.get_logger("server")


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


class NotAcceptable(ParsingRCNNError):
    """None of the types that the client accepts can be made."""

    status = 406
    code = "not-acceptable"
    title = "No acceptable representation"


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:parsing-rcnn:image-too-large"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the request.")
    request_id: str
    errors: list[dict[str, Any]] | None = Field(None, description="One entry for each option that is not valid.")


def problem(
    request: Request, status: int, code: str, title: str, detail: str, errors: list[dict[str, Any]] | None = None
) -> Response:
    """A problem+json response; 503 says when to come back."""
    body = Problem(
        type=f"urn:parsing-rcnn:{code}",
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=request.scope.get("request_id", ""),
        errors=errors,
    )
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Response(orjson.dumps(body.model_dump(exclude_none=True)), status, headers, MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declarations of problems for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {s: {"description": HTTPStatus(s).phrase, "content": {MEDIA_TYPE: schema}} for s in statuses}


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(ParsingRCNNError)
    async def expected(request: Request, error: ParsingRCNNError) -> Response:
        return problem(request, error.status, error.code, error.title, error.detail)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"option": ".".join(map(str, e["loc"][1:])) or str(e["loc"][0]), "reason": e["msg"]} for e in error.errors()
        ]
        detail = "; ".join(f"{e['option']}: {e['reason']}" for e in errors)
        return problem(request, 422, "invalid-options", "An option is not valid", detail, errors)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        detail = f"{request.method} {request.url.path}: {error.detail}"
        answer = problem(request, error.status_code, phrase.lower().replace(" ", "-"), phrase, detail)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", path=request.url.path, exc_info=error)
        detail = "an unexpected error was logged under this request id; please report it"
        return problem(request, 500, "internal-error", "Internal error", detail)
