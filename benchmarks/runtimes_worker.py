"""One runtime of `benchmarks.runtimes`, in a process of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rounds import answer

WORKS = ("trunk", "head", "full", "ceiling")
RUNTIMES = ("torch", "ort", "openvino")
ROI = 32
CEILING = (8, 512, 32, 32)  # n, channels, height, width
Step = Callable[[], Mapping[str, float]]


def canvas_of(options: argparse.Namespace) -> NDArray[np.uint8]:
    """Noise uint8 [H,W,3]: the work of a trunk does not depend on what it sees."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*options.canvas, 3), np.uint8)


def features_of(people: int, channels: int) -> NDArray[np.float32]:
    """RoI features fp32 [people,channels,32,32]."""
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(size=(people, channels, ROI, ROI)), 0).astype(np.float32)


def trunk_tensors(path: Path) -> tuple[str, list[str]]:
    """(name of the finest level of the pyramid, names of the RPN's outputs) in a detector's ONNX file."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    made = {name: node for node in graph.node for name in node.output}
    finest = made["ROI_FEATURES"].input[0]
    heads = ("model.rpn.objectness.weight", "model.rpn.deltas.weight")
    convolutions = [n for n in graph.node if n.op_type == "Conv" and n.input[1].removesuffix("::fp32") in heads]
    return finest, [node.output[0] for node in convolutions]


def torch_step(options: argparse.Namespace) -> tuple[dict[str, Any], Step]:
    """Eager fp32."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from training.checkpoint import load_model
    from training.model.answers import part_answer

    torch.set_num_threads(options.threads)
    model, config = load_model(options.checkpoint)
    if options.work == "trunk":
        image = torch.from_numpy(canvas_of(options)).permute(2, 0, 1)[None].contiguous()

        def run() -> Any:
            pyramid = model.pyramid(image)
            return model.rpn(pyramid)[:2]
    else:
        features = torch.from_numpy(features_of(options.people, config.model.fpn.channels))

        def run() -> Any:
            return part_answer(model.parsing(features))[:2]

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()

    @torch.inference_mode()
    def step() -> Mapping[str, float]:
        run()
        return {}

    return {"runtime": f"torch {torch.__version__}", "gflop": counter.get_total_flops() / 1e9}, step


def ort_step(options: argparse.Namespace) -> tuple[dict[str, Any], Step]:
    """ONNX Runtime on the exported graph; of the trunk, the part of the detector's graph that is the trunk."""
    import onnx

    from parsing_rcnn.inference.compiled import onnx_runtime

    onnxruntime = onnx_runtime()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    about = {"runtime": f"onnxruntime {onnxruntime.__version__}"}
    if options.work == "trunk":
        path = options.repository / "detector" / "1" / "model.onnx"
        finest, heads = trunk_tensors(path)
        whole = onnx.shape_inference.infer_shapes(onnx.load(path))  # the extractor asks for types inside
        part = onnx.utils.Extractor(whole).extract_model(["CANVAS"], [finest, *heads])
        del whole
        session = onnxruntime.InferenceSession(
            part.SerializeToString(), session_options, providers=["CPUExecutionProvider"]
        )
        inputs: dict[str, Any] = {"CANVAS": canvas_of(options)}
    else:
        path = options.repository / "parsing" / "1" / "model.onnx"
        session = onnxruntime.InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"])
        inputs = {"ROI_FEATURES": features_of(options.people, session.get_inputs()[0].shape[1])}
    outputs = [o.name for o in session.get_outputs() if o.name != "PART_PROBS"]

    def step() -> Mapping[str, float]:
        session.run(outputs, inputs)
        return {}

    return about, step


def _compile(options: argparse.Namespace, core: Any, model: Any) -> Any:
    properties = {
        "INFERENCE_PRECISION_HINT": "bf16" if options.precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": 1,
    }
    return core.compile_model(model, "CPU", properties).create_infer_request()


def openvino_step(options: argparse.Namespace) -> tuple[dict[str, Any], Step]:
    """OpenVINO on the exported graph in the file and with the properties that the engine takes."""
    from importlib.metadata import version

    from parsing_rcnn.inference.compiled import openvino_core
    from parsing_rcnn.repository import ModelRepository

    core = openvino_core()
    repository = ModelRepository.open(options.repository)
    if options.work == "trunk":
        model = cut_trunk(core.read_model(repository.graph("detector", options.precision)), repository)
        model.reshape({"CANVAS": [*options.canvas, 3]})
        inputs: dict[str, Any] = {"CANVAS": canvas_of(options)}
    else:
        model = core.read_model(repository.graph("parsing", options.precision))
        channels = model.input("ROI_FEATURES").get_partial_shape()[1].get_length()
        inputs = {"ROI_FEATURES": features_of(options.people, channels)}
        model.reshape({"ROI_FEATURES": list(inputs["ROI_FEATURES"].shape)})
        for result in model.get_results():
            if result.output(0).get_any_name() == "PART_PROBS":
                model.remove_result(result)
    request = _compile(options, core, model)

    def step() -> Mapping[str, float]:
        request.infer(inputs, share_inputs=True)
        return {}

    return {"runtime": f"openvino {version('openvino')} {options.precision}"}, step


def cut_trunk(model: Any, repository: Any) -> Any:
    """The part of a detector that is its trunk: canvas to finest level and RPN outputs, by the graph's own names."""
    import openvino

    _, heads = trunk_tensors(repository.path / "detector" / "1" / "model.onnx")
    by_name = {name: op.output(0) for op in model.get_ops() for name in _names(op)}
    pooled = [op for op in model.get_ops() if op.get_type_name() == "ROIAlign"]
    finest = next(op.input_value(0) for op in pooled if "ROI_FEATURES" in _names(op))
    canvas = next(p for p in model.get_parameters() if "CANVAS" in _names(p))
    outputs = [finest, *(by_name[name] for name in heads)]
    return openvino.Model([openvino.opset13.result(output) for output in outputs], [canvas])


def _names(op: Any) -> set[str]:
    return {name for index in range(op.get_output_size()) for name in op.output(index).get_names()}


def ceiling_step(options: argparse.Namespace) -> tuple[dict[str, Any], Step]:
    """Four 3x3 convolutions of 512 channels on 8x32x32 in OpenVINO: what this machine reaches at best."""
    import openvino
    from openvino import opset13 as ops

    from parsing_rcnn.inference.compiled import openvino_core

    core = openvino_core()
    count, channels, height, width = CEILING
    rng = np.random.default_rng(0)
    data = ops.parameter(list(CEILING), np.float32, name="data")
    x = data
    for _ in range(4):
        weight = (rng.normal(size=(channels, channels, 3, 3)) / np.sqrt(4.5 * channels)).astype(np.float32)
        x = ops.relu(ops.convolution(x, ops.constant(weight), [1, 1], [1, 1], [1, 1], [1, 1]))
    request = _compile(options, core, openvino.Model([ops.result(x)], [data]))
    inputs = {0: rng.normal(size=CEILING).astype(np.float32)}

    def step() -> Mapping[str, float]:
        request.infer(inputs, share_inputs=True)
        return {}

    gflop = 4 * 2 * 9 * channels**2 * count * height * width / 1e9
    return {"runtime": f"openvino ceiling {options.precision}", "gflop": gflop}, step


def full_step(options: argparse.Namespace) -> tuple[dict[str, Any], Step]:
    """The whole pipeline, a JPEG to `People`: with random weights everybody counts, so there are always as many."""
    from parsing_rcnn.analyzer import Options
    from parsing_rcnn.pipeline import Pipeline

    data = options.photo.read_bytes()
    engine = Pipeline(options.repository, runtime="openvino", precision=options.precision, threads=options.threads)
    # the weights are random and so is what is found: the best so many boxes stand for people
    wanted = Options(confidence=0.0, max_people=options.people, tasks=frozenset({"parsing"}))

    def step() -> Mapping[str, float]:
        people = engine.analyze(data, wanted)
        if len(people) != options.people:
            raise RuntimeError(f"{len(people)} people, expected {options.people}: the comparison would be unfair")
        return people.timings

    step()
    return {"runtime": engine.info.runtime, "people": options.people}, step


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of a worker."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes_worker")
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--canvas", type=int, nargs=2, default=(800, 1344))
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> tuple[Mapping[str, Any], Step]:
    """(facts, a function that does the work once), warmed up."""
    if options.work in ("ceiling", "full"):
        about, step = (ceiling_step if options.work == "ceiling" else full_step)(options)
    else:
        about, step = {"torch": torch_step, "ort": ort_step, "openvino": openvino_step}[options.runtime](options)
    step()
    return about, step


if __name__ == "__main__":
    OPTIONS = parse()
    answer(lambda: prepare(OPTIONS))
