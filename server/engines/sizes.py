"""The requests that one picture needs on Triton: one at each size of the model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.models import Sizes, requests_of, sizes_of
from parsing_rcnn.repository import ModelRepository


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
