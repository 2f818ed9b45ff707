"""The connection of a live stream: where it goes, and what it means that there is none."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn_client.sdk.retries import Outage, unanswered
from parsing_rcnn_client.sdk.wire import GatewayError, read_error

TOO_BIG = 1009
"""The code of a close after a message that is beyond a limit."""

_POLICY, _BROKEN = 1008, 1006  # other codes
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
        bgr: arrays are of OpenCV, blue first.
        trusted: whose certificates are believed, with wss.
        outage: is told that the gateway does not answer, and when it does.
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
            self.outage.answered(answer.status_code)
            if answer.status_code in _GONE:
                raise unanswered(self.url, refusal) from None
            raise read_error(answer.status_code, answer.headers, bytes(answer.body or b""), self.url) from None
        except (OSError, WebSocketException) as error:
            raise unanswered(self.url, error) from None

    def lost(self, closed: ConnectionClosed) -> tuple[EngineUnavailable, int]:
        """Why a connection ended, for the frames that were lost with it, and the code.

        Raises:
            GatewayError: the gateway wants no more of them.
        """
        said = closed.rcvd
        code = _BROKEN if said is None else said.code
        shown = f"{code} {said.reason}" if said is not None and said.reason else str(code)
        if code == _POLICY:
            raise GatewayError(403, "closed", f"{self.url}: the stream was closed ({shown})")
        return EngineUnavailable(f"{self.url}: the connection was lost ({shown})"), code
