"""The contract of Triton's ensembles, for all that write, serve or call them: names, tensors, parameters, errors.

Importing this needs nothing of Triton.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from numbers import Integral, Real
from typing import Any

from parsing_rcnn.analyzer import TASKS, Options
from parsing_rcnn.card import WEIGHTS, trained_in
from parsing_rcnn.errors import (
    ImageTooLarge,
    InvalidImage,
    InvalidOptions,
    ParsingRCNNError,
    UnsupportedImage,
)
from parsing_rcnn.taxonomy import DENSEPOSE

ENSEMBLES = {
    "human_analysis": frozenset({"parsing", "densepose"}),
    "human_parsing": frozenset({"parsing"}),
    "densepose": frozenset({"densepose"}),
}
"""Name of each -> the tasks that it computes."""

MAPS: dict[str, tuple[str, ...]] = {"parsing": ("PARTS", "PART_SCORES"), "densepose": ("IUV", "IUV_SCORES")}
"""Task -> the outputs that only it has."""

ROWS = tuple(name for names_ in MAPS.values() for name in names_)
"""The outputs of the heads, with a row for each person."""

MODEL = "model"
"""Parameter of a request: the name of the card's model on whose canvases `preprocess` puts the picture. Without it, the
parameter of this name of its configuration decides, or else the card."""

REGION = "region"
"""Parameter of a request: x1,y1,x2,y2, the part of the picture to look at."""

_NUMBERS: dict[str, type[int] | type[float]] = {"confidence": float, "max_people": int, "max_side": int, "tiles": int}

PARAMETERS = (*_NUMBERS, MODEL, REGION)
"""Parameters of a request: `Options` without the tasks, which the ensemble's name says, and without `part_probs`, which
no ensemble returns."""

MODELS = "models"
"""Parameter of an ensemble's configuration: the card's `models` (names and sizes, JSON). They tell a client which of
them takes two requests."""

_DIGITS = 12  # of a SHA-256, in messages
_CHEAPEST = {tasks: name for name, tasks in ENSEMBLES.items()}
_CHEAPEST[frozenset()] = "human_parsing"  # boxes alone: its maps are not requested
_ALWAYS = ("BOXES", "SCORES", "IMAGE_SIZE")

_MOST = 2**31 - 1  # bytes of a message: tritonclient's default, which `channel_args` replace

CHANNEL = [
    ("grpc.max_send_message_length", _MOST),
    ("grpc.max_receive_message_length", _MOST),
    # gRPC waits up to two minutes before it retries an address that refused: a server that has just started would be
    # ready long before it is used
    ("grpc.max_reconnect_backoff_ms", 1000),
]
"""`channel_args` of a gRPC connection to Triton."""

OWN_CHANNEL = [*CHANNEL, ("grpc.enable_http_proxy", 0)]
"""The same for a server of this machine or cluster, which the proxy of http_proxy does not lead to."""

IDENTITY = "card."
"""Prefix of the parameters by which an ensemble's configuration says whose weights it runs."""

CLASSES = "classes"
"""What follows it in the name of the one that holds a taxonomy of one's own: JSON, as the card's `taxonomy`."""

PROBE = "probe"
"""Parameter of a request to the detector that is only a health check."""


@dataclass(frozen=True)
class Output:
    """An output of an ensemble: its name, NumPy's name of its dtype, and its shape, with -1 for the people."""

    name: str
    kind: str
    dims: tuple[int, ...]


def outputs(tasks: Iterable[str], classes: int, cells: int) -> list[Output]:
    """The outputs for these tasks.

    Args:
        tasks: "parsing", "densepose", both or none.
        classes: number of part classes.
        cells: on a side of every map.
    """
    every = (
        Output("BOXES", "float32", (-1, 4)),
        Output("SCORES", "float32", (-1,)),
        Output("IMAGE_SIZE", "int32", (2,)),
        Output("PARTS", "uint8", (-1, cells, cells)),
        Output("PART_SCORES", "float32", (-1, classes)),
        Output("IUV", "uint8", (-1, 3, cells, cells)),
        Output("IUV_SCORES", "float32", (-1, len(DENSEPOSE))),
    )
    wanted = names(tasks)
    return [output for output in every if output.name in wanted]


def names(tasks: Iterable[str]) -> tuple[str, ...]:
    """Names of the outputs for these tasks, in the order of `outputs`."""
    asked = frozenset(tasks)
    return (*_ALWAYS, *(name for task in TASKS if task in asked for name in MAPS[task]))


def models_of(card: Mapping[str, Any]) -> dict[str, str]:
    """The parameter `MODELS` and its text, for every ensemble's configuration; empty where the card names no models."""
    sizes = {
        name: {key: model[key] for key in ("canvases", "second") if key in model}
        for name, model in card.get("models", {}).items()
    }
    return {MODELS: json.dumps(sizes)} if sizes else {}


def identity(card: Mapping[str, Any]) -> dict[str, str]:
    """Parameters, and their text, that identify a card's weights in every ensemble's configuration.

    They are the same for every export of the same weights, whatever its precision, canvases and numbers of people; the
    sums of its files are not. Two trainings with one name and version differ in the sum of their weights, which older
    cards lack.
    """
    trained = sorted(name for name, learnt in trained_in(card).items() if learnt)
    taxonomy = card.get("taxonomy", "")
    own = not isinstance(taxonomy, str)
    said = {
        "name": card.get("name", ""),
        "version": card.get("version", ""),
        "taxonomy": taxonomy["name"] if own else taxonomy,
        "trained": ", ".join(trained),
        **({WEIGHTS: card[WEIGHTS]} if WEIGHTS in card else {}),
        **({CLASSES: json.dumps(taxonomy, ensure_ascii=False, sort_keys=True)} if own else {}),
    }
    return {f"{IDENTITY}{key}": str(value) for key, value in said.items()}


def whose(said: Mapping[str, str]) -> str:
    """An `identity` in words, for messages."""
    name, version, taxonomy, trained = (said[f"{IDENTITY}{key}"] for key in ("name", "version", "taxonomy", "trained"))
    weights = said.get(f"{IDENTITY}{WEIGHTS}", "")[:_DIGITS]
    return f"{name} {version} ({taxonomy}; trained: {trained or 'nothing'}{weights and f'; weights {weights}'})"


def others(ours: Mapping[str, str], said: Mapping[str, str]) -> str | None:
    """Whose weights a server runs, in words, where they are not ours; None where they are.

    Args:
        ours: `identity` of our card.
        said: the same of the server's parameters. A missing one counts as equal.
    """
    if all(said.get(key, text) == text for key, text in ours.items()):
        return None
    return whose({key: text for key, text in ours.items() if key != f"{IDENTITY}{WEIGHTS}"} | dict(said))


def ensemble_of(tasks: Iterable[str]) -> str:
    """The ensemble that computes these tasks and as little else as possible.

    Raises:
        InvalidOptions: there is no such task.
    """
    asked = frozenset(tasks)
    if asked not in _CHEAPEST:
        unknown = ", ".join(sorted(asked - set(TASKS)))
        raise InvalidOptions(f"tasks: {unknown} is unknown; choose from {', '.join(TASKS)}")
    return _CHEAPEST[asked]


def parameters_of(options: Options) -> dict[str, str | int]:
    """The parameters of a request: all options but the tasks, which the ensemble's name says, and `part_probs`.

    NumPy's numbers become Python's, since tritonclient takes no others.

    Raises:
        InvalidOptions: an option is not a number, or the model not a name. The server checks the ranges.
    """
    if not isinstance(options.confidence, Real):
        raise InvalidOptions(f"confidence: {options.confidence!r} is no number")
    parameters: dict[str, str | int] = {"confidence": repr(float(options.confidence))}
    parameters["max_people"] = _whole("max_people", options.max_people)
    if options.max_side is not None:
        parameters["max_side"] = _whole("max_side", options.max_side)
    if options.model is not None:
        if not isinstance(options.model, str):
            raise InvalidOptions(f"{MODEL}: {options.model!r} is no name")
        parameters[MODEL] = options.model
    if options.region is not None:
        parameters[REGION] = ",".join(map(str, options.region))
    if options.tiles != 1:
        parameters["tiles"] = _whole("tiles", options.tiles)
    return parameters


def options_of(parameters: Mapping[str, Any], more: Iterable[str] = ()) -> Options:
    """The options of a request's parameters, the inverse of `parameters_of`; the ranges are not checked.

    Args:
        parameters: numbers, or their text, which every client can send.
        more: further names that are allowed and ignored, as are Triton's own, which begin with `triton_`.

    Raises:
        InvalidOptions: a parameter is unknown or not a number.
    """
    allowed = {*PARAMETERS, *more}
    unknown = sorted(name for name in parameters if name not in allowed and not name.startswith("triton_"))
    if unknown:
        raise InvalidOptions(f"{unknown[0][:60]}: there is no such parameter; there are {', '.join(PARAMETERS)}")
    values: dict[str, Any] = {
        name: number(kind, name, parameters[name]) for name, kind in _NUMBERS.items() if name in parameters
    }
    if MODEL in parameters:
        values[MODEL] = str(parameters[MODEL])
    if REGION in parameters:
        values[REGION] = str(parameters[REGION])
    return Options(**values)


def number(kind: type[int] | type[float], name: str, value: object) -> int | float:
    """A parameter's value, which may be text, as a number.

    Raises:
        InvalidOptions: it is not a number of this kind.
    """
    try:
        return kind(str(value))
    except ValueError as error:
        what = "whole number" if kind is int else "number"
        raise InvalidOptions(f"{name}: {str(value)[:40]!r} is no {what}") from error


def _whole(name: str, value: object) -> int:
    if not isinstance(value, Integral):
        raise InvalidOptions(f"{name}: {value!r} is no whole number")
    return int(value)


# error codes that the models put before a colon (parsing_rcnn.triton_models)
_REFUSALS = {kind.code: kind for kind in (InvalidImage, InvalidOptions, ImageTooLarge, UnsupportedImage)}


def refusal_of(message: str) -> ParsingRCNNError | None:
    """The error that a model answered with, from a message like "in ensemble 'densepose', invalid-image: ..."."""
    for code, kind in _REFUSALS.items():
        before, found, detail = message.partition(f"{code}: ")
        if found and (not before or before.endswith(", ")):  # Triton puts the model's name before it
            return kind(detail)
    return None


class Trouble(Enum):
    """Why a server did not answer."""

    LATE = "the time is up"
    FULL = "as many wait as may"
    MISSING = "it has no such model"
    AWAY = "it may be well a moment later"


# a server that starts or ends has models without "available versions"; a supervisor may be reloading one
_AWAY = ("UNAVAILABLE", "NOT_FOUND", "CANCELLED", "Cancelled", "is not healthy", "is not ready", "unloaded",
         "no available versions")  # fmt: skip


def trouble_of(status: str, message: str) -> Trouble | None:
    """What an error of Triton means that is no refusal; None where it is unexpected.

    Args:
        status: "StatusCode.UNAVAILABLE" of gRPC, "503" of HTTP, or "" without an answer.
        message: what came with it.
    """
    if "DEADLINE" in status or "Request timeout expired" in message or (not status and "timed out" in message):
        return Trouble.LATE
    if "maximum queue size" in message:
        return Trouble.FULL
    if "is not found" in message:
        return Trouble.MISSING
    # over HTTP, 503 is what gRPC calls UNAVAILABLE
    away = status == "503" or any(word in status or word in message for word in _AWAY)
    return Trouble.AWAY if away else None
