"""The gateway's options have the names, defaults and ranges of the vocabulary that it shares with clients."""

from __future__ import annotations

from enum import StrEnum

import pytest

from parsing_rcnn.analyzer import TASKS, Options
from parsing_rcnn.codecs.json import DEFAULT_INCLUDE, INCLUDE, MASK_FORMATS
from parsing_rcnn.drawing.hiding import HIDE, STYLES
from parsing_rcnn.errors import InvalidOptions
from server.requests.options import AnalyzeOptions, Hide, Include, MaskFormat, Style, Task


@pytest.mark.parametrize(
    ("enum", "names"), [(Task, TASKS), (Hide, HIDE), (Style, STYLES), (Include, INCLUDE), (MaskFormat, MASK_FORMATS)]
)
def test_names(enum: type[StrEnum], names: tuple[str, ...]) -> None:
    assert {member.value for member in enum} == set(names)


def test_defaults() -> None:
    assert AnalyzeOptions().core() == Options()
    assert tuple(AnalyzeOptions().include) == DEFAULT_INCLUDE


@pytest.mark.parametrize(
    ("name", "low", "high"), [("confidence", 0, 1), ("max_people", 1, 64), ("max_side", 32, 16384), ("tiles", 1, 4)]
)
def test_ranges(name: str, low: int, high: int) -> None:
    for value in (low, high):
        AnalyzeOptions.model_validate({name: value}).core().validate()
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=name):
            AnalyzeOptions.model_validate({name: value})
        with pytest.raises(InvalidOptions, match=rf"{name}: {value} is outside {low}\.\.{high}"):
            Options(**{name: value}).validate()  # type: ignore[arg-type]
