"""The shipped network in torch, and one fresh export of it."""

from __future__ import annotations

import gc
import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from export.onnx import detector, write_card
from export.options import ExportOptions
from export.rendered.pictures import render_scene
from parsing_rcnn.cli import build
from parsing_rcnn.repository import CARD as CARD_FILE
from parsing_rcnn.repository import GRAPHS, ModelRepository
from training.checkpoint import load_model, save_weights
from training.config import Config
from training.model.parsing_rcnn import ParsingRCNN, build_model

CARD = {"tasks": {"parsing": {"trained": True}, "densepose": {"trained": False}}}
OWN_CARD = {
    "version": "3",
    "summary": "ours",
    "canvases": [[384, 640]],
    "models": {"large": {"canvases": [[512, 512]]}},
    "weights_sha256": 64 * "0",
}
ROWS = 5  # of the detector with a fixed number of them

torch.set_num_threads(1)  # as many as are left beside the other parts of `make test`: two would wait for each other


def pytest_collection_finish() -> None:
    """What is imported stays: to look through it for garbage again and again takes longer than some tests."""
    gc.freeze()


@pytest.fixture(scope="session")
def model() -> ParsingRCNN:
    """The shipped weights, read back from the shipped ONNX files."""
    return load_model(ModelRepository.open().path)[0]


@dataclass
class Exported:
    """What `parsing-rcnn export` of `weights` with these `words` wrote to `folder`, printed, and warned of."""

    weights: Path
    words: list[str]
    folder: Path
    output: str
    warned: list[str]


def export_once(weights: Path, folder: Path, words: Sequence[str] = ()) -> Exported:
    """The command, which has to succeed."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        done = CliRunner().invoke(build(), ["export", str(weights), "--out", str(folder), *words])
    assert done.exit_code == 0, done.output
    return Exported(weights, list(words), folder, done.output, [str(warning.message) for warning in warned])


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What the command makes of the shipped repository today."""
    return export_once(ModelRepository.open().path, tmp_path_factory.mktemp("exported") / "repository")


@pytest.fixture(scope="session")
def repository(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graphs with a card of their own."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(exported.folder, folder, dirs_exist_ok=True)
    _, config = load_model(ModelRepository.open().path)
    files = {name: folder / name / "1" / "model.onnx" for name in GRAPHS}
    write_card(folder, config, files, version="test", card=CARD)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of another shape: 59 classes, whose recipe trained DensePose alone."""
    model = {
        "backbone": "efficientnet_lite0", "fpn": {"channels": 16}, "box": {"channels": 8}, "parsing_classes": 59,
        "branch": {"roi_size": 32, "aspp_channels": 8, "channels": 8, "non_local_channels": 8, "convs": 0},
    }  # fmt: skip
    config = Config.model_validate({"name": "tiny", "model": model, "train": {"parsing": False, "densepose": True}})
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, build_model(config.model), config, {})
    return path


@pytest.fixture(scope="session")
def with_every_option(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its export for TensorRT, beside a card that says other things of versions and sizes."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "own.json").write_text(json.dumps(OWN_CARD))
    words = ["--card", str(folder / "own.json"), "--version", "4", "--target", "tensorrt", "--print-trtexec"]
    words += ["--precision", "fp16", "--size", "256x320", "--size", "320x256", "--proposals", "50"]
    words += ["--static-people", "6", "--max-people", "8", "--people-buckets", "1,8"]
    return export_once(weights, folder / "models", words)


@pytest.fixture(scope="session")
def with_another_card(with_every_option: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The same weights over that export, with a card that says other things of them, and of sizes.

    Each model had an engine there, and the DensePose head was of other weights.
    """
    folder = tmp_path_factory.mktemp("card")
    (folder / "own.json").write_text(json.dumps({**OWN_CARD, "tasks": {"parsing": {"trained": True}}}))
    shutil.copytree(with_every_option.folder, folder / "models")
    for graph in GRAPHS:
        (folder / "models" / graph / "1" / "model.plan").write_bytes(b"of the profiles of the card that is there")
    with (folder / "models" / "densepose_head" / "1" / "model.onnx").open("ab") as file:
        file.write(b"another")
    words = ["--card", str(folder / "own.json"), "--target", "tensorrt", "--print-trtexec", "--precision", "fp16"]
    words += ["--proposals", "40", "--static-people", "6", "--max-people", "8", "--people-buckets", "1,8"]
    return export_once(with_every_option.weights, folder / "models", words)


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
