"""`predict` where no file can grow any more, as on a full disk: what stays of this run and of earlier ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.codecs import png
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.predict.predicting import Report, predict_all
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.predict.tables import PartsTable, PictureLines, Table, TableFailed
from tests.full_disk import room_for

resource = pytest.importorskip("resource")

ROOT = Path(__file__).resolve().parents[3]
PICTURE = png.encode_rgb(np.zeros((40, 40, 3), np.uint8))


def predict(*arguments: object, room: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Run the command, whose files have room for so many bytes each."""
    command = [sys.executable, "-m", "parsing_rcnn", "predict", *map(str, arguments)]
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard)),
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run(out: Path, *tables: Table, in_flight: int = 6, gone: int | None = None) -> Report:
    """Analyse six pictures of three people each: 711 bytes of JSON, of which JSON lines have 172 and CSV 86.

    Args:
        gone: picture for which the engine has gone, once it was asked for all.
    """
    asked = threading.Barrier(6)

    class Engine:
        def analyze(self, picture: bytes, options: Options) -> People:
            if gone is not None:
                asked.wait(30)
            if len(picture) - len(PICTURE) == gone:
                raise EngineUnavailable("gone")
            boxes = np.array([[1, 2, 30, 35]] * 3, np.float32)
            return People(boxes, np.array([0.9, 0.8, 0.7], np.float32), (40, 40))

    sources = [Source(Path(f"{i}.png"), out / str(i), PICTURE + b"0" * i) for i in range(6)]
    return predict_all(
        cast(Analyzer, Engine()),
        Options(frozenset()),
        sources,
        files=frozenset({"json"}),
        drawings=Drawings(overlay=None),
        in_flight=in_flight,
        resume=False,
        out=out,
        tables=tables,
    )


@pytest.mark.parametrize("option", ["--jsonl", "--csv"])
def test_a_table_without_room_leaves_that_of_an_earlier_run(
    tmp_path: Path, photo_jpeg: bytes, gateway_url: str, option: str
) -> None:
    folder, out, table = tmp_path / "in", tmp_path / "out", tmp_path / "all"
    folder.mkdir()
    for name in "abcdefghijkl":
        (folder / f"{name * 40}.jpg").write_bytes(photo_jpeg)
    given = (folder, "-o", out, "--server", gateway_url, "--write", "json", "--tasks", "", option, table)
    assert predict(*given).returncode == 0
    earlier, room = table.read_bytes(), (out / f"{'a' * 40}.json").stat().st_size + 100  # its times vary
    assert len(earlier) > room
    done = predict(*given, room=room)
    assert done.returncode == 1
    assert f"{option} {table}: cannot be written (File too large)\n" in done.stderr
    assert done.stderr.endswith("the same command with --resume goes on from there\n")
    assert table.read_bytes() == earlier
    assert names(tmp_path) == {"in", "out", "all"}
    table.unlink()
    assert predict(*given, "--resume").returncode == 0
    assert table.read_bytes() == earlier


def test_a_table_without_room_takes_nothing_from_another(tmp_path: Path) -> None:
    with PictureLines(tmp_path / "t.jsonl") as lines, PartsTable(tmp_path / "t.csv") as rows, room_for(800):
        report = run(tmp_path / "out", lines, rows)
    assert report.stopped == f"--jsonl {tmp_path / 't.jsonl'}: cannot be written (File too large)"
    told = [line.split(",")[0] for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    assert told == [one["file_name"] for one in report.pictures for _ in range(3)]
    assert len(report.pictures) >= 5
    assert names(tmp_path) == {"out", "t.csv"}


def test_a_table_that_fails_after_the_engine_has_gone_is_told_as_well(tmp_path: Path) -> None:
    with PictureLines(tmp_path / "t.jsonl") as table, room_for(800):
        report = run(tmp_path / "out", table, gone=0)
    assert report.stopped == f"gone; --jsonl {tmp_path / 't.jsonl'}: cannot be written (File too large)"
    assert len(report.pictures) == 5
    assert names(tmp_path) == {"out"}


def test_an_interrupt_within_a_line_leaves_whole_ones(tmp_path: Path) -> None:
    """The system's signal about a file without room interrupts here as Ctrl-C does, and comes within a line."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGXFSZ, interrupt)
    try:
        with PictureLines(tmp_path / "t.jsonl") as table, room_for(800):
            report = run(tmp_path / "out", table, in_flight=1)
    finally:
        signal.signal(signal.SIGXFSZ, before)
    assert report.interrupted
    told = [json.loads(line)["file_name"] for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert told == ["0", "1", "2", "3"]


def test_a_line_behind_a_torn_one_is_whole(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGXFSZ, interrupt)
    try:
        with PictureLines(tmp_path / "t.jsonl") as table:
            with room_for(50), pytest.raises(KeyboardInterrupt):
                table.fail("torn" * 20, "no picture")
            table.fail("next", "no picture")
    finally:
        signal.signal(signal.SIGXFSZ, before)
    told = [json.loads(line)["file_name"] for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert told == ["next"]


def test_a_table_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    with room_for(20), pytest.raises(TableFailed, match=r"--csv .*: cannot be written"):
        PartsTable(tmp_path / "t.csv")  # its head has 84 bytes
    assert names(tmp_path) == set()


def test_a_result_without_room_is_named_and_leaves_no_piece(photo: Path, tmp_path: Path, gateway_url: str) -> None:
    out = tmp_path / "out"
    given = (photo, "-o", out, "--server", gateway_url, "--write", "json", "--tasks", "", "--crops")
    for room, name, left in ((64, "photo.json", set()), (2000, "photo_person1.jpg", {"photo.json.part"})):
        done = predict(*given, room=room)
        assert done.returncode == 1
        assert f"failed: {photo}: {out / name}: File too large\n" in done.stderr
        assert names(out) == left


def test_a_piece_of_a_picture_does_not_stay_beside_hidden_people(photo: Path, tmp_path: Path, gateway_url: str) -> None:
    out = tmp_path / "out"
    given = (photo, "-o", out, "--server", gateway_url, "--write", "json", "--tasks", "parsing")
    assert predict(*given, "--crops").returncode == 0
    crop = out / "photo_person1.jpg"
    piece = crop.with_name(f"{crop.name}.part")
    crop.rename(piece)  # as where a run was killed while it wrote it
    done = predict(*given, "--layers", "anonymise", "--write", "json,overlay")
    assert done.returncode == 0, done.stderr
    assert not piece.exists()
    assert names(out) == {"photo.json", "photo_hidden.jpg", "photo_overlay.png"}


def test_a_coco_file_without_room_says_how_many_pictures_are_done(
    photo: Path, tmp_path: Path, gateway_url: str
) -> None:
    out, coco = tmp_path / "out", tmp_path / "all.json"
    given = (photo, "-o", out, "--server", gateway_url, "--write", "json", "--tasks", "", "--coco", coco)
    done = predict(*given, room=64)
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"error: --coco {coco}: cannot be written (File too large)\n"
        "0 of 1 pictures done: the same command with --resume tries the others again, and writes it\n"
    )
    assert predict(*given, "--resume").returncode == 0
    assert len(json.loads(coco.read_bytes())["images"]) == 1
