"""What a failed request to Triton means: a refusal, an outage, or something that is wrong there."""

from __future__ import annotations

import httpx2

from parsing_rcnn import ensembles
from parsing_rcnn.ensembles import Trouble
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn_client.sdk.retries import too_late
from parsing_rcnn_client.sdk.wire import Busy, GatewayError, ModelMissing

BROKEN = (OSError, httpx2.HTTPError)
"""A broken connection, or an answer over HTTP that is late or cut short."""


def meaning_of(error: Exception, url: str) -> Exception:
    """The error of this project for one of tritonclient's, or of the connection, by the server at `url`."""
    status = str(getattr(error, "status", lambda: None)() or "")
    message = str(getattr(error, "message", lambda: None)() or error or type(error).__name__)
    refusal = ensembles.refusal_of(message)
    if refusal is not None:
        return refusal
    trouble = ensembles.trouble_of(status, message)
    if trouble is Trouble.LATE or isinstance(error, httpx2.TimeoutException):
        return too_late(url)
    if trouble is Trouble.FULL:
        return Busy(f"the queue of {url} is full ({message}): come back later", 1.0)
    if trouble is Trouble.MISSING:
        return ModelMissing(f"{url} has no such model ({message}): is it this project's repository?")
    if trouble is Trouble.AWAY or isinstance(error, BROKEN):
        return EngineUnavailable(f"{url}: no answer ({message}); is Triton running? `parsing-rcnn triton`")
    return GatewayError(502, "triton", f"{url}: {message}")
