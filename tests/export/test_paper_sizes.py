"""The paper's networks, R50 and X101, with random weights: what is exported computes what torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from export.graphs import DensePoseGraph, DetectorGraph, ParsingGraph
from export.onnx import export_repository
from export.options import PAPER_CANVASES, ExportOptions
from parsing_rcnn.repository import ModelRepository
from training.config import load_config
from training.model.backbones import ResNet
from training.model.parsing_rcnn import ParsingRCNN, build_model

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def calm(model: ParsingRCNN) -> ParsingRCNN:
    """Fresh residual blocks double what they are given, which after 16 or 33 of them puts every box into a corner."""
    assert isinstance(model.backbone, ResNet)
    with torch.no_grad():
        for stage in model.backbone.stages:
            for block in stage:
                block.bn3.weight.fill_(0.2)
        model.backbone.stem[1].weight.fill_(0.1)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "tasks"),
    [
        ("paper/cihp_r50_1x.yaml", {"parsing": True, "densepose": False}),
        ("paper/densepose_r50.yaml", {"parsing": False, "densepose": True}),
        ("paper/cihp_x101_3x.yaml", {"parsing": True, "densepose": True}),
    ],
)
def test_a_paper_network(recipe: str, tasks: dict[str, bool], tmp_path: Path) -> None:
    config = load_config(CONFIGS / recipe, ("model.pretrained=false",))
    torch.manual_seed(0)
    model = calm(build_model(config.model).eval())
    card = {"tasks": {name: {"trained": trained} for name, trained in tasks.items()}}
    export_repository(model, config, tmp_path, version="1", card=card, options=ExportOptions(proposals=50))
    repository = ModelRepository.open(tmp_path)
    assert repository.canvases == PAPER_CANVASES
    assert repository.trained == tasks
    for value in model.parameters():  # as the files hold them
        if value.ndim > 1 and value.numel() >= 256:
            value.data = value.data.half().float()
    canvas = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    limits = np.array([0.0, 3], np.float32)
    found = onnxruntime.InferenceSession(repository.graph("detector")).run(None, {"CANVAS": canvas, "LIMITS": limits})
    with torch.inference_mode():
        wanted = DetectorGraph(model, proposals=50)(torch.from_numpy(canvas), torch.from_numpy(limits))
        features = wanted[3]
        parts = ParsingGraph(model)(features)[0].numpy()
        iuv = DensePoseGraph(model)(features)[0].numpy()
    assert found[2] == wanted[2].numpy() == 3
    assert (wanted[0][:, 2:] - wanted[0][:, :2]).min() > 1
    assert features.abs().max() > 0.01
    np.testing.assert_allclose(found[0], wanted[0].numpy(), atol=0.05)
    np.testing.assert_allclose(found[1], wanted[1].numpy(), atol=1e-4)
    given = {"ROI_FEATURES": features.numpy()}
    assert (onnxruntime.InferenceSession(repository.graph("parsing")).run(["PARTS"], given)[0] == parts).mean() > 0.999
    answer = onnxruntime.InferenceSession(repository.graph("densepose_head")).run(["IUV"], given)[0]
    assert (answer == iuv).mean() > 0.99
