"""`WS /v1/stream`: frames in, people out, never later than the newest frame that could be computed."""

from __future__ import annotations

import asyncio
import math
import struct
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, WebSocket
from pydantic import TypeAdapter, ValidationError
from starlette.websockets import WebSocketDisconnect

from parsing_rcnn.codecs.header import is_jpeg
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from parsing_rcnn.people import People
from parsing_rcnn.tracking.numbering import Numbering
from parsing_rcnn.tracking.tracker import DOUBTFUL
from server.errors import MalformedRequest, Unauthorized
from server.middleware.access import address_of, refuse
from server.requests.call import Call, Route
from server.requests.inputs import call_of
from server.requests.memory import Share, UploadMemory
from server.requests.options import (
    NAMED,
    NO_JPEG,
    PICTURES,
    AnalyzeOptions,
    Format,
    Render,
    repeated,
    unknown,
    wrong_options,
)
from server.responses.answers import settle
from server.responses.problems import UNEXPECTED, describe
from server.routers.stream_places import SILENT, Place, Places
from server.service import Service

router = APIRouter()
log = structlog.get_logger("server")

HEADER = struct.Struct("<II")  # frame_id, flags (none is defined: 0)
SUBPROTOCOL = "parsing-rcnn.v1"
_OWN = ("format", "track")  # options that the query has beyond those of an analysis
_BOOLEAN = TypeAdapter(bool)
_SMALL = 320  # pixels of the longer side, enough to see a cut: a JPEG of 1280x720 is decoded at a quarter of its size
_LOOK = 5.0  # seconds without a frame after which the key is checked again
_FORMATS = {"json": Format.JSON, "png": Format.PNG, "jpeg": Format.JPEG, "npz": Format.NPZ}


@dataclass(frozen=True)
class Frame:
    """What a client sent in one message.

    Attributes:
        number: of the client.
        picture: encoded.
        share: what it holds of the memory for uploads, until it is answered or replaced.
        refused: why there is no room for its picture, which is b"" then; None: there is.
        arrived: seconds of `time.monotonic`.
    """

    number: int
    picture: bytes
    share: Share
    refused: ParsingRCNNError | None = None
    arrived: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Wanted:
    """What a client opened a stream for.

    Attributes:
        options: for every frame.
        format: of the answers.
        call: who asks.
        numbering: gives people their numbers; None without tracking.
    """

    options: AnalyzeOptions
    format: Format
    call: Call
    numbering: Numbering | None


class Mailbox:
    """Holds one frame. A newer one replaces it, because a late answer to a live picture is worse than none."""

    def __init__(self) -> None:
        self.dropped = 0
        self._frame: Frame | None = None
        self._filled = asyncio.Event()

    def put(self, frame: Frame) -> bool:
        """Leave a frame. Returns whether it replaced one that was not taken."""
        replaced = self._frame is not None
        self.dropped += replaced
        self.free()
        self._frame = frame
        self._filled.set()
        return replaced

    def free(self) -> None:
        """Give back the memory of the frame in it, which nobody will take."""
        if self._frame is not None:
            self._frame.share.end()

    async def take(self) -> Frame:
        """Wait for a frame, and take the newest one."""
        await self._filled.wait()
        self._filled.clear()
        frame, self._frame = self._frame, None
        assert frame is not None
        return frame


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Binary messages: 8 bytes (u32 frame_id, u32 flags, little endian), then a JPEG, PNG or WebP.

    Options stand in the query, as for /v1/analyze; with `render` the answers are binary: the same 8 bytes and a PNG,
    or a JPEG with `format=jpeg`, since a browser sends no Accept here, or the arrays with `format=npz`. Else they are
    JSON, with `frame_id` and `dropped`, the frames of this stream that newer ones replaced so far. One frame is in work
    while the newest waits. A frame's error comes as JSON with `problem`, and the stream goes on. Answers and errors
    come in the order of the frames, so who sent a frame before the one that is answered knows that it was dropped.
    With `track=true` everybody has a `tracker_id`, which is the same in every frame of this stream until a cut.
    """
    service: Service = socket.app.state.service
    places: Places = socket.app.state.places
    try:
        with service.counting(Route.STREAM):
            wanted = _negotiate(socket, service)
            place = places.take()
    except ParsingRCNNError as error:
        await refuse(error, socket.scope, socket.receive, socket.send)
        return
    try:  # the client may leave while it is accepted, and must not keep its place
        await socket.accept(SUBPROTOCOL if socket.scope.get("subprotocols") else None)
        await _serve(socket, service, wanted, place)
    finally:
        places.leave(place)


async def _serve(socket: WebSocket, service: Service, wanted: Wanted, place: Place) -> None:
    """Take and answer frames until the client leaves, or has to."""
    mailbox = Mailbox()
    answering = asyncio.create_task(_answer(socket, mailbox, service, wanted, place))
    leaving = asyncio.create_task(_make_way(socket, place))
    try:
        with service.metrics.streams.track_inprogress():
            await _receive(socket, mailbox, service, answering, place)
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)
        mailbox.free()


async def _make_way(socket: WebSocket, place: Place) -> None:
    """Close the stream when it has lost its place."""
    await place.lost.wait()
    reason = f"no frame for {SILENT:g} s, and another stream needs the place"
    log.info("closed", reason=reason, client=address_of(socket.scope), request_id=socket.scope["request_id"])
    await socket.close(1013, reason)  # try again later


def _negotiate(socket: WebSocket, service: Service) -> Wanted:
    """Read the options.

    Raises:
        ParsingRCNNError: an option is invalid, or the engine is not ready.
    """
    _check_subprotocols(socket.scope.get("subprotocols", []))
    wrong = repeated([name for name, _ in socket.query_params.multi_items()])
    if wrong:
        raise InvalidOptions("; ".join(f"{name}: {why}" for name, why in wrong.items()))
    query: dict[str, Any] = {k: v[0] if len(v) == 1 else v for k, v in _multi(socket).items()}
    kind, track = query.pop("format", None), query.pop("track", "false")
    strange = unknown(query)
    if len(strange) > NAMED:
        query = {name: query[name] for name in strange}
    try:
        options = AnalyzeOptions.model_validate(query)
    except ValidationError as error:
        raise InvalidOptions(wrong_options(error.errors(), *_OWN, outer=0)[1]) from None
    socket.scope["model"] = options.model
    wanted = _wanted(kind, options.render)
    service.engine.check()
    options, numbering = settle(options, wanted, service.engine.info), None
    if _tracked(track):
        if wanted in PICTURES:  # and they would show doubtful people, who have no numbers yet
            raise InvalidOptions("track: pictures show no numbers; take format=json or format=npz")
        numbering = Numbering(options.confidence)
        options = options.model_copy(update={"confidence": min(options.confidence, DOUBTFUL)})
    return Wanted(options, wanted, replace(call_of(socket, Route.STREAM), deadline=None), numbering)


def _check_subprotocols(offered: list[str]) -> None:
    """Check that our subprotocol is offered, if any is: a browser closes the connection if the server selects none of
    those that it offered. (A key among them is none that can be selected.)

    Raises:
        MalformedRequest: it is not.
    """
    if offered and SUBPROTOCOL not in offered:
        raise MalformedRequest(
            f"Sec-WebSocket-Protocol is without {SUBPROTOCOL}, which is the one that is spoken here: offer it, where a "
            f'key goes with it as in new WebSocket(url, ["{SUBPROTOCOL}", "key.KEY"]), or offer none'
        )


def _tracked(value: object) -> bool:
    """The value of the option `track`.

    Raises:
        InvalidOptions: it is neither true nor false, in the spellings that `exact` accepts.
    """
    try:
        return _BOOLEAN.validate_python(value)
    except ValidationError:
        raise InvalidOptions("track: choose one of true, false") from None


def _wanted(kind: object, shown: Render | None) -> Format:
    """The format of the answers, by the options `format` and `render`.

    Raises:
        InvalidOptions: there is no such format, or `render` cannot be a JPEG.
    """
    if kind is None:
        return Format.JSON if shown is None else Format.PNG
    if not isinstance(kind, str) or kind not in _FORMATS:
        raise InvalidOptions(f"format: choose one of {', '.join(_FORMATS)}")
    if kind == "jpeg" and shown in NO_JPEG:
        raise InvalidOptions(f"format: render={shown.value} has no JPEG, as {NO_JPEG[shown]}; take png")
    return _FORMATS[kind]


def _multi(socket: WebSocket) -> dict[str, list[str]]:
    return {key: socket.query_params.getlist(key) for key in socket.query_params}


async def _receive(
    socket: WebSocket, mailbox: Mailbox, service: Service, answering: asyncio.Task[None], place: Place
) -> None:
    while not answering.done():
        try:
            data = await _message(socket)
            if data is None:
                return
            if len(data) < HEADER.size:
                detail = "a message is binary: u32 frame_id, u32 flags (little endian), then an encoded picture"
                await _problem(socket, None, mailbox, MalformedRequest(detail))
                continue
        except (WebSocketDisconnect, RuntimeError):
            return
        place.heard()
        mailbox.free()  # room for the frame that replaces the one in there
        if mailbox.put(_frame(data, socket.app.state.uploads)):
            service.metrics.dropped.inc()
        del data  # while the next one is waited for


async def _message(socket: WebSocket) -> bytes | None:
    """The next message; b"" if it is text, None if the client is gone."""
    message = await socket.receive()
    return None if message["type"] == "websocket.disconnect" else message.get("bytes") or b""


def _frame(data: bytes, memory: UploadMemory) -> Frame:
    number, _ = HEADER.unpack_from(data)
    share = Share(memory)
    try:
        share.hold(len(data))
    except ParsingRCNNError as error:
        share.end()
        return Frame(number, b"", share, error.with_traceback(None))  # which would keep the message
    return Frame(number, data[HEADER.size :], share)


def _followed(frame: Frame, numbering: Numbering, service: Service, people: People) -> People:
    """A frame's people with their numbers.

    A JPEG is decoded small to see cuts, and in full only where somebody's colours are needed. Other pictures cannot be
    decoded small, so they are decoded once, in full.
    """
    whole = partial(decode, frame.picture, service.limits)
    if is_jpeg(frame.picture):
        numbering.watch(whole(max_side=_SMALL))
        return numbering.number(people, frame.arrived, whole)
    picture = whole()
    numbering.watch(picture)
    return numbering.number(people, frame.arrived, lambda: picture)


async def _next(socket: WebSocket, mailbox: Mailbox) -> Frame:
    """Wait for the newest frame.

    Raises:
        Unauthorized: the key was revoked while there was none.
    """
    while True:
        try:
            async with asyncio.timeout(_LOOK):
                return await mailbox.take()
        except TimeoutError:
            socket.scope["identify"]()


async def _answer(socket: WebSocket, mailbox: Mailbox, service: Service, wanted: Wanted, place: Place) -> None:
    while True:
        try:
            frame = await _next(socket, mailbox)
            place.begin()
            try:
                await _answer_one(socket, frame, mailbox, service, wanted)
            finally:
                frame.share.end()
                place.end()
            del frame  # while the next one is waited for
        except Unauthorized as error:
            await socket.close(1008, error.title)
            return


async def _answer_one(socket: WebSocket, frame: Frame, mailbox: Mailbox, service: Service, wanted: Wanted) -> None:
    """Send the answer to a frame, or its error.

    Raises:
        Unauthorized: the key was revoked. That was sent, too.
    """
    call, numbering = wanted.call, wanted.numbering
    try:
        socket.scope["identify"]()  # the key may have been revoked since the stream was opened
        if frame.refused is not None:
            service.metrics.requests.labels(call.route, frame.refused.code).inc()
            await _problem(socket, frame.number, mailbox, frame.refused)
            return
        with service.counting(call.route):
            service.admit(call)
        follow = None if numbering is None else partial(_followed, frame, numbering, service)
        answer = await service.analyze(frame.picture, wanted.options, wanted.format, call, follow)
    except ParsingRCNNError as error:
        await _problem(socket, frame.number, mailbox, error)
        if isinstance(error, Unauthorized):
            raise
    except Exception as error:
        log.error("unexpected error", path="/v1/stream", exc_info=error)
        await _problem(socket, frame.number, mailbox, ParsingRCNNError(UNEXPECTED))
    else:
        if wanted.format is not Format.JSON:
            await socket.send_bytes(HEADER.pack(frame.number, 0) + answer.body)
        else:
            head = orjson.dumps({"frame_id": frame.number, "dropped": mailbox.dropped})
            await socket.send_text((head[:-1] + b"," + answer.body[1:]).decode())


async def _problem(socket: WebSocket, number: int | None, mailbox: Mailbox, error: ParsingRCNNError) -> None:
    problem = describe(socket, error)
    if error.retry_after is not None:  # seconds; by HTTP the header Retry-After says it
        problem["retry_after"] = math.ceil(error.retry_after)
    document = {"frame_id": number, "dropped": mailbox.dropped, "problem": problem}
    await socket.send_text(orjson.dumps(document).decode())
