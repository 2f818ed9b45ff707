"""Client connections with limits on size and time, of which uvicorn itself has few."""

from __future__ import annotations

from functools import partial

import uvicorn
from fastapi import FastAPI

from server.connection.http import Connection
from server.connection.limits import ConnectionLimits
from server.connection.readers import Readers
from server.connection.stream import Stream
from server.settings import Settings

__all__ = ["ConnectionLimits", "configuration"]


def configuration(application: FastAPI, settings: Settings, limits: ConnectionLimits | None = None) -> uvicorn.Config:
    """The configuration with which uvicorn serves the gateway.

    Args:
        application: of `server.app.create_app`.
        settings: the gateway's.
        limits: of a connection; None: those of the settings.
    """
    limits = limits or ConnectionLimits(
        settings.max_connections, message_seconds=settings.upload_seconds, unread_bytes=settings.upload_memory
    )
    metrics, readers = application.state.metrics, Readers(limits.unread_bytes)
    metrics.observe_unread(lambda: readers.unread)
    return uvicorn.Config(
        application,
        http=partial(Connection, limits=limits, answers=metrics.answers, readers=readers),  # type: ignore[arg-type]  # uvicorn calls it like the class
        ws=partial(Stream, limits=limits, memory=application.state.uploads),  # type: ignore[arg-type]
        ws_max_size=settings.max_bytes + 8,
        ws_per_message_deflate=False,  # pictures are compressed already
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_keep_alive=75,  # longer than load balancers and clients keep theirs, so no request meets a closing one
        server_header=False,
        proxy_headers=bool(settings.proxies),  # else uvicorn believes whoever asks from this machine
        forwarded_allow_ips=settings.proxies,
    )
