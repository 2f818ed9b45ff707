"""Which heads of a model are trained. An untrained head answers all the same, but its maps mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from parsing_rcnn.analyzer import TASKS, ModelInfo, Options
from parsing_rcnn.people import People


def untrained(info: ModelInfo) -> frozenset[str]:
    """The tasks whose head is not trained."""
    return untrained_of(info.tasks)


def untrained_of(tasks: Mapping[str, bool]) -> frozenset[str]:
    """The same of tasks that say whether their head is trained."""
    return frozenset(task for task, learnt in tasks.items() if not learnt)


def trained(info: ModelInfo) -> frozenset[str]:
    """The tasks to compute by default: those whose head is trained, or all of them where none is.

    Example:
        >>> sorted(trained(ModelInfo("mine", "1", "", {"parsing": False, "densepose": True}, (), (), {})))
        ['densepose']
    """
    return trained_of(info.tasks)


def trained_of(tasks: Mapping[str, bool]) -> frozenset[str]:
    """The same of tasks that say whether their head is trained; one that says nothing counts as trained."""
    return (frozenset(TASKS) - untrained_of(tasks)) or frozenset(TASKS)


def warnings(info: ModelInfo, tasks: Iterable[str]) -> list[str]:
    """What a user has to be told about the maps of these tasks: one sentence for each untrained head."""
    doubted = sorted(untrained(info) & {str(task) for task in tasks})
    return [f"the {task} head of this model is not trained: its maps mean nothing" for task in doubted]


def resolve_options(info: ModelInfo, options: Options | None, keywords: Mapping[str, Any]) -> Options:
    """`Options.of`, with the tasks of `trained` where neither `options` nor the keywords name any.

    Raises:
        InvalidOptions: as of `Options.of`, or the model named does not exist.
        TypeError: as of `Options.of`.
    """
    if options is None and "tasks" not in keywords:
        keywords = {**keywords, "tasks": trained(info)}
    resolved = Options.of(options, keywords)
    info.of(resolved.model)
    return resolved


def mark_untrained(people: People, info: ModelInfo) -> People:
    """People found by this model, with `People.untrained` set."""
    doubted = untrained(info)
    return people if doubted == people.untrained else replace(people, untrained=doubted)
