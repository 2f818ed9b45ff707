"""Client of Parsing R-CNN Serving: `Client` and `AsyncClient` over a gateway, a Triton server or no server at all."""

from parsing_rcnn_client.client import AsyncClient, Client
from parsing_rcnn_client.gateway import AsyncGateway, Gateway
from parsing_rcnn_client.wire import Busy, DeadlineExceeded, GatewayError

__all__ = ["AsyncClient", "AsyncGateway", "Busy", "Client", "DeadlineExceeded", "Gateway", "GatewayError"]
