"""INT8: what is quantised, that it runs and answers nearly alike, what is measured and when it ships."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from export.memory_graphs import MemoryGraphs
from export.parity.comparison import answers, compare
from export.quantization.calibration import CalibrationError, calibrate, find_photos
from export.quantization.qdq import Spread, group_of, measure_ranges, node_groups, quantise
from export.quantization.quantize import Quantised, Request, quantise_repository, threads_of
from export.quantization.report import analyzers, decide, measure_accuracy, measure_times, report, to_markdown
from export.quantization.sensitivity import measure_sensitivity
from export.rendered.pictures import render_scene
from parsing_rcnn.cli import build
from parsing_rcnn.geometry import iou
from parsing_rcnn.inference.cores import usable_cores
from parsing_rcnn.repository import CARD, GRAPHS, ModelRepository
from parsing_rcnn.runtime import Runtime, no_int8


def plain(items, _):
    return items


@pytest.fixture(scope="module")
def small(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    """The fresh export on small canvases, so that these tests are quick."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copytree(repository, folder, dirs_exist_ok=True)
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "canvases": [[192, 320]]}))
    return ModelRepository.open(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with people that the network finds, as a folder of JPEGs."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        for people in (1, 2):
            scene = render_scene(seed, 384, 640, people=people)
            cv2.imwrite(str(folder / f"{seed}{people}.jpg"), cv2.cvtColor(scene, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope="module")
def request_(small: ModelRepository, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Request:
    out = tmp_path_factory.mktemp("int8")
    return Request(small, out, (photos,), count=4, excluded=("21.jpg", "22.jpg"), threads=2)


@pytest.fixture(scope="module")
def quantised(request_: Request) -> Quantised:
    return quantise_repository(request_, plain)


@pytest.fixture(scope="module")
def held_out(photos: Path) -> list[np.ndarray]:
    """Canvases that did not calibrate: two other scenes, and two mirrored."""
    scenes = [cv2.cvtColor(cv2.imread(str(photos / f"{n}.jpg")), cv2.COLOR_BGR2RGB) for n in ("21", "22", "01", "11")]
    scenes[2:] = [np.ascontiguousarray(scene[:, ::-1]) for scene in scenes[2:]]
    return [cv2.resize(scene, (320, 192)) for scene in scenes]


def test_threads_are_as_many_as_given_or_as_the_process_may_use(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threads_of(request_) == 2
    assert threads_of(replace(request_, threads=None)) == usable_cores()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert threads_of(replace(request_, threads=None)) == usable_cores()


def test_weights_are_of_seven_bits_per_channel_and_symmetric(quantised: Quantised) -> None:
    proto = onnx.load(quantised.repository.graph("detector", "int8"))
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    made = {name: node for node in proto.graph.node for name in node.output}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    exact = [node for node in convolutions if made.get(node.input[1], node).op_type != "DequantizeLinear"]
    assert len(convolutions) == 83
    # of proposals from all levels at once, and of people
    assert [node.op_type for node in proto.graph.node].count("RoiAlign") == 2
    assert {node.input[1].split("::")[0] for node in exact} == {
        "model.rpn.objectness.weight",
        "model.rpn.deltas.weight",
    }
    for node in (node for node in convolutions if node not in exact):
        data, weight = made[node.input[0]], made[node.input[1]]
        assert data.op_type == weight.op_type == "DequantizeLinear"
        assert stored[weight.input[0]].dtype == np.int8
        assert 63 <= np.abs(stored[weight.input[0]].astype(int)).max() <= 64
        channels = stored[weight.input[0]].shape[0]
        assert stored[weight.input[1]].shape == (channels,)  # a scale for each output channel
        assert not stored[weight.input[2]].any()
        assert stored[data.input[2]].dtype == np.uint8


def test_tables_that_were_worked_out_are_stored_small(quantised: Quantised) -> None:
    """Where U and V are looked up: four cells for each of 128x128 pixels, which need no 64 bits."""
    proto = onnx.load(quantised.repository.graph("densepose_head", "int8"))
    tables = [numpy_helper.to_array(t) for t in proto.graph.initializer if t.dims[-1:] == [128 * 128]]
    assert {table.dtype.name for table in tables} == {"int32", "float16"}
    cells = next(table for table in tables if table.dtype == np.int32)
    assert cells.max() == 48 * (64 * 64 - 1)  # of 24 parts U and V in every cell


def test_scores_boxes_and_attention_stay_fp32(quantised: Quantised) -> None:
    for name in GRAPHS:
        proto = onnx.load(quantised.repository.graph(name, "int8"))
        made = {out: node for node in proto.graph.node for out in node.output}
        quantised_inputs = {
            node.op_type
            for node in proto.graph.node
            for source in node.input
            if source in made and made[source].op_type == "DequantizeLinear"
        }
        assert quantised_inputs == ({"Conv", "Gemm"} if name == "detector" else {"Conv", "ConvTranspose"})


def test_the_repository_runs_and_answers_nearly_alike(
    small: ModelRepository, quantised: Quantised, held_out: list[np.ndarray]
) -> None:
    limits = np.array([0.3, 8], np.float32)
    exact = Runtime(small, "onnxruntime", threads=2)
    coarse = MemoryGraphs({name: onnx.load(quantised.repository.graph(name, "int8")) for name in GRAPHS}, 2)
    one, other = (answers(graphs, held_out, limits) for graphs in (exact, coarse))
    assert [len(found["BOXES"]) for found in one] == [1, 2, 1, 1]
    for exact_answer, coarse_answer in zip(one, other, strict=True):  # nobody is lost, nobody added, boxes stay about
        assert len(coarse_answer["BOXES"]) == len(exact_answer["BOXES"])
        assert iou(exact_answer["BOXES"], coarse_answer["BOXES"]).max(1).min() > 0.8
    difference = compare(one, other)
    assert difference.people > difference.unmatched / 2  # of somebody the parts are compared
    assert difference.parts > 0.7
    assert difference.parts < 1.0  # it is INT8, after all


def test_the_card_says_what_was_done(small: ModelRepository, quantised: Quantised) -> None:
    card, source = quantised.repository.card, quantised.repository.path
    assert card["quantization"]["photos"] == 4
    assert card["quantization"]["people"] == quantised.calibration.people >= 4
    assert "backbone.stem" in card["quantization"]["groups"]["detector"]
    assert (card["quantization"]["bits"], quantised.repository.weight_bits) == (8, 7)
    assert quantised.repository.quantised == GRAPHS
    assert card["files"] == small.card["files"]  # what was there stays
    for name in GRAPHS:
        file = card["quantization"]["files"][name]
        assert file["sha256"] == hashlib.sha256((source / file["file"]).read_bytes()).hexdigest()
    assert {path.name for path in quantised.calibration.photos} == {"01.jpg", "02.jpg", "11.jpg", "12.jpg"}


def test_only_the_chosen_part_is_quantised(quantised: Quantised) -> None:
    ranged = quantised.ranged["parsing"]
    proto = quantise(ranged, ["trunk.convs"])
    made = {out: node for node in proto.graph.node for out in node.output}
    coarse = {
        node.name
        for node in proto.graph.node
        if node.op_type.startswith("Conv") and made.get(node.input[1], node).op_type == "DequantizeLinear"
    }
    assert coarse == {name for name, group in ranged.groups.items() if group == "trunk.convs"}
    assert len(coarse) == 2


def test_quantisation_by_hand(tmp_path: Path) -> None:
    """A 1x1 convolution with scales that can be worked out: inputs in steps of 3/255, weights of 1/64 and 4/64."""
    weight = np.float32([[1.0, -0.3], [4.0, 1.1]]).reshape(2, 2, 1, 1)
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", ["x", "model.fpn.output.0.weight"], ["y"], name="conv")],
            "tiny",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 1, "w"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 1, "w"])],
            [numpy_helper.from_array(weight, "model.fpn.output.0.weight")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.save(proto, tmp_path / "tiny.onnx")
    x = np.float32([[2.0, -0.71, 0.013], [0.2, 1.91, -1.0]]).reshape(1, 2, 1, 3)
    ranged = measure_ranges(tmp_path / "tiny.onnx", [{"x": x}])
    assert ranged.groups == {"conv": "fpn.output"}
    (found,) = ReferenceEvaluator(quantise(ranged, ["fpn.output"])).run(None, {"x": x})
    x_steps = np.round(x * 255 / 3).reshape(2, 3)
    w_steps = np.array([[64, -19], [64, 18]])  # round(-0.3 * 64) and round(1.1 * 64 / 4)
    bias = 0.37 * np.array([[-0.3 + 19 / 64], [1.1 - 4 * 18 / 64]])  # the mean of the second channel: 1.11 / 3
    expected = (w_steps @ x_steps) * (3 / 255) * np.array([[1 / 64], [4 / 64]]) + bias
    np.testing.assert_allclose(found.reshape(2, 3), expected, rtol=1e-5, atol=1e-6)
    # for TensorRT: inputs in steps of 2/127, weights of 1/127 and 4/127
    w_steps = np.array([[127, -38], [127, 35]])  # round(-0.3 * 127) and round(1.1 * 127 / 4)
    (found,) = ReferenceEvaluator(quantise(ranged, ["fpn.output"], "int8")).run(None, {"x": x})
    bias = 0.37 * np.array([[-0.3 + 38 / 127], [1.1 - 4 * 35 / 127]])
    expected = (w_steps @ np.round(x * 127 / 2).reshape(2, 3)) * (2 / 127) * np.array([[1 / 127], [4 / 127]]) + bias
    np.testing.assert_allclose(found.reshape(2, 3), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", ["Relu", "Identity"])
def test_a_residual_sum_by_hand(tmp_path: Path, last: str) -> None:
    """y = 0.5 last(x - x/4 at the weight 0.25): both addends are rounded where a ReLU follows, and nothing else."""
    proto = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["x", "backbone.stages.0.weight"], ["c"], name="conv"),
                helper.make_node("Add", ["c", "x"], ["s"], name="sum"),
                helper.make_node(last, ["s"], ["r"], name="last"),
                helper.make_node("Conv", ["r", "backbone.stages.1.weight"], ["y"], name="next"),
            ],
            "tiny",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, "w"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, "w"])],
            [
                numpy_helper.from_array(np.full((1, 1, 1, 1), -0.25, np.float32), "backbone.stages.0.weight"),
                numpy_helper.from_array(np.full((1, 1, 1, 1), 0.5, np.float32), "backbone.stages.1.weight"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.save(proto, tmp_path / "tiny.onnx")
    x = np.float32([2.0, 0.713, 0.013, 1.27]).reshape(1, 1, 1, 4)
    ranged = measure_ranges(tmp_path / "tiny.onnx", [{"x": x}])
    assert ranged.groups == {"conv": "backbone.stages.0", "next": "backbone.stages.1"}
    assert ranged.sums == ({"sum": "backbone.stages.0"} if last == "Relu" else {})

    def rounded(values: np.ndarray, low: float, high: float, steps: int) -> np.ndarray:
        return np.round((values - low) * steps / (high - low)) * (high - low) / steps + low

    for activations, steps in (("uint8", 255), ("int8", 254)):
        low = 0.0 if activations == "uint8" else -2.0  # x lies from 0 to 2, what is read of it from `low`
        seen = rounded(x, low, 2, steps)
        branch = -0.25 * seen  # from -0.5 to 0
        if last == "Relu" and activations == "uint8":
            branch = rounded(branch, -0.5, 0, steps)  # TensorRT's convolution adds before anything is rounded
        total = branch + (seen if last == "Relu" else x)  # from 0 to 1.5
        expected = 0.5 * rounded(total, 0.75 * low, 1.5, steps)
        (found,) = ReferenceEvaluator(quantise(ranged, [*ranged.groups.values()], activations)).run(None, {"x": x})
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_lone_outlier_does_not_cost_everybody_their_steps() -> None:
    counts = np.zeros(2048, np.int64)
    counts[:1024], counts[-1] = 1_000_000, 1  # evenly from 0 to 50, and one value of 100
    assert Spread(0.0, 100.0, counts).range("uint8") == (0.0, pytest.approx(50.0))
    assert Spread(0.0, 100.0, counts).range("int8") == (pytest.approx(-50.0), pytest.approx(50.0))
    even = Spread(-1.0, 3.0, np.full(2048, 10))
    assert even.range("uint8") == (-1.0, 3.0)  # what is clipped is wrong by more than a step
    assert even.range("int8") == (-3.0, 3.0)
    assert Spread(0.0, 0.0, counts).range("uint8") == (0.0, 0.0)


def test_parts_of_the_network_by_their_weights() -> None:
    assert group_of("model.backbone.stages.3.1.layers.0.conv.weight::fp32") == "backbone.stages.3"
    assert group_of("model.backbone.stem.conv.weight::fp32") == "backbone.stem"
    assert group_of("box.branch.fc1.weight") == "box.fc1"
    assert group_of("trunk.aspp.branches.2.0.weight::fp32") == "trunk.aspp"
    groups = node_groups(onnx.load(ModelRepository.open().graph("parsing")))
    assert len(groups) == 13
    assert set(groups.values()) == {"trunk.aspp", "trunk.fuse", "trunk.non_local", "trunk.convs", "head.up"}


def test_sensitivity_names_the_parts(small: ModelRepository, quantised: Quantised, held_out: list[np.ndarray]) -> None:
    protos = {name: onnx.load(small.graph(name)) for name in GRAPHS}
    ranged = {"parsing": quantised.ranged["parsing"]}
    errors = measure_sensitivity(ranged, protos, held_out, 2, plain)
    assert errors[0].group == "all"
    assert errors[0].layers == sum(e.layers for e in errors[1:]) == 13
    worst = [e.difference.parts for e in errors[1:]]
    assert worst == sorted(worst)
    for error in errors:  # the parsing head moves no boxes and no IUV
        assert error.difference.box == 0
        assert error.difference.iuv == 1
    assert errors[0].difference.parts < 1


def test_the_rule_by_hand() -> None:
    assert decide("x", 0.004, 20.0, 10.0).ships is True
    assert "2.00 times" in decide("x", 0.004, 20.0, 10.0).reason
    assert decide("x", 0.005, 20.0, 10.0).ships is True
    assert decide("x", 0.0051, 20.0, 10.0).ships is False
    assert decide("x", 0.0, 10.0, 10.0).ships is False
    assert decide("x", None, 20.0, 10.0).ships is None
    assert decide("x", -0.01, None, None).ships is None
    assert "+1.00 points" in decide("x", -0.01, None, None).reason


def test_accuracy_and_times_of_every_way(small: ModelRepository, quantised: Quantised, labelled: Path) -> None:
    compared = analyzers(small, quantised, 2)
    able = no_int8(quantised.repository) is None
    kernels = find_spec("openvino") is not None and able
    assert list(compared) == ["fp32", "int8 exact"] + ["int8 OpenVINO"] * kernels
    figures = measure_accuracy(compared, labelled, plain)
    assert figures["fp32"]["pictures"] == 2
    assert len(figures["fp32"]["iou"]) == 20
    assert 0 < figures["int8 exact"]["miou"] < 1
    assert figures["int8 exact"]["miou"] != figures["fp32"]["miou"]
    times = measure_times(quantised, 2, plain)
    assert set(times) - {"OpenVINO bf16"} == ({"OpenVINO fp32", "OpenVINO int8"} if kernels else set()) | {
        "ONNX Runtime fp32"
    } | ({"ONNX Runtime int8"} if able else set())
    assert min(times.values()) > 0


def test_the_page(small: ModelRepository, quantised: Quantised) -> None:
    figures = {"pictures": 2, "miou": 0.5, "miou_exact_paste": 0.5, "person_iou": 0.9, "iou": {"Hat": 0.3, "Face": 0.7}}
    worse = {**figures, "miou": 0.49}
    document = report(
        small, quantised, {"fp32": figures, "int8 exact": worse}, [], {"ONNX Runtime fp32": 9.0}, "quantize it"
    )
    page = to_markdown(document)
    assert "\n    quantize it\n" in page
    assert "ONNX Runtime on this CPU: **do not ship INT8**: mIoU changes by -1.00 points" in page
    assert "| **mIoU** | 50.00 | 49.00 |" in page
    assert "| Hat | 30.0 | 30.0 |" in page
    assert document["bytes"]["parsing"]["int8"] < document["bytes"]["parsing"]["fp32"]


def test_each_runtime_is_judged_by_its_own_figures(small: ModelRepository, quantised: Quantised) -> None:
    """OpenVINO's INT8 against the faster of its other precisions, ONNX Runtime's against its fp32."""
    rest = {"pictures": 2, "miou_exact_paste": 0.5, "person_iou": 0.9, "iou": {}}
    accuracy = {
        name: {**rest, "miou": miou} for name, miou in (("fp32", 0.5), ("int8 exact", 0.499), ("int8 OpenVINO", 0.497))
    }
    times = {"OpenVINO fp32": 20.0, "OpenVINO bf16": 8.0, "OpenVINO int8": 10.0}
    times |= {"ONNX Runtime fp32": 30.0, "ONNX Runtime int8": 15.0}
    page = to_markdown(report(small, quantised, accuracy, [], times, "quantize it"))
    assert "- OpenVINO on this CPU: **do not ship INT8**: not faster: 10.0 ms a photo, 8.0 without INT8." in page
    assert "- ONNX Runtime on this CPU: **ship INT8**: mIoU changes by -0.10 points; 2.00 times as fast." in page
    without_bf16 = {name: value for name, value in times.items() if name != "OpenVINO bf16"}
    page = to_markdown(report(small, quantised, accuracy, [], without_bf16, "quantize it"))
    assert "- OpenVINO on this CPU: **ship INT8**: mIoU changes by -0.30 points; 2.00 times as fast." in page
    page = to_markdown(report(small, quantised, accuracy, [], None, "quantize it"))
    assert page.count("**not yet**") == 2


def test_what_is_measured_on_does_not_calibrate(labelled: Path, photos: Path, tmp_path: Path) -> None:
    """The labelled validation photos, and of group photos those of validation, the first of two."""
    data = tmp_path / "data"
    shutil.copytree(labelled, data)
    (data / "groups" / "images").mkdir(parents=True)
    images = [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(("01", "02"))]
    (data / "groups" / "annotations.json").write_text(json.dumps({"images": images, "annotations": []}))
    for name in ("01.jpg", "02.jpg"):
        shutil.copy(photos / name, data / "groups" / "images")
    asked = ["quantize", "--data", str(data), "--out", str(tmp_path / "int8")]
    for folder, able, count in ((data / "ccp" / "images", 0, 1), (data / "groups", 1, 2)):
        done = CliRunner().invoke(build(), [*asked, "--calibrate", str(folder), "--count", str(count)])
        assert done.exit_code == 1
        assert f"{folder}: {able} photos" in done.output
        assert f"that may calibrate, {count} are asked for" in done.output


def test_twins_of_photos_that_are_measured_on_do_not_calibrate(tmp_path: Path) -> None:
    """0730 is 0183, which is held out, under another id; the photo beside it takes its place, and the rest stays."""
    for number in (183, 720, 725, 730, 732, 740):
        (tmp_path / f"{number:04}.jpg").touch()
    chosen = find_photos(tmp_path, 3, ["0183.jpg"])
    assert [path.name for path in chosen] == ["0720.jpg", "0730.jpg", "0740.jpg"]
    chosen = find_photos(tmp_path, 3, ["0183.jpg"], ["0730.jpg"])
    assert [path.name for path in chosen] == ["0720.jpg", "0725.jpg", "0740.jpg"]
    chosen = find_photos(tmp_path, 4, ["0183.jpg"], ["0730.jpg"])
    assert [path.name for path in chosen] == ["0720.jpg", "0725.jpg", "0732.jpg", "0740.jpg"]
    with pytest.raises(CalibrationError, match=r"4 photos .* that may calibrate, 5 are asked for"):
        find_photos(tmp_path, 5, ["0183.jpg"], ["0730.jpg"])


def test_the_command_knows_the_twins(labelled: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled, tmp_path / "data")
    photos, labels = (tmp_path / "data" / "ccp" / name for name in ("images", "labels"))
    for name in ("0183", "0730", "0616"):  # held out, its twin, and that of 0223, which is not there
        shutil.copy(photos / "0003.jpg", photos / f"{name}.jpg")
        shutil.copy(labels / "0003.png", labels / f"{name}.png")
    asked = ["quantize", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "int8"), "--calibrate", str(photos)]
    done = CliRunner().invoke(build(), [*asked, "--count", "2"])
    assert done.exit_code == 1
    assert f"{photos}: 1 photos" in done.output


def test_bad_requests_say_what_to_do(request_: Request, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such folder"):
        find_photos(tmp_path / "none", 1)
    with pytest.raises(CalibrationError, match=r"4 photos .* 9 are asked for"):
        find_photos(request_.photos[0], 9, request_.excluded)
    with pytest.raises(CalibrationError, match="choose from detector, parsing"):
        quantise_repository(replace(request_, graphs=("backbone",)), plain)
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), np.full((192, 320, 3), 90, np.uint8))
    with pytest.raises(CalibrationError, match="nobody was found"):
        calibrate(request_.source, Runtime(request_.source, "onnxruntime"), [empty])


def test_a_repository_may_be_quantised_in_its_place(request_: Request, tmp_path: Path) -> None:
    shutil.copytree(request_.source.path, tmp_path / "own")
    source = ModelRepository.open(tmp_path / "own")
    stale = tmp_path / "own" / "detector" / "1" / "model.int8.onnx"
    stale.write_bytes(b"of other weights")
    wanted = replace(request_, source=source, out=tmp_path / "own", graphs=("parsing",), count=1)
    done = quantise_repository(wanted, plain).repository
    assert done.quantised == ("parsing",)
    assert not stale.exists()
    assert done.graph("detector", "int8") == done.graph("detector")
    assert done.graph("parsing").read_bytes() == request_.source.graph("parsing").read_bytes()


def test_memory_graphs_answer_as_the_runtime_does(small: ModelRepository, held_out: list[np.ndarray]) -> None:
    limits = np.array([0.3, 8], np.float32)
    graphs = MemoryGraphs({name: onnx.load(small.graph(name)) for name in GRAPHS}, 2)
    own = answers(graphs, held_out, limits)
    difference = compare(answers(Runtime(small, "onnxruntime", threads=2), held_out, limits), own)
    assert difference.unmatched == 0
    assert difference.parts > 0.9999


def test_the_command(small: ModelRepository, photos: Path, tmp_path: Path) -> None:
    import typer

    from export.commands import register

    app = typer.Typer()
    register(app)
    base = ["quantize", "--repository", str(small.path), "--calibrate", str(photos), "--target", "onnx", "--no-times"]
    base += ["--graph", "parsing", "--keep", "parsing head.up", "--threads", "2", "--out", str(tmp_path / "int8")]
    done = CliRunner().invoke(app, [*base, "--count", "2", "--sensitivity", "1"])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "int8" / "quantization.json").read_text())
    assert "head.up" not in document["quantization"]["groups"]["parsing"]
    told = shlex.split(document["command"])
    assert told[:6] == ["parsing-rcnn", "quantize", "--calibrate", str(photos), "--count", "2"]
    assert told[6:10] == ["--graph", "parsing", "--keep", "parsing head.up"]
    assert told[10:16] == ["--repository", str(small.path), "--sensitivity", "1", "--threads", "2"]
    assert told[16:20] == ["--out", str(tmp_path / "int8"), "--report", str(tmp_path / "int8" / "quantization.md")]
    assert told[20:] == ["--no-times"]
    assert {e["graph"] for e in document["sensitivity"]} == {"parsing"}
    assert all(decision["ships"] is None for decision in document["decisions"])
    assert ModelRepository.open(tmp_path / "int8").quantised == ("parsing",)
    every = str(len(list(photos.iterdir())))
    again = CliRunner().invoke(app, [*base, "--count", every, "--sensitivity", "1"])  # over what is there
    assert again.exit_code == 0, again.output
    assert "every photo calibrates: no sensitivity report" in again.output
    assert json.loads((tmp_path / "int8" / "quantization.json").read_text())["sensitivity"] == []
    wrong = CliRunner().invoke(app, [*base[:-1], str(tmp_path / "other"), "--count", "2", "--keep", "parsing nose"])
    assert wrong.exit_code == 1
    assert "no such part" in wrong.output


def test_graphs_of_less_than_fp32_are_refused_before_anything_is_written(
    small: ModelRepository, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(small.path, tmp_path / "fp16")
    card = {**small.card, "precision": "fp16"}
    (tmp_path / "fp16" / CARD).write_text(json.dumps(card))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "fp16").rglob("*")}
    asked = ["quantize", "--repository", str(tmp_path / "fp16"), "--out", str(tmp_path / "fp16"), "--count", "2"]
    done = CliRunner().invoke(build(), [*asked, "--calibrate", str(photos)])
    assert done.exit_code == 1
    assert "computes in fp16: export the weights in fp32" in done.output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "fp16").rglob("*")} == before


def test_what_was_there_can_be_opened_until_all_graphs_are_made(
    small: ModelRepository, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small.path, tmp_path / "both")
    asked = ["quantize", "--repository", str(tmp_path / "both"), "--out", str(tmp_path / "both"), "--no-times"]
    asked += ["--calibrate", str(photos), "--count", "2", "--sensitivity", "0", "--graph", "parsing", "--threads", "2"]
    assert CliRunner().invoke(build(), asked).exit_code == 0

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.quantization.quantize.quantise", stopped)
    assert CliRunner().invoke(build(), asked).exit_code != 0
    assert ModelRepository.open(tmp_path / "both").quantised == ("parsing",)


def test_the_command_for_tensorrt(
    small: ModelRepository, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INT8 graphs as TensorRT's parser takes them, Triton's files, and how to build the engines elsewhere."""
    source, out = tmp_path / "fp32", tmp_path / "int8"
    shutil.copytree(small.path, source)
    graph = source / "densepose_head" / "1" / "model.tensorrt.onnx"
    graph.write_bytes(b"of the fp32 graph")
    model = source / "preprocess" / "1" / "model.py"  # of Triton, which has run it
    (model.parent / "__pycache__").mkdir(parents=True)
    model.touch()
    (model.parent / "__pycache__" / "model.cpython-312.pyc").touch()
    asked = ["quantize", "--repository", str(source), "--calibrate", str(photos), "--sensitivity", "0"]
    asked += ["--graph", "parsing", "--graph", "densepose_head", "--count", "2", "--threads", "2", "--out", str(out)]
    done = CliRunner().invoke(build(), [*asked, "--target", "onnx", "--no-times"])
    assert done.exit_code == 0, done.output
    assert not list(out.rglob("__pycache__"))
    assert (out / "preprocess" / "1" / "model.py").is_file()
    copied = out / "densepose_head" / "1" / "model.tensorrt.onnx"
    assert copied.read_bytes() == graph.read_bytes()  # of the fp32 graph, which is there as well
    # a CPU that takes INT8 does not take TensorRT's, and its times are not asked for
    monkeypatch.setattr("parsing_rcnn.runtime.has_vnni", lambda: True)
    done = CliRunner().invoke(build(), [*asked, "--target", "tensorrt", "--print-trtexec"])
    assert done.exit_code == 0, done.output
    for name, pairs in (("detector", 0), ("parsing", 9), ("densepose_head", 9)):
        nodes = onnx.load(out / name / "1" / "model.tensorrt.onnx").graph.node
        assert sum(node.op_type == "QuantizeLinear" for node in nodes) == pairs
        quantised = onnx.load(ModelRepository.open(out).graph(name, "int8"))
        kinds = {t.data_type for t in quantised.graph.initializer if t.name.endswith("_zero_point")}
        assert kinds == ({TensorProto.INT8} if pairs else set())  # activations as well
        assert f"trtexec --onnx={out / name / '1' / 'model.tensorrt.onnx'}" in done.output
    assert (out / "human_analysis" / "config.pbtxt").is_file()
    done = CliRunner().invoke(build(), [*asked, "--target", "tensorflow"])
    assert done.exit_code == 2
    assert "onnx or tensorrt" in re.sub(r"[^\w,]+", " ", done.output)


def test_nobody_is_told_that_graphs_are_measured(tmp_path: Path) -> None:
    """ONNX Runtime would begin as it is imported, with files in the user's folder."""
    script = "import export.quantization.qdq, export.memory_graphs\nexport.memory_graphs.MemoryGraphs({}, 1)\n"
    kept = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    subprocess.run([sys.executable, "-c", script], env={**kept, "HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir())
