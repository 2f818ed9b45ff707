"""Requests to the gateway and its answers, as data: what builds and reads them, without a transport."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import numpy as np

from parsing_rcnn import card, errors
from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.codecs import jpeg, npz, png
from parsing_rcnn.codecs.picture import Picture, load
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable, InvalidOptions, ParsingRCNNError
from parsing_rcnn.limits import MAX_PEOPLE, MAX_TIMEOUT_MS
from parsing_rcnn.models import sizes_of
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy

_TYPED = {
    kind.code: kind
    for kind in (
        errors.InvalidImage,
        errors.ImageTooLarge,
        errors.UnsupportedImage,
        errors.InvalidOptions,
        errors.ModelNotFound,
        errors.EngineUnavailable,
    )
}


class GatewayError(ParsingRCNNError):
    """A refusal by the gateway for which `parsing_rcnn.errors` has no class: its HTTP status, code and detail."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


class OtherClasses(GatewayError):
    """An answer has the part classes of another model than the one that was asked for."""


class Busy(EngineUnavailable):
    """The engine is there, but refuses for now.

    Attributes:
        retry_after: seconds after which to ask again.
    """

    retry_after: float

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ModelMissing(EngineUnavailable):
    """The server is there, but lacks the model or cannot run it. Asking again would not help."""


class Streamed(NamedTuple):
    """A frame of a live stream, answered.

    Attributes:
        number: index of the frame in the source, from 0; answers come in this order.
        picture: the frame as it was given; of a Pillow picture its array.
        people: who is in it, or what went wrong with this frame: `InvalidImage`, `Busy`, or an `EngineUnavailable`
            where the connection was lost while the frame was on its way.
        dropped: how many frames before this one were replaced by newer ones and have no answer.
    """

    number: int
    picture: Picture
    people: People | ParsingRCNNError
    dropped: int

    def __repr__(self) -> str:
        """Without the picture, which may be megabytes."""
        return f"Streamed({self.number}: {self.people!r}, {self.dropped} dropped)"


KEY_VARIABLE = "PARSING_RCNN_API_KEY"
"""Environment variable with the API key, for callers who pass none."""

_UNREADABLE = (  # of JSON that says something else: too deep, without what is looked for, a number that is infinite
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_FRAME = struct.Struct("<II")  # frame_id, flags
_NUMBERS = 0xFFFFFFFF  # of a frame_id


def key_headers(api_key: str | None, *, authorization: bool) -> dict[str, str]:
    """The header that carries an API key; empty where there is no key.

    Args:
        api_key: None takes the one of `KEY_VARIABLE`, "" sends none.
        authorization: whether the header Authorization may be used, which libraries and proxies keep out of their
            logs; False where it carries a user name and password already.

    Raises:
        InvalidOptions: no header can carry the key. The message does not repeat it.
    """
    key = (os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key).strip()
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        source = KEY_VARIABLE if api_key is None else "api_key (--key)"
        raise InvalidOptions(f"{source}: an API key is made of ASCII characters, without spaces")
    return {"Authorization": f"Bearer {key}"} if authorization else {"X-API-Key": key}


@dataclass(frozen=True)
class Call:
    """One HTTP request, for any HTTP library."""

    method: str
    path: str
    accept: str
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None

    def headers(self, left: float) -> dict[str, str]:
        """Headers of the request; after `left` seconds the gateway need not answer any more."""
        kind = {} if self.content is None else {"Content-Type": "application/octet-stream"}
        return {"Accept": self.accept, "X-Timeout-Ms": str(min(max(round(1000 * left), 1), MAX_TIMEOUT_MS)), **kind}


MODELS = Call("GET", "/v1/models", "application/json")


def encode_image(image: Picture, jpeg_quality: int | None = None, *, bgr: bool = False) -> bytes:
    """The picture as encoded bytes, which a server decodes; what is encoded already passes unchanged.

    Args:
        image: an encoded picture, the path of one, an upright uint8 [H,W,3] RGB array, or a picture of Pillow.
        jpeg_quality: for arrays, 1..100; None encodes them as PNG, which is lossless and takes ten times as long.
        bgr: the array is in OpenCV's order, blue first; RGB is sent.

    Raises:
        InvalidOptions: `bgr`, and it is no array.
        InvalidImage: a path cannot be read, an array is no RGB picture, or it is no picture at all.
        ImageTooLarge: an array is larger than a JPEG may be.
    """
    image = load(image, bgr=bgr)
    if not isinstance(image, np.ndarray):
        return image
    if jpeg_quality is None:
        return png.encode_rgb(image)
    return jpeg.encode_rgb(image, jpeg_quality, "420")


def analyze_call(
    image: Picture,
    options: Options,
    jpeg_quality: int | None = None,
    *,
    bgr: bool = False,
    tasks_named: bool = True,
) -> Call:
    """The request that analyses one picture; `bgr` as in `encode_image`, `tasks_named` as in `query_of`.

    Raises:
        InvalidImage: as of `encode_image`.
        InvalidOptions: class probabilities, which do not travel; or as of `encode_image`.
    """
    query = query_of(options, tasks_named=tasks_named)
    return Call("POST", "/v1/analyze", "application/x-npz", query, encode_image(image, jpeg_quality, bgr=bgr))


def refuse_probabilities(options: Options) -> None:
    """Refuse what no server answers with.

    Raises:
        InvalidOptions: class probabilities, which do not travel.
    """
    if options.part_probs:
        raise InvalidOptions("class probabilities (the exact paste) do not travel: use the embedded engine for them")


def query_of(options: Options, *, tasks_named: bool = True) -> dict[str, str]:
    """Options as they stand in a query.

    Args:
        options: to send.
        tasks_named: False leaves the tasks to the gateway, which knows which heads are trained.

    Raises:
        InvalidOptions: class probabilities, which do not travel.
    """
    refuse_probabilities(options)
    params = {"confidence": str(options.confidence), "max_people": str(options.max_people)}
    if tasks_named:
        params["tasks"] = ",".join(sorted(map(str, options.tasks)))
    if options.max_side is not None:
        params["max_side"] = str(options.max_side)
    if options.model is not None:
        params["model"] = str(options.model)
    if options.region is not None:
        params["region"] = ",".join(map(str, options.region))
    if options.tiles != 1:
        params["tiles"] = str(options.tiles)
    return params


def read_people(body: bytes, headers: Mapping[str, str], taxonomy: Taxonomy) -> People:
    """The people of an npz answer, with the server's stages as `timings`.

    Raises:
        OtherClasses: there are people in it, of another taxonomy.
        GatewayError: the answer is no npz of people.
    """
    try:
        people = npz.decode(body, taxonomy, most=MAX_PEOPLE)
    except (ValueError, TypeError) as error:
        other = _taxonomy_in(body)
        if other is not None and other != taxonomy:
            raise OtherClasses(502, "other-classes", _changed(other, taxonomy)) from None
        raise GatewayError(502, "bad-answer", f"{error}; is this a Parsing R-CNN gateway?") from None
    return replace(people, timings=_server_timing(headers.get("server-timing", "")))


def _taxonomy_in(body: bytes) -> Taxonomy | None:
    """The taxonomy that an answer itself implies; None where it is no npz of people."""
    try:
        return npz.decode(body, most=MAX_PEOPLE).taxonomy
    except (ValueError, TypeError):
        return None


def _changed(found: Taxonomy, expected: Taxonomy) -> str:
    return (
        f"the gateway's model changed: the answer has the {len(found)} part classes of {found.name}, and by /v1/models "
        f"they are the {len(expected)} of {expected.name}; ask again, and give all gateways behind one address the "
        "same model"
    )


def _server_timing(text: str) -> dict[str, float]:
    timings = {}
    for item in text.split(","):
        name, _, duration = item.strip().partition(";dur=")
        try:
            timings[name] = float(duration)
        except ValueError:
            continue
    return timings


def read_error(status: int, headers: Mapping[str, str], body: bytes, url: str) -> ParsingRCNNError:
    """The exception for an answer that is not 200, with the gateway's `request_id` where it tells one."""
    problem: dict[str, Any] = {}
    try:
        problem = json.loads(body)
        detail, code = str(problem["detail"]), str(problem["type"]).removeprefix("urn:parsing-rcnn:")
    except _UNREADABLE:
        detail, code = f"{url}: the answer is HTTP {status}; is this a Parsing R-CNN gateway?", "unknown"
    told = problem.get("request_id") if isinstance(problem, dict) else None
    identity = told if isinstance(told, str) and told else headers.get("x-request-id")
    if status == 401:
        detail += f" (here: api_key=, on the command line --key, or the variable {KEY_VARIABLE})"
    if status == 500 and identity:  # what went wrong stands in the gateway's log alone
        detail += f" (request {identity})"
    error = _error_of(status, code, detail, headers)
    error.request_id = identity
    return error


def _error_of(status: int, code: str, detail: str, headers: Mapping[str, str]) -> ParsingRCNNError:
    if status == 504:
        return DeadlineExceeded(detail)
    when = headers.get("retry-after")
    if code == errors.BrokenModel.code and not when:
        return ModelMissing(detail)
    never = code == "rate-limited" and not when  # more than the share at once: no time heals it
    if status in (429, 503) and not never:
        return Busy(detail, _seconds(when, headers.get("date")))
    kind = _TYPED.get(code)
    return kind(detail) if kind is not None else GatewayError(status, code, detail)


def _seconds(text: str | None, now: str | None = None) -> float:
    """Seconds that a Retry-After header asks for, within bounds; 1 where there is none.

    Args:
        text: the header: a number of seconds, or a date.
        now: the header Date of the same answer, for the server's clock may differ from ours.
    """
    try:
        seconds = float(text or 1)
    except ValueError:
        at, since = _date(text), _date(now) or datetime.now(UTC)
        seconds = 1.0 if at is None else (at - since).total_seconds()
    return min(max(0.05, seconds), 60)  # in this order NaN is 0.05


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def frame_message(number: int, picture: bytes) -> bytes:
    """A frame as `/v1/stream` takes it: a header of 8 bytes, then the picture.

    Args:
        number: of the frame; its lowest 32 bits are sent.
        picture: encoded.
    """
    return _FRAME.pack(number & _NUMBERS, 0) + picture


def is_of(number: int, sent: int) -> bool:
    """Whether an answer's number, of 32 bits, is that of the frame `sent`."""
    return number == sent & _NUMBERS


def read_streamed(message: bytes | str, taxonomy: Taxonomy, url: str) -> tuple[int, People | ParsingRCNNError]:
    """Read an answer of `/v1/stream?format=npz`: (number of the frame, its people or its error).

    Raises:
        OtherClasses: as of `read_people`.
        GatewayError: it is no answer to a frame.
    """
    if isinstance(message, bytes) and len(message) > _FRAME.size:
        return _FRAME.unpack_from(message)[0], read_people(message[_FRAME.size :], {}, taxonomy)
    try:
        document: dict[str, Any] = json.loads(message)
        problem, number = document["problem"], int(document["frame_id"])
        headers = {"retry-after": str(problem.get("retry_after", ""))}
        return number, read_error(int(problem["status"]), headers, json.dumps(problem).encode(), url)
    except _UNREADABLE:
        problem_text = f"{url}: what came is no answer to a frame; is this a Parsing R-CNN gateway?"
        raise GatewayError(502, "bad-answer", problem_text) from None


def read_info(body: bytes, url: str) -> ModelInfo:
    """What runs behind a gateway, from the answer of `MODELS`.

    Raises:
        GatewayError: the answer names no model.
    """
    try:
        model: dict[str, Any] = json.loads(body)[0]
        names = tuple(model.get("models", ()))  # none of an older version
        for name in names:
            sizes_of(model["card"], name)  # raises what `_UNREADABLE` lists where the card lacks one
        return ModelInfo(
            name=str(model["name"]),
            version=str(model["version"]),
            runtime=f"{model['runtime']} behind {url}",
            tasks=dict(model["tasks"]),
            classes=tuple(model["classes"]),
            canvases=tuple((int(h), int(w)) for h, w in model["canvases"]),
            card=dict(model["card"]),
            models=names,
            model=model.get("model"),
        )
    except _UNREADABLE as error:
        raise GatewayError(502, "bad-answer", f"{url}/v1/models names no model ({error}): is this a gateway?") from None


def taxonomy_of(info: ModelInfo, where: str) -> Taxonomy:
    """The taxonomy of what runs, by the names of its classes: that of its card, or else CIHP or MHP.

    Raises:
        GatewayError: none of these has its classes.
    """
    try:
        own_taxonomy = card.taxonomy_of(info.card)
    except ValueError:
        own_taxonomy = CIHP
    for known in (own_taxonomy, CIHP, MHP):  # own classes may be called as these, in other colours
        if known.classes == info.classes:
            return known
    problem = f"{len(info.classes)} part classes, neither CIHP's nor MHP's, nor those of its model card"
    raise GatewayError(502, "bad-answer", f"{where} has {problem}")
