"""OpenVINO's files compute what the ONNX graphs do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from export.openvino import write_models
from parsing_rcnn.inference.compiled import openvino_core

pytest.importorskip("openvino")


def test_the_files_are_the_graphs(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder)
    written = write_models(folder)
    assert [path.parent.parent.name for path in written] == ["detector", "parsing", "densepose_head"]
    core = openvino_core()
    rng = np.random.default_rng(0)
    fp32 = {"INFERENCE_PRECISION_HINT": "f32"}
    for path in written:
        own = core.compile_model(path, "CPU", fp32)
        given = core.compile_model(path.with_suffix(".onnx"), "CPU", fp32)
        assert {p.any_name for p in own.inputs} == {p.any_name for p in given.inputs}
        if path.parent.parent.name == "detector":
            canvas = rng.integers(0, 256, (256, 320, 3), np.uint8)
            inputs = {"CANVAS": canvas, "LIMITS": np.float32([0.0, 5.0])}
        else:
            inputs = {"ROI_FEATURES": rng.normal(size=(2, 64, 32, 32)).astype(np.float32)}
        expected = {port.any_name: value for port, value in given(inputs).items()}
        found = {port.any_name: value for port, value in own(inputs).items()}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=f"{path.parent.parent.name} {name}")
