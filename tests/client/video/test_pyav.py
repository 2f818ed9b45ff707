"""PyAV behind the same interface: what the program ffmpeg reads and writes, to the frame and to the tick."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs PyAV: pip install -r requirements/supervision.txt in an environment of its own")

from parsing_rcnn_client.video.ffmpeg import FFmpegReader
from parsing_rcnn_client.video.media import VideoError, VideoInfo
from parsing_rcnn_client.video.pyav import PyAVReader
from parsing_rcnn_client.video.pyav_writer import PyAVWriter
from parsing_rcnn_client.video.span import Span
from tests.client.video.conftest import FLAT, UNTAGGED, combs


def source(folder: Path, ffmpeg: Callable[..., str], turn: int = 90, aspect: str = "1") -> Path:
    """20 frames of a variable rate that begin at 0.4 s, turned, with sound."""
    steady, turned = folder / "steady.mp4", folder / f"turned{turn}.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc=s=160x90:r=30:d=1", "-f", "lavfi", "-i", "sine=440:d=1.5")
    late = f"select='not(eq(mod(n,3),1))',setpts=PTS+0.4/TB,setsar={aspect}"
    ffmpeg(*lavfi, "-vf", late, "-fps_mode", "passthrough", "-preset", "ultrafast", "-c:a", "aac", steady)
    ffmpeg("-i", steady, "-c", "copy", "-metadata:s:v:0", f"rotate={turn}", turned)
    return turned


@pytest.mark.parametrize(("turn", "aspect"), [(0, "1"), (90, "1"), (180, "1"), (270, "1"), (0, "4/3"), (90, "4/3")])
def test_frames_times_and_facts_are_those_of_ffmpeg(
    tmp_path: Path, ffmpeg: Callable[..., str], turn: int, aspect: str
) -> None:
    path = str(source(tmp_path, ffmpeg, turn, aspect))
    ours, theirs = PyAVReader(path), FFmpegReader(path)
    assert ours.info == theirs.info
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.time == pytest.approx(other.time, abs=1e-6)
        assert np.abs(mine.image.astype(int) - other.image).mean() < 4
    ours.close()
    ours.close()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 10, 90, 180, 270])
def test_what_is_mirrored_or_turned_by_any_angle_is_shown_as_by_ffmpeg(
    degrees: int, mirror: bool, displayed: Callable[..., Path]
) -> None:
    path = str(displayed(degrees, mirror))
    ours, theirs = PyAVReader(path), FFmpegReader(path)
    assert ours.info == theirs.info
    for mine, other in zip(ours, theirs, strict=True):
        # between the pixels ffmpeg turns luma and chroma, which have other edges than RGB
        assert np.abs(mine.image.astype(int) - other.image).mean() < (10 if degrees == 10 else 1)


def test_what_it_writes_has_the_same_times_and_the_same_sound(
    tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]]
) -> None:
    path, out = source(tmp_path, ffmpeg), tmp_path / "out.mp4"
    reader = PyAVReader(str(path))
    writer = PyAVWriter(str(out), reader.info, sound_of=str(path))
    frames = list(reader)
    for frame in frames:
        writer.write(frame.image, frame.time)
    writer.close()
    writer.close()
    entries = ("-select_streams", "v", "-show_entries", "stream=sample_aspect_ratio", "-of", "csv=p=0")
    assert ffmpeg(*entries, out, program="ffprobe").strip().rstrip(",") == "1:1"
    assert times(out) == times(path)
    sound = ("-map", "0:a", "-c", "copy", "-f", "md5", "-")
    assert ffmpeg("-i", out, *sound) == ffmpeg("-i", path, *sound)


def test_sound_ends_with_the_pictures_of_one_that_is_cut(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    path, out = source(tmp_path, ffmpeg, 0), tmp_path / "out.mp4"
    reader = PyAVReader(str(path))
    writer = PyAVWriter(str(out), reader.info, sound_of=str(path))
    for frame in reader:
        writer.write(frame.image, frame.time)
        if frame.index == 5:
            break
    reader.close()
    writer.close(cut=True)
    entries = ("-select_streams", "a", "-show_entries", "stream=duration", "-of", "csv=p=0")
    assert float(ffmpeg(*entries, out, program="ffprobe").strip(", \n")) == pytest.approx(frame.time, abs=0.1)


def test_a_clock_that_begins_anywhere_is_counted_from_its_beginning(
    tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]]
) -> None:
    path, out = tmp_path / "12:30.ts", tmp_path / "tv.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc=s=160x90:r=10:d=1", "-f", "lavfi", "-i", "sine=440:d=1.5")
    late = ("-vf", "setpts=PTS+0.4/TB", "-preset", "ultrafast", "-c:v", "libx264", "-c:a", "aac")
    ffmpeg(*lavfi, *late, "-output_ts_offset", 40000, path)
    reader = PyAVReader(str(path))
    assert reader.info.start == FFmpegReader(str(path)).info.start > 40000
    writer = PyAVWriter(str(out), reader.info, sound_of=str(path))
    for frame in reader:
        writer.write(frame.image, frame.time)
    writer.close()
    assert times(out)[0] == pytest.approx(0.42, abs=0.05)
    entries = ("-show_entries", "format=duration", "-of", "csv=p=0")
    assert float(ffmpeg(*entries, out, program="ffprobe").strip(", \n")) < 2


def test_a_name_with_a_colon_is_a_file(
    tmp_path: Path, ffmpeg: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source(tmp_path, ffmpeg, 0).rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    assert PyAVReader("12:30.mp4").info.audio


def test_colours_stay(tmp_path: Path, ffmpeg: object) -> None:
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [240, 240, 240]], np.uint8)
    image = np.repeat(np.repeat(colours[None], 65, 0), 32, 1)
    path = str(tmp_path / "colours.mp4")
    writer = PyAVWriter(path, VideoInfo(128, 65, 25))
    for index in range(3):
        writer.write(image, index / 25)
    writer.close()
    for reader in (PyAVReader(path), FFmpegReader(path)):
        frame = list(reader)[2]
        assert frame.image.shape == (66, 128, 3)  # H.264 takes even sizes only
        assert np.abs(frame.image[32, 16::32].astype(int) - colours).max() <= 6
        assert frame.time == pytest.approx(0.08)


@pytest.mark.parametrize("colour", FLAT)
def test_a_copy_is_no_darker(colour: tuple[int, int, int], require_brightness_stays: Callable[..., None]) -> None:
    def copy(source: Path, out: Path) -> None:
        reader = PyAVReader(str(source))
        writer = PyAVWriter(str(out), reader.info)
        for frame in reader:
            writer.write(frame.image, frame.time)
        writer.close()

    require_brightness_stays(copy, colour)


@pytest.mark.parametrize("span", [None, Span(0.4, 0.6)])
def test_interlaced_pictures_become_whole(interlaced: Path, span: Span | None) -> None:
    ours, theirs = PyAVReader(str(interlaced), span=span), FFmpegReader(str(interlaced), span=span)
    assert ours.info == theirs.info
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.index, mine.time) == (other.index, pytest.approx(other.time))
        assert (combs(mine.image) > 150).sum() <= 1


def test_damage_and_what_is_no_video_are_said(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    whole, broken, text = tmp_path / "whole.mkv", tmp_path / "broken.mkv", tmp_path / "notes.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x90:r=30:d=1", "-preset", "ultrafast", "-g", "5", whole)
    data = whole.read_bytes()
    broken.write_bytes(data[: len(data) * 6 // 10])
    assert 5 <= len(list(PyAVReader(str(broken)))) < 30
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", tmp_path / "whole.mp4")
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    noise = bytearray(data)
    noise[len(data) // 2 : len(data) // 2 + 300] = np.random.default_rng(0).bytes(300)
    (tmp_path / "noise.mp4").write_bytes(noise)
    damaged = {}
    for name in ("whole", "cut", "noise"):
        reader = PyAVReader(str(tmp_path / f"{name}.mp4"))
        list(reader)
        damaged[name] = reader.damaged
    assert damaged["whole"] is None
    assert damaged["cut"] is not None
    assert re.fullmatch(r"it ends after \d+ of 30 pictures|Invalid data found.*", damaged["cut"])
    assert damaged["noise"] is not None
    text.write_text("no video")
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=0.1", tmp_path / "sound.wav")
    for path in (text, tmp_path / "missing.mp4", tmp_path / "sound.wav"):
        with pytest.raises(VideoError, match="cannot be read as video"):
            PyAVReader(str(path))


def test_a_writer_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"a\.nothing: PyAV cannot write it \(Could not determine output format"):
        PyAVWriter(str(tmp_path / "a.nothing"), VideoInfo(64, 64, 25))
    stopped = PyAVWriter(str(tmp_path / "b.mp4"), VideoInfo(63, 64, 25))
    stopped.write(np.zeros((64, 63, 3), np.uint8), 0)
    stopped.abort()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith("b.mp4")] == []


@pytest.mark.parametrize(("size", "matrix"), UNTAGGED)
def test_colours_without_a_tag_are_read_as_players_read_them(
    require_colours_of_players: Callable[..., None], size: str, matrix: str
) -> None:
    require_colours_of_players(PyAVReader, size, matrix)


def test_sound_that_a_container_does_not_hold_is_said_at_once(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    sound = tmp_path / "sound.flac"
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=0.2", sound)
    with pytest.raises(VideoError, match=r"a\.mov: PyAV cannot write it .*\.mkv does"):
        PyAVWriter(str(tmp_path / "a.mov"), VideoInfo(64, 64, 25), sound_of=str(sound))
    assert [path.name for path in tmp_path.iterdir()] == ["sound.flac"]
