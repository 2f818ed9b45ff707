"""The connection of a live stream: where it goes, and which error a failed or lost one means."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn_client.sdk.certificates import untrusted
from parsing_rcnn_client.sdk.retries import Outage, unanswered
from parsing_rcnn_client.sdk.wire import GatewayError, read_error

TOO_BIG = 1009
"""Close code after a message that is too large."""

_POLICY, _BROKEN = 1008, 1006  # close codes: refused by a rule of the server; ended without a code
_GONE = (502, 504)  # HTTP status of a proxy while the gateway behind it restarts
_GOODBYE = 1.0  # seconds for the closing handshake


class _Direct(connect):
    """Follows no redirects, for the key must not go to another host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@dataclass(frozen=True)
class Target:
    """Where frames go.

    Attributes:
        address: ws:// or wss://, options included.
        headers: with the API key, and those that the caller gave.
        url: for messages.
        timeout: seconds for one frame, and for which the gateway may be away.
        retry: whether a lost connection is opened again.
        jpeg_quality: of arrays; None sends PNG.
        bgr: arrays are in OpenCV's order, blue first.
        trusted: for wss://, which certificates are trusted.
        outage: is told when the gateway stops and starts answering.
    """

    address: str
    headers: Mapping[str, str]
    url: str
    timeout: float
    retry: bool
    jpeg_quality: int | None
    bgr: bool
    trusted: ssl.SSLContext | None
    outage: Outage

    async def open(self, seconds: float) -> ClientConnection:
        """Open a connection within so many seconds.

        Raises:
            EngineUnavailable: nobody answers in time, or the gateway is too busy (`Busy`).
            ParsingRCNNError: the gateway refuses.
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
            self.outage.answered(answer.status_code)
            if answer.status_code in _GONE:
                raise unanswered(self.url, refusal) from None
            raise read_error(answer.status_code, answer.headers, bytes(answer.body or b""), self.url) from None
        except (OSError, WebSocketException) as error:
            raise untrusted(self.url, error) or unanswered(self.url, error) from None

    def lost(self, closed: ConnectionClosed) -> tuple[EngineUnavailable, int]:
        """(the error of the frames that were lost with a connection, its close code).

        Raises:
            GatewayError: the gateway refuses further frames.
        """
        close = closed.rcvd
        code = _BROKEN if close is None else close.code
        shown = f"{code} {close.reason}" if close is not None and close.reason else str(code)
        if code == _POLICY:
            raise GatewayError(403, "closed", f"{self.url}: the stream was closed ({shown})")
        return EngineUnavailable(f"{self.url}: the connection was lost ({shown})"), code
