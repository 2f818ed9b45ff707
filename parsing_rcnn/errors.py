"""Errors that a user can act on. Each carries the HTTP status that a gateway answers with."""

from __future__ import annotations

import re

# std::bad_alloc, "can't alloc", "Failed to allocate memory", CUDA's "out of memory", cuBLAS's and cuDNN's
# STATUS_ALLOC_FAILED, oneDNN's out_of_memory; no thread could be started
_SHORTAGE = re.compile(
    r"\bbad[_ ]alloc|(\b|_)alloc(ation)?[ _]failed|memalign failed|can't alloc|\ballocate\b|out[ _]of[ _]memory"
    r"|resource temporarily unavailable",
    re.IGNORECASE,
)


class ParsingRCNNError(Exception):
    """Base of every expected error: `detail` names the input, the limit and the remedy.

    Attributes:
        retry_after: seconds after which the same request may succeed; None if it will fail again.
        request_id: of a gateway that refused, under which it logs the request; None where there is none.
    """

    status = 500
    code = "internal-error"
    title = "Internal error"
    retry_after: float | None = None
    request_id: str | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidImage(ParsingRCNNError):
    """The bytes cannot be decoded: they are empty, truncated or damaged."""

    status = 400
    code = "invalid-image"
    title = "The image cannot be decoded"


class ImageTooLarge(ParsingRCNNError):
    """The picture has too many bytes or too many pixels (read from its header, before decoding)."""

    status = 413
    code = "image-too-large"
    title = "The image is too large"


class UnsupportedImage(ParsingRCNNError):
    """The type of the picture is not accepted (judged by its magic bytes, not by its name)."""

    status = 415
    code = "unsupported-image"
    title = "The image type is not supported"


class InvalidOptions(ParsingRCNNError):
    """An option has a wrong name, type or range."""

    status = 422
    code = "invalid-options"
    title = "An option is not valid"


class ModelNotFound(ParsingRCNNError):
    """There is no model repository or model file in the place searched."""

    status = 404
    code = "model-not-found"
    title = "The model was not found"


class EngineUnavailable(ParsingRCNNError):
    """The engine cannot answer now (starting, overloaded, broken runtime): try again later."""

    status = 503
    code = "engine-unavailable"
    title = "The engine is not available"
    retry_after: float | None = 1


class BrokenModel(EngineUnavailable):
    """A model's file is damaged or of another model, so later requests will fail, too."""

    code = "broken-model"
    title = "The model cannot be run"
    retry_after = None

    def __init__(self, path: object, reason: object) -> None:
        super().__init__(
            f"{path} cannot be run ({_gist(reason)}): copy it again, or let `parsing-rcnn export` write it"
        )


class OutOfMemory(EngineUnavailable):
    """A runtime got no memory. A later request may, when others have freed some."""

    code = "out-of-memory"
    title = "There is not enough memory"
    retry_after = 10

    def __init__(self, path: object, reason: object) -> None:
        super().__init__(
            f"there is not enough memory to run {path} ({_gist(reason)}): give this process more, or let it "
            "analyse fewer pictures at the same time"
        )


def is_shortage(error: Exception) -> bool:
    """Whether an error of a library means that memory ran out: each library has its own types and words for it."""
    return isinstance(error, MemoryError) or _SHORTAGE.search(str(error)) is not None


def _gist(reason: object) -> str:
    """The last line of a runtime's message, which says most."""
    return next((line.strip() for line in reversed(str(reason).splitlines()) if line.strip()), "no reason given")


class DeadlineExceeded(EngineUnavailable):
    """The answer would come later than the client allows."""

    status = 504
    code = "deadline-exceeded"
    title = "The deadline has passed"
    retry_after = None
