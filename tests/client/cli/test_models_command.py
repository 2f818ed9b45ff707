"""`parsing-rcnn models`: which files there are, in fp32 and in INT8, and which of them run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from parsing_rcnn import runtime
from parsing_rcnn.cli import build
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import GRAPHS, ModelRepository
from parsing_rcnn_client.cli.model_commands import _running


def said(*arguments: str) -> str:
    done = CliRunner().invoke(build(), ["models", *arguments])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_vnni", lambda: True)  # no graph is run


@pytest.mark.usefixtures("vnni")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_both_sets_are_listed_and_the_one_that_runs_is_marked(precision: str) -> None:
    card = ModelRepository.open().card
    first, *lines = said("--precision", precision).splitlines()
    assert first.startswith(f"{card['name']} {card['version']} in ")
    wanted = []
    for kind, files in (("fp32", card["files"]), ("int8", card["quantization"]["files"])):
        for name, file in files.items():
            mark = ["runs"] if kind == precision else []
            wanted.append([name, kind, f"{file['bytes'] / 1e6:.1f}", "MB", "sha256", file["sha256"][:16], *mark])
    assert [line.split() for line in lines] == wanted


@pytest.mark.usefixtures("vnni")
def test_as_json() -> None:
    card = ModelRepository.open().card
    listed = json.loads(said("--json", "--runtime", "onnxruntime", "--precision", "int8"))
    assert listed["files"] == card["files"]
    assert listed["quantization"] == {"files": card["quantization"]["files"]}
    assert listed["runs"] == {name: file["file"] for name, file in card["quantization"]["files"].items()}
    assert listed["runtime"].startswith("onnxruntime ")


def test_behind_a_gateway(gateway_url: str, pipeline: Pipeline) -> None:
    listed = json.loads(said("--json", "--server", gateway_url).splitlines()[-1])  # the gateway logs here
    assert listed["runtime"].startswith(pipeline.info.runtime)
    ran = {name: pipeline.repository.graph(name, pipeline.runtime.precision) for name in GRAPHS}
    assert {name: pipeline.repository.path / file for name, file in listed["runs"].items()} == ran


def test_a_precision_that_cannot_be_is_refused() -> None:
    done = CliRunner().invoke(build(), ["models", "--runtime", "onnxruntime", "--precision", "bf16"])
    assert done.exit_code == 2
    assert "precision bf16: ONNX Runtime" in done.stderr


def test_where_nothing_can_run_the_files_are_listed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise EngineUnavailable("openvino is not installed")

    monkeypatch.setattr(runtime, "Runtime", away)
    shown = said()
    assert shown.count("sha256") == 6
    assert "runs" not in shown


@pytest.mark.parametrize(
    ("runtime", "runs"),
    [
        ("openvino 2026.4.1 bf16", {"detector": "a", "parsing": "b"}),
        ("openvino 2026.4.1 int8", {"detector": "a8", "parsing": "b"}),
        ("onnxruntime 1.24 int8 detector", {"detector": "a8", "parsing": "b"}),
        ("triton 2.60 at grpc://gpu:8001", {}),
        ("", {}),
    ],
)
def test_the_runtime_says_which_run(runtime: str, runs: dict[str, str]) -> None:
    files = {"detector": {"file": "a"}, "parsing": {"file": "b"}}
    assert _running(runtime, files, {"detector": {"file": "a8"}}) == runs
