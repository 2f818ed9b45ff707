"""The exported files: names, shapes, agreement with torch, weights read back."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graphs import DensePoseGraph, DetectorGraph, ParsingGraph
from export.onnx import RepositoryError, export_repository, halve_weights, write_card
from export.rendered.pictures import render_scene
from parsing_rcnn.analyzer import Options
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import CARD, ModelRepository
from parsing_rcnn.runtime import Runtime
from training.checkpoint import load_model
from training.config import Config, DataConfig, ModelConfig, load_config
from training.errors import CheckpointError
from training.model.parsing_rcnn import ParsingRCNN, build_model

CONTRACT = {
    "detector": (
        {"CANVAS": ("UINT8", ["height", "width", 3]), "LIMITS": ("FLOAT", [2])},
        {
            "BOXES": ("FLOAT", ["people", 4]),
            "SCORES": ("FLOAT", ["people"]),
            "COUNT": ("INT32", [1]),
            "ROI_FEATURES": ("FLOAT", ["people", 64, 32, 32]),
        },
    ),
    "parsing": (
        {"ROI_FEATURES": ("FLOAT", ["people", 64, 32, 32])},
        {
            "PARTS": ("UINT8", ["people", 128, 128]),
            "PART_SCORES": ("FLOAT", ["people", 20]),
            "PART_PROBS": ("UINT8", ["people", 20, 128, 128]),
        },
    ),
    "densepose_head": (
        {"ROI_FEATURES": ("FLOAT", ["people", 64, 32, 32])},
        {"IUV": ("UINT8", ["people", 3, 128, 128]), "IUV_SCORES": ("FLOAT", ["people", 25])},
    ),
}


def described(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[str, list[object]]]:
    found: dict[str, tuple[str, list[object]]] = {}
    for value in values:
        tensor = value.type.tensor_type
        dims: list[object] = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        found[value.name] = (onnx.TensorProto.DataType.Name(tensor.elem_type), dims)
    return found


@pytest.mark.parametrize("graph", list(CONTRACT))
def test_the_graphs_keep_the_contract(repository: Path, graph: str) -> None:
    proto = onnx.load(repository / graph / "1" / "model.onnx")
    inputs, outputs = CONTRACT[graph]
    assert described(list(proto.graph.input)) == inputs
    assert described(list(proto.graph.output)) == outputs
    assert {o.domain: o.version for o in proto.opset_import} == {"": 20}
    for node in proto.graph.node:
        if node.op_type == "RoiAlign":
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            assert attributes["coordinate_transformation_mode"] == b"output_half_pixel"  # aligned=False
            assert attributes["sampling_ratio"] == 2


@pytest.fixture(scope="module")
def session(repository: Path) -> onnxruntime.InferenceSession:
    """The exported detector."""
    return onnxruntime.InferenceSession(repository / "detector" / "1" / "model.onnx")


@pytest.mark.parametrize("size", [(384, 640), (640, 384), (512, 512), (96, 64)])
@pytest.mark.parametrize("limits", [(0.0, 64.0), (0.02, 3.0), (1.1, 10.0), (0.0, 0.0)])
def test_detector_agrees_with_torch(
    session: onnxruntime.InferenceSession, model: ParsingRCNN, size: tuple[int, int], limits: tuple[float, float]
) -> None:
    canvas, bound = render_scene(3, *size), np.array(limits, np.float32)
    boxes, scores, count, features = session.run(None, {"CANVAS": canvas, "LIMITS": bound})
    with torch.inference_mode():
        want = [t.numpy() for t in DetectorGraph(model)(torch.from_numpy(canvas), torch.from_numpy(bound))]
    assert count == want[2]
    assert len(boxes) == max(int(count[0]), 1) <= 64
    assert int(count[0]) <= limits[1]
    np.testing.assert_allclose(boxes, want[0], atol=0.05)
    np.testing.assert_allclose(scores, want[1], atol=1e-4)
    np.testing.assert_allclose(features, want[3], rtol=1e-3, atol=5e-3)
    assert (np.diff(scores) <= 0).all()
    if count[0]:
        assert (scores >= limits[0]).all()
        assert (boxes[:, 2:] <= size[::-1]).all()
        assert (boxes >= 0).all()


def test_detector_agrees_with_the_model(session: onnxruntime.InferenceSession, model: ParsingRCNN) -> None:
    """`ParsingRCNN.detect`, which evaluation in torch uses, and the exported graph find the same people."""
    canvas = render_scene(5, 384, 640)
    boxes, scores, count, _ = session.run(None, {"CANVAS": canvas, "LIMITS": np.array([0.02, 64], np.float32)})
    with torch.inference_mode():
        found = model.detect(model.pyramid(torch.from_numpy(canvas).permute(2, 0, 1)[None]), (384, 640))
    wanted = int((found.scores >= 0.02).sum())
    assert min(wanted, 64) == count[0] > 0
    np.testing.assert_allclose(boxes[: count[0]], found.boxes[: count[0]].numpy(), atol=0.05)
    np.testing.assert_allclose(scores[: count[0]], found.scores[: count[0]].numpy(), atol=1e-4)


def features_of(session: onnxruntime.InferenceSession, people: int) -> NDArray[np.float32]:
    """ROI_FEATURES of the best boxes of a rendered scene: what the heads meet in service."""
    limits = np.array([0.0, people], np.float32)
    found: NDArray[np.float32] = session.run(["ROI_FEATURES"], {"CANVAS": render_scene(1, 384, 640), "LIMITS": limits})[
        0
    ]
    assert len(found) == people
    return found


@pytest.mark.parametrize("people", [1, 2, 7])
def test_heads_agree_with_torch(
    repository: Path, session: onnxruntime.InferenceSession, model: ParsingRCNN, people: int
) -> None:
    features = features_of(session, people)
    parsing = onnxruntime.InferenceSession(repository / "parsing" / "1" / "model.onnx")
    parts, scores, probabilities = parsing.run(None, {"ROI_FEATURES": features})
    densepose = onnxruntime.InferenceSession(repository / "densepose_head" / "1" / "model.onnx")
    iuv, iuv_scores = densepose.run(None, {"ROI_FEATURES": features})
    with torch.inference_mode():
        want = [t.numpy() for t in ParsingGraph(model)(torch.from_numpy(features))]
        want_iuv, want_scores = (t.numpy() for t in DensePoseGraph(model)(torch.from_numpy(features)))
    assert (parts == want[0]).mean() > 0.999
    assert len(np.unique(parts)) > 2
    np.testing.assert_allclose(scores, want[1], atol=1e-3)
    assert np.abs(probabilities.astype(int) - want[2]).max() <= 1
    assert (iuv[:, 0] == want_iuv[:, 0]).mean() > 0.999
    both = (iuv_scores > 0) & (want_scores > 0)  # a part may win its first cell, or lose its last one
    assert both.sum() > 5 * people
    np.testing.assert_allclose(iuv_scores[both], want_scores[both], atol=1e-3)
    same = iuv[:, :1] == want_iuv[:, :1]
    assert (np.abs(iuv.astype(int) - want_iuv)[np.broadcast_to(same, iuv.shape)] <= 1).all()


def test_part_scores_by_hand(model: ParsingRCNN) -> None:
    """Two classes win a half each with known probabilities."""

    class Fixed(torch.nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(1, 20, 4, 4)
            logits[0, 3, :2] = 2.0
            logits[0, 7, 2:] = 4.0
            return logits

    graph = ParsingGraph(model)
    graph.trunk, graph.head = torch.nn.Identity(), Fixed()  # type: ignore[assignment]
    parts, scores, _ = graph(torch.zeros(1))
    assert parts[0, 0, 0] == 3
    assert parts[0, 3, 0] == 7
    assert float(scores[0, 3]) == pytest.approx(np.exp(2) / (np.exp(2) + 19), abs=1e-6)
    assert float(scores[0, 7]) == pytest.approx(np.exp(4) / (np.exp(4) + 19), abs=1e-6)
    assert scores[0].nonzero()[:, 0].tolist() == [3, 7]


def test_the_shipped_files_are_what_the_exporter_makes(repository: Path) -> None:
    for graph in CONTRACT:
        fresh, shipped = (
            onnx.load(root / graph / "1" / "model.onnx") for root in (repository, ModelRepository.open().path)
        )
        assert [n.op_type for n in fresh.graph.node] == [n.op_type for n in shipped.graph.node]
        assert {i.name: i.raw_data for i in fresh.graph.initializer} == {
            i.name: i.raw_data for i in shipped.graph.initializer
        }


def test_weights_come_back(repository: Path, model: ParsingRCNN, tmp_path: Path) -> None:
    read, config = load_model(repository)
    assert config.name == "light"
    assert len(model.state_dict()) > 300
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(read.state_dict()[name], value, rtol=0, atol=0)
    for graph in ("detector", "parsing", "densepose_head"):
        (tmp_path / graph / "1").mkdir(parents=True)
        source = repository / ("parsing" if graph == "detector" else graph) / "1" / "model.onnx"
        (tmp_path / graph / "1" / "model.onnx").write_bytes(source.read_bytes())
    (tmp_path / "model_card.json").write_bytes((repository / "model_card.json").read_bytes())
    with pytest.raises(CheckpointError, match="tensors do not fit"):
        load_model(tmp_path)
    (tmp_path / "parsing" / "1" / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"parsing/1/model.onnx: no such graph"):
        load_model(tmp_path)
    (tmp_path / "model_card.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds no recipe"):
        load_model(tmp_path)


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    recipe = Path(__file__).parents[2] / "training" / "configs" / "light.yaml"
    config = load_config(recipe, ("model.branch.roi_size=14", "model.branch.levels=[2, 3]", "model.pretrained=false"))
    with pytest.raises(RepositoryError, match=r"levels is \[2, 3\], decoder False and roi_size 14"):
        export_repository(build_model(config.model), config, tmp_path, version="test", card={})


def test_the_card_describes_the_files(repository: Path) -> None:
    card = json.loads((repository / "model_card.json").read_text())
    for name, file in card["files"].items():
        data = (repository / file["file"]).read_bytes()
        assert file["file"] == f"{name}/1/model.onnx"
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["bytes"] == len(data)
    assert card["version"] == "test"


def test_files_say_nothing_about_the_machine(repository: Path) -> None:
    for path in repository.rglob("*.onnx"):
        data = path.read_bytes()
        assert str(Path.home()).encode() not in data
        assert str(Path(__file__).parents[2]).encode() not in data


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_pipeline_on_every_runtime(repository: Path, kind: str) -> None:
    pipeline = Pipeline(repository, runtime=kind, precision="fp32")
    scene = render_scene(1, 300, 500)
    people = pipeline.analyze(scene, Options(confidence=0.01, max_people=6, part_probs=True))
    assert 0 < len(people) <= 6
    assert people.image_size == (300, 500)
    assert people.parts is not None
    assert people.part_probs is not None
    assert people.iuv is not None
    assert people.parts.shape[1:] == (128, 128)
    assert people.iuv.shape[1:] == (3, 128, 128)
    assert (people.part_probs.argmax(1) == people.parts).mean() > 0.99
    nobody = pipeline.analyze(scene, Options(confidence=1.0))
    assert len(nobody) == 0
    assert nobody.parts is not None
    assert nobody.parts.shape == (0, 128, 128)


def test_people_buckets_do_not_change_the_answer(repository: Path, session: onnxruntime.InferenceSession) -> None:
    runtime = Runtime(ModelRepository.open(repository), "openvino", "fp32")
    features = features_of(session, 6)
    together = runtime.parsing(features, probabilities=False)["PARTS"]  # four and two
    apart = [runtime.parsing(row[None], probabilities=False)["PARTS"][0] for row in features]
    assert (together == np.stack(apart)).mean() > 0.9999


def test_the_card_tells_nobody_where_data_lay(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    away = tmp_path / "somewhere"
    data = DataConfig(
        pseudo_labels=away / "labels",
        rendered=away / "people",
        scenes=away / "scenes",
        things=away / "things",
        uv_symmetry=away / "uv.mat",
        annotated=(away / "cihp",),
    )
    config = Config(data=data, model=ModelConfig(backbone_weights=away / "r50.pth"))
    write_card(tmp_path, config, {}, version="1", card={})
    text = (tmp_path / CARD).read_text()
    assert "somewhere" not in text
    assert "data/people" in text
    assert Config.model_validate(json.loads(text)["recipe"]).data.things == Path("data/things")


@pytest.mark.parametrize(("value", "shape"), [(1e6, (16, 16)), (float("inf"), (16, 16)), (float("nan"), (3,))])
def test_an_export_refuses_what_fp16_does_not_hold(value: float, shape: tuple[int, ...]) -> None:
    weights = np.zeros(shape, np.float32)
    weights.flat[-1] = value
    graph = helper.make_graph(
        [helper.make_node("Identity", ["box.fc1.weight"], ["out"])],
        "graph",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "box.fc1.weight")],
    )
    with pytest.raises(RepositoryError, match=r"box\.fc1\.weight: .* the 65504 of fp16"):
        halve_weights(helper.make_model(graph))
