"""One HTTP call with its deadline and retries, for threads and for asyncio."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpx2

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn_client.names import hidden
from parsing_rcnn_client.sdk.retries import seconds_left, too_late, unanswered
from parsing_rcnn_client.sdk.wire import Call, key_headers, read_error

_PIECE = 65_536  # bytes of a picture between two looks at the clock
_GRACE = 0.1  # seconds


def transport(url: str, connections: int, api_key: str | None) -> dict[str, Any]:
    """Arguments of httpx2's clients.

    Raises:
        EngineUnavailable: `url` is no address.
        InvalidOptions: no header can carry the key.
    """
    try:
        parsed = httpx2.URL(url) if "://" in url else None
    except httpx2.InvalidURL:
        parsed = None
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host:
        raise EngineUnavailable(f"{hidden(url)}: not an address; give one like http://127.0.0.1:8080")
    return {
        "base_url": url.rstrip("/"),
        "limits": httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        "headers": key_headers(api_key, authorization=not parsed.userinfo),
        "follow_redirects": False,  # the key must not go to another host
        "trust_env": False,
    }


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

    def streamed(self) -> dict[str, Any]:
        """`request` for threads, with a body that ends at the deadline.

        The transport limits each read and write alone, so a server that takes a little again and again could outlast
        the limit many times.
        """
        request, content = self.request(), self._call.content
        if content is not None:
            request["content"] = self.in_time(content[at : at + _PIECE] for at in range(0, len(content), _PIECE))
            request["headers"]["Content-Length"] = str(len(content))  # else it would go in chunks of unknown length
        return request

    def in_time(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of a body, as long as there is time.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        for piece in pieces:
            if time.monotonic() >= self._end:
                raise too_late(self._url)
            yield piece

    def lost(self, error: httpx2.HTTPError | httpx2.InvalidURL | TimeoutError) -> EngineUnavailable:
        """The error of a try that had no answer."""
        late = httpx2.TimeoutException, TimeoutError
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
