"""What the ensembles are and what Triton's words mean, as tritonserver 2.51 was heard to say them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parsing_rcnn.analyzer import Options
from parsing_rcnn.ensembles import (
    ENSEMBLES,
    Trouble,
    ensemble_of,
    models_of,
    names,
    options_of,
    outputs,
    parameters_of,
    refusal_of,
    trouble_of,
)
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, InvalidOptions


@pytest.mark.parametrize(
    ("tasks", "ensemble", "maps"),
    [
        ({"parsing", "densepose"}, "human_analysis", ["PARTS", "PART_SCORES", "IUV", "IUV_SCORES"]),
        ({"parsing"}, "human_parsing", ["PARTS", "PART_SCORES"]),
        ({"densepose"}, "densepose", ["IUV", "IUV_SCORES"]),
        (set(), "human_parsing", []),
    ],
)
def test_tasks_have_an_ensemble_that_gives_what_is_asked_for(tasks: set[str], ensemble: str, maps: list[str]) -> None:
    assert ensemble_of(tasks) == ensemble
    assert list(names(tasks)) == ["BOXES", "SCORES", "IMAGE_SIZE", *maps] == [o.name for o in outputs(tasks, 20, 128)]
    assert set(names(tasks)) <= set(names(ENSEMBLES[ensemble]))


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(InvalidOptions, match="tasks: pose is unknown; choose from parsing, densepose"):
        ensemble_of({"parsing", "pose"})


def test_parameters_are_the_options_but_for_the_tasks() -> None:
    assert parameters_of(Options(confidence=1)) == {"confidence": "1.0", "max_people": 64}
    assert parameters_of(Options(max_people=3, max_side=640))["max_side"] == 640


def test_the_model_is_a_parameter_like_the_others() -> None:
    options = Options(max_people=3, model="large")
    asked = parameters_of(options)
    assert asked == {"confidence": "0.5", "max_people": 3, "model": "large"}
    assert options_of(asked) == options
    with pytest.raises(InvalidOptions, match=r"modell: there is no such parameter; .*, tiles, model, region$"):
        options_of({"modell": "large"})


def test_an_ensemble_tells_the_models_of_its_card() -> None:
    models = {"large": {"canvases": [[64, 64]], "summary": "slow"}, "both": {"canvases": [[32, 32]], "second": {}}}
    said = models_of({"models": models})
    assert json.loads(said["models"]) == {
        "large": {"canvases": [[64, 64]]},
        "both": {"canvases": [[32, 32]], "second": {}},
    }
    assert models_of({}) == {}


def test_parameters_of_numpy_numbers_are_plain_ones() -> None:
    options = Options(confidence=np.float32(0.5), max_people=np.int64(3), max_side=np.int32(640))
    parameters = parameters_of(options)
    assert parameters == {"confidence": "0.5", "max_people": 3, "max_side": 640}
    assert {type(value) for value in parameters.values()} == {str, int}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(confidence="0.3"), r"confidence: '0\.3' is no number"),
        (Options(max_people=2.5), r"max_people: 2\.5 is no whole number"),
        (Options(max_people=None), "max_people: None is no whole number"),
        (Options(max_side="640"), "max_side: '640' is no whole number"),
        (Options(model=7), "model: 7 is no name"),
    ],
)
def test_parameters_that_are_no_numbers_are_refused(options: Options, says: str) -> None:
    with pytest.raises(InvalidOptions, match=says):
        parameters_of(options)


@pytest.mark.parametrize(
    ("message", "kind", "detail"),
    [
        ("invalid-image: no bytes", InvalidImage, "no bytes"),
        ("in ensemble 'densepose', image-too-large: 90 MB: too many", ImageTooLarge, "90 MB: too many"),
        ("they say invalid-image: no bytes", None, ""),
        ("in ensemble 'densepose', something else", None, ""),
    ],
)
def test_refusals_come_back_as_they_were_raised(message: str, kind: type | None, detail: str) -> None:
    found = refusal_of(message)
    assert (found is None) == (kind is None)
    if found is not None:
        assert (type(found), found.detail) == (kind, detail)


@pytest.mark.parametrize(
    ("status", "message", "trouble"),
    [
        ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded", Trouble.LATE),
        ("StatusCode.UNAVAILABLE", "in ensemble 'densepose', Request timeout expired", Trouble.LATE),
        ("", "timed out", Trouble.LATE),
        (
            "StatusCode.UNAVAILABLE",
            "failed to connect; last error: connection timed out",
            Trouble.AWAY,
        ),
        ("StatusCode.UNAVAILABLE", "Exceeds maximum queue size", Trouble.FULL),
        ("503", "Exceeds maximum queue size", Trouble.FULL),
        ("StatusCode.NOT_FOUND", "Request for unknown model: 'densepose' is not found", Trouble.MISSING),
        ("400", "Request for unknown model: 'densepose' has no available versions", Trouble.AWAY),
        ("StatusCode.INTERNAL", "the model 'densepose' is not ready", Trouble.AWAY),
        ("503", "Server is stopping", Trouble.AWAY),
        ("StatusCode.CANCELLED", "CANCELLED", Trouble.AWAY),
        ("StatusCode.INTERNAL", "in ensemble 'densepose', bad alloc", None),
    ],
)
def test_what_triton_says_when_it_does_not_answer(status: str, message: str, trouble: Trouble | None) -> None:
    assert trouble_of(status, message) is trouble
