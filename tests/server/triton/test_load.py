"""The benchmark's load on the real server: every transport, by perf_analyzer and by what stands in for it."""

from __future__ import annotations

import cv2
import pytest

from benchmarks import perf
from benchmarks.frames import drawn_person
from benchmarks.perf import TRANSPORTS, find_perf_analyzer, perf_analyzer, python_client
from benchmarks.triton import differences, statistics_of
from tests.server.triton.conftest import Running


@pytest.fixture(scope="module")
def photo() -> bytes:
    return cv2.imencode(".jpg", drawn_person())[1].tobytes()


def address(triton: Running, transport: str) -> str:
    return triton.http if transport == "http" else triton.grpc


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_python_client_where_perf_analyzer_does_not_run(triton: Running, photo: bytes, transport: str) -> None:
    before = statistics_of(triton.http)
    load = python_client(transport, address(triton, transport), "human_analysis", photo, 2, 0.2)
    assert load.per_second > 0
    _, stages = differences(before, statistics_of(triton.http))
    assert stages["detector"] > 0
    assert stages["preprocess queue"] >= 0


@pytest.mark.parametrize("transport", ["grpc", "shared memory"])
def test_perf_analyzer(triton: Running, photo: bytes, transport: str) -> None:
    if find_perf_analyzer() is None:
        pytest.skip("perf_analyzer does not run here")
    load = perf_analyzer(transport, address(triton, transport), "human_parsing", photo, 1, 0.4)
    assert load.per_second > 0
    assert 0 < load.p50_ms <= load.p95_ms


def test_perf_analyzer_says_why_it_failed(triton: Running, photo: bytes) -> None:
    if find_perf_analyzer() is None:
        pytest.skip("perf_analyzer does not run here")
    with pytest.raises(RuntimeError, match=r"perf_analyzer ended with status \d+: .*nobody"):
        perf_analyzer("grpc", triton.grpc, "nobody", photo, 1, 0.2)
    assert perf._ANSWER > 64 * 3 * 128 * 128
