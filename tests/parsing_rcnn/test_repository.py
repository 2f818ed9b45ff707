"""Where models are looked for, and what is said when they are not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn.errors import BrokenModel, ModelNotFound
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import GRAPHS, ModelRepository
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


def test_classes_of_ones_own_are_read_once(tmp_path: Path) -> None:
    """Every picture needs them several times."""
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "model_card.json"
    card = json.loads(path.read_text())
    classes = ["Background", *(f"part {number}" for number in range(1, len(CIHP)))]
    card["taxonomy"] = {"name": "own", "classes": classes}
    path.write_text(json.dumps(card))
    repository = ModelRepository.open(tmp_path / "copy")
    assert repository.taxonomy.classes == tuple(classes)
    assert repository.taxonomy is repository.taxonomy


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


def test_a_repository_is_named_by_a_path_or_its_text() -> None:
    path = ROOT / "model_repository"
    assert ModelRepository.open(str(path)) == ModelRepository.open(path)
    assert Pipeline(str(path), threads=1, graphs=()).repository.path == path
    with pytest.raises(ModelNotFound, match="nowhere: no such model repository"):
        Pipeline("nowhere")


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"nowhere: no such model repository; give --repository"):
        ModelRepository.open(tmp_path / "nowhere")


def test_a_card_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "model_card.json"
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert ModelRepository.open(tmp_path / "copy").card == ModelRepository.open(ROOT / "model_repository").card


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
        (
            '{"name": "x", "version": "1", "taxonomy": "cihp", "canvases": [[64, 96]], "tasks": {}, '
            '"files": {"detector": {}}}',
            "lacks file or sha256",
        ),
    ],
)
def test_what_is_wrong_with_a_card_is_said(tmp_path: Path, text: str, word: str) -> None:
    for graph in GRAPHS:
        (tmp_path / graph / "1").mkdir(parents=True)
        (tmp_path / graph / "1" / "model.onnx").touch()
    (tmp_path / "model_card.json").write_text(text)
    with pytest.raises(ModelNotFound, match=word):
        ModelRepository.open(tmp_path)
    with pytest.raises(ModelNotFound, match=r"model_card\.json: No such file"):
        ModelRepository.open(ROOT / "model_repository" / "detector")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("taxonomy", "pascal", "taxonomy 'pascal' is none of cihp, mhp"),
        ("canvases", [], "canvases []: a list of one or more [height, width], multiples of 32 from 64 to 1344"),
        ("canvases", [["a", 2]], "canvases [['a', 2]]: a list"),
        ("canvases", [[-32, 64]], "canvases [[-32, 64]]: a list"),
        ("canvases", [[100, 100]], "canvases [[100, 100]]: a list"),
        ("canvases", [[384, 640], [64]], "canvases [[384, 640], [64]]: a list"),
        ("canvases", [[384, 1376]], "canvases [[384, 1376]]: a list"),
        ("tasks", {"parsing": {}}, "tasks.parsing {}: an object that says whether its head is trained"),
        ("tasks", {"parsing": True}, "tasks.parsing True: an object"),
        ("tasks", {"parsing": {"trained": "no"}}, "tasks.parsing {'trained': 'no'}: an object"),
        ("models", ["fast"], "models ['fast']: an object"),
        ("models", {"fast": {}}, "models.fast.canvases None: a list"),
        ("models", {"fast": {"canvases": [[100, 100]]}}, "models.fast.canvases [[100, 100]]: a list"),
    ],
)
def test_a_field_of_a_card_that_cannot_be_is_named(tmp_path: Path, key: str, value: object, word: str) -> None:
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "model_card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ModelNotFound, match=re.escape(f"{path}: {word}")) as refusal:
        ModelRepository.open(tmp_path / "copy")
    assert str(refusal.value).endswith("`parsing-rcnn export` writes a repository")


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_graphs_of_another_taxonomy_than_the_cards_are_refused(tmp_path: Path, runtime: str) -> None:
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "model_card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"taxonomy": "mhp"}))
    said = r"^parsing/1/model\.onnx cannot .*its parts have 20 classes; mhp, the taxonomy of model_card.json, has 59"
    pipeline = Pipeline(tmp_path / "copy", runtime=runtime, precision="fp32")
    with pytest.raises(BrokenModel, match=said):
        pipeline.analyze(np.zeros((64, 64, 3), np.uint8))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    """They would run, and find what is not there."""
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "detector" / "1" / "model.onnx"
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 4000)
    data[middle] = bytes(byte ^ 0x55 for byte in data[middle])
    path.write_bytes(data)
    with pytest.raises(
        BrokenModel, match=r"detector/1/model\.onnx cannot be run \(it is not the file of.+copy it again"
    ):
        ModelRepository.open(tmp_path / "copy")
    command = [sys.executable, "-m", "parsing_rcnn", "serve", "--repository", str(tmp_path / "copy"), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARSING_RCNN_")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "is not the file of model_card.json" in done.stderr


def test_graphs_in_int8_are_of_the_card_too(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    folder = tmp_path / "copy" / "parsing" / "1"
    card = json.loads((tmp_path / "copy" / "model_card.json").read_text())
    entry = {"file": "parsing/1/other.onnx", "bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    card["quantization"] = {"files": {"parsing": entry}}
    (tmp_path / "copy" / "model_card.json").write_text(json.dumps(card))
    with pytest.raises(ModelNotFound, match=r"parsing/1/other\.onnx: No such file"):
        ModelRepository.open(tmp_path / "copy")
    (folder / "other.onnx").write_bytes(b"weights")
    opened = ModelRepository.open(tmp_path / "copy")
    assert opened.quantised == ("parsing",)
    assert opened.graph("parsing", "int8") == folder / "other.onnx"
    assert opened.graph("parsing") == opened.graph("parsing", "bf16") == folder / "model.onnx"
    assert opened.graph("detector", "int8") == opened.graph("detector")  # one that has none
    (folder / "other.onnx").write_bytes(b"another")
    with pytest.raises(BrokenModel, match=r"parsing/1/other\.onnx cannot be run"):
        ModelRepository.open(tmp_path / "copy")


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("damage", ["half of it", "nothing", "another graph"])
def test_a_damaged_graph_is_named(tmp_path: Path, runtime: str, damage: str) -> None:
    shutil.copytree(ROOT / "model_repository", tmp_path / "copy")
    path = tmp_path / "copy" / "detector" / "1" / "model.onnx"
    other = tmp_path / "copy" / "parsing" / "1" / "model.onnx"
    data = {"half of it": path.read_bytes()[:100000], "nothing": b"", "another graph": other.read_bytes()}[damage]
    path.write_bytes(data)
    card = tmp_path / "copy" / "model_card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"files": {}}))  # one that has no sums to tell it by
    with pytest.raises(BrokenModel, match=r"^detector/1/model\.onnx cannot be run \((?!.*/).+\): copy it again"):
        Pipeline(tmp_path / "copy", runtime=runtime, precision="fp32").analyze(np.zeros((64, 64, 3), np.uint8))
