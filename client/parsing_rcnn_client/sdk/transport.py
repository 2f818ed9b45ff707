"""One HTTP call with its deadline and retries, for threads and for asyncio."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx2

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from parsing_rcnn_client.names import hidden
from parsing_rcnn_client.sdk.certificates import trusted, untrusted
from parsing_rcnn_client.sdk.deadlines import Transport, until
from parsing_rcnn_client.sdk.retries import seconds_left, too_late, unanswered
from parsing_rcnn_client.sdk.wire import Call, key_headers, read_error

_PIECE = 65_536  # bytes of a picture between two looks at the clock
_GRACE = 0.1  # seconds


def address_of(url: str, *schemes: str, example: str) -> httpx2.URL:
    """The address of a server.

    Args:
        url: as the caller wrote it.
        schemes: one of which it has.
        example: for the message.

    Raises:
        InvalidOptions: it is none.
    """
    try:
        parsed = httpx2.URL(url) if "://" in url else None
    except httpx2.InvalidURL:
        parsed = None
    if parsed is None or parsed.scheme not in schemes or not parsed.host:
        raise InvalidOptions(f"{hidden(url)}: not an address; give one like {example}")
    return parsed


def transport(
    url: str,
    connections: int,
    api_key: str | None,
    verify: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Arguments of httpx2's clients.

    Raises:
        InvalidOptions: `url` is no address, no header can carry the key or one of `headers`, or the environment names
            certificates that cannot be read.
        TypeError: `verify` is no SSL context.
    """
    parsed = address_of(url, "http", "https", example="http://127.0.0.1:8080")
    if verify is not None and not isinstance(verify, ssl.SSLContext):
        raise TypeError(f"verify: expected ssl.create_default_context(cafile='ca.pem'), got {verify!r}")
    own = _sound(headers or {})
    taken = bool(parsed.userinfo) or any(name.lower() == "authorization" for name in own)
    context = trusted(parsed.scheme == "https", verify)
    return {
        "base_url": url.rstrip("/"),
        "limits": httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        "headers": {**key_headers(api_key, authorization=not taken), **own},
        "follow_redirects": False,  # the key must not go to another host
        "trust_env": False,
        **({} if context is None else {"verify": context}),
    }


def client_of(options: dict[str, Any]) -> httpx2.Client:
    """httpx2's client for threads, which keeps to the deadlines of `exchanged`; options as `transport` has them."""
    of_client = {name: value for name, value in options.items() if name not in ("limits", "verify")}
    return httpx2.Client(**of_client, transport=Transport(options["limits"], options.get("verify")))


def _sound(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that can be sent.

    Raises:
        InvalidOptions: one of them cannot. The message does not repeat its value, which may be secret.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~\w-]+", name, re.ASCII):
            raise InvalidOptions(f"headers: {name!r} is no name of a header, such as X-Team")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise InvalidOptions(f"headers: the value of {name} is not a text of printable ASCII characters")
    return headers


def in_time(pieces: Iterable[bytes], end: float, url: str) -> Iterator[bytes]:
    """The pieces of a body until `end`, a value of time.monotonic().

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    for piece in pieces:
        if time.monotonic() >= end:
            raise too_late(url)
        yield piece


def exchanged(http: httpx2.Client, request: dict[str, Any], end: float, url: str) -> tuple[httpx2.Response, bytes]:
    """An answer and its body, both whole before a deadline.

    A server that takes or sends a little again and again could outlast a limit of each read and write many times.

    Args:
        http: sends the request; of `client_of`.
        request: arguments of its `stream`.
        end: the deadline, a value of time.monotonic().
        url: for messages.

    Raises:
        DeadlineExceeded: it has passed between two pieces of a body.
        httpx2.HTTPError: as of `http`; a `TimeoutException` where it has passed.
    """
    content = request.get("content")
    if content is not None:
        pieces = (content[at : at + _PIECE] for at in range(0, len(content), _PIECE))
        size = {"Content-Length": str(len(content))}  # else it would go in chunks of unknown length
        request = {**request, "content": in_time(pieces, end, url), "headers": {**request["headers"], **size}}
    with until(end), http.stream(**request) as answer:
        return answer, b"".join(in_time(answer.iter_bytes(), end, url))


class Tries:
    """The state of one call over its tries: the arguments for the transport, and the errors that its answers mean.

    Args:
        call: the request.
        end: the deadline, a value of time.monotonic().
        url: of the gateway, for messages.
    """

    def __init__(self, call: Call, end: float, url: str) -> None:
        self._call, self._end, self._url = call, end, url
        self._last: EngineUnavailable | None = None  # why the last try failed

    @property
    def patience(self) -> float:
        """Seconds after which to give up: a little more than the transport has, so that its own error comes first."""
        return max(self._end - time.monotonic(), 0) + _GRACE

    def request(self) -> dict[str, Any]:
        """Arguments of the transport's `request`.

        Raises:
            EngineUnavailable: there is no time left.
        """
        left = seconds_left(self._end, self._url, self._last)
        return {
            "method": self._call.method,
            "url": self._call.path,
            "params": dict(self._call.params),
            "headers": self._call.headers(left),
            "content": self._call.content,
            "timeout": left,
        }

    def exchanged(self, http: httpx2.Client) -> tuple[httpx2.Response, bytes]:
        """One try, for threads: as of the function of this name."""
        return exchanged(http, self.request(), self._end, self._url)

    def lost(self, error: httpx2.HTTPError | httpx2.InvalidURL | TimeoutError) -> EngineUnavailable:
        """The error of a try that had no answer."""
        late = httpx2.TimeoutException, TimeoutError
        if (refused := untrusted(self._url, error)) is not None:
            return refused
        if isinstance(error, late) and not isinstance(error, httpx2.ConnectTimeout):
            self._last = too_late(self._url)
        else:
            self._last = unanswered(self._url, error)
        return self._last

    def judge(self, answer: httpx2.Response, body: bytes) -> None:
        """Accept an answer with the status 200.

        Raises:
            ParsingRCNNError: the status is another one: what that means.
        """
        if answer.status_code == 200:
            return
        refusal = read_error(answer.status_code, answer.headers, body, self._url)
        self._last = refusal if isinstance(refusal, EngineUnavailable) else None
        raise refusal
