"""What is asked of Triton for one picture: a request at each size of the model."""

from __future__ import annotations

from dataclasses import replace

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.repository import ModelRepository


def requests_of(repository: ModelRepository) -> tuple[str | None, ...]:
    """What each request says in the parameter `model` (`parsing_rcnn.ensembles.MODEL`): of a model with a second size
    two, the first size's first. None where no model was chosen: the server decides.

    Raises:
        InvalidOptions: a size has no name by which a server could be asked for it.
    """
    second = repository.second_size
    if second is None:
        return (repository.model,)
    models = {name: replace(repository, model=name) for name in repository.card["models"]}
    alone = {model.canvases: name for name, model in models.items() if model.second_size is None}
    for canvases in (repository.canvases, second.canvases):
        if canvases not in alone:
            sides = ", ".join(f"{height}x{width}" for height, width in canvases)
            raise InvalidOptions(
                f"--model {repository.model}: Triton is asked for each of its sizes by name, and no other model of the "
                f"card in {repository.path} has the canvases {sides}: name one, or choose --engine embedded"
            )
    return alone[repository.canvases], alone[second.canvases]
