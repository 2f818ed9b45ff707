"""`parsing-rcnn export --card`: what the card may say of weights, and what they and the options say themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.repository import CARD, ModelRepository
from parsing_rcnn.taxonomy import MHP
from tests.export.conftest import Exported


def export(weights: Path, folder: Path, card: object, *words: str) -> tuple[int, str]:
    """(exit status, output) of an export with a card of such content."""
    text = card if isinstance(card, str) else json.dumps(card)
    (folder / "own.json").write_text(text)
    arguments = ["export", str(weights), "--out", str(folder / "models"), "--card", str(folder / "own.json"), *words]
    result = CliRunner().invoke(build(), arguments)
    return result.exit_code, result.output


def with_second(second: object) -> dict[str, Any]:
    """A card whose model `a` has such a second size."""
    large = {"canvases": [[512, 832]]}
    return {"models": {"large": large, "a": {**large, "second": second}}}


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("tasks: {}\n", "is no JSON"),
        ([1], "no JSON object, but list"),
        ({"taxonomy": "cihp"}, "taxonomy cihp, but the weights have the 59 classes of mhp"),
        ({"taxonomy": "pascal"}, "taxonomy 'pascal' is none of cihp, mhp"),
        ({"canvases": [[100, 100]]}, "canvases [[100, 100]]: a list of one or more [height, width]"),
        ({"models": {"large": {"canvases": []}}}, "models.large.canvases []"),
        (
            with_second({"model": "b", "below": 300}),
            "models.a.second {'model': 'b', 'below': 300}: another of the models",
        ),
        (
            with_second({"model": "a", "below": 300}),
            "models.a.second {'model': 'a', 'below': 300}: another of the models",
        ),
        (with_second({"model": ["a"], "below": 300}), "models.a.second"),
        (with_second({"model": "large", "below": 0}), "models.a.second"),
        (with_second({"model": "large", "below": True}), "models.a.second"),
        (with_second({"model": "large"}), "models.a.second"),
        (with_second("large"), "models.a.second 'large': another of the models"),
        ({"tasks": {"parsing": True}}, "tasks.parsing True: an object"),
        (
            {"tasks": {"parsing": {"trained": True, "taxonomy": "cihp"}}},
            "tasks.parsing.taxonomy 'cihp', but the weights have the classes of mhp",
        ),
        ({"weights_sha256": "abc"}, "weights_sha256 'abc': 64 hexadecimal digits"),
    ],
)
def test_a_card_that_cannot_be_is_refused_before_a_graph_is_written(
    weights: Path, tmp_path: Path, card: object, said: str
) -> None:
    status, output = export(weights, tmp_path, card)
    assert status == 1
    assert f"error: {tmp_path / 'own.json'}" in output
    assert said in output
    assert not (tmp_path / "models").exists()


def test_a_card_that_is_not_there_is_named(weights: Path, tmp_path: Path) -> None:
    arguments = ["export", str(weights), "--out", str(tmp_path / "models"), "--card", str(tmp_path / "none.json")]
    result = CliRunner().invoke(build(), arguments)
    assert result.exit_code == 1
    assert f"error: {tmp_path / 'none.json'}: No such file" in result.output
    assert not (tmp_path / "models").exists()


def test_weights_win_over_the_card(with_another_card: Exported) -> None:
    card, folder = with_another_card.words[1], with_another_card.folder
    assert f"note: {card} calls parsing trained, and the recipe of the weights did not" in with_another_card.output
    written = json.loads((folder / CARD).read_text())
    assert {key: written[key] for key in ("version", "taxonomy", "summary", "canvases")} == {
        "version": "3", "taxonomy": "mhp", "summary": "ours", "canvases": [[384, 640]],
    }  # fmt: skip
    assert written["tasks"] == {"parsing": {"trained": True}, "densepose": {"trained": True}}  # one as the recipe says


def test_options_win_over_the_card(with_every_option: Exported) -> None:
    assert "note:" not in with_every_option.output
    opened = ModelRepository.open(with_every_option.folder)
    assert (opened.card["version"], opened.canvases, opened.taxonomy) == ("4", ((256, 320), (320, 256)), MHP)
    assert opened.card["summary"] == "ours"
    assert opened.trained == {"parsing": False, "densepose": True}
    assert "models" not in opened.card
