"""Weights -> ONNX files in a model repository, and the model card beside them.

The files keep one initializer for each tensor of the network, under the network's own names and in fp16. So they
are the checkpoint as well: `training.checkpoint` reads them back, and nothing is stored twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.export import Dim

from export.card import digest_of, file_entry, read_card
from export.files import save_graph
from export.graphs import DensePoseGraph, DetectorGraph, ParsingGraph
from export.nodes import set_nodes
from export.options import ExportOptions
from export.precision import to_precision
from export.tensorrt.profiles import canvas_profiles, engine_buckets
from parsing_rcnn.card import LARGEST_SIDE, STEP, WEIGHTS
from parsing_rcnn.limits import MAX_PEOPLE
from parsing_rcnn.models import all_canvases
from parsing_rcnn.own_classes import write_taxonomy
from parsing_rcnn.repository import CARD
from parsing_rcnn.runtime import DENSEPOSE_OUTPUTS, DETECTOR_OUTPUTS, parsing_outputs
from training.collection import nothing_collected
from training.config import Config
from training.files import make_folder, write_text
from training.model.parsing_rcnn import ParsingRCNN

OPSET = 20  # ONNX Runtime has no RoiAlign-22; 20 is the newest below it that every target reads
_EXAMPLE = (384, 640)  # of a canvas: sizes are dynamic, so the graph does not depend on it
_HALF_FROM = 256  # small tensors stay fp32, and so do all vectors: norms and biases cost nothing and carry ranges
_HALF_MOST = float(np.finfo(np.float16).max)
ENGINES = "*.plan"
# beside `model.onnx`, by quantize and the other targets
MADE = ("model.int8.onnx", "model.xml", "model.bin", ENGINES, "model.tensorrt.onnx")


class RepositoryError(ValueError):
    """A repository does not hold the weights that it should; the message names the tensor and the file."""


def export_repository(
    model: ParsingRCNN,
    config: Config,
    out: Path,
    *,
    version: str,
    card: Mapping[str, Any],
    options: ExportOptions = ExportOptions(),  # noqa: B008
) -> dict[str, Path]:
    """Write detector, parsing and densepose_head to `out` and the model card with their sha256.

    Args:
        model: weights of `config`, on the CPU.
        card: the fields of the card that recipe and files do not give: tasks, data, licences, figures, limits.

    Returns:
        {graph: its file}.

    Raises:
        RepositoryError: the network pools RoIs as no graph here does, or a weight does not fit fp16.
        OutputError: a file cannot be written.
    """
    config = options.recipe(config)
    model = model.eval()
    if config.model.branch.levels != (2,) or config.model.branch.roi_size != 32 or config.model.branch.decoder:
        raise RepositoryError(
            f"{config.name}: what serves pools RoIs of 32x32 from P2 alone; model.branch.levels is "
            f"{list(config.model.branch.levels)}, decoder {config.model.branch.decoder} and roi_size "
            f"{config.model.branch.roi_size}; evaluate --checkpoint runs it in torch"
        )
    make_folder(out)  # before the work
    files, built_for = {}, _engine_shapes(out)
    for name, proto in graphs(model, options).items():
        path = out / name / "1" / "model.onnx"
        before = path.read_bytes() if path.is_file() else b""
        save_graph(to_precision(proto, options.precision), path)
        files[name] = path
        if path.read_bytes() != before:
            remove_made(path.parent)
    write_card(out, config, files, version=version, card=card, options=options)
    wanted = _engine_shapes(out)
    for name, path in files.items():
        if wanted.get(name) != built_for.get(name):  # engines of other shapes than Triton will be told
            remove_made(path.parent, (ENGINES,))
    return files


def _engine_shapes(repository: Path) -> dict[str, tuple[Any, ...]]:
    """{graph: the shapes that its engine is built for, by the card}; empty where there is no usable card."""
    try:
        card = json.loads((repository / CARD).read_text(encoding="utf-8"))
        buckets = engine_buckets(card)
        return {"detector": canvas_profiles(all_canvases(card)), "parsing": buckets, "densepose_head": buckets}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def remove_made(folder: Path, made: Sequence[str] = MADE) -> None:
    """Remove what was made of the `model.onnx` of a folder: Triton and others would go on serving the old weights."""
    for pattern in made:
        for path in folder.glob(pattern):
            path.unlink()


def graphs(model: ParsingRCNN, options: ExportOptions) -> dict[str, onnx.ModelProto]:
    """Detector, parsing and densepose_head of a network as fp32 graphs."""
    channels, size = model.config.fpn.channels, model.config.branch.roi_size
    people, features = Dim("n", max=MAX_PEOPLE), torch.zeros(3, channels, size, size)

    def head(graph: nn.Module, *outputs: str) -> onnx.ModelProto:
        return to_onnx(graph, (features,), ({0: people},), ("ROI_FEATURES",), outputs)

    return {
        "detector": detector(model, options),
        "parsing": head(ParsingGraph(model), *parsing_outputs(probabilities=True)),
        "densepose_head": head(DensePoseGraph(model), *DENSEPOSE_OUTPUTS),
    }


def detector(model: ParsingRCNN, options: ExportOptions) -> onnx.ModelProto:
    """The detector of a network as an fp32 graph for canvases of any size up to 1344."""
    largest = LARGEST_SIDE // STEP
    high, wide = Dim("h32", min=2, max=largest), Dim("w32", min=2, max=largest)
    canvas = torch.zeros((*_EXAMPLE, 3), dtype=torch.uint8)
    graph = DetectorGraph(
        model,
        options.most_people,
        proposals=options.proposals,
        static=options.static_people is not None,
        pooling=options.pooling,
    )
    return to_onnx(
        graph,
        (canvas, torch.tensor([0.5, float(MAX_PEOPLE)])),
        ({0: STEP * high, 1: STEP * wide}, None),
        ("CANVAS", "LIMITS"),
        DETECTOR_OUTPUTS,
    )


def to_onnx(
    graph: nn.Module,
    example: tuple[Any, ...],
    shapes: tuple[Any, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> onnx.ModelProto:
    """Export one graph: constants folded, weights in fp16 under the network's names, checked."""
    with nothing_collected():  # a trace is millions of objects
        # nothing learns here: what follows gradients need not be traced
        program = torch.export.export(graph.eval().requires_grad_(False), example, dynamic_shapes=shapes, strict=False)
        exported = torch.onnx.export(
            program,
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    assert exported is not None
    # fold constants, no more: fusing norms into convolutions would lose the network's tensors; runtimes fuse anyway
    folded, own = exported.model, set(program.state_dict)

    def should_fold(node: Any) -> bool | None:  # a bias of which a layer reads a part is to stay whole
        return False if any(value is not None and value.name in own for value in node.inputs) else None

    onnxscript.optimizer.fold_constants(folded, input_size_limit=1024, output_size_limit=4096, should_fold=should_fold)
    onnxscript.optimizer.remove_unused_nodes(folded)
    proto = exported.model_proto
    halve_weights(proto)
    _name_dimensions(proto)
    proto.producer_name = "parsing-rcnn"
    proto.producer_version = ""
    proto.doc_string = ""
    for node in proto.graph.node:  # the exporter notes source lines of the machine that it ran on
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _name_dimensions(proto: onnx.ModelProto) -> None:
    """Readable symbolic sizes at the borders of the graph; those inside follow from them and are dropped."""
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        symbols = ("height", "width") if value.name == "CANVAS" else ("people",)
        dimensions = [d for d in value.type.tensor_type.shape.dim if d.dim_param]
        for dimension, symbol in zip(dimensions, symbols, strict=False):
            dimension.dim_param = symbol


def stored_in_half(shape: Sequence[int]) -> bool:
    """Whether an fp32 tensor of this shape is stored as fp16: matrices and kernels, but no vectors or small tensors."""
    return len(shape) >= 2 and math.prod(shape) >= _HALF_FROM


def halve_weights(proto: onnx.ModelProto) -> None:
    """Store large fp32 initializers as fp16 followed by a Cast, which runtimes fold when they load the file.

    Raises:
        RepositoryError: naming the tensor whose numbers are not finite, or too large for fp16.
    """
    graph = proto.graph
    renamed, casts = {}, []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        halved = stored_in_half(tensor.dims)
        if np.isnan(values).any() or (halved and not (np.abs(values) <= _HALF_MOST).all()):
            raise RepositoryError(
                f"{name}: its numbers are not finite, or beyond the {_HALF_MOST:.0f} of fp16, in which weights are "
                "stored: the run has diverged; take an earlier checkpoint, or train with a lower train.learning_rate"
            )
        if not halved:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
        renamed[name] = f"{name}::fp32"
        casts.append(helper.make_node("Cast", [name], [renamed[name]], to=TensorProto.FLOAT, name=f"{name}::cast"))
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]
    set_nodes(graph, [*casts, *graph.node])


def write_card(
    out: Path,
    config: Config,
    files: Mapping[str, Path],
    *,
    version: str,
    card: Mapping[str, Any],
    options: ExportOptions = ExportOptions(),  # noqa: B008
) -> None:
    """Write model_card.json: identity, recipe, files with their sha256, and the fields of `card`."""
    content = {
        "name": config.name,
        "version": version,
        WEIGHTS: digest_of(out),
        "taxonomy": write_taxonomy(config.model.taxonomy),
        "canvases": [list(c) for c in options.canvases(config)],
        **{key: value for key, value in card.items() if key not in ("version", WEIGHTS)},
        **options.told(),
        "files": {name: file_entry(out, path) for name, path in files.items()},
        "recipe": _without_places(config.model_dump(mode="json")),
    }
    write_text(out / CARD, json.dumps(content, indent=1) + "\n")


def taken_over(repository: Path, options: ExportOptions) -> dict[str, Any]:
    """The fields of a repository's card that hold for its weights, for another export of them.

    Left out are those that describe the export itself, and, where `options` has sizes, canvases and `models`, which
    name canvases.

    Raises:
        CardError: see `read_card`.
    """
    card = read_card(repository / CARD)
    own = {"files", "recipe", "precision", "max_people", "static_people", "people_buckets", "quantization"}
    if options.sizes:
        own |= {"canvases", "models"}
    return {key: value for key, value in card.items() if key not in own}


def _without_places(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe for others to read: names of data folders, not where they lay on this machine."""
    data = dict(recipe["data"])
    for key in ("pseudo_labels", "rendered", "scenes", "things", "uv_symmetry"):
        if data.get(key):
            data[key] = f"data/{Path(data[key]).name}"
    data["annotated"] = [Path(path).name for path in data.get("annotated", ())]
    model = dict(recipe["model"])
    if model.get("backbone_weights"):
        model["backbone_weights"] = Path(model["backbone_weights"]).name
    return {**recipe, "data": data, "model": model}
