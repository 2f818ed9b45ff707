"""The client as it is handed on: its wheel says under which licence, what it is, and holds nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("build")
    base = tmp_path_factory.mktemp("client")
    shutil.copytree(
        ROOT / "client", base / "client", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    )
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", base, base / "client"]
    subprocess.run(command, check=True, capture_output=True, cwd=base)
    (built,) = base.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_package_and_its_licence(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert all(re.fullmatch(r"parsing_rcnn_client(-[\d.]+\.dist-info)?", top) for top in tops)
    assert "parsing_rcnn_client/py.typed" in names
    (licence,) = (name for name in names if name.endswith(".dist-info/licenses/LICENSE"))
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert any(name.endswith(".dist-info/licenses/NOTICE") for name in names)


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
