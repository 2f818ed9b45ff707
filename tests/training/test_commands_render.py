"""`parsing-rcnn render`, as its user calls it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build


def test_a_dataset_and_a_sheet(tmp_path: Path) -> None:
    folder = tmp_path / "backgrounds"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.jpg"), np.full((90, 120, 3), 60 * index, np.uint8))
    common = ["render", "--backgrounds", str(folder), "--cache", str(tmp_path / "cache"), "--size", "96x128"]
    out = tmp_path / "people"
    result = CliRunner().invoke(build(), [*common, "-o", str(out), "--count", "3", "--workers", "2", "--people", "1"])
    assert result.exit_code == 0, result.output
    assert len(list((out / "Images").glob("*.jpg"))) == 3
    assert (out / "densepose.json").is_file()
    assert (out / "surface.npz").is_file()
    assert cv2.imread(str(out / "Images" / "0000001.jpg")).shape == (96, 128, 3)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(build(), ["render", "-o", str(tmp_path / "x"), "--backgrounds", str(tmp_path)])
    assert result.exit_code == 1
    assert "no JPEG pictures" in result.output
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((90, 120, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((90, 120, 3), np.uint8))
    options = ["render", "-o", str(tmp_path / "x"), "--backgrounds", str(tmp_path), "--size", "huge"]
    result = CliRunner().invoke(build(), options)
    assert result.exit_code == 1
    assert "HEIGHTxWIDTH" in result.output


@pytest.mark.parametrize("options", [(), ("--sheet",)], ids=["dataset", "sheet"])
def test_a_folder_that_cannot_be_written_is_known_before_anything_is_rendered(
    tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rendered(*_: object) -> None:
        raise AssertionError("rendered, and nowhere to write to")

    monkeypatch.setattr("training.data.synthetic.generator.draw_scene", rendered)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((90, 120, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((90, 120, 3), np.uint8))
    (tmp_path / "file").touch()
    common = ["render", "--backgrounds", str(tmp_path), "--count", "1", *options]
    given = ["-o", str(tmp_path / "file" / "x" / "sheet.png"), "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(build(), [*common, *given])
    assert result.exit_code == 1, result.output
    assert "cannot be written" in " ".join(result.output.split())
    assert "another --out" in " ".join(result.output.split())
    assert isinstance(result.exception, SystemExit)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("anny", [True, False], ids=["with Anny", "without Anny"])
def test_a_cache_that_cannot_be_written_is_known_before_anything_is_baked(
    tmp_path: Path, anny: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def baked(*_: object) -> None:
        raise AssertionError("baked, and nowhere to write to")

    monkeypatch.setattr("training.data.synthetic.body.find_spec", lambda _: anny or None)
    monkeypatch.setattr("training.data.synthetic.body.bake_shapes", baked)
    monkeypatch.setattr("training.data.synthetic.geodesics.surface_arrays", baked)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((90, 120, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((90, 120, 3), np.uint8))
    (tmp_path / "file").touch()
    given = ["render", "--backgrounds", str(tmp_path), "-o", str(tmp_path / "x"), "--cache", str(tmp_path / "file/c")]
    result = CliRunner().invoke(build(), given)
    assert result.exit_code == 1, result.output
    assert "file/c: cannot be written" in "".join(result.output.split("\n"))
    assert "another --cache" in " ".join(result.output.split())
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    "size", ["99999x99999", "4097x64", "32x64", "9" * 5000 + "x64"], ids=["both", "height", "small", "digits"]
)
def test_a_size_out_of_range_is_refused(tmp_path: Path, size: str) -> None:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((90, 120, 3), np.uint8))
    options = ["render", "-o", str(tmp_path / "x"), "--backgrounds", str(tmp_path), "--size", size]
    result = CliRunner().invoke(build(), options)
    assert result.exit_code in (1, 2)
    assert "each from 64 to 4096" in " ".join(result.output.split())
    assert not (tmp_path / "x").exists()
