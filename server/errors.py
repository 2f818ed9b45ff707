"""The gateway's own errors, each with its HTTP status, beside those of `parsing_rcnn.errors`.

Any exception that is not a `ParsingRCNNError` is a fault of the gateway, and is answered by a 500 that reveals nothing.
"""

from __future__ import annotations

from parsing_rcnn.errors import EngineUnavailable, ParsingRCNNError


class BodyTooLarge(ParsingRCNNError):
    """The request body is beyond the limit."""

    status = 413
    code = "body-too-large"
    title = "The request body is too large"


class MalformedRequest(ParsingRCNNError):
    """The request does not follow HTTP, or its body is not what its content type says."""

    status = 400
    code = "malformed-request"
    title = "The request cannot be read"


class UnknownVersion(ParsingRCNNError):
    """A stream was asked for in another version of the WebSocket protocol."""

    status = 426
    code = "unknown-websocket-version"
    title = "This version of WebSocket is not spoken"


class UnsupportedCoding(ParsingRCNNError):
    """The body is compressed as a whole."""

    status = 415
    code = "unsupported-coding"
    title = "The content coding is not supported"


class UploadTimeout(ParsingRCNNError):
    """The body did not arrive in time."""

    status = 408
    code = "upload-timeout"
    title = "The upload took too long"


class HeadersTooLarge(ParsingRCNNError):
    """The request's line and headers are beyond the limit."""

    status = 431
    code = "headers-too-large"
    title = "The headers are too large"


class Unauthorized(ParsingRCNNError):
    """No key, or one that is not known."""

    status = 401
    code = "unauthorized"
    title = "A key is needed"


class RateLimited(ParsingRCNNError):
    """One caller sent more than its share."""

    status = 429
    code = "rate-limited"
    title = "Too many pictures"

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Busy(EngineUnavailable):
    """Every place for pictures, uploads, streams or connections is taken: the engine is healthy, and busy."""

    code = "busy"
    title = "The gateway is busy"

    def __init__(self, detail: str, retry_after: float | None = EngineUnavailable.retry_after) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NotAcceptable(ParsingRCNNError):
    """None of the types that the client accepts can be made."""

    status = 406
    code = "not-acceptable"
    title = "No acceptable representation"


class ForeignPage(ParsingRCNNError):
    """A page from elsewhere asks, through its visitor's browser."""

    status = 403
    code = "foreign-page"
    title = "Pages from elsewhere may not ask"


class UnknownHost(ParsingRCNNError):
    """The request was meant for another name."""

    status = 421
    code = "unknown-host"
    title = "The host is not known here"


class NotFound(ParsingRCNNError):
    """Nothing is at the address."""

    status = 404
    code = "not-found"
    title = "Not Found"
