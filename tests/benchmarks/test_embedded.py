"""The speed benchmark: its options, and two frames of the real thing where models are there."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from benchmarks.embedded import main, parse
from benchmarks.frames import drawn_person
from parsing_rcnn.errors import ModelNotFound
from parsing_rcnn.repository import ModelRepository


def shipped_models() -> bool:
    """Whether the clone holds exported models."""
    try:
        ModelRepository.open()
    except ModelNotFound:
        return False
    return True


def test_options_that_leave_a_round_empty_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--frames", "2", "--peer-frames", "1", "--rounds", "2"])
    assert "--rounds 2" in capsys.readouterr().err


def test_a_photo_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    assert main(["--photo", str(tmp_path / "a.jpg"), "--out", str(tmp_path / "x.json")]) == 1
    assert "a.jpg" in capsys.readouterr().err


@pytest.mark.skipif(not shipped_models(), reason="no exported models in model_repository")
def test_two_frames_of_the_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, out = tmp_path / "figure.png", tmp_path / "speed" / "embedded.json"
    cv2.imwrite(str(photo), drawn_person())
    monkeypatch.chdir(tmp_path)  # from any folder, and relative to it
    (tmp_path / "models").symlink_to(ModelRepository.open().path)
    arguments = ["--photo", "figure.png", "--frames", "2", "--peer-frames", "1", "--rounds", "1"]
    assert main([*arguments, "--repository", "models", "--out", "speed/embedded.json"]) == 0
    document = json.loads(out.read_text())
    assert document["engine"]["frames"] == 2
    assert {"detector", "parsing", "densepose", "total"} <= set(document["engine"]["stages_ms_median"])
    assert "fps median" in capsys.readouterr().out
