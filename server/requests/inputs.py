"""Reads pictures and options from a request: raw body, form or JSON."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, HTTPConnection, Request

from parsing_rcnn.errors import InvalidImage, InvalidOptions, ParsingRCNNError, UnsupportedImage
from parsing_rcnn.limits import MAX_TIMEOUT_MS
from server.errors import MalformedRequest, UnsupportedCoding
from server.offload import Offload
from server.requests.call import TIMEOUT_HEADER, Call, ClientGone, Route
from server.requests.fetch import fetch
from server.requests.forms import read_form
from server.requests.json_body import load, put_pictures, take_pictures
from server.requests.memory import Share
from server.requests.options import NAMED, AnalyzeOptions, listed, repeated, unknown
from server.requests.pieces import Pieces
from server.settings import Settings

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SHAPES = '{"type": "base64", "value": "..."}'
_JSON_HEADER = "`Content-Type: application/json`"
_SHORT = 64 * 1024  # bytes of JSON that take less time to read than a thread takes to start
_HOW_TO_SEND_OPTIONS = (
    """send options as one JSON object in the part `options`, as in curl -F 'options={"confidence": 0.9}', or in the """
    "query, as in ?confidence=0.9"
)

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """An encoded picture, and the name that the client gave it ("" if none)."""

    data: bytes
    name: str = ""


def call_of(connection: HTTPConnection, route: Route) -> Call:
    """The `Call` of a request.

    Raises:
        InvalidOptions: the header with the deadline is not a number of milliseconds.
    """
    given = connection.headers.get(TIMEOUT_HEADER)
    deadline = None
    if given is not None:
        if not _NUMBER.fullmatch(given) or not 1 <= int(given) <= MAX_TIMEOUT_MS:
            raise InvalidOptions(
                f"{TIMEOUT_HEADER}: {given[:40]!r} is no whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}"
            )
        deadline = connection.scope["begun"] + int(given) / 1000
    trace = connection.headers.get("traceparent", "")
    known, noted = _TRACEPARENT.match(trace), connection.scope["noted"]
    return Call(route, connection.scope["caller"], deadline, trace if known else None, noted=noted)


async def _few_unknown(request: Request) -> None:
    """Refuse a query with very many unknown options before FastAPI looks at each.

    Raises:
        RequestValidationError: it has too many.
    """
    strange = unknown(request.query_params.keys())
    if len(strange) > NAMED:
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("query", name), "msg": ""} for name in strange]
        )


async def query_options(
    request: Request, options: Annotated[AnalyzeOptions, Query()], _: Annotated[None, Depends(_few_unknown)]
) -> AnalyzeOptions:
    """The options of the query, as a dependency of routes. FastAPI by itself would take the last value of a repeated
    option.

    This awaits nothing; it is `async` because FastAPI would run it on a thread otherwise.

    Raises:
        RequestValidationError: an option that takes a single value is given more than once.
    """
    wrong = repeated([name for name, _ in request.query_params.multi_items()])
    if wrong:
        raise RequestValidationError(
            [{"type": "repeated", "loc": ("query", name), "msg": why} for name, why in wrong.items()]
        )
    return options


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Await `work`, and cancel it if the client disconnects. The body must have been read.

    Raises:
        ClientGone: the client disconnected.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def aside(request: Request, size: int, function: Callable[..., T], *arguments: object) -> T:
    """Call a function that parses `size` bytes: on a thread if they are many, so that the event loop stays free."""
    if size <= _SHORT:
        return function(*arguments)
    offload: Offload = request.app.state.service.offload
    return await offload.run(0, function, *arguments)


async def read_body(request: Request) -> bytes:
    """The body, which the request does not keep, unlike that of its method `body`."""
    pieces = Pieces()
    async for piece in request.stream():
        pieces.add(piece)
    return pieces.take()


@asynccontextmanager
async def reading(call: Call) -> AsyncIterator[None]:
    """Read a body in this context, before the call's deadline.

    Raises:
        ClientGone: the client disconnected before its body was complete.
        DeadlineExceeded: the deadline has passed.
    """
    async with call.in_time():
        try:
            yield
        except ClientDisconnect:
            raise ClientGone from None


def refuse_coding(request: Request) -> None:
    """Refuse a compressed body, as no header says how large it becomes.

    Raises:
        UnsupportedCoding: there is a Content-Encoding.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise UnsupportedCoding(
            f"Content-Encoding {coding[:40]!r}: a picture is compressed already, send the body without Content-Encoding"
        )


async def read_picture(request: Request, options: AnalyzeOptions, call: Call) -> tuple[Picture, AnalyzeOptions]:
    """Read one picture before the call's deadline, and the options; those of the body override `options`.

    Raises:
        ParsingRCNNError: the body is not what its type says, or is too large, or late.
        RequestValidationError: an option of the body is invalid.
    """
    refuse_coding(request)
    async with reading(call):
        return await _picture(request, options)


async def _picture(request: Request, options: AnalyzeOptions) -> tuple[Picture, AnalyzeOptions]:
    kind = _kind(request)
    if kind == "multipart/form-data":
        pictures, options = await _from_form(request, options, 1)
        return pictures[0], options
    if kind == "application/json":
        document = await _document(request)
        _known(document, {"image", "options"})
        options = _merged(options, document.get("options", {}))
        settings: Settings = request.app.state.settings
        described = _described(document.get("image"), "`image`", settings)
        picture = await _read(request, described, "`image`", settings.max_bytes)
        _share(request).keep(len(picture.data))
        return picture, options
    body = await read_body(request)
    # The type is ignored (curl sends x-www-form-urlencoded): the decoder judges by the bytes.
    if not body:
        raise InvalidImage("the body is empty: send the bytes of a JPEG, PNG or WebP picture")
    if body[:64].lstrip(b" \t\r\n").startswith(b"{"):
        raise UnsupportedImage(f"the bytes are JSON text: send JSON with {_JSON_HEADER}")
    return Picture(body), options


async def read_pictures(
    request: Request, options: AnalyzeOptions, call: Call, admit: Callable[[int], None]
) -> tuple[list[Picture | ParsingRCNNError], AnalyzeOptions]:
    """Read the pictures of a batch, with an error in place of each one that cannot be read, and the options.

    Args:
        request: with a form, or JSON.
        options: of the query; those of the body override them.
        call: its deadline is kept.
        admit: called with the number of pictures before any is fetched.

    Raises:
        ParsingRCNNError: as of `read_picture`; or there are no pictures, or too many.
        RequestValidationError: an option of the body is invalid.
    """
    refuse_coding(request)
    async with reading(call):
        return await _pictures(request, options, admit)


async def _pictures(
    request: Request, options: AnalyzeOptions, admit: Callable[[int], None]
) -> tuple[list[Picture | ParsingRCNNError], AnalyzeOptions]:
    settings: Settings = request.app.state.settings
    most = settings.max_batch
    kind = _kind(request)
    if kind == "multipart/form-data":
        pictures, options = await _from_form(request, options, most)
        admit(len(pictures))
        return list(pictures), options
    if kind != "application/json":
        raise MalformedRequest(
            f"a batch is a form with one part `file` for each picture, or JSON with `images`, sent with {_JSON_HEADER}"
        )
    document = await _document(request)
    _known(document, {"images", "options"})
    images = document.get("images")
    if not isinstance(images, list) or not 1 <= len(images) <= most:
        given = f"; it holds {len(images)}" if isinstance(images, list) else ""
        raise MalformedRequest(f"`images` is a list of 1 to {most} objects {_SHAPES}{given}")
    options = _merged(options, document.get("options", {}))
    described = [_described(image, f"`images[{index}]`", settings) for index, image in enumerate(images)]
    admit(len(images))
    found: list[Picture | ParsingRCNNError] = []
    left = settings.max_batch_bytes
    for index, image in enumerate(described):
        try:
            picture = await _read(request, image, f"`images[{index}]`", min(settings.max_bytes, left))
        except ParsingRCNNError as error:
            found.append(error)
        else:
            found.append(picture)
            left -= len(picture.data)
    _share(request).keep(settings.max_batch_bytes - left)
    return found, options


async def _document(request: Request) -> dict[str, Any]:
    """The JSON of the body, in which long base64 texts are `bytes` already. What is held meanwhile is counted.

    Raises:
        ParsingRCNNError: it is not a JSON object, or there is no memory for what is in it.
    """
    share, body = _share(request), await read_body(request)
    share.hold(len(body) * 3 // 4)
    rest, found = await aside(request, len(body), take_pictures, body)
    del body
    pictures = sum(map(len, found.values()))
    share.keep(len(rest) + pictures)
    if len(rest) > _SHORT:
        share.hold(2 * len(rest))  # the parser's copy, and texts
    document = await aside(request, len(rest), load, rest, "the body")
    share.keep(len(rest) + pictures)
    put_pictures(document, found)
    return document


def _share(request: Request) -> Share:
    found: Share = request.scope["share"]
    return found


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def _from_form(request: Request, options: AnalyzeOptions, most: int) -> tuple[list[Picture], AnalyzeOptions]:
    form = await read_form(request, most)
    try:
        files, more = form.getlist("file"), form.get("options")
        if not files or not all(isinstance(file, UploadFile) for file in files):
            raise MalformedRequest(
                "the form has no part `file` with a file name (as `filename=`, not `filename*=`): "
                "curl -F file=@photo.jpg sends one"
            )
        _refuse_other_parts(form)
        pictures = [await _taken(file) for file in files if isinstance(file, UploadFile)]
    finally:
        await form.close()
    if more is None:
        return pictures, options
    if not isinstance(more, str):
        raise MalformedRequest("the part `options` of the form is a file: send it as a plain field with a JSON object")
    document = await aside(request, len(more), load, more, "the part `options`")
    return pictures, _merged(options, document)


async def _taken(file: UploadFile) -> Picture:
    """The picture in a form, which does not keep it."""
    picture = Picture(await file.read(), file.filename or "")
    await file.close()
    return picture


def _refuse_other_parts(form: FormData) -> None:
    """Refuse parts that would be ignored, above all options sent as parts of their own."""
    names = [name for name, _ in form.multi_items()]
    strange = sorted(set(names) - {"file", "options"})
    if strange:
        raise MalformedRequest(f"the form has parts that are not read: {listed(strange)}; {_HOW_TO_SEND_OPTIONS}")
    if names.count("options") > 1:
        raise MalformedRequest(f"the form has {names.count('options')} parts `options`; {_HOW_TO_SEND_OPTIONS}")


def _described(image: Any, what: str, settings: Settings) -> tuple[str, str | bytes]:
    """(type, value) of a picture in JSON, a value of `bytes` if it is decoded; `what` names it in error messages."""
    shapes = _SHAPES + (' or {"type": "url", "value": "https://..."}' if settings.urls else "")
    kind = image.get("type") if isinstance(image, dict) else None
    if kind == "url" and not settings.urls:
        raise MalformedRequest(
            f"{what} is an address, and this gateway fetches none: send {_SHAPES}, or have it started with --urls"
        )
    accepted = ("base64", "url") if settings.urls else ("base64",)
    value = image.get("value") if isinstance(image, dict) else None
    if kind not in accepted or not isinstance(value, str if kind == "url" else str | bytes):
        raise MalformedRequest(f"{what} is an object {shapes}; other types are not accepted")
    return str(kind), value


async def _read(request: Request, image: tuple[str, str | bytes], what: str, most: int) -> Picture:
    """Fetch or decode a picture, given as `_described` returns it, of at most `most` bytes if it is fetched."""
    kind, value = image
    if isinstance(value, bytes):
        return Picture(value)
    if kind == "url":
        return Picture(await while_connected(request, fetch(value, most, _share(request).hold)))
    _share(request).hold(len(value) * 3 // 4)
    try:
        return Picture(await aside(request, len(value), partial(binascii.a2b_base64, value, strict_mode=True)))
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(
            f"`value` of {what} is not base64 ({error}): encode the file's bytes, no data: prefix"
        ) from None


def _known(document: dict[str, Any], names: set[str]) -> None:
    strange = sorted(set(document) - names)
    if strange:
        raise MalformedRequest(
            f"the body has unknown fields: {listed(strange)}; it holds {' and '.join(sorted(names))}"
        )


def _merged(options: AnalyzeOptions, more: Any) -> AnalyzeOptions:
    if not isinstance(more, dict):
        raise MalformedRequest("`options` is not an object")
    try:
        return options.merged(more)
    except ValidationError as error:
        located = [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        raise RequestValidationError(located) from None
