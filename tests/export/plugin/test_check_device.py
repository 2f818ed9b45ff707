"""The program for machines with a GPU: its memory floor by hand, its words without a GPU, all of it with one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from export.plugin.check_device import CASES, Case, least_bytes, main
from tests.export.plugin.conftest import build


def test_floor_by_hand() -> None:
    # (4, 8, 20, 24) is (1, 2, 5, 6) on P2: samples at 1.5 .. 4.5 and 2.5 .. 5.5 read 5 columns and 5 rows; the same
    # box twice reads no more. 25 cells and 2 x 4 bins of 3 channels of 4 bytes, and two RoIs of 16 bytes
    rois = np.array([[4, 8, 20, 24]] * 2, np.float32)
    assert least_bytes(Case("", 2, 2, (2,), 3), rois, 4) == 3 * 4 * (25 + 8) + 32


def test_floor_counts_what_is_inside() -> None:
    outside = np.array([[5000, 5000, 5100, 5100]], np.float32)
    assert least_bytes(Case("", 1, 7, (2, 3, 4, 5), 1), outside, 2) == 2 * 49 + 16


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "No CUDA device here" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_kernel_on_a_gpu(tmp_path: Path) -> None:
    build(tmp_path, "-DPRCNN_CUDA=ON", "-DPRCNN_ARCHITECTURES=" + "".join(map(str, torch.cuda.get_device_capability())))
    report = tmp_path / "report.json"
    assert main(["--libraries", str(tmp_path), "--no-speed", "--out", str(report)]) == 0
    assert len(json.loads(report.read_text())["cases"]) == len(CASES) * 4
