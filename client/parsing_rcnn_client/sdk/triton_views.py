"""The requests that one picture needs on a Triton server, which looks at one size and one region in each: for a model
of two sizes one for each, with tiles one for the whole picture and one for each tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import upright_size
from parsing_rcnn.inference.tiles import people_with_tiles, requests_of_tiles
from parsing_rcnn.inference.two_sizes import united_people
from parsing_rcnn.models import requests_of, sizes_of
from parsing_rcnn.people import People

_GRACE = 1.0  # seconds


def people_of(
    ask: Callable[[Options], People],
    beside: Executor,
    data: bytes,
    options: Options,
    card: Mapping[str, Any],
    end: float,
) -> People:
    """Ask for every view of a picture, two at a time, and put the answers together.

    Args:
        ask: sends one request.
        beside: where every second one is sent from.
        data: the encoded picture.
        options: of the picture.
        card: what is known of the server's model card.
        end: of time.monotonic(), when the time is up.

    Raises:
        TimeoutError: it is up, and nothing was sent from `beside`, which is full.
        ParsingRCNNError: as of `ask`; the header of a picture in tiles cannot be read.
    """
    limits = (options.confidence, options.max_people)
    known = options.model is not None and "models" in card
    names = requests_of(card, options.model) if known else (options.model,)
    if options.tiles > 1:
        asked = requests_of_tiles(replace(options, model=names[0]), upright_size(data))
        first, *others = _asked(ask, beside, end, asked)
        return people_with_tiles(first, others, options.tiles, options.region, *limits)
    if len(names) == 1:
        return ask(replace(options, model=names[0]))
    sizes = sizes_of(card, options.model)
    assert sizes.second is not None
    first, other = _asked(ask, beside, end, [replace(options, model=name) for name in names])
    return united_people(first, other, sizes.second, sizes.canvases, *limits, options.region)


def _asked(ask: Callable[[Options], People], beside: Executor, end: float, requests: list[Options]) -> list[People]:
    """The answers, in the order of the requests."""
    others = beside.submit(lambda: [ask(own) for own in requests[1::2]])
    answers: list[People | None] = [None] * len(requests)
    try:
        answers[::2] = [ask(own) for own in requests[::2]]
        # what was sent has the same end, and says itself that it is late
        answers[1::2] = others.result(max(end - time.monotonic(), 0) + _GRACE)
    finally:
        others.cancel()
    return [people for people in answers if people is not None]
