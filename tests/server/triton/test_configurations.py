"""The contract: graphs, profiles and ensembles name the same tensors, of the same types and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

GRAPHS = ("detector", "parsing", "densepose_head")
ENSEMBLES = ("human_analysis", "human_parsing", "densepose")
KINDS = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8", "tensor(int32)": "TYPE_INT32"}

Shapes = dict[str, tuple[str, tuple[int, ...]]]


def read(path: Path) -> Any:
    return text_format.Parse(path.read_text(), ModelConfig())


def shapes(entries: Any, batch: bool) -> Shapes:
    """{name: (type, dims)}; the dimension that Triton adds to a batching model is written out."""
    return {e.name: (DataType.Name(e.data_type), (*([-1] if batch else []), *e.dims)) for e in entries}


def all_of(config: Any) -> tuple[Shapes, Shapes]:
    batch = config.max_batch_size > 0
    return shapes(config.input, batch), shapes(config.output, batch)


@pytest.mark.parametrize("model", GRAPHS)
def test_every_profile_has_the_tensors_of_the_graph(model: str, repository: Path) -> None:
    session = onnxruntime.InferenceSession(repository / model / "1" / "model.onnx", providers=["CPUExecutionProvider"])

    def of(nodes: Any) -> Shapes:
        return {
            n.name: (KINDS[n.type], tuple(size if isinstance(size, int) else -1 for size in n.shape)) for n in nodes
        }

    wanted = of(session.get_inputs()), of(session.get_outputs())
    backends = {}
    for path in ("config.pbtxt", "configs/cpu.pbtxt", "configs/ort_gpu.pbtxt"):
        config = read(repository / model / path)
        assert config.name == model
        assert all_of(config) == wanted, path
        backends[path] = (config.backend, config.default_model_filename, config.max_batch_size)
    batch = 0 if model == "detector" else 64
    assert backends == {
        "config.pbtxt": ("tensorrt", "model.plan", batch),
        "configs/cpu.pbtxt": ("python", "model.py", batch),
        "configs/ort_gpu.pbtxt": ("onnxruntime", "model.onnx", batch),
    }


@pytest.mark.parametrize("model", ["parsing", "densepose_head"])
def test_people_of_several_requests_may_wait_for_each_other_but_not_for_ever(model: str, repository: Path) -> None:
    for path in ("config.pbtxt", "configs/cpu.pbtxt", "configs/ort_gpu.pbtxt"):
        policy = read(repository / model / path).dynamic_batching.default_queue_policy
        assert policy.timeout_action == 0  # REJECT
        assert policy.max_queue_size > 0
        assert policy.default_timeout_microseconds > 0


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_steps_of_an_ensemble_fit_together(name: str, repository: Path) -> None:
    config = read(repository / name / "config.pbtxt")
    known: Shapes = shapes(config.input, batch=False)
    for step in config.ensemble_scheduling.step:
        folder = repository / step.model_name
        profile = folder / "configs" / "cpu.pbtxt"
        inputs, outputs = all_of(read(profile if profile.is_file() else folder / "config.pbtxt"))
        for key, value in step.input_map.items():
            assert known[value] == inputs[key], f"{step.model_name}.{key}"
        optional = {e.name for e in read(folder / "config.pbtxt").input if e.optional}
        assert set(inputs) - set(step.input_map) <= optional
        for key, value in step.output_map.items():
            assert value not in known, f"{value} is made twice"
            known[value] = outputs[key]
    for key, value in shapes(config.output, batch=False).items():
        assert known[key] == value
