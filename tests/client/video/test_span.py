"""Pieces of a video (`annotate --start`, `--end`), and how it is encoded (`--codec`, `--crf`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.backends import Video
from parsing_rcnn_client.video.encoding import CODECS, Encoding
from parsing_rcnn_client.video.programs import encoders
from parsing_rcnn_client.video.span import Span, seconds_of


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., str]) -> dict[str, Path]:
    """20 s of 10 frames a second, whose brightness is 10 times the second, a key frame every 7 s, and a sound that is
    there from 13 s to 14 s; as MPEG-TS, too, whose clock begins at 1.4 s."""
    folder = tmp_path_factory.mktemp("long")
    grey = "color=black:s=64x48:r=10:d=20,format=gray,geq=lum='16+floor(N/10)*10'"
    tone = "aevalsrc='if(between(t,13,14),sin(880*PI*t),0)':s=16000:d=20"
    files = {suffix: folder / f"long.{suffix}" for suffix in ("mp4", "ts", "mkv")}
    encoded = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "5", "-g", "70", "-c:a", "aac")
    ffmpeg("-f", "lavfi", "-i", grey, "-f", "lavfi", "-i", tone, *encoded, files["mp4"])
    for suffix in ("ts", "mkv"):
        ffmpeg("-i", files["mp4"], "-c", "copy", files[suffix])
    return files


def cut(source: Path, span: Span, out: Path, encoding: Encoding | None = None) -> list[tuple[int, float, int]]:
    """(number, time, brightness) of each frame of a piece, which is also written."""
    video = Video(str(source), "ffmpeg", span, encoding or Encoding())
    reader = video.read()
    writer = video.write(out, reader)
    frames = []
    for frame in reader:
        frames.append((frame.index, round(frame.time, 3), int(frame.image.mean())))
        writer.write(frame.image, frame.time)
    writer.close(cut=span.end is not None)
    assert reader.damaged is None
    return frames


def loud(path: Path) -> tuple[float, float, float]:
    """(first second with sound, last one, length of all sound)."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a", "-f", "s16le", "-ac", "1", "-"]
    heard = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.int16)
    there = np.flatnonzero(np.abs(heard.astype(int)) > 3000)
    return there[0] / 16000, there[-1] / 16000, len(heard) / 16000


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_a_piece_has_the_numbers_and_times_of_the_whole(
    long_videos: dict[str, Path], suffix: str, tmp_path: Path, times: Callable[[Path], list[float]]
) -> None:
    whole = Video(str(long_videos[suffix]), "ffmpeg", None, Encoding()).read()
    expected = [
        (frame.index, round(frame.time, 3), int(frame.image.mean())) for frame in whole if 12.5 <= frame.time < 15
    ]
    frames = cut(long_videos[suffix], Span(12.5, 15), tmp_path / "out.mkv")
    assert frames == expected
    assert len(frames) in (24, 25)
    written = times(tmp_path / "out.mkv")
    assert written == pytest.approx([time - 12.5 for _, time, _ in frames], abs=0.002)  # it begins at 0
    first, last, length = loud(tmp_path / "out.mkv")
    assert first == pytest.approx(0.5, abs=0.15)
    assert last == pytest.approx(1.5, abs=0.15)
    assert length == pytest.approx(2.5, abs=0.2)


@pytest.fixture(scope="module")
def rare_keys(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., str]) -> Callable[[str], Path]:
    """30 s of 10 frames a second as MPEG-TS, whose brightness is 16 and half their number, with a key frame every
    25 s."""

    def video(options: str) -> Path:
        path = tmp_path_factory.mktemp("rare") / "rare.ts"
        grey = "color=black:s=64x48:r=10:d=30,format=gray,geq=lum='16+floor(N/2)'"
        encoded = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "250", "-x264-params", options)
        ffmpeg("-f", "lavfi", "-i", grey, *encoded, path)
        return path

    return video


@pytest.mark.parametrize("backend", ["ffmpeg", "pyav"])
@pytest.mark.parametrize("keys", ["bframes=0", "bframes=3:open-gop=1"])
def test_no_frame_is_lost_where_key_frames_are_far_apart(
    rare_keys: Callable[[str], Path], keys: str, backend: str
) -> None:
    if backend == "pyav":
        pytest.importorskip("av")
    source = str(rare_keys(keys))
    for start, end in ((24, 28), (20, 24), (25, 26), (29.5, None), (0.5, 1)):
        reader = Video(source, backend, Span(start, end), Encoding()).read()
        frames = [(frame.index, round(frame.time, 3), int(frame.image.mean())) for frame in reader]
        numbers = [number for number, _, _ in frames]
        assert numbers == list(range(round(start * 10), round((end or 30) * 10)))
        assert [time for _, time, _ in frames] == [number / 10 for number in numbers]
        # black of a video is 16, so that one level of it is more than one level of the picture
        assert [light for _, _, light in frames] == pytest.approx(
            [number // 2 * 255 / 219 for number in numbers], abs=2
        )
        assert reader.damaged is None  # what the decoder lacks before the piece is no damage


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., str]) -> Path:
    """15 s of 10 frames a second as MPEG-TS, whose key frame at 10 s is none: from there on a column of each picture
    is encoded anew, and a decoder that begins there gives no picture until all of them were."""
    path = tmp_path_factory.mktemp("refreshed") / "refreshed.ts"
    encoded = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "intra-refresh=1:bframes=0:keyint=100")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x144:r=10:d=15", *encoded, path)
    return path


@pytest.mark.parametrize("backend", ["ffmpeg", "pyav"])
def test_a_source_is_read_from_its_beginning_where_a_decoder_begins_late(
    refreshed: Path, backend: str, ffmpeg: Callable[..., str]
) -> None:
    if backend == "pyav":
        pytest.importorskip("av")
    whole = {frame.index: frame.image for frame in Video(str(refreshed), backend, None, Encoding()).read()}
    # 1.4 s is where the clock of the file begins
    sought = ("-noaccurate_seek", "-seek_timestamp", "1", "-ss", "10.4", "-copyts", "-i", refreshed)
    given = ("-vf", "trim=start=12.4:end=13.4,showinfo", "-fps_mode", "passthrough", "-f", "null", "-")
    shown = subprocess.run(["ffmpeg", *map(str, (*sought, *given))], capture_output=True, text=True, check=True).stderr
    assert 0 <= shown.count("pts_time:") < 10  # what the guard is for
    for start, end in ((11, 12), (14, 14.5)):
        reader = Video(str(refreshed), backend, Span(start, end), Encoding()).read()
        frames = list(reader)
        assert [frame.index for frame in frames] == list(range(10 * start, round(10 * end)))
        assert [round(frame.time, 3) for frame in frames] == [frame.index / 10 for frame in frames]
        for frame in frames:
            np.testing.assert_array_equal(frame.image, whole[frame.index])
        assert reader.damaged is None


def test_sound_that_is_encoded_anew_is_cut_as_well(long_videos: dict[str, Path], tmp_path: Path) -> None:
    cut(long_videos["mp4"], Span(12.5, 15), tmp_path / "out.ts")
    first, last, length = loud(tmp_path / "out.ts")
    assert (first, last) == (pytest.approx(0.5, abs=0.15), pytest.approx(1.5, abs=0.15))
    assert length == pytest.approx(2.5, abs=0.2)


def test_one_side_of_a_piece_may_be_open(long_videos: dict[str, Path], tmp_path: Path) -> None:
    head = cut(long_videos["mp4"], Span(end=1.0), tmp_path / "head.mp4")
    assert [number for number, _, _ in head] == list(range(10))
    tail = cut(long_videos["mp4"], Span(19.0), tmp_path / "tail.mp4")
    assert [number for number, _, _ in tail] == list(range(190, 200))
    assert [time for _, time, _ in tail] == [19 + k / 10 for k in range(10)]


@pytest.mark.parametrize("backend", ["ffmpeg", "pyav"])
@pytest.mark.parametrize("first", [0, 7, 1000])
def test_frames_in_files_begin_at_any_number(
    tmp_path: Path, ffmpeg: Callable[..., str], first: int, backend: str
) -> None:
    if backend == "pyav":
        pytest.importorskip("av")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2", "-start_number", first, tmp_path / "f%04d.png")
    source = str(tmp_path / "f%04d.png")
    reader = Video(source, backend, None, Encoding()).read()
    assert ([(f.index, f.time) for f in reader], reader.damaged) == ([(k, k / 25) for k in range(50)], None)
    reader = Video(source, backend, Span(1, 1.2), Encoding()).read()
    assert [(frame.index, frame.time) for frame in reader] == [(k, k / 25) for k in range(25, 30)]


def test_frames_in_files_have_their_numbers(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2", tmp_path / "f%03d.png")
    reader = Video(str(tmp_path / "f%03d.png"), "ffmpeg", Span(1, 1.2), Encoding()).read()
    assert [(frame.index, frame.time) for frame in reader] == [(k, k / 25) for k in range(25, 30)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("01:30", 90), ("00:01:30.25", 90.25), ("100:00:00", 360000), ("0", 0), ("90:00", 5400)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text, "--start") == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1:60", "1:60:00", "1:2:3:4", "1:-2", "nan", "inf", "1::2", "1.5:00"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(InvalidOptions, match="is no time: write seconds"):
        seconds_of(text, "--start")


def annotate(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["annotate", *map(str, arguments)])


@pytest.mark.parametrize("codec", list(CODECS))
def test_a_codec_is_what_the_file_has(walk_video: Path, tmp_path: Path, ffmpeg: Callable[..., str], codec: str) -> None:
    if CODECS[codec] not in encoders():
        pytest.skip(f"ffmpeg here has no {CODECS[codec]}")
    whole = Span(0)
    sizes = {}
    for crf in (20, 45):
        out = tmp_path / f"{crf}.mp4"
        cut(walk_video, whole, out, Encoding(codec, crf))
        sizes[crf] = out.stat().st_size
    shown = ("-select_streams", "v", "-show_entries", "stream=codec_name,codec_tag_string", "-of", "csv=p=0")
    names = ffmpeg(*shown, tmp_path / "20.mp4", program="ffprobe").strip()
    assert names == {"h264": "h264,avc1", "h265": "hevc,hvc1"}[codec]
    assert sizes[45] < sizes[20] / 2


def test_where_one_encoder_is_missing_another_one_takes_its_place() -> None:
    there = Encoding(crf=30).fitting(Path("a.mp4"), {"libx264", "libopenh264"})
    assert (there.encoder, there.options["crf"]) == ("libx264", "30")
    other = Encoding(crf=30).fitting(Path("a.mp4"), {"libopenh264", "aac"})
    assert other.encoder == "libopenh264"
    assert other.options == {"rc_mode": "quality", "qmin": "30", "qmax": "30"}


def test_a_missing_encoder_is_said_before_the_engine_is_loaded(
    walk_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ffmpeg"
    ours.write_text(f'#!/bin/sh\n{shutil.which("ffmpeg")} "$@" | grep -v "264"\n')
    ours.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    nobody = ("--repository", tmp_path / "none")
    for command in ("annotate", "stream"):
        given = [command, walk_video, "-o", tmp_path / "out.ts", *nobody]
        done = CliRunner().invoke(build(), [*map(str, given)])
        assert done.exit_code == 2, done.output
        assert "ffmpeg here has no libx264: " in done.stderr
    with pytest.raises(InvalidOptions, match=r"no libx264: install an ffmpeg that has .*RPM Fusion"):
        Encoding().fitting(Path("a.mp4"), {"aac"})


def test_a_codec_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(InvalidOptions, match="--codec h265: ffmpeg here has no libx265: choose h264"):
        Encoding("h265").fitting(Path("a.mp4"), {"libx264", "aac"})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--start", "5", "--end", "5"], "--end 5 is not after --start 5"),
        (["--start", "soon"], "--start soon: is no time: write seconds (90) or HH:MM:SS"),
        (["--codec", "vp9"], "--codec vp9: choose one of h264, h265"),
        (["--crf", "52"], "--crf 52: choose from 0 (the best) to 51 (the smallest)"),
        (["--codec", "h265", "-o", "a.ts"], "a.ts: does not hold h265: name a .mp4, .mov, .mkv"),
        (["--max-side", "1"], "--max-side"),
        (["--region", "9,9,9,9"], "--region: 9,9,9,9 has no pixels of a picture"),
        (["--region", "0,0,9,9", "--layers", "anonymise"], "region: nobody outside of it is looked for"),
    ],
)
def test_wrong_values_are_named_with_their_choices(
    walk_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = annotate(walk_video, "-o", "a.mp4", "--repository", tmp_path / "none", *arguments)
    assert done.exit_code == 2, done.output
    assert says in done.stderr


def test_how_to_encode_no_video_is_refused(walk_video: Path, tmp_path: Path) -> None:
    done = annotate(walk_video, "--jsonl", tmp_path / "a.jsonl", "--crf", "30")
    assert done.exit_code == 2
    assert "--crf 30 is about the video of --out" in done.stderr


def test_a_piece_is_annotated_and_the_summary_has_the_counts(
    walk_video: Path, tmp_path: Path, times: Callable[[Path], list[float]]
) -> None:
    out, listed = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    counted = ("--zone", "all=0,0,100%,0,100%,100%,0,100%", "--line", "top=0,0,100%,0")
    given = ("--start", "0.4", "--end", "00:00:00.8", "--every", "2", "--max-side", "160", "--json", "--threads", "1")
    done = annotate(walk_video, "-o", out, "--jsonl", listed, *counted, *given)
    assert done.exit_code == 0, done.stderr
    records: list[dict[str, Any]] = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [line["frame"] for line in records] == [5, 6, 7, 8, 9]
    assert [line["time"] for line in records] == pytest.approx([0.4, 0.48, 0.56, 0.64, 0.72])
    assert [line["analysed"] for line in records] == [True, False, True, False, True]
    assert times(out) == pytest.approx([0, 0.08, 0.16, 0.24, 0.32], abs=0.001)
    assert records[0]["people"], "the portrait is found"
    assert records[0]["people"][0]["rle"]["size"] == [240, 320]  # of the whole picture
    summary = json.loads(done.stdout)
    assert summary["frames"] == 5
    assert summary["zones"] == records[-1]["zones"] == {"all": len(records[-1]["people"])}
    assert summary["lines"] == records[-1]["lines"] == {"top": {"in": 0, "out": 0}}


def test_a_piece_behind_the_end_is_refused_and_leaves_nothing(walk_video: Path, tmp_path: Path) -> None:
    done = annotate(walk_video, "-o", tmp_path / "out.mp4", "--start", "60", "--threads", "1")
    assert done.exit_code == 2
    assert "no picture lies at 60 s or later: name an earlier --start" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_piece_behind_the_end_is_named_where_key_frames_are_far_apart(rare_keys: Callable[[str], Path]) -> None:
    reader = Video(str(rare_keys("bframes=0")), "ffmpeg", Span(40), Encoding()).read()
    with pytest.raises(InvalidOptions, match="no picture lies at 40 s or later: name an earlier --start"):
        list(reader)


def test_counts_may_be_in_the_summary_alone(walk_video: Path) -> None:
    line = ("--line", "gate=0,50%,100%,50%")
    done = annotate(walk_video, "--end", "0.1", *line, "--json", "--threads", "1")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["lines"] == {"gate": {"in": 0, "out": 0}}


def test_pyav_reads_and_writes_a_piece(
    long_videos: dict[str, Path], tmp_path: Path, times: Callable[[Path], list[float]]
) -> None:
    pytest.importorskip("av")
    video = Video(str(long_videos["ts"]), "pyav", Span(12.5, 15), Encoding("h264", 30))
    reader = video.read()
    writer = video.write(tmp_path / "out.mkv", reader)
    frames = []
    for frame in reader:
        frames.append((frame.index, round(frame.time, 3)))
        writer.write(frame.image, frame.time)
    writer.close(cut=True)
    whole = Video(str(long_videos["ts"]), "ffmpeg", None, Encoding()).read()
    assert frames == [(one.index, round(one.time, 3)) for one in whole if 12.5 <= one.time < 15]
    assert times(tmp_path / "out.mkv") == pytest.approx([time - 12.5 for _, time in frames], abs=0.002)
    first, last, _ = loud(tmp_path / "out.mkv")
    assert (first, last) == (pytest.approx(0.5, abs=0.15), pytest.approx(1.5, abs=0.15))
