"""The library of PyramidRoiAlign, which Triton's TensorRT backend is to open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parsing_rcnn.errors import EngineUnavailable
from server.supervisor.installation import Installation
from server.supervisor.launch import Launch, Supervisor
from tests.server.helpers import spare_ports

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def anywhere(tmp_path: Path) -> Installation:
    (tmp_path / "backends" / "tensorrt").mkdir(parents=True)
    return Installation(tmp_path / "tritonserver", tmp_path / "backends")


@pytest.fixture
def launch(tmp_path: Path, repository: Path) -> Launch:
    """A repository whose detector's graph for TensorRT has nodes of the plugin."""
    models = tmp_path / "models"
    models.mkdir()
    for found in repository.iterdir():
        if found.name != "detector":
            (models / found.name).symlink_to(found)
    version = models / "detector" / "1"
    version.mkdir(parents=True)
    for name in ("model.onnx", "model.int8.onnx"):
        (version / name).symlink_to(repository / "detector" / "1" / name)
    (version / "model.tensorrt.onnx").write_bytes(b"\x12\x0fPyramidRoiAlign\x1a")
    http, grpc, metrics = spare_ports(3)
    built = tmp_path / "clone" / "build" / "plugin"
    return Launch(models, http_port=http, grpc_port=grpc, metrics_port=metrics, profile="gpu", built=built)


def test_engines_are_not_served_without_the_plugin_that_they_have(launch: Launch, anywhere: Installation) -> None:
    with pytest.raises(EngineUnavailable, match=r"libprcnn_triton\.so: no such file.*make plugin") as refused:
        Supervisor(launch, anywhere)
    assert f"in {launch.repository.parent}/build/plugin or {launch.built}," in refused.value.detail
    assert f"builds it in {launch.built}," in refused.value.detail
    (launch.repository / "detector" / "1" / "model.tensorrt.onnx").write_bytes(b"\x12\x08RoiAlign\x1a")
    assert not any("plugins=" in word for word in Supervisor(launch, anywhere).launch.command(anywhere, "gpu"))


def test_triton_opens_the_library_that_registers_itself(launch: Launch, anywhere: Installation) -> None:
    """Beside libprcnn_plugin.so, which registers nothing by being opened."""
    folder = launch.repository.parent / "build" / "plugin"
    folder.mkdir(parents=True)
    for name in ("libprcnn_plugin.so", "libprcnn_triton.so"):
        (folder / name).touch()
    command = Supervisor(launch, anywhere).launch.command(anywhere, "gpu")
    assert f"--backend-config=tensorrt,plugins={folder / 'libprcnn_triton.so'}" in command
    assert not any("plugins=" in word for word in launch.command(anywhere, "cpu"))


def test_what_make_plugin_built_serves_a_repository_elsewhere(launch: Launch, anywhere: Installation) -> None:
    launch.built.mkdir(parents=True)
    (launch.built / "libprcnn_triton.so").touch()
    command = Supervisor(launch, anywhere).launch.command(anywhere, "gpu")
    assert f"--backend-config=tensorrt,plugins={launch.built / 'libprcnn_triton.so'}" in command
    launch.plugin.parent.mkdir(parents=True)
    launch.plugin.touch()  # of the TensorRT that the engines beside it are of
    command = launch.command(anywhere, "gpu")
    assert [word for word in command if "plugins=" in word] == [f"--backend-config=tensorrt,plugins={launch.plugin}"]


def test_make_plugin_writes_where_it_is_sought() -> None:
    """By the Makefile's own recipe."""
    (folder,) = re.findall(r"cmake -S export/plugin -B (build/plugin) ", (ROOT / "Makefile").read_text())
    assert Launch(Path("anywhere")).built == ROOT / folder
