"""The models of a card: their sizes and names, and what a picture may ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.models import SecondSize, Sizes, default_of, name_of, requests_of, sizes_of
from parsing_rcnn.pipeline import GraphPipeline, Pipeline
from parsing_rcnn.repository import ModelRepository

SMALL, WIDE = [[64, 96]], [[128, 192], [192, 128]]
CARD = {
    "name": "mine",
    "canvases": SMALL,
    "models": {
        "both": {"canvases": SMALL, "second": {"model": "wide", "below": 50}},
        "quick": {"canvases": SMALL},
        "wide": {"canvases": WIDE},
    },
}


def test_sizes_are_those_of_the_card_or_of_a_name() -> None:
    wide = ((128, 192), (192, 128))
    assert sizes_of(CARD, None) == sizes_of(CARD, "quick") == Sizes(((64, 96),))
    assert sizes_of(CARD, "wide") == Sizes(wide)
    assert sizes_of(CARD, "both") == Sizes(((64, 96),), SecondSize(wide, 50.0))
    assert (name_of(CARD, None), name_of(CARD, "wide")) == ("mine", "mine wide")


def test_the_default_is_the_name_of_the_cards_own_sizes() -> None:
    assert default_of(CARD) == "quick"  # and not `both`, which begins at the same size
    assert default_of({**CARD, "canvases": [[32, 32]]}) is None
    assert default_of({"canvases": SMALL}) is None


def test_a_model_of_two_sizes_is_two_requests() -> None:
    assert requests_of(CARD, None) == (None,)
    assert requests_of(CARD, "wide") == ("wide",)
    assert requests_of(CARD, "both") == ("quick", "wide")
    nameless = {**CARD, "models": {name: CARD["models"][name] for name in ("both", "wide")}}  # type: ignore[index]
    with pytest.raises(InvalidOptions, match=r"model: 'both' is two requests, .* no other model .* canvases 64x96$"):
        requests_of(nameless, "both")


@pytest.mark.parametrize(("opened", "default"), [(None, "fast"), ("large", "large"), ("accurate", "accurate")])
def test_an_engine_says_what_may_be_asked_for_and_what_answers_else(opened: str | None, default: str) -> None:
    info = ModelRepository.open(model=opened).info("none")
    assert info.models == ("fast", "large", "accurate")
    assert info.model == default
    assert info.of(None) is info
    large = info.of("large")
    assert (large.name, large.model, large.version) == ("light large", "large", info.version)
    assert large.canvases == ((512, 832), (832, 512), (672, 672))
    with pytest.raises(InvalidOptions, match="has no 'huge'; choose from fast, large, accurate, or leave it out"):
        info.of("huge")


@pytest.mark.parametrize(("opened", "name"), [(None, "fast"), ("large", "large")])
def test_where_there_is_no_choice_the_one_that_runs_may_be_named(opened: str | None, name: str) -> None:
    info = replace(ModelRepository.open(model=opened).info("none"), models=())
    own = info.of(name)
    assert (own.name, own.canvases, own.model) == (f"light {name}", info.canvases, name)
    with pytest.raises(InvalidOptions, match=f"has no 'accurate'; only '{name}' runs: leave it out"):
        info.of("accurate")


@pytest.mark.parametrize("given", [{"options": Options(model="huge")}, {"model": "huge"}, {"model": 7}])
def test_a_model_that_is_not_there_is_refused_before_anything_is_computed(
    pipeline: Pipeline, given: dict[str, object]
) -> None:
    with pytest.raises(InvalidOptions, match=r"model: light has no '(huge|7)'; choose from fast, large, accurate"):
        pipeline.analyze(b"no picture", **given)  # type: ignore[arg-type]


def test_an_engine_without_names_says_that_there_is_nothing_to_choose(pipeline: Pipeline) -> None:
    info = ModelInfo("mine", "1", "none", {"parsing": True}, (), ((64, 64),), {})
    alone = GraphPipeline(pipeline.graphs, info, pipeline.repository.taxonomy)
    with pytest.raises(InvalidOptions, match="model: mine has no 'large'; it has none to choose from: leave it out"):
        alone.analyze(np.zeros((64, 64, 3), np.uint8), tasks="", model="large")
