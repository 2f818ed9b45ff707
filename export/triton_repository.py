"""Makes a folder of exported graphs a model repository of Triton: configurations of three profiles, and python models.

`tritonserver --model-config-name` picks the profile:

- none (config.pbtxt): TensorRT engines with the PyramidRoiAlign plugin
- `ort_gpu` (configs/ort_gpu.pbtxt): the same ONNX files on ONNX Runtime's CUDA provider, no plugin
- `cpu` (configs/cpu.pbtxt): python models on the runtime of the embedded engine

A model without a file for a profile has the same configuration in all. Names, types and shapes of the ensembles'
outputs are those of `parsing_rcnn.ensembles`; those of the steps in between are read from the ONNX files here. Tests
compare the files with the graphs and with a running server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from export.tensorrt.profiles import ENGINE, canvas_profiles, engine_buckets
from parsing_rcnn.ensembles import ENSEMBLES, ROWS, identity, models_of, outputs
from parsing_rcnn.limits import MAX_PEOPLE
from parsing_rcnn.models import all_canvases
from parsing_rcnn.repository import CARD, GRAPHS

_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "bytes": "TYPE_STRING"}
_PICTURES, _PEOPLE = 128, 256  # requests that may wait for a step before the heads, and for a head
_VERSIONS = "version_policy: { latest: { num_versions: 1 } }\n"
_FEW = (1, 2, 3)  # people of most pictures: ONNX Runtime prepares these shapes during the warm-up, once
# fp32 without TF32, as on the CPU. 1: cuDNN picks an algorithm by its own rules; to try all of them, which is the
# backend's default, takes a second for every new shape, and every number of people is one
_CUDA = (
    "optimization { execution_accelerators { gpu_execution_accelerator: ["
    '{ name: "cuda" parameters { key: "use_tf32" value: "0" } }] } }\n'
    'parameters { key: "cudnn_conv_algo_search" value: { string_value: "1" } }\n'
)
_CLASSES = {"preprocess": "Preprocess", "detector": "Detector", "parsing": "Parsing", "densepose_head": "DensePose",
            "postprocess": "Postprocess"}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model.

    Attributes:
        kind: its type: "float32", "uint8", "int32" or "bytes".
        dims: its shape, -1 where a dimension varies.
        optional: whether a request may leave it out.
    """

    name: str
    kind: str
    dims: tuple[int, ...]
    optional: bool = False

    def text(self) -> str:
        """The tensor as an entry of `input` or `output` in config.pbtxt."""
        optional = " optional: true" if self.optional else ""
        return f'  {{ name: "{self.name}" data_type: {_TYPES[self.kind]} dims: {list(self.dims)}{optional} }}'


@dataclass(frozen=True)
class Shapes:
    """Numbers in which checkpoints and exports differ.

    Attributes:
        channels, roi: channels of a RoI, and its cells on a side.
        cells, classes: cells on a side of a part map, and number of part classes.
        canvases: (height, width) of all canvases of the card.
        rows: number of rows that a static detector always gives; -1: as many as people are found.
        buckets: numbers of people of the heads' engines, one profile each.
        parameters: of the ensembles: whose weights they run (`identity`), and at which sizes (`models_of`).
    """

    channels: int
    roi: int
    cells: int
    classes: int
    canvases: tuple[tuple[int, int], ...]
    rows: int
    buckets: tuple[int, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)


def write_models(repository: Path) -> list[Path]:
    """Write configurations and model.py files into a folder that holds the graphs and their card.

    Returns:
        the written files.
    """
    shapes = read_shapes(repository)
    written = []
    for path, text in files(shapes).items():
        target = repository / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return written


def read_shapes(repository: Path) -> Shapes:
    """Read the shapes from the ONNX files and the card of a repository."""
    import onnx

    card = json.loads((repository / CARD).read_text(encoding="utf-8"))
    detector, head = (onnx.load(repository / name / "1" / "model.onnx").graph for name in ("detector", "parsing"))
    values = (*detector.output, *head.output)
    dims = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    rows, channels, roi, _ = dims["ROI_FEATURES"]
    return Shapes(
        channels,
        roi,
        dims["PARTS"][1],
        dims["PART_SCORES"][1],
        all_canvases(card),
        rows or -1,
        engine_buckets(card),
        identity(card) | models_of(card),
    )


def tensors(shapes: Shapes) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """Model -> its inputs and outputs; those of the heads have a dimension of people."""
    image = Tensor("IMAGE", "bytes", (1,))
    canvas, limits = Tensor("CANVAS", "uint8", (-1, -1, 3)), Tensor("LIMITS", "float32", (2,))
    window, count = Tensor("WINDOW", "float32", (6,)), Tensor("COUNT", "int32", (1,))
    answers = {name: _answers(tasks, shapes) for name, tasks in ENSEMBLES.items()}
    boxes, scores, size, *maps = answers["human_analysis"]
    parts, part_scores, iuv, iuv_scores = maps
    features = Tensor("ROI_FEATURES", "float32", (-1, shapes.channels, shapes.roi, shapes.roi))
    found = [Tensor(t.name, t.kind, (shapes.rows, *t.dims[1:])) for t in (boxes, scores, features)]
    part_probs = Tensor("PART_PROBS", "uint8", (-1, shapes.classes, shapes.cells, shapes.cells))
    given = [Tensor(t.name, t.kind, t.dims, optional=True) for t in maps]
    return {
        "preprocess": ([image], [canvas, window, limits]),
        "detector": ([canvas, limits], [*found[:2], count, found[2]]),
        "parsing": ([features], [parts, part_scores, part_probs]),
        "densepose_head": ([features], [iuv, iuv_scores]),
        "postprocess": ([boxes, scores, count, window, *given], [boxes, scores, size, *maps]),
        **{name: ([image], own) for name, own in answers.items()},
    }


def _answers(tasks: Iterable[str], shapes: Shapes) -> list[Tensor]:
    """The outputs of an ensemble."""
    return [Tensor(output.name, output.kind, output.dims) for output in outputs(tasks, shapes.classes, shapes.cells)]


def files(shapes: Shapes) -> dict[str, str]:
    """Path inside the repository -> text, of every configuration and python model."""
    every = tensors(shapes)
    found = {}
    for name in ("preprocess", "postprocess"):
        python = _backend("python")
        # a GPU takes more pictures than one process decodes
        found[f"{name}/config.pbtxt"] = _model(
            name, every[name], python + _instances("KIND_CPU", 4) + _queue(_PICTURES)
        )
        # two instances: Triton 2.51 may notice up to half a second late that an only one is free again
        found[f"{name}/configs/cpu.pbtxt"] = _model(
            name, every[name], python + _instances("KIND_CPU", 2) + _queue(_PICTURES)
        )
    for name in GRAPHS:
        heads = name != "detector"
        people = every[name] if not heads else _one_person(every[name])
        queue = _queue(_PEOPLE, 1000) if heads else _queue(_PICTURES)
        chosen = shapes.buckets if heads else canvas_profiles(shapes.canvases)
        engine = _instances("KIND_GPU", profiles=len(chosen)) + queue + _warmup(name, shapes, shapes.buckets)
        cuda = _instances("KIND_GPU") + _CUDA + queue + _warmup(name, shapes, _FEW)
        # two instances of the detector share the cores when both are busy (`parsing_rcnn.inference.contention`); the
        # one instance of a head computes the people of several pictures together
        cpu = _instances("KIND_CPU", 1 if heads else 2) + _queue(_PEOPLE if heads else _PICTURES)
        profiles = {
            "config.pbtxt": _backend("tensorrt", ENGINE) + engine,
            "configs/ort_gpu.pbtxt": _backend("onnxruntime", "model.onnx") + cuda,
            "configs/cpu.pbtxt": _backend("python") + cpu,  # warms itself
        }
        for path, backend in profiles.items():
            most = shapes.buckets[-1] if path == "config.pbtxt" else MAX_PEOPLE
            found[f"{name}/{path}"] = _model(name, people, backend, most if heads else 0)
    for name in ENSEMBLES:
        steps = _parameters(shapes.parameters) + _ensemble(name, every)
        found[f"{name}/config.pbtxt"] = _model(name, every[name], steps, platform=True)
    for name, step in _CLASSES.items():
        found[f"{name}/1/model.py"] = _PYTHON.format(step=step)
    for name in ENSEMBLES:
        found[f"{name}/1/.gitkeep"] = ""  # Triton wants a version folder, and git keeps no empty one
    return found


_PYTHON = '''"""A step of the pipeline on Triton's python backend: see parsing_rcnn/triton_models.py."""

import triton_python_backend_utils as utils

from parsing_rcnn.triton_models import {step}


class TritonPythonModel({step}):
    """The class that Triton's stub looks for."""

    utils = utils
'''


def _model(
    name: str,
    tensors_: tuple[Sequence[Tensor], Sequence[Tensor]],
    rest: str,
    batch: int = 0,
    *,
    platform: bool = False,
) -> str:
    inputs, outputs = (",\n".join(t.text() for t in own) for own in tensors_)
    head = f'name: "{name}"\n' + ('platform: "ensemble"\n' if platform else "")
    return f"{head}max_batch_size: {batch}\ninput [\n{inputs}\n]\noutput [\n{outputs}\n]\n{_VERSIONS}{rest}"


def _one_person(own: tuple[Sequence[Tensor], Sequence[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors of a model that Triton batches, without their first dimension, which Triton adds."""
    inputs, outputs = ([Tensor(t.name, t.kind, t.dims[1:]) for t in side] for side in own)
    return inputs, outputs


def _backend(name: str, file: str = "model.py") -> str:
    return f'backend: "{name}"\ndefault_model_filename: "{file}"\n'


def _instances(kind: str, count: int = 1, *, profiles: int = 0) -> str:
    """Instances of a model; `profiles`: how many an engine has, among which Triton picks by the shapes of a request."""
    chosen = f" profile: {json.dumps([str(k) for k in range(profiles)])}" if profiles else ""
    return f"instance_group [{{ kind: {kind} count: {count}{chosen} }}]\n"


def _queue(size: int, delay: int = 0) -> str:
    """How many requests may wait, and for how many microseconds the first one waits for others to be batched with it.

    A request waits at most half a minute, as long as the gateway gives a picture; a caller's deadline can only shorten
    that.
    """
    wait = f"  max_queue_delay_microseconds: {delay}\n" if delay else ""
    policy = "timeout_action: REJECT default_timeout_microseconds: 30000000 allow_timeout_override: true"
    return f"dynamic_batching {{\n{wait}  default_queue_policy {{ {policy} max_queue_size: {size} }}\n}}\n"


def _warmup(name: str, shapes: Shapes, people: Iterable[int]) -> str:
    """Inputs that Triton runs before a model is ready: every canvas (detector), or these numbers of people (heads)."""
    if name == "detector":
        entries = [
            _sample(
                f"{height}x{width}",
                1,
                {"CANVAS": ("TYPE_UINT8", [height, width, 3]), "LIMITS": ("TYPE_FP32", [2])},
            )
            for height, width in shapes.canvases
        ]
    else:
        dims = [shapes.channels, shapes.roi, shapes.roi]
        entries = [_sample(f"people {n}", n, {"ROI_FEATURES": ("TYPE_FP32", dims)}) for n in people]
    return "model_warmup [\n" + ",\n".join(entries) + "\n]\n"


def _sample(name: str, batch: int, inputs: Mapping[str, tuple[str, list[int]]]) -> str:
    body = " ".join(
        f'inputs {{ key: "{key}" value {{ data_type: {kind} dims: {dims} zero_data: true }} }}'
        for key, (kind, dims) in inputs.items()
    )
    return f'  {{ name: "{name}" batch_size: {batch} {body} }}'


def _parameters(given: Mapping[str, str]) -> str:
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in given.items()}
    return "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: {value} }} }}\n' for key, value in quoted.items()
    )


def _ensemble(name: str, every: Mapping[str, tuple[list[Tensor], list[Tensor]]]) -> str:
    heads = [head for task, head in _HEADS.items() if task in ENSEMBLES[name]]
    wanted = {tensor.name for tensor in every[name][1]}
    steps = [_step(step, every[step], wanted) for step in ("preprocess", "detector", *heads, "postprocess")]
    return "ensemble_scheduling {\n  step [\n" + ",\n".join(steps) + "\n  ]\n}\n"


_HEADS = {"parsing": "parsing", "densepose": "densepose_head"}
_INNER = {"BOXES", "SCORES", *ROWS}  # tensors that postprocess reads and writes under the same name


def _step(model: str, own: tuple[list[Tensor], list[Tensor]], wanted: set[str]) -> str:
    final = model == "postprocess"

    def line(kind: str, tensor: Tensor, value: str) -> str:
        return f'      {kind} {{ key: "{tensor.name}" value: "{value}" }}'

    def inner(tensor: Tensor) -> str:
        return f"{tensor.name}_FOUND" if tensor.name in _INNER else tensor.name

    inputs = [line("input_map", t, inner(t)) for t in own[0] if not t.optional or t.name in wanted]
    outputs = [
        line("output_map", t, t.name if final else inner(t))
        for t in own[1]
        if t.name != "PART_PROBS" and (not final or t.name in wanted)
    ]
    return "\n".join([f'    {{\n      model_name: "{model}"\n      model_version: -1', *inputs, *outputs, "    }"])
