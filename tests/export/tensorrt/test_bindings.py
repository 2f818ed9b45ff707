"""The builder against TensorRT's own Python classes (10 and 11), and TensorRT for RTX's builder; no GPU is needed.

`make tensorrt-bindings` puts them into build/tensorrt; they are not needed for anything else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper, numpy_helper

from export.plugin.node import OPERATOR
from export.precision import to_precision
from export.quantization.qdq import measure_ranges, quantise
from export.rendered.pictures import render_scene
from export.tensorrt.graph import for_tensorrt
from parsing_rcnn.repository import GRAPHS, ModelRepository
from tests.export.conftest import ROWS
from tests.export.plugin.conftest import compile_tensorrt_plugin

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "build" / "tensorrt"
FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
)  # fmt: skip


def have(version: str) -> Path:
    folder = FOLDER / version
    if not folder.is_dir():
        pytest.skip(f"no TensorRT {version} in build/tensorrt: `make tensorrt-bindings`")
    return folder


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    command = [sys.executable, str(Path(__file__).with_name(name)), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)


def program(name: str, *words: str) -> str:
    done = run(name, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["10", "11"])
def test_every_call_has_a_signature(version: str, tmp_path: Path) -> None:
    bindings = have(version)
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    libraries, repository = tmp_path / "libraries", tmp_path / "repository"
    libraries.mkdir()
    (tmp_path / "empty.c").write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        soname = f"lib{name}.so.{version}"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", tmp_path / "empty.c", "-o", libraries / soname]
        subprocess.run(command, check=True)
    shutil.copytree(ModelRepository.open().path, repository)
    said = program("signatures.py", str(bindings), str(libraries), str(repository))
    assert f"model_trt{version}." in said
    assert "_sm90.plan" in said
    calls = ("load_library", "parse", "clear_flag", "set_timing_cache", "add_optimization_profile")
    for call in (*calls, "build_serialized_network"):
        assert f"'{call}'" in said


def real(*plans: Any) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = json.loads(program("real_builder.py", str(have("rtx")), json.dumps(plans)))
    return answers


def stored(folder: Path, graph: str, model: onnx.ModelProto) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.tensorrt.onnx")
    return str(folder)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_heads_are_built(precision: str, tmp_path: Path) -> None:
    have("rtx")
    profiles = [["ROI_FEATURES", *([n, 64, 32, 32] for n in shapes)] for shapes in ((1, 1, 1), (2, 4, 4), (5, 16, 16))]
    plans = []
    for graph in GRAPHS[1:]:
        model = for_tensorrt(
            to_precision(onnx.load(ModelRepository.open().graph(graph)), precision), proposals=1, people=1
        )
        plans.append([graph, stored(tmp_path / graph, graph, model), profiles, "build"])
    parsing, densepose = real(*plans)
    assert parsing.pop("TF32") is densepose.pop("TF32") is False  # what stays in fp32, and fp32 itself
    assert parsing.pop("engine") > 1e5
    assert densepose.pop("engine") > 1e5
    assert parsing == {
        "PARTS": ["UINT8", [-1, 128, 128]],
        "PART_SCORES": ["FLOAT", [-1, 20]],
        "PART_PROBS": ["UINT8", [-1, 20, 128, 128]],
    }
    assert densepose == {"IUV": ["UINT8", [-1, 3, 128, 128]], "IUV_SCORES": ["FLOAT", [-1, 25]]}


def test_heads_are_built_in_int8(tmp_path: Path) -> None:
    """The engine holds its weights as bytes: it is smaller than that of the same graph without pairs."""
    have("rtx")
    features = {"ROI_FEATURES": np.random.default_rng(0).normal(size=(2, 64, 32, 32)).astype(np.float32)}
    plans = []
    for graph in GRAPHS[1:]:
        ranged = measure_ranges(ModelRepository.open().graph(graph), [features])
        for name, groups in (("int8", tuple(ranged.groups.values())), ("fp32", ())):
            model = for_tensorrt(quantise(ranged, groups, "int8"), proposals=1, people=1)
            profiles = [["ROI_FEATURES", *([n, 64, 32, 32] for n in (1, 4, 16))]]
            plans.append([graph, stored(tmp_path / graph / name, graph, model), profiles, "build"])
    answers = real(*plans)
    for int8, fp32 in zip(answers[::2], answers[1::2], strict=True):
        assert 1e5 < int8.pop("engine") < fp32.pop("engine")
        assert int8 == fp32


def without_plugin(model: onnx.ModelProto) -> onnx.ModelProto:
    """PyramidRoiAlign as nodes that the parser knows, of the same shapes: the largest value of a map, everywhere."""
    nodes: list[NodeProto] = []
    constants = model.graph.initializer
    for node in model.graph.node:
        if node.op_type != OPERATOR:
            nodes.append(node)
            continue
        size = next(a.i for a in node.attribute if a.name == "output_size")
        name = f"{node.output[0]}::shape"
        constants.append(numpy_helper.from_array(np.array([1, size, size], np.int64), f"{name}_rest"))
        nodes += [
            helper.make_node("GlobalMaxPool", [node.input[1]], [f"{name}_most"]),
            helper.make_node("Shape", [node.input[0]], [f"{name}_rows"], start=0, end=1),
            helper.make_node("Concat", [f"{name}_rows", f"{name}_rest"], [name], axis=0),
            helper.make_node("Expand", [f"{name}_most", name], list(node.output)),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def without_nonzero(model: onnx.ModelProto) -> onnx.ModelProto:
    """NonZero of a vector, which TensorRT for RTX lacks, as NMS, whose rows depend on the picture, too.

    Every position is a box of its own without an extent, which suppresses none.
    """
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "NonZero":
            nodes.append(node)
            continue
        name = f"{node.output[0]}::kept"
        constants = {
            "column": np.array([1, 1, -1], np.int64),
            "row": np.array([1, -1], np.int64),
            "flat": np.zeros((1, 1, 4), np.float32),
            "most": np.array([64], np.int64),
            "overlap": np.array([1.0], np.float32),
            "score": np.array([0.5], np.float32),
            "index": np.array(2, np.int64),
        }
        model.graph.initializer.extend(numpy_helper.from_array(a, f"{name}_{k}") for k, a in constants.items())
        nms = [f"{name}_{k}" for k in ("boxes", "scores", "most", "overlap", "score")]
        nodes += [
            helper.make_node("Cast", [node.input[0]], [f"{name}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Reshape", [f"{name}_float", f"{name}_column"], [f"{name}_scores"]),
            helper.make_node("Transpose", [f"{name}_scores"], [f"{name}_turned"], perm=[0, 2, 1]),
            helper.make_node("Mul", [f"{name}_turned", f"{name}_flat"], [f"{name}_boxes"]),
            helper.make_node("NonMaxSuppression", nms, [name]),
            helper.make_node("Gather", [name, f"{name}_index"], [f"{name}_found"], axis=1),
            helper.make_node("Reshape", [f"{name}_found", f"{name}_row"], list(node.output)),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_a_detector_is_parsed_whose_rows_depend_on_the_picture(tmp_path: Path) -> None:
    have("rtx")
    plans = []
    for precision in ("fp32", "fp16", "bf16"):
        model = to_precision(onnx.load(ModelRepository.open().graph("detector")), precision)
        graph = without_nonzero(without_plugin(for_tensorrt(model, proposals=100, people=64)))
        plans.append(["detector", stored(tmp_path / precision, "detector", graph), [], "parse"])
    for answer in real(*plans):
        assert answer == {
            "BOXES": ["FLOAT", [-1, 4]],
            "SCORES": ["FLOAT", [-1]],
            "COUNT": ["INT32", [1]],
            "ROI_FEATURES": ["FLOAT", [-1, 64, 32, 32]],
        }


def test_the_registry_opens_the_plugin_and_the_parser_makes_it(tmp_path: Path) -> None:
    """No more: TensorRT for RTX has no layers of plugins, and its parser ends the process when it comes to that."""
    have("rtx")
    plugin = compile_tensorrt_plugin(tmp_path, "", "-shared", "-fPIC", name="libprcnn_plugin.so")
    model = for_tensorrt(onnx.load(ModelRepository.open().graph("detector")), proposals=100, people=64)
    plans = json.dumps([["detector", stored(tmp_path / "detector", "detector", model), [], "parse"]])
    done = run("real_builder.py", str(have("rtx")), plans, str(plugin))
    fields = "['output_size', 'sampling_ratio', 'first_level']"
    assert f"PyramidRoiAlign 1 {fields} [True, False]" in done.stdout, done.stdout + done.stderr
    assert "Successfully created plugin: PyramidRoiAlign" in done.stdout + done.stderr


def test_a_static_detector_is_parsed_to_its_number_of_rows(static_repository: Path, tmp_path: Path) -> None:
    have("rtx")
    plans = []
    for precision in ("fp32", "fp16", "bf16"):
        model = to_precision(onnx.load(static_repository / "detector" / "1" / "model.onnx"), precision)
        graph = without_plugin(for_tensorrt(model, proposals=100, people=ROWS))
        plans.append(["detector", stored(tmp_path / precision, "detector", graph), [], "parse"])
    inputs = {"CANVAS": render_scene(1, 256, 320), "LIMITS": np.array([0.0, 3], np.float32)}
    ranged = measure_ranges(static_repository / "detector" / "1" / "model.onnx", [inputs])
    graph = for_tensorrt(quantise(ranged, tuple(ranged.groups.values()), "int8"), proposals=100, people=ROWS)
    plans.append(["detector", stored(tmp_path / "int8", "detector", without_plugin(graph)), [], "parse"])
    for answer in real(*plans):
        assert answer == {
            "BOXES": ["FLOAT", [ROWS, 4]],
            "SCORES": ["FLOAT", [ROWS]],
            "COUNT": ["INT32", [1]],
            "ROI_FEATURES": ["FLOAT", [ROWS, 64, 32, 32]],
        }


def test_a_graph_that_is_refused(tmp_path: Path) -> None:
    """As exported, uint8 in the middle: what `for_tensorrt` is for."""
    have("rtx")
    folder = stored(tmp_path, "densepose_head", onnx.load(ModelRepository.open().graph("densepose_head")))
    done = run("real_builder.py", str(FOLDER / "rtx"), json.dumps([["densepose_head", folder, [], "parse"]]))
    assert done.returncode != 0
    assert "BuildFailed" in done.stderr
    assert "does not take it: Cast" in done.stderr
    assert "UINT8" in done.stderr
