"""Whose a file beside the results is: of the runs that the JSON tells of, and else somebody's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.cli.picture_options import FilesChoice
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.predict.sources import find_sources

PARTS = ("--tasks", "parsing")


@pytest.fixture
def folder(tmp_path: Path, photo_jpeg: bytes) -> Path:
    """Of one photo."""
    (tmp_path / "px").mkdir()
    (tmp_path / "px" / "a.jpg").write_bytes(photo_jpeg)
    return tmp_path / "px"


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["predict", *map(str, arguments)])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(folder: Path) -> list[str]:
    return list(json.loads((folder / "a.json").read_bytes())["files"])


@pytest.mark.parametrize("write", ["npz", "json,npz", ""])
def test_a_photo_that_came_after_the_results_stays_and_is_analysed(
    folder: Path, photo_jpeg: bytes, gateway_url: str, write: str
) -> None:
    given = (folder, "-o", folder, "--server", gateway_url, *PARTS, "--write", write)
    assert predict(*given).exit_code == 0
    photos = ("a_overlay.jpg", "a_person1.jpg", "a_hidden.jpg", "a_cutout.png", "a_parts.png")
    for name in photos:
        (folder / name).write_bytes(photo_jpeg)
    for _ in range(2):
        done = predict(*given)
        assert (done.exit_code, "6 pictures" in done.stderr) == (0, True), done.stderr
    assert all((folder / name).read_bytes() == photo_jpeg for name in photos)


def test_what_a_run_leaves_out_stays_known_until_it_is_replaced(folder: Path, gateway_url: str) -> None:
    given = (folder, "-o", folder, "--server", gateway_url, "--tasks", "parsing,densepose")
    maps = {"a_parts.png", "a_IUV.png", "a_INDS.png"}
    assert predict(*given).exit_code == 0
    for write in ("json,npz", "json,npz", "json"):
        done = predict(*given, "--write", write)
        assert (done.exit_code, "1 picture," in done.stderr) == (0, True), done.stderr
        assert names(folder) == {"a.jpg", "a.json", "a.npz", *maps}
    assert files(folder) == [".npz", "_INDS.png", "_IUV.png", "_parts.png"]
    (folder / "a_IUV.png").unlink()
    assert predict(*given, "--write", "json").exit_code == 0
    assert files(folder) == [".npz", "_INDS.png", "_parts.png"]
    done = predict(*given)
    assert (done.exit_code, "1 picture," in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["--write", "overlay"], ["--layers", "parts,anonymise", "--overlay-format", "jpg"]),
        (["--write", "overlay"], ["--write", "npz", "--layers", "anonymise"]),
        (["--write", "overlay", "--overlay-format", "jpg"], ["--write", "json,npz"]),
        (["--write", "parts", "--crops", "--cutout"], ["--write", "", "--layers", "anonymise"]),
    ],
)
def test_no_run_leaves_a_picture_in_which_an_earlier_one_shows_people(
    folder: Path, tmp_path: Path, gateway_url: str, first: list[str], then: list[str]
) -> None:
    out = tmp_path / "an"
    given = (folder, "-o", out, "--server", gateway_url, *PARTS, "--confidence", "0.3")
    assert predict(*given, *first).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    shown = {name for name in before if name.endswith(("_overlay.png", ".jpg", "_cutout.png"))}
    assert shown
    done = predict(*given, *then)
    assert done.exit_code == 0, done.stderr
    assert not shown & names(out)


def test_results_below_the_photos_are_no_photos_of_the_next_run(folder: Path, gateway_url: str) -> None:
    for write in ("parts", "overlay"):
        for _ in range(2):
            done = predict(folder, "-o", folder / "out", "--server", gateway_url, *PARTS, "--write", write)
            assert (done.exit_code, "1 picture," in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize(
    "own",
    [
        {"shapes": [], "imagePath": "a.jpg"},
        {"predictions": [{"x": 8, "y": 8, "width": 4, "height": 4, "class": "person"}], "image": {"width": 64}},
        {"predictions": [], "files": ["a.jpg"]},
        {"predictions": [], "files": [".npz", 1]},
        {"predictions": {}, "files": [".npz"]},
        {"predictions": [], "files": [".npz"]},
        {"predictions": [], "files": []},
        {"predictions": [], "files": [], "image": {}, "options": {"iou": 1}},
        {"predictions": [], "files": [], "image": {}, "options": {"tasks": ["detect"]}},
        {"predictions": [], "files": [], "image": "a.jpg", "options": {"tasks": ["parsing"]}},
    ],
    ids=[
        "labelme",
        "roboflow",
        "names of files",
        "no names",
        "no list",
        "no image",
        "no files",
        "no tasks",
        "other tasks",
        "other image",
    ],
)
def test_a_json_of_another_program_is_not_replaced(folder: Path, gateway_url: str, own: dict[str, object]) -> None:
    text = json.dumps(own)
    (folder / "a.json").write_text(text)
    done = predict(folder, "-o", folder, "--server", gateway_url, *PARTS, "--write", "npz")
    assert done.exit_code == 1
    assert f"{folder / 'a.json'} is no result of an earlier run and would be replaced: rename it" in done.stderr
    assert names(folder) == {"a.jpg", "a.json"}
    assert (folder / "a.json").read_text() == text


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_json_that_is_nested_deeply_is_not_replaced(folder: Path, gateway_url: str, more: tuple[str, ...]) -> None:
    (folder / "a.json").write_text("[" * 100_000)
    done = predict(folder, "-o", folder, "--server", gateway_url, *PARTS, "--write", "npz", *more)
    assert done.exit_code == 1
    assert f"{folder / 'a.json'} is no result of an earlier run and would be replaced: rename it" in done.stderr
    assert (folder / "a.json").read_text() == "[" * 100_000


def test_a_json_that_lists_no_file_is_replaced_by_the_next_run(folder: Path, gateway_url: str) -> None:
    given = (folder, "-o", folder, "--server", gateway_url, *PARTS, "--write")
    assert predict(*given, "json").exit_code == 0
    assert json.loads((folder / "a.json").read_text())["files"] == []
    assert predict(*given, "npz").exit_code == 0
    assert json.loads((folder / "a.json").read_text())["files"] == [".npz"]


@pytest.mark.parametrize("name", ["a_parts.png", "a_person1.jpg", "a_overlay.jpg"])
def test_what_no_json_tells_of_is_refused_and_kept(folder: Path, tmp_path: Path, photo_jpeg: bytes, name: str) -> None:
    """It may be a photo."""
    given = (folder, "--repository", tmp_path / "none", "--write", "json")
    for path in (folder / "a.npz", folder / name):
        path.write_bytes(photo_jpeg)
    done = predict(*given, "-o", folder)
    assert done.exit_code == 2
    assert f"{folder / name} is named like a result, and no a.json says whether a run wrote it" in done.stderr
    assert (folder / name).read_bytes() == photo_jpeg
    assert "is named like" not in predict(*given, "-o", tmp_path / "out").stderr


def test_a_picture_that_may_show_whom_a_run_hides_is_refused(folder: Path, tmp_path: Path, photo_jpeg: bytes) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_overlay.png").write_bytes(photo_jpeg)
    given = (folder, "-o", out, "--repository", tmp_path / "none", "--overlay-format", "jpg")
    done = predict(*given, "--layers", "anonymise")
    assert done.exit_code == 2
    assert f"{out / 'a_overlay.png'} is named like a result, and no a.json says" in done.stderr
    assert "is named like" not in predict(*given).stderr


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(folder: Path, photo_jpeg: bytes) -> None:
    """What may show the people whom this run hides could lie there."""
    out = folder.parent / "out"
    out.mkdir()
    (out / "a_overlay.png").write_bytes(photo_jpeg)
    sources, hiding = find_sources([str(folder)], out).sources, Drawings(layers=("anonymise",), overlay="jpg")
    with pytest.raises(InvalidOptions, match="is named like a result"):
        FilesChoice().require_told(sources, hiding)
    user = os.geteuid()
    out.chmod(0o300)
    try:
        if user == 0:  # root lists every folder
            os.seteuid(65534)
        with pytest.raises(InvalidOptions, match=rf"{out}: cannot be read \(Permission denied\)"):
            FilesChoice().require_told(sources, hiding)
    finally:
        os.seteuid(user)
        out.chmod(0o700)
