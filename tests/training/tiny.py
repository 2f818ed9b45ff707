"""A network of eight channels: what tests of whole analyses run."""

from __future__ import annotations

from typing import Any

import torch

from training.config import Config
from training.model.parsing_rcnn import ParsingRCNN, build_model

# for the light recipe, where a test says nothing about sizes
NARROW = (
    "model.backbone=efficientnet_lite0",
    "model.fpn.channels=16",
    "model.box.channels=32",
    "model.branch.roi_size=8",
    "model.branch.aspp_channels=8",
    "model.branch.channels=8",
    "model.branch.non_local_channels=8",
    "model.branch.convs=1",
    "model.branch.conv_channels=8",
)


def tiny_recipe(train: dict[str, Any], **model: Any) -> Config:
    """The recipe; `train` and further keys of the model say what it computes."""
    common = {
        "backbone": "efficientnet_lite0",
        "fpn": {"channels": 8},
        "rpn": {"anchor_sizes": [16, 32, 64, 96, 128], "pre_nms": 40, "proposals_test": 20},
        "box": {"channels": 16},
        "branch": {
            "roi_size": 8, "aspp_channels": 8, "channels": 8, "non_local_channels": 8, "convs": 1, "conv_channels": 8,
        },
    }  # fmt: skip
    return Config.model_validate({"name": "tiny", "model": {**common, **model}, "train": train})


def tiny_network(recipe: Config) -> ParsingRCNN:
    """Its network, always the same, whose boxes differ: fresh layers say the same of every box."""
    torch.manual_seed(4)
    network = build_model(recipe.model)
    for layer in (network.box.score, network.box.delta, network.rpn.objectness, network.rpn.deltas):
        torch.nn.init.normal_(layer.weight, std=0.05)
    return network
