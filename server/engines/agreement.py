"""Checks that a Triton server runs the models of the gateway's repository, and finds its default model."""

from __future__ import annotations

from collections.abc import Iterable

from tritonclient.utils import InferenceServerException

from parsing_rcnn.ensembles import IDENTITY, MODEL, Trouble, identity, others, trouble_of, whose
from parsing_rcnn.models import default_of
from parsing_rcnn.repository import ModelRepository
from server.engines.upstream import ServerLost, Upstream

_METADATA = 10.0  # seconds
_REMEDY = (
    "give both the same --repository; if they have it, write Triton's files of it anew: `parsing-rcnn export --target "
    "triton`"
)


async def check_weights(upstream: Upstream, repository: ModelRepository) -> None:
    """Compare the weights that the ensembles name with the gateway's card; old or foreign repositories may name none.

    Raises:
        ServerLost: the server has other weights.
    """
    ours, parameters = identity(repository.card), await _parameters(upstream, "human_analysis")
    theirs = others(ours, {key: text for key, text in parameters.items() if key.startswith(IDENTITY)})
    if theirs is not None:
        raise ServerLost(f"Triton serves {theirs}, this gateway's model card is of {whose(ours)}: {_REMEDY}")


async def check_default(upstream: Upstream, repository: ModelRepository, beside: Iterable[Upstream]) -> None:
    """Set `Upstream.model` to the model that answers requests that name none: the server's `preprocess` may be set to
    one, else it is the card's own.

    Args:
        upstream: the server.
        repository: the gateway's.
        beside: the other servers that get pictures, iterated when this one has answered.

    Raises:
        ServerLost: the gateway's card has no such model, or another model answers on the other servers.
    """
    own = default_of(repository.card)
    upstream.model = (await _parameters(upstream, "preprocess")).get(MODEL) or own
    if upstream.model != own and upstream.model not in repository.card.get("models", {}):
        raise ServerLost(
            f"Triton's preprocess is set to the model {upstream.model!r}, which this gateway's model card lacks: "
            f"{_REMEDY}"
        )
    for other in beside:
        if other.model != upstream.model:
            raise ServerLost(
                f"Triton answers with the model {upstream.model!r} where none is named, and {other.url} with "
                f"{other.model!r}: set the parameter `{MODEL}` of preprocess alike, or start the gateway with --model"
            )


async def _parameters(upstream: Upstream, model: str) -> dict[str, str]:
    """Parameters in a model's configuration; empty if the server hides its configurations, or has no such model."""
    try:
        answer = await upstream.client.get_model_config(model, client_timeout=_METADATA)
    except InferenceServerException as error:
        status, message = str(error.status()), str(error.message())
        if "restricted" in message or trouble_of(status, message) is Trouble.MISSING:
            return {}
        raise
    return {key: value.string_value for key, value in answer.config.parameters.items()}
