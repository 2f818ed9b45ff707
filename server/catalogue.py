"""Descriptions and statistics of the models for `/v2`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from parsing_rcnn.ensembles import ENSEMBLES, identity, models_of, outputs
from server.engines.base import Engine

VERSION = "1"
CELLS = 128
"""Cells on a side of every map; `parsing-rcnn export` writes no other models."""
_TYPES = {"float32": "TYPE_FP32", "int32": "TYPE_INT32", "uint8": "TYPE_UINT8"}


@dataclass
class Statistics:
    """Statistics of one model in Triton's units: counts and nanoseconds; `last` is the time of the last answer in
    milliseconds since 1970."""

    last: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    nanoseconds: dict[str, int] = field(default_factory=dict)

    def add(self, stages: dict[str, float]) -> None:
        """Count an answer; `stages` in milliseconds."""
        self.last = int(time.time() * 1000)
        infer = sum(ms for stage, ms in stages.items() if stage in ("detector", "parsing", "densepose", "triton"))
        parts = {
            "success": stages["total"],
            "queue": stages["queue"],
            "compute_input": stages.get("decode", 0.0) + stages.get("preprocess", 0.0),
            "compute_infer": infer,
            "compute_output": stages.get("postprocess", 0.0) + stages["encode"],
        }
        for name, milliseconds in parts.items():
            self._count(name, milliseconds)

    def fail(self, milliseconds: float) -> None:
        """Count an error."""
        self._count("fail", milliseconds)

    def _count(self, name: str, milliseconds: float) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        self.nanoseconds[name] = self.nanoseconds.get(name, 0) + int(milliseconds * 1e6)

    def document(self, name: str) -> dict[str, Any]:
        """Triton's JSON."""
        names = (
            "success",
            "fail",
            "queue",
            "compute_input",
            "compute_infer",
            "compute_output",
            "cache_hit",
            "cache_miss",
        )
        done = self.counts.get("success", 0)
        return {
            "name": name,
            "version": VERSION,
            "last_inference": self.last,
            "inference_count": done,
            "execution_count": done,
            "inference_stats": {n: {"count": self.counts.get(n, 0), "ns": self.nanoseconds.get(n, 0)} for n in names},
            "batch_stats": [],
        }


class Catalogue:
    """Describes the models as Triton would, by the tensors of its ensembles. The repository need not contain these.

    To clients of this gateway each ensemble is one model, whatever computes it, so its steps are left out.

    Args:
        engine: knows the number of classes, the weights and the sizes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.statistics = {name: Statistics() for name in ENSEMBLES}

    @cached_property
    def configurations(self) -> dict[str, dict[str, Any]]:
        """Model -> `ModelConfig` as JSON, with the names of the protocol buffers.

        Raises:
            EngineUnavailable: the engine does not know its model yet.
        """
        from google.protobuf import json_format
        from tritonclient.grpc.model_config_pb2 import ModelConfig

        info = self._engine.info
        found, classes = {}, len(info.classes)
        words = identity(info.card) | (models_of(info.card) if info.models else {})
        said = {key: {"string_value": text} for key, text in words.items()}
        for name, tasks in ENSEMBLES.items():
            message = ModelConfig(
                name=name,
                platform="parsing_rcnn",
                version_policy={"latest": {"num_versions": 1}},
                input=[{"name": "IMAGE", "data_type": "TYPE_STRING", "dims": [1]}],
                output=[
                    {"name": output.name, "data_type": _TYPES[output.kind], "dims": output.dims}
                    for output in outputs(tasks, classes, CELLS)
                ],
                parameters=said,
            )
            document = json_format.MessageToDict(
                message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for tensor in (*document["input"], *document["output"]):
                tensor["dims"] = [int(n) for n in tensor["dims"]]
            found[name] = document
        return found

    def outputs(self, model: str) -> tuple[str, ...]:
        """Names of a model's outputs."""
        return tuple(tensor["name"] for tensor in self.configurations[model]["output"])

    def metadata(self, model: str) -> dict[str, Any]:
        """The protocol's description of a model."""
        configuration = self.configurations[model]

        def tensors(of: list[dict[str, Any]]) -> list[dict[str, Any]]:
            kinds = {"STRING": "BYTES"}
            names = [tensor["data_type"].removeprefix("TYPE_") for tensor in of]
            return [
                {"name": t["name"], "datatype": kinds.get(n, n), "shape": t["dims"]}
                for t, n in zip(of, names, strict=True)
            ]

        return {
            "name": model,
            "versions": [VERSION],
            "platform": configuration["platform"],
            "inputs": tensors(configuration["input"]),
            "outputs": tensors(configuration["output"]),
        }
