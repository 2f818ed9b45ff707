"""The connection of a live stream: where it goes, and what it means that there is none."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from parsing_rcnn_client.retries import unanswered
from parsing_rcnn_client.wire import read_error

_GONE = (502, 504)  # what a proxy says while the gateway behind it is started again
_GOODBYE = 1.0  # seconds for the closing of a connection


class _Direct(connect):
    """Follows no redirects: the key is for this host and no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@dataclass(frozen=True)
class Target:
    """Where frames go.

    Attributes:
        address: ws:// or wss://, options included.
        headers: the key.
        url: for messages.
        timeout: seconds for one frame, and that the gateway may be away.
        retry: whether a lost connection is opened again.
        jpeg_quality: of arrays; None sends PNG.
        trusted: whose certificates are believed, with wss.
    """

    address: str
    headers: Mapping[str, str]
    url: str
    timeout: float
    retry: bool
    jpeg_quality: int | None
    trusted: ssl.SSLContext | None

    async def open(self, seconds: float) -> ClientConnection:
        """A connection.

        Raises:
            EngineUnavailable: nobody answers in time, or it is too busy (`Busy`).
            ParsingRCNNError: a refusal.
        """
        try:
            return await _Direct(
                self.address,
                additional_headers=self.headers,
                ssl=self.trusted,
                proxy=None,
                compression=None,
                max_size=None,
                open_timeout=seconds,
                close_timeout=_GOODBYE,
            )
        except InvalidStatus as refusal:
            answer = refusal.response
            if answer.status_code in _GONE:
                raise unanswered(self.url, refusal) from None
            raise read_error(answer.status_code, answer.headers, bytes(answer.body or b""), self.url) from None
        except (OSError, WebSocketException) as error:
            raise unanswered(self.url, error) from None
