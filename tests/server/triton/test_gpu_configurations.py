"""The configurations of the GPU profiles on the real server, python models in the graphs' place: there is no GPU here.

The rest stays as it is written, and Triton's own: the grammar, warm-up, and how many people a batch may hold.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from export.triton_repository import Shapes, files
from server.supervisor.installation import Installation
from server.supervisor.probes import Prober
from tests.server.helpers import spare_ports

CANVASES = ((64, 96), (96, 64))
MODEL = """
from pathlib import Path

import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, arguments):
        self.said = Path(arguments["model_repository"]) / "said.txt"

    def execute(self, requests):
        given = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        with self.said.open("a") as file:
            if "CANVAS" in given[0]:
                print(*given[0]["CANVAS"].shape, file=file)
            else:  # Triton gives one batch as a request for each person
                print(sum(len(inputs["ROI_FEATURES"]) for inputs in given), file=file)
        return [utils.InferenceResponse([]) for _ in requests]
"""
PYTHON = 'backend: "python"\ndefault_model_filename: "model.py"\ninstance_group [{ kind: KIND_CPU count: 1 }]\n'


def repository(folder: Path, shapes: Shapes) -> Path:
    """A model for each configuration: detector_config, detector_ort_gpu, parsing_config, parsing_ort_gpu."""
    written = files(shapes)
    for model in ("detector", "parsing"):
        for path in (f"{model}/config.pbtxt", f"{model}/configs/ort_gpu.pbtxt"):
            name = f"{model}_{Path(path).stem}"
            text = written[path].replace(f'name: "{model}"', f'name: "{name}"', 1)
            text, count = re.subn(r"backend: .*\ndefault_model_filename: .*\ninstance_group .*\n", PYTHON, text)
            assert count == 1
            (folder / name / "1").mkdir(parents=True)
            (folder / name / "1" / "model.py").write_text(MODEL)
            (folder / name / "config.pbtxt").write_text(text)
    return folder


def ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/v2/health/ready") as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError):
        return False


def test_triton_takes_them_and_warms_every_canvas_and_bucket(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a repository for one or two people, whose batches hold no more."""
    shapes = Shapes(channels=4, roi=8, cells=16, classes=3, canvases=CANVASES, rows=-1, buckets=(1, 2))
    models = repository(tmp_path / "models", shapes)
    http, grpc, metrics = spare_ports(3)
    command = [str(installation.program), f"--model-repository={models}", *installation.arguments]
    command += [f"--backend-directory={installation.backends}", "--disable-auto-complete-config"]
    command += [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    command += [f"--backend-config=python,shm-region-prefix-name=prcnn_{grpc}_"]
    environment = {**os.environ, **installation.environment}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not ready(f"http://127.0.0.1:{http}"):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        with urlopen(f"http://127.0.0.1:{http}/v2/models/parsing_ort_gpu/config") as answer:
            config = json.load(answer)
        said = {path.parent.name: path.read_text().splitlines() for path in models.glob("*/said.txt")}
        monkeypatch.setattr("server.supervisor.probes.PROBED", tuple(said))
        with Prober.connect(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{metrics}/metrics", models) as prober:
            assert list(prober.sick()) == []
    finally:
        server.terminate()
        server.wait(60)
    (accelerator,) = config["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert accelerator == {"name": "cuda", "parameters": {"use_tf32": "0"}}
    assert config["parameters"]["cudnn_conv_algo_search"] == {"string_value": "1"}
    canvases = [f"{height} {width} 3" for height, width in CANVASES]
    assert said == {
        "detector_config": canvases,
        "detector_ort_gpu": canvases,
        "parsing_config": ["1", "2"],
        "parsing_ort_gpu": ["1", "2", "3"],
    }
    # a probe has a shape that was warmed: an engine refuses any outside of its profiles, and would count as sick
    probed = {
        path.parent.name: path.read_text().splitlines()[len(said[path.parent.name]) :]
        for path in models.glob("*/said.txt")
    }
    assert probed == {name: said[name][:1] for name in said}
