"""The shipped network in torch, and one fresh export of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export.onnx import export_repository
from parsing_rcnn.repository import ModelRepository
from training.checkpoint import load_model
from training.model.parsing_rcnn import ParsingRCNN

CARD = {"tasks": {"parsing": {"trained": True}, "densepose": {"trained": False}}}

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def model() -> ParsingRCNN:
    """The shipped weights, read back from the shipped ONNX files."""
    return load_model(ModelRepository.open().path)[0]


@pytest.fixture(scope="session")
def repository(model: ParsingRCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the exporter makes of them today."""
    folder = tmp_path_factory.mktemp("repository")
    _, config = load_model(ModelRepository.open().path)
    export_repository(model, config, folder, version="test", card=CARD)
    return folder
