"""`--write` and `--overlay-format`: which files `predict` writes of a picture, and what a later run makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from parsing_rcnn.analyzer import Options
from parsing_rcnn.cli import build
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.predict.outputs import FILES, is_done, is_output, write_outputs

SIZE = (60, 80)
PHOTO = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
OPTIONS = Options(frozenset({"parsing", "densepose"}))
NOTHING = Drawings(overlay=None)


def people() -> People:
    boxes = np.array([[5, 10, 35, 50], [40, 10, 70, 50]], np.float32)
    return People(
        boxes,
        np.array([0.9, 0.6], np.float32),
        SIZE,
        np.full((2, 8, 8), 13, np.uint8),
        iuv=np.full((2, 3, 8, 8), 2, np.uint8),
    )


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["predict", *map(str, arguments)])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("write", "left"),
    [
        ("json,npz", {"photo.json", "photo.npz"}),
        ("inds", {"photo.json", "photo_INDS.png"}),
        ("", {"photo.json"}),
        ("json", {"photo.json"}),
        (" overlay , json", {"photo.json", "photo_overlay.png"}),
        ("iuv,parts", {"photo.json", "photo_IUV.png", "photo_parts.png"}),
    ],
)
def test_what_is_named_is_written_and_nothing_else(
    photo: Path, tmp_path: Path, gateway_url: str, write: str, left: set[str]
) -> None:
    done = predict(photo, "-o", tmp_path / "out", "--server", gateway_url, "--write", write)
    assert done.exit_code == 0, done.stderr
    assert names(tmp_path / "out") == left


def test_maps_are_the_same_whatever_else_is_written(tmp_path: Path) -> None:
    write_outputs(tmp_path / "all", people(), PHOTO)
    for files, name in (({"parts"}, "_parts.png"), ({"iuv"}, "_IUV.png"), ({"inds"}, "_INDS.png")):
        write_outputs(tmp_path / "one", people(), None, files=frozenset(files), drawings=NOTHING)
        assert (tmp_path / f"one{name}").read_bytes() == (tmp_path / f"all{name}").read_bytes()


def test_an_overlay_as_jpeg_is_the_same_picture(photo: Path, tmp_path: Path, gateway_url: str) -> None:
    for kind in ("png", "jpg"):
        done = predict(photo, "-o", tmp_path / kind, "--server", gateway_url, "--overlay-format", kind)
        assert done.exit_code == 0, done.stderr
    assert "photo_overlay.png" not in names(tmp_path / "jpg")
    plain, lossy = (
        np.asarray(Image.open(tmp_path / kind / f"photo_overlay.{kind}").convert("RGB"), int) for kind in ("png", "jpg")
    )
    assert Image.open(tmp_path / "jpg" / "photo_overlay.jpg").format == "JPEG"
    assert np.abs(plain - lossy).mean() < 3
    assert is_output(tmp_path / "jpg" / "photo_overlay.jpg")  # and no photo of the next run


def test_done_is_what_wrote_as_much_or_more(tmp_path: Path) -> None:
    target, few = tmp_path / "a", frozenset({"json", "npz"})

    def done(files: frozenset[str], drawings: Drawings) -> bool:
        return is_done(target, OPTIONS, files=files, drawings=drawings)

    write_outputs(target, people(), None, files=few, drawings=NOTHING, options=OPTIONS)
    assert json.loads((tmp_path / "a.json").read_text())["options"]["write"] == ["json", "npz"]
    assert done(few, NOTHING)
    assert not done(FILES, Drawings())
    for name in ("_parts.png", "_IUV.png", "_INDS.png", "_overlay.png"):  # of a run before that
        (tmp_path / f"a{name}").write_bytes(b"")
    assert not done(FILES, Drawings())
    write_outputs(target, people(), PHOTO, options=OPTIONS)
    assert "write" not in json.loads((tmp_path / "a.json").read_text())["options"]
    assert done(few, NOTHING)
    assert done(FILES, Drawings())
    assert not done(FILES, Drawings(overlay="jpg"))


def test_resume_goes_by_what_is_asked_for(photo: Path, tmp_path: Path, gateway_url: str) -> None:
    given = (photo, "-o", tmp_path / "out", "--server", gateway_url, "--resume")
    assert "1 picture," in predict(*given, "--write", "json,npz").stderr
    assert "1 skipped" in predict(*given, "--write", "npz,json").stderr
    assert "1 picture," in predict(*given).stderr
    assert "1 skipped" in predict(*given, "--write", "json,parts").stderr
    assert "1 picture," in predict(*given, "--max-side", "128").stderr
    assert json.loads((tmp_path / "out" / "photo.json").read_text())["options"]["max_side"] == 128
    assert "1 picture," in predict(*given, "--region", "0,0,256,256", "--tiles", "2").stderr
    options = json.loads((tmp_path / "out" / "photo.json").read_text())["options"]
    assert (options["region"], options["tiles"]) == ([0, 0, 256, 256], 2)
    people = People.load(tmp_path / "out" / "photo.npz")
    assert len(people)
    assert people.boxes.max() <= 256


def test_an_overlay_that_shows_everybody_is_not_kept_beside_hidden_people(tmp_path: Path) -> None:
    hidden = Drawings(("anonymise",), overlay=None)
    for before in (Drawings(), Drawings(overlay="jpg")):
        write_outputs(tmp_path / "a", people(), PHOTO, options=OPTIONS, drawings=before)
        write_outputs(
            tmp_path / "a", people(), PHOTO, options=OPTIONS, drawings=hidden, files=frozenset({"json", "npz"})
        )
        assert not list(tmp_path.glob("a_overlay*"))
        assert (tmp_path / "a_hidden.jpg").is_file()


def test_a_photo_named_like_what_was_left_out_stays_a_photo(tmp_path: Path) -> None:
    write_outputs(tmp_path / "a", people(), None, options=OPTIONS, drawings=NOTHING, files=frozenset({"json"}))
    (tmp_path / "a_overlay.png").write_bytes(b"somebody's own")
    assert not is_output(tmp_path / "a_overlay.png")
    write_outputs(tmp_path / "a", people(), None, options=OPTIONS, drawings=NOTHING, files=frozenset({"json"}))
    assert (tmp_path / "a_overlay.png").read_bytes() == b"somebody's own"
    write_outputs(tmp_path / "a", people(), PHOTO, options=OPTIONS)
    assert is_output(tmp_path / "a_overlay.png")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--write", "bones,npz"], "--write: bones: choose from json, npz, parts, iuv, inds, overlay"),
        (["--write", ","], "--write: nothing: choose from json"),
        (["--overlay-format", "gif"], "--overlay-format gif: choose png or jpg"),
        (
            ["--write", "json", "--overlay-format", "jpg"],
            "--overlay-format is about _overlay, which --write leaves out",
        ),
        (["--write", "json", "--layers", "boxes"], "--layers is about _overlay, which --write leaves out"),
        (["--write", "json", "--bgr"], "--bgr is about _IUV.png"),
        (["--write", "parts", "--tasks", "densepose"], "--write parts needs the task parsing"),
        (["--write", "inds", "--tasks", ""], "--write inds needs the task densepose"),
        (["--layers", "boxes,parts", "--tasks", ""], "the layer parts needs the task parsing or densepose"),
        (["--max-side", "31"], "--max-side"),
        (["--tiles", "5"], "--tiles"),
        (["--region", "1,2,3"], "--region: '1,2,3' is not x1,y1,x2,y2 in whole pixels of the picture"),
        (["--region", "0,0,9,9", "--layers", "anonymise"], "region: nobody outside of it is looked for"),
    ],
)
def test_what_does_not_go_together_is_refused(photo: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = predict(photo, "-o", tmp_path / "out", "--repository", tmp_path / "none", *arguments)
    assert done.exit_code == 2, done.output
    assert says in done.stderr


def test_boxes_alone_are_drawn_where_nothing_else_is_computed(photo: Path, tmp_path: Path, gateway_url: str) -> None:
    out = tmp_path / "out"
    done = predict(photo, "-o", out, "--server", gateway_url, "--tasks", "", "--confidence", "0.3")
    assert done.exit_code == 0, done.stderr
    assert names(out) == {"photo.json", "photo.npz", "photo_overlay.png"}
    shown = np.asarray(Image.open(out / "photo_overlay.png"), int)
    changed = np.abs(shown - np.asarray(Image.open(photo).convert("RGB"), int)).sum(axis=2) > 30
    assert 0 < changed.mean() < 0.1  # lines and a label
