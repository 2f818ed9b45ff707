"""The errors that commands print, and what the modules below all others load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from tests.training.helpers import LIGHT
from training.config import load_config
from training.errors import TrainingError
from training.files import make_folder
from training.tensor_files import read_tensors

ROOT = Path(__file__).parents[2]


def test_one_base_holds_for_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (
        lambda: make_folder(tmp_path / "file"),
        lambda: read_tensors(tmp_path / "weights.pth"),
        lambda: load_config(tmp_path / "recipe.yaml"),
    ):
        with pytest.raises(TrainingError, match=str(tmp_path)):
            wrong()


def test_errors_files_and_progress_load_no_reader_of_datasets_and_no_torch() -> None:
    script = (
        "import sys, training.errors, training.files, training.progress\n"
        "loaded = ('training.data', 'training.evaluation', 'training.model', 'torch')\n"
        "print([name for name in sys.modules if name.startswith(loaded)])"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["import", "train"])
def test_a_broken_file_of_weights_is_a_sentence(command: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"broken")
    given = {
        "import": ["import", str(tmp_path / "weights.pth"), "-o", str(tmp_path / "out.safetensors")],
        "train": ["train", str(LIGHT), "--warm-start", str(tmp_path / "weights.pth"), "-o", str(tmp_path / "run")],
    }
    result = CliRunner().invoke(build(), given[command])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert f"error: {tmp_path / 'weights.pth'}: " in result.output.replace("\n", "")
