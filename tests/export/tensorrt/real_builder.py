"""Parses and builds graphs by the steps of export.tensorrt.builder, with TensorRT for RTX, which needs no GPU for it.

    python tests/export/tensorrt/real_builder.py FOLDER PLANS [PLUGIN]

FOLDER holds the packages tensorrt_rtx_bindings and tensorrt_rtx_libs. PLANS is a JSON list of [graph, folder, profiles,
"parse" or "build"]; PLUGIN is libprcnn_plugin.so. It has no runner for NonMaxSuppression and no plugin layers, so a
detector is at most parsed, and with standard operators in the place of the plugin's nodes.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from export.plugin.node import OPERATOR, VERSION


def main(folder: Path, plans: str, plugin: str = "") -> None:
    sys.path.insert(0, str(folder))
    import tensorrt_rtx_bindings as trt

    from export.tensorrt.builder import Plan, configure, load_plugin, parse
    from export.tensorrt.profiles import Profile

    logger = trt.Logger(trt.Logger.INFO if plugin else trt.Logger.ERROR)
    if plugin:
        load_plugin(trt, Path(plugin))
        print(created(trt), flush=True)  # the parser ends the process once it has a plugin that it has no layer for
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers: list[dict[str, Any]] = []
    for graph, place, profiles, step in json.loads(plans):
        shapes = tuple(Profile(name, *(tuple(shape) for shape in shapes)) for name, *shapes in profiles)
        plan = Plan(graph, Path(place), shapes, plugin=False)
        builder = trt.Builder(logger)
        network = parse(trt, logger, builder, plan)
        outputs = [network.get_output(k) for k in range(network.num_outputs)]
        answer: dict[str, Any] = {t.name: [t.dtype.name, list(t.shape)] for t in outputs}
        if step == "build":
            config = configure(trt, builder, plan, b"", 1 << 30)
            config.num_compute_capabilities = 1
            config.set_compute_capability(trt.ComputeCapability.SM89, 0)
            answer["TF32"] = config.get_flag(trt.BuilderFlag.TF32)
            engine = builder.build_serialized_network(network, config)
            answer["engine"] = 0 if engine is None else len(bytes(engine))
        answers.append(answer)
    print(json.dumps(answers))


def created(trt: Any) -> str:
    """What TensorRT's registry says of our plugin, and what it makes of it: one, and none of a wrong size."""
    creator = trt.get_plugin_registry().get_creator(OPERATOR, str(VERSION), "")
    made = []
    for size in (7, 0):
        values = {"output_size": size, "sampling_ratio": 2, "first_level": 3}
        fields = [
            trt.PluginField(name, np.array([value], np.int32), trt.PluginFieldType.INT32)
            for name, value in values.items()
        ]
        phase = trt.TensorRTPhase.BUILD
        made.append(creator.create_plugin("", trt.PluginFieldCollection(fields), phase) is not None)
    return f"{creator.name} {creator.plugin_version} {[f.name for f in creator.field_names]} {made}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
