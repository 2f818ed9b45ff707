"""Where models are looked for, and what is said when they are not there."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn.errors import BrokenModel, ModelNotFound
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.taxonomy import CIHP

ROOT = Path(__file__).resolve().parents[2]


def test_the_clone_is_found() -> None:
    assert ModelRepository.open().path == ROOT / "model_repository"


def test_the_environment_variable_wins_over_the_clone_and_the_argument_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, third = tmp_path / "other", tmp_path / "third"
    shutil.copytree(ROOT / "model_repository", other)
    shutil.copytree(ROOT / "model_repository", third)
    monkeypatch.setenv("PARSING_RCNN_REPOSITORY", str(other))
    assert ModelRepository.open().path == other
    assert ModelRepository.open(third).path == third


def test_the_card_describes_the_files_that_are_there() -> None:
    repository = ModelRepository.open()
    assert repository.taxonomy is CIHP
    assert repository.canvases == ((384, 640), (640, 384), (512, 512))
    assert set(repository.trained) == {"parsing", "densepose"}
    for name, file in repository.card["files"].items():
        data = repository.graph(name).read_bytes()
        assert len(data) == file["bytes"]
        assert hashlib.sha256(data).hexdigest() == file["sha256"], name
    assert {"data", "licence", "limits", "recipe"} <= set(repository.card)


def test_a_model_of_the_card_is_the_same_weights_at_other_sizes(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "model_card.json"
    card = json.loads(path.read_text())
    card["models"] = {"fast": {"canvases": card["canvases"]}, "large": {"canvases": [[800, 800]]}}
    path.write_text(json.dumps(card))
    default = ModelRepository.open(tmp_path / "copy")
    assert default.canvases == ModelRepository.open(tmp_path / "copy", "fast").canvases
    large = ModelRepository.open(tmp_path / "copy", "large")
    assert large.canvases == ((800, 800),)
    assert large.name == f"{default.name} large"
    with pytest.raises(ModelNotFound, match="no model 'huge' here; --model takes fast, large"):
        ModelRepository.open(tmp_path / "copy", "huge")


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"nowhere: no such model repository; give --repository"):
        ModelRepository.open(tmp_path / "nowhere")


def test_a_folder_without_a_card_or_with_a_broken_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"model_card\.json"):
        ModelRepository.open(tmp_path)
    (tmp_path / "model_card.json").write_text("{")
    with pytest.raises(ModelNotFound, match="parsing-rcnn export"):
        ModelRepository.open(tmp_path)


def test_a_missing_graph_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "model_repository" / "model_card.json", tmp_path)
    with pytest.raises(ModelNotFound, match=r"detector/1/model\.onnx is missing"):
        ModelRepository.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "is no JSON"),
        ("[]", "lacks name, version, taxonomy, canvases, tasks, files"),
        ('{"name": 7, "version": "1", "taxonomy": "cihp", "canvases": [], "tasks": {}, "files": {}}', "lacks name,"),
        (
            '{"name": "x", "version": "1", "taxonomy": "b", "canvases": [], "tasks": {}, "files": {}}',
            "none of cihp, mhp",
        ),
    ],
)
def test_what_is_wrong_with_a_card_is_said(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "model_card.json").write_text(text)
    with pytest.raises(ModelNotFound, match=word):
        ModelRepository.open(tmp_path)
    with pytest.raises(ModelNotFound, match=r"model_card\.json: No such file"):
        ModelRepository.open(ROOT / "model_repository" / "detector")


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("damage", ["half of it", "nothing", "another graph"])
def test_a_damaged_graph_is_named(tmp_path: Path, runtime: str, damage: str) -> None:
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "detector" / "1" / "model.onnx"
    other = tmp_path / "copy" / "parsing" / "1" / "model.onnx"
    data = {"half of it": path.read_bytes()[:100000], "nothing": b"", "another graph": other.read_bytes()}[damage]
    path.write_bytes(data)
    with pytest.raises(BrokenModel, match=r"detector/1/model\.onnx cannot be run \(.+\): copy it again"):
        Pipeline(tmp_path / "copy", runtime=runtime, threads=1).analyze(np.zeros((64, 64, 3), np.uint8))
