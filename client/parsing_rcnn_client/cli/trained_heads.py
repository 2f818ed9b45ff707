"""Which heads of the model a command asks for, and the notes about those that are not trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from parsing_rcnn.terminal import say

if TYPE_CHECKING:
    from parsing_rcnn.analyzer import Analyzer, ModelInfo
    from parsing_rcnn_client.cli.options import EngineChoice
    from parsing_rcnn_client.video.layers import Look


def tells_trained(choice: EngineChoice, info: ModelInfo) -> bool:
    """Whether `info.tasks` says which heads are trained: of Triton it does only where its configuration tells it."""
    return choice.triton is None or "tasks" in info.card


def note_heads(info: ModelInfo, computed: Iterable[str], left_out: Iterable[str], *, remedy: str = "") -> None:
    """Say on standard error which of the computed heads mean nothing, and which are left out.

    Args:
        info: of the model.
        computed: the tasks that are asked for.
        left_out: those that are not, because their head is untrained.
        remedy: how to get a task all the same, with its name as {task}; "" where there is no way.
    """
    untrained = sorted(task for task in computed if not info.tasks.get(task, True))
    if untrained:
        say(f"note: the head of {', '.join(untrained)} is not trained in this model; ignore its maps")
    for task in sorted(left_out):
        say(f"note: the head of {task} is not trained in this model, so it is left out{remedy.format(task=task)}")


def keep_trained(
    engine: Analyzer, choice: EngineChoice, look: Look, tasks: frozenset[str]
) -> tuple[Look, frozenset[str]]:
    """The look and the tasks of the records with this model: of trained heads only. What is left out is said.

    Raises:
        InvalidOptions: a layer shows only what an untrained head says.
        ParsingRCNNError: the engine does not say what runs.
    """
    from parsing_rcnn import heads
    from parsing_rcnn.errors import EngineUnavailable

    try:
        info = engine.info
    except EngineUnavailable:
        if choice.triton is None:
            raise
        return look, tasks  # it may come back in the time that a frame has
    if not tells_trained(choice, info):
        return look, tasks
    trained, trained_look = heads.trained(info), look.of(info)
    kept = (tasks & trained) or (trained if tasks else tasks)  # records of one map are better than of none
    computed = trained_look.tasks | kept
    note_heads(info, computed, (look.tasks | tasks) - computed)
    return trained_look, kept
