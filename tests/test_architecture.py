"""What the tree promises: small files, one direction of imports, pinned requirements, nothing of a machine in it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from parsing_rcnn.repository import GRAPHS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("parsing_rcnn", "server", "client", "training", "export", "benchmarks")


def tracked() -> list[Path]:
    """Every file that git knows; all files of the tree where it is not a checkout."""
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path, *, top_level_only: bool) -> set[str]:
    """First components of what a module imports; `if TYPE_CHECKING` blocks do not count as top level."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400


@pytest.mark.parametrize("package", ["parsing_rcnn", "server", "client"])
def test_serving_never_imports_torch(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not imports(path, top_level_only=False) & {"torch", "torchvision", "onnx", "tensorrt"}, path


def test_commands_start_without_heavy_imports() -> None:
    allowed = set(sys.stdlib_module_names) | {"typer"}
    found = [path for path in sources() if path.name == "commands.py"]
    assert len(found) >= 4
    waiting, seen = list(found), set(found)
    while waiting:  # what a command imports of its own package at once is held to the same
        path = waiting.pop()
        own = path.parent.name
        assert imports(path, top_level_only=True) <= allowed | {own}, path
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{own}."):
                module = path.parent.joinpath(*str(node.module).split(".")[1:]).with_suffix(".py")
                if module not in seen:
                    seen.add(module)
                    waiting.append(module)


def test_requirements_are_pinned_and_name_no_index() -> None:
    pin = re.compile(r"-r \w+\.txt|[A-Za-z0-9._-]+==[0-9][\w.!+]*( --hash=sha256:[0-9a-f]{64})?")
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert {path.name for path in files} >= {"serve.txt", "test.txt", "train.txt"}
    for path in files:
        for line in path.read_text().splitlines():
            text = line.split("#")[0].strip()
            assert not text or pin.fullmatch(text), f"{path.name}: {line}"


@pytest.mark.parametrize("environment", ["serve", "train"])
def test_an_environment_has_all_that_the_package_needs(environment: str) -> None:
    """They are installed without their dependencies: what a list lacks is missing."""
    pinned = re.findall(
        r"^([\w.-]+)(?:\[.*\])?==", (ROOT / f"requirements/{environment}.txt").read_text(), re.MULTILINE
    )
    projects = [tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in (".", "client")]
    needed = {re.match(r"[\w.-]+", line)[0] for project in projects for line in project["dependencies"]}  # type: ignore[index]
    own = {project["name"] for project in projects}
    assert {name.lower() for name in needed - own} <= {name.lower() for name in pinned}


def test_the_serving_environment_has_no_torch() -> None:
    names = {line.split("==")[0].lower() for line in (ROOT / "requirements" / "serve.txt").read_text().splitlines()}
    assert not names & {"torch", "torchvision", "opencv-python", "onnxruntime-gpu"}
    assert not names & {"aiohttp", "gevent", "geventhttpclient"}  # of Triton's HTTP client, which only tests use
    assert {"openvino", "onnxruntime", "fastapi"} <= names


def test_no_machine_in_the_tree() -> None:
    # written in pieces, or this file would find itself
    forbidden = re.compile(
        "|".join(("/" + "root/", "/" + "work/", "/" + "home/", "pypi" + r"\.org", "files" + r"\.pythonhosted"))
    )
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:8192] and path.suffix != ".onnx":
            continue
        found = forbidden.search(data.decode("utf-8", "replace"))
        assert found is None, f"{path.relative_to(ROOT)}: {found and found.group()}"


def test_weights_are_small_and_are_the_only_large_files() -> None:
    weights = sum(path.stat().st_size for path in tracked() if path.suffix == ".onnx")
    assert 0 < weights <= 25_000_000
    for path in tracked():
        assert path.suffix == ".onnx" or path.stat().st_size < 1_500_000, path


def test_the_wheel_carries_the_vocabulary_and_the_model_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("build")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    tops = {name.split("/")[0] for name in names}
    assert all(top == "parsing_rcnn" or re.fullmatch(r"parsing_rcnn-[\d.]+\.(dist-info|data)", top) for top in tops)
    shipped = {name.split("/model_repository/")[1] for name in names if "/model_repository/" in name}
    graphs = {f"{name}/1/{file}" for name in GRAPHS for file in ("model.onnx", "model.int8.onnx")}
    assert shipped == {"model_card.json", *graphs}
