"""Triton's repository: what is committed is what is written, and any checkpoint gets its own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.card import digest_of
from export.graphs import DetectorGraph
from export.onnx import taken_over
from export.options import ExportOptions
from export.triton_repository import files, read_shapes, tensors
from parsing_rcnn.ensembles import ENSEMBLES
from parsing_rcnn.models import all_canvases
from parsing_rcnn.repository import CARD, GRAPHS, ModelRepository
from tests.export.conftest import Exported, export_once
from training.checkpoint import load_model


def test_the_shipped_configurations_are_those_of_the_shipped_graphs() -> None:
    repository = ModelRepository.open().path
    for path, text in files(read_shapes(repository)).items():
        assert (repository / path).read_text() == text, f"{path}: run `parsing-rcnn export --target triton` again"


def test_another_checkpoint_gets_its_own_shapes(with_every_option: Exported) -> None:
    out = with_every_option.folder
    shapes = read_shapes(out)
    what_the_options_did(out, with_every_option.output)
    assert (shapes.channels, shapes.roi, shapes.cells, shapes.classes) == (16, 32, 128, 59)
    text = (out / "parsing" / "configs" / "cpu.pbtxt").read_text()
    assert "dims: [16, 32, 32]" in text
    assert "dims: [59, 128, 128]" in text
    assert (out / "preprocess" / "1" / "model.py").is_file()


@pytest.fixture(scope="module")
def with_other_buckets(with_every_option: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """That export made again of its own graphs and over them, with engines there, for other numbers of people."""
    out = tmp_path_factory.mktemp("buckets") / "models"
    shutil.copytree(with_every_option.folder, out)
    for name in GRAPHS:
        (out / name / "1" / "model.plan").write_bytes(b"of the profiles of the card that is there")
    return export_once(with_every_option.folder, out, [*with_every_option.words, "--people-buckets", "1,2,8"])


def test_the_sum_of_the_weights_tells_trainings_apart_and_no_exports_of_one(
    exported: Exported, with_every_option: Exported, with_another_card: Exported, with_other_buckets: Exported
) -> None:
    def sum_of(folder: Path) -> str:
        return str(ModelRepository.open(folder).card["weights_sha256"])

    shipped = sum_of(ModelRepository.open().path)
    assert shipped == sum_of(exported.folder)
    own = sum_of(with_every_option.folder)  # of fp16, some canvases and a fixed number of rows; its --card says another
    assert own == sum_of(with_another_card.folder) == sum_of(with_other_buckets.folder) != shipped
    assert (
        f'key: "card.weights_sha256" value: {{ string_value: "{own}" }}'
        in (with_other_buckets.folder / "densepose" / "config.pbtxt").read_text()
    )


def test_the_sum_is_another_where_one_number_of_one_weight_is(exported: Exported, tmp_path: Path) -> None:
    own = ModelRepository.open(exported.folder).card["weights_sha256"]
    shutil.copytree(exported.folder, tmp_path / "models")
    path = tmp_path / "models" / "parsing" / "1" / "model.onnx"
    graph = onnx.load(path)
    weight = next(one for one in graph.graph.initializer if one.name.startswith("head."))
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    assert digest_of(tmp_path / "models") == own
    onnx.save(graph, path)
    assert digest_of(tmp_path / "models") != own


def engines(folder: Path) -> dict[str, bool]:
    """Whether each model has one."""
    return {name: (folder / name / "1" / "model.plan").is_file() for name in GRAPHS}


def test_engines_stay_as_long_as_graph_and_profiles_do(
    with_every_option: Exported, with_another_card: Exported, with_other_buckets: Exported
) -> None:
    # other canvases: the detector has other profiles; the graph of one head is not what it was
    assert engines(with_another_card.folder) == {"detector": False, "parsing": True, "densepose_head": False}
    detectors = [given.folder / "detector" / "1" / "model.onnx" for given in (with_every_option, with_another_card)]
    assert detectors[0].read_bytes() != detectors[1].read_bytes()  # of other proposals
    assert "384x640" in (with_another_card.folder / "detector" / "config.pbtxt").read_text()
    out = with_other_buckets.folder
    # the same graphs: one of the heads' profiles is new
    assert engines(out) == {"detector": True, "parsing": False, "densepose_head": False}
    assert "people 2" in (out / "parsing" / "config.pbtxt").read_text()
    for name in ENSEMBLES:
        # of the same weights, whatever their export: a gateway with another export's card takes this Triton
        ensembles = [(folder / name / "config.pbtxt").read_text() for folder in (with_every_option.folder, out)]
        assert ensembles[0] == ensembles[1]


def warmed(text: str) -> list[str]:
    """Names of what a configuration has Triton run before a model is ready."""
    return re.findall(r'{ name: "([^"]+)" batch_size', text)


def test_an_engine_is_warm_in_all_its_profiles() -> None:
    card = ModelRepository.open().card
    written = files(read_shapes(ModelRepository.open().path))
    every = [f"{height}x{width}" for height, width in all_canvases(card)]
    assert len(every) > len(card["canvases"])  # those of its larger model, too
    assert warmed(written["detector/config.pbtxt"]) == warmed(written["detector/configs/ort_gpu.pbtxt"]) == every
    for head in ("parsing", "densepose_head"):
        engine = written[f"{head}/config.pbtxt"]
        assert warmed(engine) == ["people 1", "people 4", "people 16", "people 64"]
        assert [int(n) for n in re.findall(r"batch_size: (\d+) inputs", engine)] == [1, 4, 16, 64]


def test_cuda_computes_fp32_and_does_not_try_every_algorithm() -> None:
    """As the provider's options, of which Triton's backend takes this one from the top level alone."""
    for path, text in files(read_shapes(ModelRepository.open().path)).items():
        if path.endswith("ort_gpu.pbtxt"):
            assert '{ name: "cuda" parameters { key: "use_tf32" value: "0" } }' in text
            assert '\nparameters { key: "cudnn_conv_algo_search" value: { string_value: "1" } }\n' in text


def what_the_options_did(out: Path, printed: str) -> None:
    card = json.loads((out / CARD).read_text())
    assert card["canvases"] == [[256, 320], [320, 256]]
    assert card["recipe"]["model"]["rpn"]["proposals_test"] == 50
    assert card["tasks"] == {"parsing": {"trained": False}, "densepose": {"trained": True}}  # as the recipe trains them
    assert {key: card[key] for key in ("precision", "static_people", "max_people", "people_buckets")} == {
        "precision": "fp16",
        "static_people": 6,
        "max_people": 8,
        "people_buckets": [1, 8],
    }
    detector = (out / "detector" / "config.pbtxt").read_text()
    assert "dims: [6, 4]" in detector
    assert 'profile: ["0", "1"]' in detector
    head = (out / "parsing" / "config.pbtxt").read_text()
    assert "max_batch_size: 8" in head
    assert warmed(head) == ["people 1", "people 8"]
    assert re.search(r"detector/1/model.onnx \(\d+\.\d MB; 256x320 [\d.]+ GFLOP, 320x256 [\d.]+ GFLOP\)", printed)
    assert re.search(r"parsing/1/model.onnx \(\d+\.\d MB; a person [\d.]+ GFLOP\)", printed)
    lines = [line for line in printed.splitlines() if line.startswith("trtexec ")]
    assert len(lines) == 3
    assert "--profile=1 --minShapes=CANVAS:320x256x3" in lines[0]
    assert "--profile=1 --minShapes=ROI_FEATURES:2x16x32x32 --optShapes=ROI_FEATURES:8x16x32x32" in lines[1]
    model, recipe = load_model(out)  # the files are the checkpoint, whatever they compute in
    assert recipe.model.rpn.proposals_test == 50
    session = onnxruntime.InferenceSession(out / "detector" / "1" / "model.onnx")
    canvas, limits = np.zeros((64, 96, 3), np.uint8), np.array([0.0, 4], np.float32)
    boxes, _, count, features = session.run(None, {"CANVAS": canvas, "LIMITS": limits})
    assert count[0] == 4  # of anybody: random weights
    assert boxes.shape == (6, 4)
    assert features.shape == (6, 16, 32, 32)
    (rebuilt,) = DetectorGraph(model, 6, static=True)(torch.from_numpy(canvas), torch.from_numpy(limits))[2]
    assert rebuilt == 4


def test_what_an_export_does_not_take_over(tmp_path: Path) -> None:
    card = dict(ModelRepository.open().card)
    own = {"precision": "bf16", "max_people": 3, "static_people": 2, "people_buckets": [1, 3]}
    (tmp_path / CARD).write_text(json.dumps({**card, **own}))
    kept = taken_over(tmp_path, ExportOptions())
    assert kept == {key: value for key, value in card.items() if key not in ("files", "recipe", "quantization")}
    other = taken_over(tmp_path, ExportOptions(sizes=((256, 320),)))
    assert kept.keys() - other.keys() == {"canvases", "models"}


@pytest.mark.parametrize("ensemble", ["human_analysis", "human_parsing", "densepose"])
def test_an_ensemble_takes_a_picture_and_gives_what_its_heads_give(ensemble: str) -> None:
    shapes = read_shapes(ModelRepository.open().path)
    inputs, outputs = tensors(shapes)[ensemble]
    assert [t.name for t in inputs] == ["IMAGE"]
    assert {t.name for t in outputs} >= {"BOXES", "SCORES", "IMAGE_SIZE"}
    assert ("IUV" in {t.name for t in outputs}) == (ensemble != "human_parsing")
    assert ("PARTS" in {t.name for t in outputs}) == (ensemble != "densepose")
