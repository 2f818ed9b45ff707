"""One small repository, exported once from random weights of the light recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export.onnx import export_repository
from training.config import load_config
from training.model.parsing_rcnn import ParsingRCNN, build_model

LIGHT = Path(__file__).parents[2] / "training" / "configs" / "light.yaml"
CARD = {"tasks": {"parsing": {"trained": False}, "densepose": {"trained": False}}}

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def model() -> ParsingRCNN:
    """Random weights, scaled so that scores and parts differ from place to place."""
    torch.manual_seed(1)
    network = build_model(load_config(LIGHT).model, imagenet=True).eval()
    with torch.no_grad():
        for layer, gain in ((network.box.score, 40.0), (network.rpn.objectness, 30.0), (network.box.delta, 60.0)):
            layer.weight.mul_(gain)
        for head in (network.parsing_head, network.densepose_head):
            head.up.deconv.weight.mul_(8.0)
        # weights are stored in fp16: what is compared must be rounded as what is exported
        for value in network.state_dict().values():
            if value.dtype == torch.float32 and value.ndim >= 2 and value.numel() >= 256:
                value.copy_(value.half().float())
    return network


@pytest.fixture(scope="session")
def repository(model: ParsingRCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    export_repository(model, load_config(LIGHT), folder, version="test", card=CARD)
    return folder
