"""Client of Parsing R-CNN Serving: `Client` and `AsyncClient` over a gateway, a Triton server or no server at all."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsing_rcnn.analyzer import Options
    from parsing_rcnn.errors import DeadlineExceeded
    from parsing_rcnn.people import People
    from parsing_rcnn_client.sdk.async_client import AsyncClient
    from parsing_rcnn_client.sdk.client import Client
    from parsing_rcnn_client.sdk.gateway import AsyncGateway, Gateway
    from parsing_rcnn_client.sdk.triton import Triton
    from parsing_rcnn_client.sdk.wire import Busy, GatewayError, ModelMissing, Streamed

__all__ = [
    "AsyncClient",
    "AsyncGateway",
    "Busy",
    "Client",
    "DeadlineExceeded",
    "Gateway",
    "GatewayError",
    "ModelMissing",
    "Options",
    "People",
    "Streamed",
    "Triton",
]

_HOMES = {
    "parsing_rcnn.analyzer": ("Options",),
    "parsing_rcnn.errors": ("DeadlineExceeded",),
    "parsing_rcnn.people": ("People",),
    "parsing_rcnn_client.sdk.async_client": ("AsyncClient",),
    "parsing_rcnn_client.sdk.client": ("Client",),
    "parsing_rcnn_client.sdk.gateway": ("AsyncGateway", "Gateway"),
    "parsing_rcnn_client.sdk.triton": ("Triton",),
    "parsing_rcnn_client.sdk.wire": ("Busy", "GatewayError", "ModelMissing", "Streamed"),
}


def __getattr__(name: str) -> Any:
    # on demand: the command line imports this package at every start, also for --help
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
