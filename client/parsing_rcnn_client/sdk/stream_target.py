"""Where the live stream of a gateway's client goes: the same address, key, headers and certificates as by HTTP."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn_client.sdk.wire import query_of

if TYPE_CHECKING:
    from parsing_rcnn_client.sdk.connection import Target
    from parsing_rcnn_client.sdk.gateway import AsyncGateway, Gateway


def target_of(
    gateway: Gateway | AsyncGateway, options: Options, track: bool, bgr: bool, *, tasks_named: bool
) -> Target:
    """Where a live stream goes.

    Raises:
        EngineUnavailable: what streams need is not installed, or the client was closed.
        InvalidOptions: class probabilities, which do not travel.
    """
    try:
        from parsing_rcnn_client.sdk.connection import Target
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "websockets":
            raise
        install = "pip install 'parsing-rcnn-client[stream]'"
        raise EngineUnavailable(f"{gateway.url}: live streams need the package websockets: {install}") from error
    base, headers = gateway._http.base_url, dict(gateway._transport["headers"])
    secure = base.scheme == "https"
    if base.userinfo:
        credentials = base64.b64encode(f"{base.username}:{base.password}".encode()).decode()
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Basic {credentials}"
    address = base.copy_with(scheme="wss" if secure else "ws", path=f"{base.path.rstrip('/')}/v1/stream", userinfo=b"")
    params = {**query_of(options, tasks_named=tasks_named), "format": "npz"}
    if track:
        params["track"] = "true"
    return Target(
        address=str(address.copy_with(params=params)),
        headers=headers,
        url=gateway.url,
        timeout=gateway.timeout,
        retry=gateway._retry,
        jpeg_quality=gateway.jpeg_quality,
        bgr=bgr,
        trusted=gateway._transport["verify"] if secure else None,
        outage=gateway._outage,
    )
