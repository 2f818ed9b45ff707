"""Places where nothing can be written: said before the work, in a line, and what was there stays whole."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from export.files import claim_report, save_graph, write_report
from export.parity.report import write_report as write_parity
from export.parity.situations import Situation
from export.rendered.pictures import render_scene
from parsing_rcnn.cli import build
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.taxonomy import CIHP
from tests.full_disk import room_for
from training.errors import TrainingError


def graph(size: int) -> onnx.ModelProto:
    """A graph that gives `size` zeros."""
    zeros = helper.make_tensor("y", TensorProto.FLOAT, [size], [0.0] * size)
    node = helper.make_node("Constant", [], ["y"], value=zeros)
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [size])
    return helper.make_model(helper.make_graph([node], "zeros", [], [value]))


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A place in a file, where no folder can be made."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "place"


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "--situation", "tiny", "--out"),
        ("quantize", "--calibrate", "PHOTOS", "--count", "1", "--no-times", "--sensitivity", "0", "--out"),
        ("quantize", "--calibrate", "PHOTOS", "--count", "1", "--no-times", "--out", "OUT", "--report"),
        ("export", "SHIPPED", "--out"),
    ],
    ids=["verify", "quantize", "report", "export"],
)
def test_a_command_says_before_its_work_what_it_cannot_write(
    words: tuple[str, ...], refused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it has begun")

    for work in ("export.parity.verify.verify", "export.quantization.quantize.calibrate", "export.onnx.graphs"):
        monkeypatch.setattr(work, never)
    photos, out = tmp_path / "photos", tmp_path / "int8"
    photos.mkdir()
    (photos / "a.jpg").touch()
    places = {"PHOTOS": str(photos), "OUT": str(out), "SHIPPED": str(ModelRepository.open().path)}
    done = CliRunner().invoke(build(), [*(places.get(word, word) for word in words), str(refused)])
    assert done.exit_code == (2 if words[0] == "verify" else 1), done.output
    assert isinstance(done.exception, SystemExit)
    assert "cannot be written" in done.output
    assert str(refused.parent) in done.output.replace("\n", "")
    assert f"name another {words[-1]}" in done.output
    assert not out.exists()


@pytest.mark.parametrize("taken", ["page.md", "page.json"])
def test_a_report_is_no_folder(taken: str, tmp_path: Path) -> None:
    claim_report(tmp_path / "new" / "page.md")
    (tmp_path / "new" / taken).mkdir()
    with pytest.raises(TrainingError, match=rf"{taken}: cannot be written \(Is a directory\)"):
        claim_report(tmp_path / "new" / "page.md")


def test_a_full_disk_leaves_the_graph_and_the_report_that_were_there(tmp_path: Path) -> None:
    model, page = tmp_path / "model.onnx", tmp_path / "page.md"
    save_graph(graph(3), model)
    write_report(page, "old\n", {"old": True})
    before = model.read_bytes()
    with room_for(1000):
        with pytest.raises(TrainingError, match=r"model.onnx: cannot be written"):
            save_graph(graph(1000), model)
        with pytest.raises(TrainingError, match=r"page.md: cannot be written"):
            write_report(page, "new " * 1000, {})
    assert model.read_bytes() == before
    assert page.read_text() == "old\n"
    assert json.loads((tmp_path / "page.json").read_text()) == {"old": True}
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "page.md", "page.json"}
    save_graph(graph(1000), model)
    onnx.checker.check_model(onnx.load(model))


def test_pictures_of_a_report_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    (tmp_path / "pictures").touch()
    answers = {"torch": [None], "other fp32": [None]}
    scene = Situation("one", (render_scene(0, 96, 160),), None)
    with pytest.raises(TrainingError, match=r"pictures/page_other_fp32.jpg: cannot be written"):
        write_parity({"reference": "torch"}, tmp_path / "page.md", answers, [scene], CIHP)
