"""Which of the models' configurations a machine, a repository and a tritonserver are good for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.repository import GRAPHS
from server.supervisor.installation import Installation

Profile = Literal["auto", "gpu", "ort_gpu", "cpu"]


def choose_profile(repository: Path, installation: Installation) -> tuple[Profile, str]:
    """(profile, why): engines where there are a GPU, a plan of every graph and Triton's backend for them; else ONNX
    Runtime with CUDA where Triton has that, else the CPU."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "cpu", "no NVIDIA device here"
    without = [name for name in GRAPHS if not (repository / name / "1" / "model.plan").is_file()]
    if without:
        plans = ", ".join(f"{name}/1/model.plan" for name in without)
        missing = f"no {plans}: `parsing-rcnn export --target tensorrt` builds the engines"
    elif not installation.has("tensorrt"):
        missing = f"no tensorrt backend in {installation.backends}: NVIDIA's images of tritonserver have it"
    else:
        return "gpu", "a GPU and an engine of every graph"
    if installation.has("onnxruntime"):
        return "ort_gpu", f"a GPU, but {missing}"
    return "cpu", f"a GPU, but no onnxruntime backend in {installation.backends}, and {missing}"


def refuse_missing_backend(profile: Profile, installation: Installation) -> None:
    """Refuse a profile whose backend is missing: Triton would load no model, and would be restarted for ever."""
    needed = {"gpu": "tensorrt", "ort_gpu": "onnxruntime"}.get(profile)
    if needed is not None and not installation.has(needed):
        raise EngineUnavailable(
            f"--profile {profile} needs Triton's {needed} backend, and {installation.backends} has none: run "
            "this in an image of tritonserver from NVIDIA, or take --profile cpu"
        )
