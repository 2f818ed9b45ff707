"""The contract: graphs, profiles and ensembles name the same tensors, of the same types and shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

from export import triton_repository as writer
from parsing_rcnn.ensembles import identity, models_of, others
from parsing_rcnn.repository import ModelRepository

GRAPHS = ("detector", "parsing", "densepose_head")
HEADS = ("parsing", "densepose_head")
STEPS = ("preprocess", "detector", *HEADS, "postprocess")
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


def profiles(repository: Path, model: str) -> dict[str, Any]:
    """Every configuration of a model."""
    names = ("config.pbtxt", "configs/cpu.pbtxt", "configs/ort_gpu.pbtxt")
    return {name: read(repository / model / name) for name in names if (repository / model / name).is_file()}


@pytest.mark.parametrize("model", STEPS)
def test_requests_may_wait_but_not_for_ever_and_not_in_any_number(model: str, repository: Path) -> None:
    found = profiles(repository, model)
    assert {"config.pbtxt", "configs/cpu.pbtxt"} <= found.keys()
    for path, config in found.items():
        policy = config.dynamic_batching.default_queue_policy
        assert policy.timeout_action == 0, path  # REJECT
        assert policy.max_queue_size > 0, path
        assert policy.default_timeout_microseconds > 0, path
        assert policy.allow_timeout_override, path  # the caller's own deadline


def test_on_the_cpu_two_pictures_are_in_work_at_once_and_each_head_takes_the_people_of_both(repository: Path) -> None:
    for model in STEPS:
        (group,) = read(repository / model / "configs" / "cpu.pbtxt").instance_group
        instances = 1 if model in HEADS else 2
        assert (group.count, group.kind) == (instances, ModelInstanceGroup.KIND_CPU), model


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


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_says_whose_weights_it_runs_and_at_which_sizes(name: str, repository: Path) -> None:
    card = ModelRepository.open(repository).card
    shipped = {
        "card.name": card["name"],
        "card.version": card["version"],
        "card.taxonomy": "cihp",
        "card.trained": "densepose, parsing",
        "card.weights_sha256": card["weights_sha256"],
    }
    assert identity(card) == shipped
    odd = {**shipped, "card.name": 'Mine\\ "light"\n人'}
    sizes = json.loads(models_of(card)["models"])
    assert sizes["accurate"] == {"canvases": sizes["fast"]["canvases"], "second": {"model": "large", "below": 300}}
    own = writer.Shapes(4, 8, 16, 20, ((256, 320),), -1, (1,), odd)
    written = text_format.Parse(writer.files(own)[f"{name}/config.pbtxt"], ModelConfig())
    for config, expected in ((read(repository / name / "config.pbtxt"), shipped | models_of(card)), (written, odd)):
        assert {key: value.string_value for key, value in config.parameters.items()} == expected


def test_another_training_under_the_same_name_is_other_weights_and_what_is_not_said_no_difference() -> None:
    card = {"name": "mine", "version": "1", "taxonomy": "cihp", "tasks": {"parsing": {"trained": True}}}
    old, one, two = (
        identity({**card, **more}) for more in ({}, {"weights_sha256": 64 * "1"}, {"weights_sha256": 64 * "2"})
    )
    assert others(one, one) is None
    assert others(one, two) == "mine 1 (cihp; trained: parsing; weights 222222222222)"
    for ours, theirs in ((old, two), (two, old), (one, {})):
        assert others(ours, theirs) is None
    assert others(one, {**old, "card.version": "2"}) == "mine 2 (cihp; trained: parsing)"
