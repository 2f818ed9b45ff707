"""`POST /v1/analyze/batch`: several pictures, each with its own answer or its own error."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, TypeVar

import orjson
import structlog
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn.people import People
from server.admission import Place
from server.requests.call import Call, Route
from server.requests.inputs import Picture, call_of, query_options, read_pictures
from server.requests.memory import Share
from server.requests.negotiation import accepted, choose
from server.requests.options import AnalyzeOptions, Format
from server.responses import answers, documents
from server.responses.documents import reference
from server.responses.pieces import answer
from server.responses.problems import UNEXPECTED, describe, responses
from server.routers.analyze import EXAMPLE as ANALYSIS
from server.routers.analyze import EXAMPLE_PICTURE, FORM_OPTIONS, TIMEOUT_PARAMETER
from server.service import Service

log = structlog.get_logger("server")
router = APIRouter(tags=["analysis"])
T = TypeVar("T")

_OFFERED = (Format.JSON, Format.ZIP)
_REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "options": FORM_OPTIONS,
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "additionalProperties": False,
                "properties": {
                    "images": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["type", "value"],
                            "properties": {"type": {"enum": ["base64", "url"]}, "value": {"type": "string"}},
                        },
                    },
                    "options": reference(AnalyzeOptions),
                },
            },
            "example": {"images": [{"type": "base64", "value": EXAMPLE_PICTURE}], "options": {"max_side": 1024}},
        },
    },
}
_EXAMPLE = {
    "results": [
        {"index": 0, "name": "a.jpg", "status": 200} | ANALYSIS,
        {
            "index": 1,
            "name": "notes.txt",
            "status": 415,
            "problem": {
                "type": "urn:parsing-rcnn:unsupported-image",
                "title": "The image type is not supported",
                "status": 415,
                "detail": "the bytes are of no known image type: JPEG, PNG and WebP are accepted",
                "instance": "/v1/analyze/batch",
                "request_id": "4b8a5f0c9d1e4c7fa0b2c3d4e5f60718",
            },
        },
    ]
}


@router.post(
    "/v1/analyze/batch",
    operation_id="analyze_batch",
    summary="Find and parse everybody in several pictures",
    response_class=Response,
    openapi_extra={"requestBody": _REQUEST_BODY, "parameters": [TIMEOUT_PARAMETER]},
    responses={
        200: {
            "description": "One result for each picture in the order sent, with a status of its own.",
            "content": {
                Format.JSON.value: {"schema": reference(documents.Batch), "example": _EXAMPLE},
                Format.ZIP.value: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **responses(400, 401, 406, 408, 413, 415, 422, 429, 503, 504),
    },
)
async def analyze_batch(request: Request, options: Annotated[AnalyzeOptions, Depends(query_options)]) -> Response:
    """Send a form with one part `file` for each picture, or JSON with `images`.

    The pictures are computed one after the other, so a batch takes one place of the queue, and keeps it until the last
    one is answered, but while the answer waits to be read. Where the time of X-Timeout-Ms ends before the batch does,
    the rest of it has status 504; where it ends before the batch is here, the answer has.
    """
    wanted = choose(accepted(request.headers), None, _OFFERED)
    service: Service = request.app.state.service
    call = call_of(request, Route.BATCH)
    with service.counting(call.route):
        service.admit(call, 0)
        pictures, options = await read_pictures(request, options, call, partial(service.admit, call))
        request.scope["model"] = options.model
        options = answers.settle(options, wanted, service.engine.info)
    batch = _Batch(request, service, options, call, pictures)
    del pictures  # which the batch lets go, one after the other
    made = batch.archive() if wanted is Format.ZIP else batch.document()
    return await answer(request, made, wanted.value, batch.lend)


class _Batch:
    """Computes the results of one batch, picture by picture, in one place of the queue. Neither pictures that are
    answered nor what is yielded are held any longer."""

    def __init__(
        self,
        request: Request,
        service: Service,
        options: AnalyzeOptions,
        call: Call,
        pictures: list[Picture | ParsingRCNNError],
    ) -> None:
        self.request, self.service, self.options, self.call = request, service, options, call
        self.stems, self.left = _stems(pictures), deque(pictures)
        self.place: Place | None = None

    def lend(self) -> None:
        """Let others have the place while the client reads."""
        if self.place is not None:
            self.place.lend()

    async def document(self) -> AsyncGenerator[bytes, None]:
        """JSON with one result for each picture."""

        def encode(_: Picture, people: People) -> bytes:
            return answers.to_json(self.service.engine.info, self.options, people)

        with self._placed() as place:
            before = b'{"results":['
            for index in range(len(self.left)):
                entry: dict[str, Any] = {"index": index, "name": getattr(self.left[0], "name", ""), "status": 200}
                found = await self._next(place, encode)
                if isinstance(found, ParsingRCNNError):
                    entry |= {"status": found.status, "problem": describe(self.request, found)}
                    made = [before + orjson.dumps(entry)]
                else:
                    made = [before + orjson.dumps(entry)[:-1] + b"," + found[1:]]
                del found
                yield made.pop()
                before = b","
            yield b"]}"

    async def archive(self) -> AsyncGenerator[bytes, None]:
        """A zip with the files of each picture, and errors.json where there are errors."""
        archive, errors = answers.Archive(), {}
        run = partial(self.service.offload.run, 0)
        with self._placed() as place:
            for stem in self.stems:
                found = await self._next(place, partial(self._files, stem))
                if isinstance(found, ParsingRCNNError):
                    errors[stem] = describe(self.request, found)
                    continue
                made = [await run(archive.add, found)]
                yield made.pop()
            if errors:
                described = orjson.dumps(errors, option=orjson.OPT_INDENT_2)
                yield await run(archive.add, [("errors.json", described)])
            yield await run(archive.end)

    @contextmanager
    def _placed(self) -> Iterator[Place]:
        with self.service.place(self.call) as self.place:
            try:
                yield self.place
            finally:
                if self.left:
                    self.service.cancelled(self.call.route, len(self.left))

    def _files(self, stem: str, picture: Picture, people: People) -> answers.Files:
        document = answers.to_json(self.service.engine.info, self.options, people)
        return answers.files(stem, picture.data, self.service.limits, self.options, people, document)

    async def _next(self, place: Place, encode: Callable[[Picture, People], T]) -> T | ParsingRCNNError:
        """What `encode` makes of the next picture, or why it has no answer."""
        picture = self.left.popleft()
        if isinstance(picture, ParsingRCNNError):
            self.service.metrics.requests.labels(self.call.route, picture.code).inc()
            return picture
        try:
            if place.lent is not None:
                with self.service.counting(self.call.route):
                    async with self.call.in_time():
                        await place.again()
            work = partial(encode, picture)
            body, _ = await self.service.run(picture.data, self.options.core(), work, self.call, placed=True)
        except ParsingRCNNError as error:
            return error
        except Exception as error:
            log.error("unexpected error", path=self.request.url.path, exc_info=error)
            return ParsingRCNNError(UNEXPECTED)  # the other pictures keep their answers
        finally:
            share: Share = self.request.scope["share"]
            share.keep(max(share.size - len(picture.data), 0))
        return body


def _stems(pictures: list[Picture | ParsingRCNNError]) -> list[str]:
    """File names without folders and endings, made unique, also on systems that ignore the case of letters."""
    stems: list[str] = []
    taken = {"errors"}  # the file with the errors of all pictures
    for picture in pictures:
        name = getattr(picture, "name", "")
        stem = PurePath(name.replace("\\", "/")).stem.lstrip(".")[:100] or "photo"
        stem = "".join(c if c.isalnum() or c in "-_. " else "_" for c in stem)
        unique, count = stem, 0
        while unique.casefold() in taken:
            count += 1
            unique = f"{stem}_{count}"
        taken.add(unique.casefold())
        stems.append(unique)
    return stems
