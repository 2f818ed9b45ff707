"""What callers give: what they cannot mean is refused before any engine is asked."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from parsing_rcnn.people import Options
from parsing_rcnn_client.sdk.wire import hidden


def with_model(options: Options, model: str | None) -> Options:
    """The options of one call, with the model of its engine where they name none."""
    return options if model is None or options.model is not None else replace(options, model=model)


def refuse_address(name: str, engine: object) -> None:
    """An address is no engine.

    Raises:
        TypeError: it is one.
    """
    if isinstance(engine, str):
        raise TypeError(
            f"{name}({hidden(engine)!r}): this takes an engine; a gateway's address goes to {name}.connect()"
        )


def refuse_one(method: str, pictures: object) -> None:
    """A path, too, can be iterated over, by letters, and an array by its rows; one of [N,H,W,3] is N pictures.

    Raises:
        TypeError: it is a picture or a path, or nothing that can be iterated over, such as a `cv2.VideoCapture`.
    """
    pixels = isinstance(pictures, np.ndarray) and np.issubdtype(pictures.dtype, np.number) and pictures.ndim < 4
    several = any(hasattr(pictures, name) for name in ("__iter__", "__aiter__", "__getitem__"))
    if pixels or not several or isinstance(pictures, str | bytes | bytearray | memoryview | os.PathLike):
        kind = type(pictures).__name__
        raise TypeError(
            f"{method}() takes pictures one after the other, from a list or a generator, and this is one {kind}: give "
            "[picture] for a single one; of a video, give its frames"
        )


def refuse_none(in_flight: int) -> None:
    """With no picture on its way there would be no answer.

    Raises:
        ValueError: `in_flight` is below 1.
    """
    if in_flight < 1:
        raise ValueError(f"in_flight is {in_flight}: at least one picture has to be on its way")


def no_gateway(name: str, engine: object) -> TypeError:
    """The error of `stream` where the engine is another one."""
    return TypeError(f"stream() needs a gateway, {name}.connect(url), and this is {type(engine).__name__}")
