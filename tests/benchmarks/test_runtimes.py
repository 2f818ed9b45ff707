"""Runtimes side by side: every worker does its work on a real graph, and the arithmetic of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the runtimes are compared with torch")
pytest.importorskip("openvino")

from benchmarks.runtimes import Models, _with_shares, parse, precisions, rows, to_markdown
from benchmarks.runtimes_worker import parse as parse_worker
from benchmarks.runtimes_worker import prepare, trunk_tensors
from parsing_rcnn.repository import ModelRepository

SHIPPED = ModelRepository.open().path
SMALL = ("--canvas", "64", "96", "--people", "1", "--threads", "1")


@pytest.mark.parametrize("work", ["trunk", "head"])
@pytest.mark.parametrize("runtime", ["torch", "ort", "openvino"])
def test_a_worker_does_its_work(work: str, runtime: str) -> None:
    options = parse_worker([work, runtime, *SMALL, "--repository", str(SHIPPED), "--checkpoint", str(SHIPPED)])
    about, step = prepare(options)
    assert runtime.replace("ort", "onnxruntime") in about["runtime"]
    assert step() == {}
    if (runtime, work) == ("torch", "trunk"):
        # the light trunk has 7.9 GFLOP at 384x640, 40 times as many pixels; borders and small levels weigh more here
        assert about["gflop"] == pytest.approx(7.9 / 40, rel=0.35)


def test_the_runtimes_compute_the_same_trunk() -> None:
    import onnx
    import onnxruntime
    import torch

    from benchmarks.runtimes_worker import canvas_of, cut_trunk
    from parsing_rcnn.inference.compiled import openvino_core
    from training.checkpoint import load_model

    options = parse_worker(["trunk", "ort", *SMALL])
    canvas = canvas_of(options)
    path = SHIPPED / "detector" / "1" / "model.onnx"
    finest, heads = trunk_tensors(path)
    whole = onnx.shape_inference.infer_shapes(onnx.load(path))
    part = onnx.utils.Extractor(whole).extract_model(["CANVAS"], [finest, *heads])
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    ort = session.run(None, {"CANVAS": canvas})
    core = openvino_core()
    model = cut_trunk(core.read_model(path), ModelRepository.open())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    own = list(compiled({"CANVAS": canvas}).values())
    network, _ = load_model(SHIPPED)
    with torch.inference_mode():
        image = torch.from_numpy(canvas).permute(2, 0, 1)[None]
        p2 = network.pyramid(image)[2].numpy()
    np.testing.assert_allclose(ort[0], p2, atol=1e-3)
    assert len(ort) == len(own)
    for a, b in zip(ort, own, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_the_ceiling_is_four_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.runtimes_worker.CEILING", (1, 16, 8, 8))
    about, step = prepare(parse_worker(["ceiling", "openvino", "--threads", "1"]))
    assert about["gflop"] == pytest.approx(4 * 2 * 9 * 16 * 16 * 64 / 1e9)
    assert step() == {}


def test_rows_of_both_kinds_of_machines() -> None:
    options = parse(["--people", "5", "20"])
    models = Models(Path("w"), Path("fp32"), Path("int8"), "")
    with_amx, left_out = precisions(models, {"FP32", "BF16", "INT8"})
    assert list(with_amx) == ["fp32", "bf16", "int8"]
    assert left_out == {}
    found = rows(options, models, with_amx, Path("frame.jpg"))
    assert [r.name for r in found if r.work == "head, 20 people"] == [
        "ONNX Runtime fp32",
        "torch eager fp32",
        "OpenVINO fp32",
        "OpenVINO bf16",
        "OpenVINO int8",
    ]
    int8 = next(r for r in found if r.work == "trunk 800x1344" and r.name == "OpenVINO int8")
    assert int8.command[int8.command.index("--precision") + 1] == "int8"
    assert [r.name for r in found if r.work == "ceiling"] == ["OpenVINO fp32", "OpenVINO bf16"]

    plain = Models(Path("w"), Path("fp32"), None, "no --photos to calibrate on")
    without, left_out = precisions(plain, {"FP32", "INT8"})
    assert list(without) == ["fp32"]
    assert set(left_out) == {"openvino bf16", "openvino int8"}
    assert not [r for r in rows(options, plain, without, Path("f")) if "bf16" in r.name or "int8" in r.name]


def test_shares_by_hand() -> None:
    figures = {"ms_median": 20.0, "ms_best": 10.0, "ms_worst": 30.0, "peak_rss_mb": 64.0, "faster_than": {}}
    found = _with_shares(
        [
            {"work": "trunk", "name": "torch eager fp32", "gflop": 2.0, **figures, "ms_best": 40.0},
            {"work": "trunk", "name": "OpenVINO fp32", **figures, "faster_than": {"torch eager fp32": {"median": 4.0}}},
            {"work": "ceiling", "name": "OpenVINO fp32", "gflop": 1.0, **figures, "ms_best": 2.5},
        ]
    )
    assert found[1]["tflops_best"] == pytest.approx(0.2)  # 2 GFLOP in 10 ms
    assert found[1]["share_of_ceiling"] == pytest.approx(0.5)  # of 1 GFLOP in 2.5 ms
    assert "share_of_ceiling" not in found[0]
    machine = {"cpu": "a CPU", "load_before": 0.1}
    document = {"machine": machine, "threads": 2, "runs": 3, "rounds": 3, "rows": found, "left_out": {"x": "absent"}}
    page = to_markdown(document)
    assert "| trunk | OpenVINO fp32 | 20 [10-30] ms | torch eager fp32 4.00 | 0.20 | 50 % | 64 |" in page
    assert "- Left out: x: absent." in page


def test_wrong_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--canvas", "800", "1333"])
    assert "multiples of 32" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["--rounds", "5", "--runs", "4"])
    assert "a run in every round" in capsys.readouterr().err
