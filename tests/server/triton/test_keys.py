"""Who may load models: whoever does brings code along, so only the supervisor, by a key that it alone has."""

from __future__ import annotations

import base64
import json
import stat
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
import tritonclient.grpc as library

from server.engines.tiny import tiny_picture
from server.supervisor.probes import KEY
from tests.server.helpers import until
from tests.server.triton.conftest import Running

MODEL = """
from pathlib import Path
Path({told!r}).touch()
class TritonPythonModel:
    def execute(self, requests): return []
"""
CONFIG = {
    "name": "evil",
    "backend": "python",
    "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [1]}],
    "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [1]}],
    "instance_group": [{"kind": "KIND_CPU"}],
}


def status(running: Running, path: str, body: bytes | None = None, **headers: str) -> int:
    """Of the answer to a request that any page may send: a browser asks nobody before it."""
    given = {"Content-Type": "text/plain", "Origin": "http://photos.example", **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{running.http}{path}", body, given)) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_a_page_that_is_open_here_runs_no_code_here(triton: Running, tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = base64.b64encode(MODEL.format(told=str(told)).encode()).decode()
    body = json.dumps({"parameters": {"config": json.dumps(CONFIG), "file:1/model.py": code}}).encode()
    for key in ({}, {KEY: "another"}):
        assert status(triton, "/v2/repository/models/evil/load", body, **key) == 403
    assert not told.exists()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/repository/index", b"{}"),
        ("/v2/repository/models/densepose/unload", b"{}"),
        ("/v2/systemsharedmemory/region/mine/register", b'{"key": "/mine", "byte_size": 1}'),
        ("/v2/systemsharedmemory/status", None),
        ("/v2/cudasharedmemory/status", None),
        ("/v2/trace/setting", b'{"trace_file": "/tmp/mine"}'),
        ("/v2/models/densepose/trace/setting", b"{}"),
        ("/v2/logging", b'{"log_file": "/tmp/mine"}'),
    ],
)
def test_nor_does_it_manage_the_server(triton: Running, path: str, body: bytes | None) -> None:
    assert status(triton, path, body) == 403


def test_what_callers_need_is_open(triton: Running) -> None:
    for path in ("/v2", "/v2/health/ready", "/v2/models/human_analysis", "/v2/models/human_analysis/config"):
        assert status(triton, path) == 200
    with library.InferenceServerClient(triton.grpc) as client:  # of a gateway with --triton-shared-memory
        client.get_system_shared_memory_status()


def test_over_grpc_only_the_supervisor_loads_models(triton: Running) -> None:
    with library.InferenceServerClient(triton.grpc) as client:
        for asked in (
            lambda: client.load_model("densepose", config="{}"),
            lambda: client.unload_model("densepose"),
            client.get_model_repository_index,
            client.get_trace_settings,
            client.get_log_settings,
        ):
            with pytest.raises(library.InferenceServerException, match="This protocol is restricted"):
                asked()
        assert client.get_model_repository_index(headers=triton.headers).models


def test_an_ensemble_that_is_gone_comes_back(triton: Running) -> None:
    """Without it Triton itself stays "ready"."""
    server = triton.supervisor.pid
    tensor = library.InferInput("IMAGE", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([tiny_picture()], np.object_))
    with library.InferenceServerClient(triton.grpc) as client:
        client.unload_model("human_analysis", headers=triton.headers)
        until(lambda: client.is_model_ready("human_analysis"), 60)
        assert client.infer("human_analysis", [tensor]).as_numpy("SCORES") is not None
    assert triton.supervisor.pid == server


def test_other_users_do_not_read_what_models_hand_each_other(triton: Running) -> None:
    found = list(Path("/dev/shm").glob(f"{triton.launch.prefix}*"))
    assert found
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
