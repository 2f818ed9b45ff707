"""`predict --jsonl` and `--csv`, and the names of photos in every result."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.cli import build
from parsing_rcnn.codecs import png
from parsing_rcnn.codecs.json import to_json
from parsing_rcnn.codecs.rle import decode
from parsing_rcnn.errors import EngineUnavailable, InvalidImage
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.predicting import predict_all
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.predict.tables import COLUMNS, PartsTable, PictureLines, TableFailed

PICTURE = png.encode_rgb(np.zeros((40, 40, 3), np.uint8))


def two_people() -> People:
    """8 x 10 pixels with a hat above a face, and 4 x 4 pixels without any part."""
    parts = np.zeros((2, 2, 1), np.uint8)
    parts[0, :, 0] = 1, 13
    scores = np.zeros((2, 20), np.float32)
    scores[0, 1], scores[0, 13] = 0.5, 0.75
    boxes = np.array([[2, 1, 10, 11], [20, 20, 24, 24]], np.float32)
    return People(boxes, np.array([0.875, 0.5], np.float32), (40, 40), parts, part_scores=scores)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def told_by(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout.splitlines()[-1]))  # the gateway in this process logs there, too


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["predict", *map(str, arguments)])


def test_a_row_for_each_part_and_a_line_for_each_picture(tmp_path: Path) -> None:
    document = to_json(two_people())
    with PartsTable(tmp_path / "t.csv") as table, PictureLines(tmp_path / "t.jsonl") as pictures:
        table.add("a/b.jpg", document)
        pictures.add("a/b.jpg", document)
        pictures.fail("c.jpg", "it is damaged")
        assert not (tmp_path / "t.csv").exists()  # it is not whole
        assert (tmp_path / "t.csv.part").stat().st_size > 100  # and grows
    assert (tmp_path / "t.csv").read_text() == (
        "file_name,person,x1,y1,x2,y2,score,class_id,class,part_score,area\n"
        "a/b.jpg,1,2.0,1.0,10.0,11.0,0.875,1,Hat,0.5,40\n"
        "a/b.jpg,1,2.0,1.0,10.0,11.0,0.875,13,Face,0.75,40\n"
        "a/b.jpg,2,20.0,20.0,24.0,24.0,0.5,,,,\n"
    )
    first, second = lines(tmp_path / "t.jsonl")
    one, other = first.pop("people")
    assert first == {"file_name": "a/b.jpg", "width": 40, "height": 40}
    assert decode(one.pop("rle")).sum() == 80
    assert one == {
        "box": [2, 1, 10, 11],
        "score": 0.875,
        "parts": {"Hat": 40, "Face": 40},
        "part_scores": {"Hat": 0.5, "Face": 0.75},
    }
    assert other["parts"] == {}
    assert second == {"file_name": "c.jpg", "error": "it is damaged"}


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("plain.jpg", "plain.jpg"),
        ('a, "b".jpg', 'a, "b".jpg'),
        ("two\nlines\r.jpg", "two\nlines\r.jpg"),
        ("=1+1.jpg", "./=1+1.jpg"),
        ("@SUM(A1).jpg", "./@SUM(A1).jpg"),
        ("-2/x.jpg", "./-2/x.jpg"),
        ("+49.jpg", "./+49.jpg"),
        ("\t=x.jpg", "./\t=x.jpg"),
        ("\uff1d1.jpg", "./\uff1d1.jpg"),
        ("caf\u00e9.jpg", "caf\u00e9.jpg"),
    ],
)
def test_names_are_quoted_and_no_spreadsheet_computes_them(tmp_path: Path, name: str, cell: str) -> None:
    with PartsTable(tmp_path / "t.csv") as table:
        table.add(name, to_json(two_people()))
    assert [row["file_name"] for row in rows(tmp_path / "t.csv")] == [cell] * 3
    assert {len(row) for row in csv.reader((tmp_path / "t.csv").open(newline=""))} == {len(COLUMNS)}


def test_two_runs_at_once_do_not_mix_their_rows(tmp_path: Path) -> None:
    with PictureLines(tmp_path / "t.jsonl") as first, PictureLines(tmp_path / "t.jsonl") as second:
        first.fail("a.jpg", "one")
        second.fail("b.jpg", "two")
        second.finish()
        assert [line["file_name"] for line in lines(tmp_path / "t.jsonl")] == ["b.jpg"]
        first.fail("c.jpg", "one")
    assert [line["file_name"] for line in lines(tmp_path / "t.jsonl")] == ["a.jpg", "c.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


@pytest.mark.parametrize("tasks", ["densepose", "parsing", ""])
def test_a_resumed_run_of_fewer_tasks_tells_of_no_others(
    photo: Path, tmp_path: Path, gateway_url: str, tasks: str
) -> None:
    results = {}
    for name, runs in {"new": [tasks], "old": ["parsing,densepose", tasks]}.items():
        out = tmp_path / name
        for asked in runs:
            tables = ("--csv", out / "t.csv", "--jsonl", out / "t.jsonl", "--coco", out / "t.json")
            given = (photo, "-o", out, "--server", gateway_url, "--tasks", asked, "--confidence", "0.3", "--resume")
            done = predict(*given, "--write", "npz", *tables)
            assert done.exit_code == 0, done.stderr
        results[name] = [(out / f"t.{end}").read_bytes() for end in ("csv", "jsonl", "json")]
    assert "1 skipped" in done.stderr
    assert results["old"] == results["new"]


def test_a_class_is_no_formula_either(tmp_path: Path) -> None:
    document = to_json(two_people())
    document["predictions"][0]["parts"][0]["class"] = "=HYPERLINK(1)"
    with PartsTable(tmp_path / "t.csv") as table:
        table.add("a.jpg", document)
    assert rows(tmp_path / "t.csv")[0]["class"] == "'=HYPERLINK(1)"


@pytest.fixture
def folder(tmp_path: Path, photo_jpeg: bytes) -> Iterator[Path]:
    """Two photos, one of a name that is no UTF-8, and a damaged one."""
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    (photos / "b.jpg").write_bytes(photo_jpeg)
    (photos / "bad.jpg").write_bytes(photo_jpeg[:2000])
    (photos / "sub" / "caf\udce9.jpg").write_bytes(photo_jpeg)
    return photos


def test_every_result_names_its_photo_and_a_resumed_run_writes_the_same(
    folder: Path, tmp_path: Path, gateway_url: str
) -> None:
    out, table, listed = tmp_path / "out", tmp_path / "all.csv", tmp_path / "all.jsonl"
    given = (
        folder,
        "-o",
        out,
        "--server",
        gateway_url,
        "--csv",
        table,
        "--jsonl",
        listed,
        "--json",
        "--confidence",
        0.3,
    )
    first = predict(*given)
    assert first.exit_code == 1  # one is damaged
    assert json.loads((out / "b.json").read_text())["image"]["file_name"] == "b.jpg"
    assert [one["file_name"] for one in told_by(first)["pictures"]] == ["b.jpg", "sub/caf\ufffd.jpg"]
    told = lines(listed)
    assert [line["file_name"] for line in told] == ["b.jpg", "bad.jpg", "sub/caf\ufffd.jpg"]
    assert "error" in told[1]
    people = People.load(out / "b.npz")
    boxes = np.array([one["box"] for one in told[0]["people"]])
    np.testing.assert_allclose(boxes, people.boxes, atol=0.001)
    assert told[0]["people"][0]["parts"]["Face"] == people.areas(0)[13]
    faces = [row for row in rows(table) if (row["file_name"], row["person"], row["class"]) == ("b.jpg", "1", "Face")]
    assert [(row["class_id"], int(row["area"])) for row in faces] == [("13", people.areas(0)[13])]
    assert float(faces[0]["part_score"]) == pytest.approx(float(people.part_scores[0, 13]), abs=1e-4)  # type: ignore[index]
    before = table.read_bytes(), listed.read_bytes()
    for path in (table, listed, out / "b.json"):  # as if b were to be done again
        path.unlink()
    again = predict(*given, "--resume")
    assert (table.read_bytes(), listed.read_bytes()) == before
    report = told_by(again)
    assert [one["file_name"] for one in report["pictures"]] == ["b.jpg"]
    assert report["skipped"] == 1
    (earlier,) = report["earlier"]
    assert earlier["file_name"] == "sub/caf\ufffd.jpg"
    assert earlier["people"] == len(told[2]["people"])
    assert all(Path(name).is_file() for name in earlier["files"])


def test_with_few_files_the_lines_are_the_same(folder: Path, tmp_path: Path, gateway_url: str) -> None:
    given = (folder / "b.jpg", "--server", gateway_url, "--jsonl")
    assert predict(*given, tmp_path / "1.jsonl", "-o", tmp_path / "1").exit_code == 0
    assert predict(*given, tmp_path / "2.jsonl", "-o", tmp_path / "2", "--write", "npz").exit_code == 0
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()


class _Engine:
    """Answers, until it is asked for a picture of this many bytes."""

    def __init__(self, last: int, error: Exception | None = None) -> None:
        self.last, self.error, self.lock = last, error, threading.Lock()

    def analyze(self, picture: bytes, options: Options) -> People:
        if len(picture) == self.last and self.error is not None:
            raise self.error
        return two_people()


def run(tmp_path: Path, engine: _Engine, *, resume: bool = False, tables: list[Any]) -> Any:
    sources = [Source(Path(f"{i}.png"), tmp_path / "out" / str(i), PICTURE + b"0" * i) for i in range(5)]
    options = Options(frozenset({"parsing"}))
    asked = cast(Analyzer, engine)
    return predict_all(asked, options, sources, in_flight=1, resume=resume, out=tmp_path / "out", tables=tables)


def test_a_run_that_ends_early_leaves_all_that_is_done_in_order(tmp_path: Path) -> None:
    with PictureLines(tmp_path / "t.jsonl") as table:
        run(tmp_path, _Engine(len(PICTURE) + 2, InvalidImage("damaged")), tables=[table])
    assert [line["file_name"] for line in lines(tmp_path / "t.jsonl")] == ["0", "1", "2", "3", "4"]
    (tmp_path / "out" / "1.json").unlink()
    with PictureLines(tmp_path / "t.jsonl") as table, PartsTable(tmp_path / "t.csv") as parts:
        report = run(tmp_path, _Engine(len(PICTURE) + 2, EngineUnavailable("gone")), resume=True, tables=[table, parts])
    assert report.stopped == "gone"
    assert [line["file_name"] for line in lines(tmp_path / "t.jsonl")] == [
        "0",
        "1",
        "3",
        "4",
    ]  # what an earlier run did
    assert [row["file_name"] for row in rows(tmp_path / "t.csv")] == [name for name in "0134" for _ in range(3)]


def test_a_table_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    table = PictureLines(tmp_path / "t.jsonl")
    table._file = full.open("wb", buffering=0)
    report = run(tmp_path, _Engine(0), tables=[table])
    assert report.stopped == f"--jsonl {tmp_path / 't.jsonl'}: cannot be written (No space left on device)"
    assert len(report.pictures) == 1


def test_something_unforeseen_leaves_no_half_table(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), PartsTable(tmp_path / "t.csv"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TableFailed, match="cannot be written"):
        PartsTable(tmp_path / "file" / "t.csv")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--jsonl", "-", "--json"], "--jsonl - and --json both write to standard output"),
        (["--jsonl", "-", "--csv", "-"], "--jsonl - and --csv - both write to standard output"),
        (["--jsonl", "x", "--csv", "x"], "--jsonl x and --csv x both write one file"),
        (["--csv", "x", "--coco", "x"], "--coco x and --csv x both write one file"),
        (["--csv", "out/photo.json"], "is photo.jpg itself, or its result"),
        (["--csv", "photo.jpg"], "is photo.jpg itself, or its result"),
        (["--csv", "out/photo.npz"], "is photo.jpg itself, or its result"),
        (["--jsonl", "out/photo_person2.jpg"], "is photo.jpg itself, or its result"),
        (["--coco", "out/photo.json.part"], "is photo.jpg itself, or its result"),
        (["--jsonl", "."], "--jsonl . is a folder"),
    ],
)
def test_tables_have_a_place_of_their_own(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = predict(photo.name, "-o", "out", "--repository", tmp_path / "none", *arguments)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
