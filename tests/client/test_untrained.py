"""`parsing-rcnn predict` with models of which only one head is trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from parsing_rcnn import draw
from parsing_rcnn.cli import build
from parsing_rcnn.codecs import image, jpeg
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline

QUALITY = 95  # of the hidden photo


def predict(photo: Path, out: Path, repository: Path, *arguments: str) -> Result:
    given = ["predict", str(photo), "-o", str(out), "--repository", str(repository), "--threads", "1", *arguments]
    return CliRunner().invoke(build(), given)


def test_only_the_trained_head_is_asked(
    photo: Path, charts_repository: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    """Files, silhouettes and hidden faces are those of the charts, and that is said."""
    out = tmp_path / "out"
    done = predict(photo, out, charts_repository, "--layers", "anonymise,parts,boxes", "--hide", "faces")
    assert done.exit_code == 0, done.stderr
    said = "note: the head of parsing is not trained in this model, so it is left out; --tasks parsing asks for it"
    assert said in done.stderr
    assert People.load(out / "photo.npz").parts is None
    assert not (out / "photo_parts.png").exists()
    assert json.loads((out / "photo.json").read_text())["options"]["tasks"] == ["densepose"]
    original = image.decode(photo.read_bytes())
    suspects = pipeline.analyze(photo, tasks="densepose", confidence=0.1)
    hidden = draw.anonymise(original, suspects, hide="faces")
    assert (out / "photo_hidden.jpg").read_bytes() == jpeg.encode_rgb(hidden, QUALITY)
    again = predict(photo, out, charts_repository, "--layers", "anonymise,parts,boxes", "--hide", "faces", "--resume")
    assert "1 skipped" in again.stderr


def test_a_head_that_is_named_is_asked_and_not_believed(
    photo: Path, charts_repository: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = predict(photo, out, charts_repository, "--tasks", "parsing,densepose")
    assert done.exit_code == 0, done.stderr
    assert "note: the head of parsing is not trained in this model; ignore its maps" in done.stderr
    assert (out / "photo_parts.png").exists()
    people, original = pipeline.analyze(photo, tasks="densepose"), image.decode(photo.read_bytes())
    shown = np.asarray(Image.open(out / "photo_overlay.png"))
    bare = draw.overlay(draw.overlay(original, people, boxes=False, scores=False), people, alpha=0, outlines=False)
    np.testing.assert_array_equal(shown, bare)


def test_without_trained_charts_their_layers_are_refused(photo: Path, parts_repository: Path, tmp_path: Path) -> None:
    for layer in ("iuv", "contours"):
        done = predict(photo, tmp_path / "out", parts_repository, "--layers", layer)
        assert done.exit_code == 2
        assert f"the layer {layer} needs the task densepose, whose head is not" in " ".join(done.stderr.split())
    done = predict(photo, tmp_path / "out", parts_repository)
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "photo.json",
        "photo.npz",
        "photo_overlay.png",
        "photo_parts.png",
    ]
    people = People.load(tmp_path / "out" / "photo.npz")
    assert people.parts is not None
    assert people.iuv is None


def test_parts_for_coco_name_their_head(photo: Path, charts_repository: Path, tmp_path: Path) -> None:
    coco = tmp_path / "people.json"
    done = predict(photo, tmp_path / "out", charts_repository, "--coco", str(coco), "--parts")
    assert done.exit_code == 0, done.stderr
    assert "the head of parsing is not trained in this model; ignore its maps" in done.stderr
    assert any("person" in one or one["category_id"] > 1 for one in json.loads(coco.read_text())["annotations"])
