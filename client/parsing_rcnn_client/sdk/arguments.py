"""What callers pass to `analyze`, `analyze_many` and `stream`: read, or refused before any engine is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from parsing_rcnn.analyzer import OptionKeywords, Options
from parsing_rcnn_client.names import hidden


def tasks_named(options: Options | None, keywords: Mapping[str, Any]) -> bool:
    """Whether the caller says which tasks to compute; if not, those whose head is trained are meant."""
    return options is not None or "tasks" in keywords


def checked(options: Options | None, keywords: OptionKeywords) -> tuple[Options | None, OptionKeywords]:
    """Options to hand on to an engine: finished where the tasks are named, else the keywords as they are.

    Raises:
        InvalidOptions, TypeError: as of `Options.of`.
    """
    finished = Options.of(options, keywords)
    return (finished, {}) if tasks_named(options, keywords) else (None, keywords)


def with_model(options: Options, model: str | None) -> Options:
    """The options of one call; where they name no model, with the model of the client."""
    return options if model is None or options.model is not None else replace(options, model=model)


def refuse_address(name: str, engine: object) -> None:
    """Refuse an address in the place of an engine.

    Raises:
        TypeError: `engine` is a text.
    """
    if isinstance(engine, str):
        raise TypeError(
            f"{name}({hidden(engine)!r}): this takes an engine; a gateway's address goes to {name}.connect()"
        )


def refuse_one(method: str, pictures: object) -> None:
    """Refuse one picture in the place of several.

    A path could be iterated over, too (by letters), and so could an array (by rows); one of [N,H,W,3] is N pictures.

    Raises:
        TypeError: it is a picture or a path, or nothing that can be iterated over, such as a `cv2.VideoCapture`.
    """
    pixels = isinstance(pictures, np.ndarray) and np.issubdtype(pictures.dtype, np.number) and pictures.ndim < 4
    several = any(hasattr(pictures, name) for name in ("__iter__", "__aiter__", "__getitem__"))
    several = several and not hasattr(pictures, "read")  # of an open file these would be lines
    if pixels or not several or isinstance(pictures, str | bytes | bytearray | memoryview | os.PathLike):
        kind = type(pictures).__name__
        raise TypeError(
            f"{method}() takes pictures one after the other, from a list or a generator, and this is one {kind}: give "
            "[picture] for a single one; of a video, give its frames"
        )


def refuse_none(in_flight: int) -> None:
    """Refuse to have no picture on its way, which would never give an answer.

    Raises:
        ValueError: `in_flight` is below 1.
    """
    if in_flight < 1:
        raise ValueError(f"in_flight is {in_flight}: at least one picture has to be on its way")


def no_gateway(name: str, engine: object) -> TypeError:
    """The error of `stream` where the engine is no gateway; to be raised."""
    return TypeError(f"stream() needs a gateway, {name}.connect(url), and this is {type(engine).__name__}")
