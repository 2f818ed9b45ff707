"""INT8 for OpenVINO on CPUs, by NNCF: post-training, ranges and biases from the calibration photos.

What is quantised is what `export.qdq` quantises, and the additions between those layers. Weights take
seven of the eight bits (NNCF's overflow fix): CPUs without VNNI would overflow else, and one file serves every CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.runtime import openvino_core

_CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData")


def quantise_openvino(
    path: Path, inputs: Sequence[Mapping[str, Any]], groups: Mapping[str, str], chosen: Collection[str], out: Path
) -> int:
    """Quantise the graph at `path` and write `out` (.xml, and .bin beside it).

    Args:
        inputs: see `Calibration.inputs`.
        groups: see `export.qdq.Ranged`; chosen: those to quantise.

    Returns:
        How many quantisers the model has.

    Raises:
        EngineUnavailable: openvino or nncf is not installed.
    """
    core = openvino_core()
    nncf = _nncf()
    import openvino  # after its core: see there

    model = core.read_model(path)
    quantised = nncf.quantize(
        model,
        nncf.Dataset(list(inputs)),
        subset_size=len(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=kept_fp32(model, groups, chosen), validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantised, out, compress_to_fp16=False)
    return sum(op.get_type_name() == "FakeQuantize" for op in quantised.get_ops())


def _nncf() -> Any:
    try:
        import nncf
    except ImportError as error:
        raise EngineUnavailable(
            "nncf is not installed: pip install -r requirements/train.txt, or leave INT8 for OpenVINO out with "
            "--target onnx"
        ) from error
    nncf.set_log_level(logging.ERROR)  # else a line for every operation that stays in fp32
    return nncf


def kept_fp32(model: Any, groups: Mapping[str, str], chosen: Collection[str]) -> list[str]:
    """Names of the operations that stay in fp32.

    These are all but convolutions and fully connected layers of the chosen groups, and what lies between them: an
    operation lies between two layers when a chosen convolution can be reached from it.
    """
    layers = {op.get_friendly_name() for op in model.get_ops() if _group(op, groups) in chosen}
    trunk = _above([op for op in model.get_ops() if op.get_friendly_name() in layers and _is_convolution(op)])
    kept = []
    for op in model.get_ops():
        name = op.get_friendly_name()
        layer = _is_convolution(op) or op.get_type_name() == "MatMul"
        if name not in layers and (layer or name not in trunk):
            kept.append(name)
    return kept


def _is_convolution(op: Any) -> bool:
    return op.get_type_name() in _CONVOLUTIONS


def _group(op: Any, groups: Mapping[str, str]) -> str | None:
    """The part of the network that an operation was read from.

    It bears the name of its node, with a suffix or not; or the addition of the bias, behind it, does.
    """
    if not (_is_convolution(op) or op.get_type_name() == "MatMul"):
        return None
    behind = [target.get_node() for target in op.output(0).get_target_inputs()]
    for name in (each.get_friendly_name().split("/")[0] for each in (op, *behind)):
        if name in groups:
            return groups[name]
    return None


def _above(ops: list[Any]) -> set[str]:
    """Names of everything that these operations are computed from."""
    found: set[str] = set()
    waiting = list(ops)
    while waiting:
        op = waiting.pop()
        for index in range(op.get_input_size()):
            source = op.input_value(index).get_node()
            if source.get_friendly_name() not in found:
                found.add(source.get_friendly_name())
                waiting.append(source)
    return found
