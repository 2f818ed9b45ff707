"""The client as it is handed on: its wheel says under which licence, what it is, and holds nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def built(source: Path) -> zipfile.ZipFile:
    """The wheel of a source tree, beside which it is written."""
    pytest.importorskip("build")
    out = source.with_name("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source]
    subprocess.run(command, check=True, capture_output=True, cwd=source.parent)
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel)


_UNWANTED = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    base = tmp_path_factory.mktemp("client")
    shutil.copytree(ROOT / "client", base / "client", ignore=_UNWANTED)
    return built(base / "client")


@pytest.fixture(scope="module")
def root_wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source = tmp_path_factory.mktemp("root") / "root"
    shutil.copytree(ROOT / "parsing_rcnn", source / "parsing_rcnn", ignore=_UNWANTED)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "model_repository/model_card.json"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for name in ("detector", "parsing", "densepose_head"):
        graph = Path("model_repository", name, "1", "model.onnx")
        (source / graph).parent.mkdir(parents=True)
        shutil.copy(ROOT / graph, source / graph)
    return built(source)


def run(*arguments: str, packages: list[Path]) -> subprocess.CompletedProcess[str]:
    """The command line of these folders alone, which hold what the wheels have and what they depend on."""
    command = [sys.executable, "-S", "-m", "parsing_rcnn", *arguments]  # -S: without this environment's own packages
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages))}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment, cwd=packages[0]
    )


def test_a_command_that_no_wheel_has_brought_says_what_does(
    root_wheel: zipfile.ZipFile, wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    root, client, others = (tmp_path / name for name in ("root", "client", "others"))
    root_wheel.extractall(root)
    wheel.extractall(client)
    others.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("parsing_rcnn", "__editable__")):
            (others / path.name).symlink_to(path)
    from_clone = "runs from a clone of the repository, where `make {}` installs what it needs"
    for packages in ([root, others], [root, client, others]):
        for arguments, says in (
            (["serve", "--port", "8080"], from_clone.format("serve")),
            (["train", "--help"], from_clone.format("train-env")),
            (["datasets", "check", "x"], from_clone.format("train-env")),
        ):
            done = run(*arguments, packages=packages)
            assert done.returncode == 1
            assert done.stderr.startswith(f"error: {arguments[0]} is not installed here: ")
            assert says in done.stderr
            assert done.stderr.count("\n") == 1
    alone = run("predict", "x.jpg", "-o", "out", packages=[root, others])
    assert (alone.returncode, alone.stdout) == (1, "")
    assert alone.stderr == "error: predict is not installed here: pip install parsing-rcnn-client\n"
    assert "pip install parsing-rcnn-client" in run("--help", packages=[root, others]).stdout
    both = run("predict", "--help", packages=[root, client, others])
    assert both.returncode == 0, both.stderr
    assert "--resume" in both.stdout
    assert "pip install" not in run("--help", packages=[root, client, others]).stdout
    unknown = run("nonsense", packages=[root, others])
    assert unknown.returncode == 2
    assert "No such command 'nonsense'" in unknown.stderr


def test_the_wheel_holds_the_package_and_its_licence(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert all(re.fullmatch(r"parsing_rcnn_client(-[\d.]+\.dist-info)?", top) for top in tops)
    assert "parsing_rcnn_client/py.typed" in names
    (licence,) = (name for name in names if name.endswith(".dist-info/licenses/LICENSE"))
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert any(name.endswith(".dist-info/licenses/NOTICE") for name in names)


@pytest.mark.parametrize(("folder", "package"), [(".", "parsing_rcnn"), ("client", "parsing_rcnn_client")])
def test_a_wheel_holds_no_module_that_is_gone(folder: str, package: str, tmp_path: Path) -> None:
    """pip builds in the clone and leaves `build` there: an upgrade would bring back what an update removed."""
    source = tmp_path / "source"
    (source / package).mkdir(parents=True)
    shutil.copy(ROOT / folder / "setup.py", source)
    project = f'[project]\nname = "{package}"\nversion = "1"\n[tool.setuptools]\npackages = ["{package}"]\n'
    (source / "pyproject.toml").write_text(project)
    for name in ("__init__.py", "old.py"):
        (source / package / name).touch()
    before = built(source)
    Path(before.filename or "").unlink()
    (source / package / "old.py").rename(source / package / "new.py")
    assert f"{package}/old.py" in before.namelist()
    modules = {name for name in built(source).namelist() if name.endswith(".py")}
    assert modules == {f"{package}/__init__.py", f"{package}/new.py"}


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    about = Parser().parsestr(wheel.read(name).decode())
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Description-Content-Type"] == "text/markdown"
    assert str(about.get_payload()).startswith("# Client")


def test_the_notice_is_what_the_whole_notice_says_of_it() -> None:
    whole = (ROOT / "NOTICE").read_text().strip().split("\n\n")
    own = (ROOT / "client" / "NOTICE").read_text().strip().split("\n\n")
    assert len(own) >= 3
    assert [paragraph for paragraph in own if paragraph not in whole] == []
