"""`parsing-rcnn evaluate --server`: what is served is measured, and is as good as the engine behind it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from typer.testing import CliRunner

from benchmarks.frames import drawn_person
from parsing_rcnn.cli import build


def write_dataset(base: Path) -> None:
    """One picture of one person in the CIHP layout."""
    folder = base / "Validation"
    image = drawn_person()
    parts = np.zeros(image.shape[:2], np.uint8)
    parts[image.shape[0] // 4 : -9, image.shape[1] // 3 : -image.shape[1] // 3] = 5
    for name, array in (("Category_ids", parts), ("Human_ids", np.minimum(parts, 1))):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "a.png"), array)
    (folder / "Images").mkdir()
    cv2.imwrite(str(folder / "Images" / "a.jpg"), image)


def test_a_gateway_is_as_good_as_its_engine(gateway_url: str, tmp_path: Path) -> None:
    write_dataset(tmp_path)
    found = []
    for number, engine in enumerate((["--server", gateway_url], ["--precision", "auto"])):
        out = tmp_path / str(number)
        result = CliRunner().invoke(build(), ["evaluate", "--dataset", str(tmp_path), "--out", str(out), *engine])
        assert result.exit_code == 0, result.output
        document = json.loads((out / "datasets.json").read_text())
        found.append(document["splits"])
        assert document["splits"]["CIHP, Validation"]["people"] == 1
    assert found[0] == found[1]
    command = ["evaluate", "--dataset", str(tmp_path), "--server", gateway_url, "--exact-paste"]
    refused = CliRunner().invoke(build(), command)
    assert refused.exit_code == 1
    assert "do not travel" in refused.output
    assert 0 < found[0]["CIHP, Validation"]["pixel_accuracy"] < 1


def test_held_out_photos_over_a_gateway(gateway_url: str, tmp_path: Path) -> None:
    image = drawn_person()
    parts = np.zeros(image.shape[:2], np.uint8)
    parts[image.shape[0] // 4 : -9, image.shape[1] // 3 : -image.shape[1] // 3] = 5
    for folder, suffix, array in (("images", "jpg", image), ("labels", "png", parts)):
        (tmp_path / "ccp" / folder).mkdir(parents=True)
        for number in (3, 4):  # of them the first is held out
            cv2.imwrite(str(tmp_path / "ccp" / folder / f"{number:04d}.{suffix}"), array)
    found = []
    for number, engine in enumerate((["--server", gateway_url], ["--precision", "auto"])):
        out = tmp_path / str(number)
        none = ["--crowd", str(tmp_path / "none"), "--synthetic", str(tmp_path / "none")]
        command = ["evaluate", "--data", str(tmp_path), "--out", str(out), *none, *engine]
        result = CliRunner().invoke(build(), command)
        assert result.exit_code == 0, result.output
        found.append(json.loads((out / "results.json").read_text())["photos"])
    served, embedded = found
    assert served["pictures"] == 1
    assert served["miou_exact_paste"] is None  # probabilities do not travel
    assert embedded["miou_exact_paste"] is not None
    for name in ("miou", "pixel_accuracy", "person_iou", "iou"):
        assert served[name] == embedded[name]


def test_no_gateway_there_is_one_line(tmp_path: Path) -> None:
    command = ["evaluate", "--data", str(tmp_path), "--server", "http://127.0.0.1:1", "--timeout", "0.5"]
    result = CliRunner().invoke(build(), command)
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output
    assert "Traceback" not in result.output


def test_a_gateway_that_asks_for_a_key(guarded: tuple[str, str], tmp_path: Path) -> None:
    url, key = guarded
    write_dataset(tmp_path)
    command = ["evaluate", "--dataset", str(tmp_path), "--out", str(tmp_path / "out"), "--server", url]
    without = CliRunner().invoke(build(), command, env={"PARSING_RCNN_API_KEY": None})
    assert without.exit_code == 1
    assert "--key, or the variable PARSING_RCNN_API_KEY" in without.output
    given = CliRunner().invoke(build(), [*command, "--key", key])
    assert given.exit_code == 0, given.output
    by_environment = CliRunner().invoke(build(), command, env={"PARSING_RCNN_API_KEY": key})
    assert by_environment.exit_code == 0, by_environment.output
    nowhere = CliRunner().invoke(build(), ["evaluate", "--dataset", str(tmp_path), "--key", key])
    assert (nowhere.exit_code, "it goes with --server" in nowhere.output) == (1, True)
