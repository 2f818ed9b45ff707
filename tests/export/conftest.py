"""The shipped network in torch, and one fresh export of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from export.onnx import detector, export_repository
from export.options import ExportOptions
from export.pictures import render_scene
from parsing_rcnn.repository import CARD as CARD_FILE
from parsing_rcnn.repository import GRAPHS, ModelRepository
from training.checkpoint import load_model
from training.model.parsing_rcnn import ParsingRCNN

CARD = {"tasks": {"parsing": {"trained": True}, "densepose": {"trained": False}}}
ROWS = 5  # of the detector with a fixed number of them

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


@pytest.fixture(scope="session")
def static_repository(model: ParsingRCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped repository with a detector of a fixed number of rows."""
    folder = tmp_path_factory.mktemp("static")
    shipped = ModelRepository.open().path
    for graph in GRAPHS[1:]:
        shutil.copytree(shipped / graph / "1", folder / graph / "1")
    options = ExportOptions(static_people=ROWS)
    (folder / "detector" / "1").mkdir(parents=True)
    onnx.save(detector(model, options), folder / "detector" / "1" / "model.onnx")
    card = json.loads((shipped / CARD_FILE).read_text())
    del card["files"]["detector"], card["quantization"]  # another one now, and an export has no INT8
    (folder / CARD_FILE).write_text(json.dumps({**card, **options.told()}))
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds ccp/ with two labelled validation photos: scenes, with a "coat" in their middle."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "ccp" / "images").mkdir(parents=True)
    (folder / "ccp" / "labels").mkdir()
    for seed, name in enumerate(("0003", "0013")):
        scene = render_scene(seed, 192, 320, people=1)
        cv2.imwrite(str(folder / "ccp" / "images" / f"{name}.jpg"), cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))
        labels = np.zeros((192, 320), np.uint8)
        labels[60:140, 130:190] = 7
        cv2.imwrite(str(folder / "ccp" / "labels" / f"{name}.png"), labels)
    return folder
