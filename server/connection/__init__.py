"""Clients' connections, each within limits: uvicorn's by itself have few."""

from __future__ import annotations

from functools import partial

import uvicorn
from fastapi import FastAPI

from server.connection.http import Connection
from server.connection.limits import ConnectionLimits
from server.connection.stream import Stream
from server.settings import Settings

__all__ = ["ConnectionLimits", "configuration"]


def configuration(application: FastAPI, settings: Settings, limits: ConnectionLimits | None = None) -> uvicorn.Config:
    """How uvicorn serves the gateway."""
    limits = limits or ConnectionLimits(settings.max_connections, message_seconds=settings.upload_seconds)
    return uvicorn.Config(
        application,
        http=partial(Connection, limits=limits, answers=application.state.metrics.answers),  # type: ignore[arg-type]  # uvicorn calls it like the class
        ws=partial(Stream, limits=limits),  # type: ignore[arg-type]
        ws_max_size=settings.max_bytes + 8,
        ws_per_message_deflate=False,  # pictures are compressed already
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_keep_alive=75,  # longer than balancers and clients keep theirs, so that no request meets a closing end
        server_header=False,
        proxy_headers=bool(settings.proxies),  # else uvicorn believes whoever asks from this machine
        forwarded_allow_ips=settings.proxies,
    )
