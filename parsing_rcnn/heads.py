"""Which heads of a model are trained. One that is not answers all the same, and its maps mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parsing_rcnn.analyzer import TASKS, ModelInfo, Options

if TYPE_CHECKING:
    from parsing_rcnn.people import People


def untrained(info: ModelInfo) -> frozenset[str]:
    """The tasks whose head is not trained."""
    return frozenset(task for task, learnt in info.tasks.items() if not learnt)


def trained(info: ModelInfo) -> frozenset[str]:
    """The tasks to compute where nobody names any: those whose head is trained, or all of them where none is.

    Example:
        >>> sorted(trained(ModelInfo("mine", "1", "", {"parsing": False, "densepose": True}, (), (), {})))
        ['densepose']
    """
    return (frozenset(TASKS) - untrained(info)) or frozenset(TASKS)


def warnings(info: ModelInfo, tasks: Iterable[str]) -> list[str]:
    """What is to be said with the maps of these tasks."""
    doubted = sorted(untrained(info) & {str(task) for task in tasks})
    return [f"the {task} head of this model is not trained: its maps mean nothing" for task in doubted]


def asked(info: ModelInfo, options: Options | None, keywords: Mapping[str, Any]) -> Options:
    """`Options.of`, with `trained` where neither `options` nor the keywords say which tasks.

    Raises:
        InvalidOptions: as of `Options.of`, or a model that there is not.
        TypeError: as of `Options.of`.
    """
    if options is None and "tasks" not in keywords:
        keywords = {**keywords, "tasks": trained(info)}
    found = Options.of(options, keywords)
    info.of(found.model)
    return found


def judged(people: People, info: ModelInfo) -> People:
    """People of this model, who know which of their maps mean nothing."""
    doubted = untrained(info)
    return people if doubted == people.untrained else replace(people, untrained=doubted)


def believed(people: People) -> frozenset[str]:
    """The tasks whose maps say where people are: of those that there are, those of trained heads; all where none is."""
    maps = {"parsing": people.parts, "densepose": people.iuv}
    there = frozenset(task for task, cells in maps.items() if cells is not None)
    return (there - people.untrained) or there
