"""Operations counted by formula and by others' counts."""

from __future__ import annotations

import pytest

from export.cost import gigaflops
from training.config import ModelConfig
from training.model.parsing_rcnn import build_model


def test_the_papers_network() -> None:
    """R50-FPN at 800x1344, 1000 proposals, `gce-paper`: backbone 175.2, FPN 121.8, RPN 106.3, head 23.29 a person."""
    found = gigaflops(build_model(ModelConfig(pretrained=False)), [(800, 1344)])
    # the box branch by hand: 256 * 49 -> 1024 -> 1024 -> 2 and 4, two operations a weight
    box = 2 * 1000 * (256 * 49 * 1024 + 1024 * 1024 + 1024 * 6) / 1e9
    assert found["detector"]["800x1344"] == pytest.approx(175.2 + 121.8 + 106.3 + box, abs=0.2)
    assert found["parsing"]["a person"] == pytest.approx(23.29, abs=0.01)


def test_fewer_proposals_cost_less() -> None:
    model = build_model(ModelConfig(pretrained=False))
    many, few = (gigaflops(model, [(64, 64)], number)["detector"]["64x64"] for number in (300, 100))
    assert many - few == pytest.approx(2 * 200 * (256 * 49 * 1024 + 1024 * 1024 + 1024 * 6) / 1e9)
