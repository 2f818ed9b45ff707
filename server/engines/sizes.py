"""The requests that one picture needs on Triton: one at each size of the model, or one for each tile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import upright_size
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.inference.tiles import people_with_tiles, requests_of_tiles
from parsing_rcnn.inference.two_sizes import united_people
from parsing_rcnn.models import Sizes, requests_of, sizes_of
from parsing_rcnn.people import People
from parsing_rcnn.repository import ModelRepository

Ask = Callable[[Options], Coroutine[Any, Any, People]]
"""Sends one request."""


class Requests:
    """The requests of every model that Triton can run.

    Args:
        repository: its model is used where a picture's options name none.
        choice: whether options may name one.

    Attributes:
        own: for each request of a picture, its parameter `model` (`parsing_rcnn.ensembles.MODEL`). A model with a
            second size has two requests, the first size's first. None where no model was chosen: the server decides.
        models: name -> the same, for each model of the card whose sizes have names; empty without a choice.

    Raises:
        InvalidOptions: a size of the repository's model has no name.
    """

    def __init__(self, repository: ModelRepository, choice: bool = True) -> None:
        self._repository = repository
        try:
            self.own = requests_of(repository.card, repository.model)
        except InvalidOptions as error:
            raise InvalidOptions(
                f"--model {repository.model}: {error.detail}: name one in {repository.path}, or choose --engine "
                "embedded"
            ) from None
        self.models: dict[str, tuple[str | None, ...]] = {}
        for name in repository.card.get("models", {}) if choice else ():
            with suppress(InvalidOptions):
                self.models[name] = requests_of(repository.card, name)

    @property
    def most(self) -> int:
        """The most requests that one picture needs."""
        return max(map(len, (self.own, *self.models.values())))

    def of(self, options: Options) -> tuple[list[Options], Sizes]:
        """The options of each request for a picture, and the sizes of its model.

        Args:
            options: of the picture; their model is one of `models`, the one that runs anyway, or None.
        """
        model = self._repository.model if options.model is None else options.model
        names = self.own if options.model is None else requests_of(self._repository.card, options.model)
        return [replace(options, model=name) for name in names], sizes_of(self._repository.card, model)

    async def people(self, ask: Ask, image: bytes, options: Options) -> People:
        """Everybody in a picture: one request, or one for each size at the same time, or one for the whole picture and
        for each of its tiles, two at a time. If one fails, the picture fails, and a request beside it is left to
        Triton, as when the caller goes away.

        Args:
            ask: sends one.
            image: encoded.
            options: of the picture.

        Raises:
            ParsingRCNNError: as of `ask`.
        """
        requests, sizes = self.of(options)
        limits = (options.confidence, options.max_people)
        if options.tiles > 1:
            size = await asyncio.to_thread(upright_size, image)
            first, *others = await _asked(ask, requests_of_tiles(requests[0], size))
            # up to 17 answers, which would hold up everybody else's
            return await asyncio.to_thread(people_with_tiles, first, others, options.tiles, options.region, *limits)
        if sizes.second is None:
            return await ask(requests[0])
        first, other = await _asked(ask, requests)
        return united_people(first, other, sizes.second, sizes.canvases, *limits, options.region)


async def _asked(ask: Ask, requests: Sequence[Options]) -> list[People]:
    """The answers to requests, of which two are sent side by side."""
    answers: list[People] = []
    for begin in range(0, len(requests), 2):
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(own)) for own in requests[begin : begin + 2]]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        answers += [task.result() for task in tasks]
    return answers
