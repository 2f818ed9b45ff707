"""Video in and out by the real ffmpeg: times, sound, rotation, damage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter
from parsing_rcnn_client.video.media import VideoError, VideoInfo, VideoToolMissing
from parsing_rcnn_client.video.programs import hidden_source, is_endless, is_live
from parsing_rcnn_client.video.span import Span
from tests.client.video.conftest import UNTAGGED, combs


def copy(source: Path, target: Path) -> tuple[FFmpegReader, int]:
    reader = FFmpegReader(str(source))
    writer = FFmpegWriter(str(target), reader.info, sound_of=str(source) if reader.info.audio else None)
    count = 0
    for frame in reader:
        assert frame.index == count
        assert frame.image.shape == (reader.info.height, reader.info.width, 3)
        writer.write(frame.image, frame.time)
        count += 1
    writer.close()
    return reader, count


def test_variable_rate_late_start_rotation_and_sound_stay(
    tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]]
) -> None:
    steady, turned = tmp_path / "steady.mp4", tmp_path / "turned.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc=s=160x90:r=30:d=1", "-f", "lavfi", "-i", "sine=440:d=1.5")
    late = "select='not(eq(mod(n,3),1))',setpts=PTS+0.4/TB"
    ffmpeg(*lavfi, "-vf", late, "-fps_mode", "passthrough", "-preset", "ultrafast", "-c:a", "aac", steady)
    ffmpeg("-i", steady, "-c", "copy", "-metadata:s:v:0", "rotate=90", turned)
    out = tmp_path / "out.mp4"
    reader, count = copy(turned, out)
    assert (reader.info.width, reader.info.height, reader.info.audio) == (90, 160, True)
    assert count == 20
    assert times(out) == times(turned)
    assert times(out)[0] == pytest.approx(0.4)
    assert len({round(b - a, 4) for a, b in zip(times(out), times(out)[1:], strict=False)}) == 2
    sound = ("-map", "0:a", "-c", "copy", "-f", "md5", "-")
    assert ffmpeg("-i", out, *sound) == ffmpeg("-i", turned, *sound)
    entries = ("-select_streams", "a", "-show_entries", "stream=start_time", "-of", "csv=p=0")
    assert ffmpeg(*entries, out, program="ffprobe") == ffmpeg(*entries, turned, program="ffprobe")


def test_an_odd_size_without_sound_in_matroska(
    tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]]
) -> None:
    source, out = tmp_path / "odd.mkv", tmp_path / "out.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=101x75:r=24:d=0.5", "-c:v", "ffv1", source)
    reader, count = copy(source, out)
    assert (reader.info.width, reader.info.height, reader.info.audio, count) == (101, 75, False, 12)
    assert times(out) == times(source)


@pytest.mark.parametrize(
    ("turn", "aspect", "size"), [(0, "4/3", (160, 90)), (90, "4/3", (90, 160)), (0, "1/2", (60, 90))]
)
def test_pixels_that_are_not_square_become_so(
    turn: int, aspect: str, size: tuple[int, int], tmp_path: Path, ffmpeg: Callable[..., str]
) -> None:
    flat, source, out = tmp_path / "flat.mp4", tmp_path / "source.mp4", tmp_path / "out.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=120x90:r=10:d=0.5", "-vf", f"setsar={aspect}", flat)
    ffmpeg("-i", flat, "-c", "copy", "-metadata:s:v:0", f"rotate={turn}", source)
    reader, count = copy(source, out)
    assert (reader.info.width, reader.info.height, count) == (*size, 5)
    entries = ("-show_entries", "stream=width,height,sample_aspect_ratio", "-of", "csv=p=0", out)
    assert ffmpeg(*entries, program="ffprobe").strip().rstrip(",") == f"{size[0]},{size[1]},1:1"


@pytest.mark.parametrize(
    ("degrees", "size"), [(10, (160, 90)), (45, (160, 90)), (89.6, (90, 160)), (91.4, (160, 90)), (-90, (90, 160))]
)
def test_an_odd_angle_leaves_sides_and_times(
    degrees: float, size: tuple[int, int], displayed: Callable[..., Path]
) -> None:
    """ffmpeg turns it within its frame, and complains of it in the middle of the line that tells the clock."""
    reader = FFmpegReader(str(displayed(degrees)))
    assert (reader.info.width, reader.info.height) == size
    assert [frame.time for frame in reader] == pytest.approx([0, 0.1, 0.2])


def test_times_without_a_clock_are_refused(
    tmp_path: Path, displayed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ffmpeg"  # one that words it differently
    ours.write_text(f'#!/bin/bash\nexec {shutil.which("ffmpeg")} "$@" 2> >(sed -u "s/time_base/tb/" >&2)\n')
    ours.chmod(0o755)
    source = str(displayed(0))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    reader = FFmpegReader(source)
    with pytest.raises(VideoError, match=r"does not say what the times of its pictures mean; take another version"):
        list(reader)
    reader.close()


def test_colours_stay(tmp_path: Path, ffmpeg: object) -> None:
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [240, 240, 240]], np.uint8)
    image = np.repeat(np.repeat(colours[None], 64, 0), 32, 1)
    path = str(tmp_path / "colours.mp4")
    writer = FFmpegWriter(path, VideoInfo(128, 64, 25, Fraction(1, 12800)))
    for index in range(3):
        writer.write(image, index / 25)
    writer.close()
    frame = list(FFmpegReader(path))[2]
    middles = frame.image[32, 16::32].astype(int)
    assert np.abs(middles - colours).max() <= 6
    assert frame.time == pytest.approx(0.08)


@pytest.mark.parametrize(("size", "matrix"), UNTAGGED)
def test_colours_without_a_tag_are_read_as_players_read_them(
    require_colours_of_players: Callable[..., None], size: str, matrix: str
) -> None:
    require_colours_of_players(FFmpegReader, size, matrix)


@pytest.mark.parametrize(("curve", "white"), [("smpte2084", 0.58), ("arib-std-b67", 0.75)])
def test_white_of_hdr_is_white(tmp_path: Path, ffmpeg: Callable[..., str], curve: str, white: float) -> None:
    if not all(f" {name} " in ffmpeg("-filters") for name in ("zscale", "tonemap")):
        pytest.skip("needs an ffmpeg with zscale and tonemap")
    path, grey = tmp_path / "hdr.mkv", round(255 * white)
    tags = f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={curve}"
    colour = ("-f", "lavfi", "-i", f"color=c=0x{3 * f'{grey:02x}'}:s=64x64:r=5:d=0.4")
    ffmpeg(*colour, "-vf", f"format=yuv420p10le,{tags}", "-c:v", "ffv1", "-color_trc", curve, path)
    reader = FFmpegReader(str(path))
    image = next(iter(reader)).image
    assert reader.info.hdr
    assert image.min() > 205  # some room is left for what is brighter; untouched it would be as grey as its code
    assert np.ptp(image[32, 32]) <= 4


@pytest.mark.parametrize(
    ("primaries", "matrix"), [("bt2020", "bt2020nc"), ("smpte432", "bt709")], ids=["BT.2020", "Display P3"]
)
def test_wide_colours_become_those_of_an_ordinary_screen(
    tmp_path: Path, ffmpeg: Callable[..., str], primaries: str, matrix: str
) -> None:
    if " zscale " not in ffmpeg("-filters"):
        pytest.skip("needs an ffmpeg with zscale")
    path, seen = tmp_path / "wide.mkv", np.array([0xC8, 0x32, 0x28])
    p, m = {"bt2020": "2020", "smpte432": "smpte432"}[primaries], {"bt2020nc": "2020_ncl", "bt709": "709"}[matrix]
    wide = f"format=gbrp,zscale=pin=709:tin=709:min=gbr:p={p}:t=709:m={m}:r=tv,format=yuv444p10le"
    tags = ("-color_primaries", primaries, "-color_trc", "bt709", "-colorspace", matrix, "-color_range", "tv")
    colour = f"color=c=0x{bytes(seen.tolist()).hex()}:s=64x64:r=5:d=0.4"
    ffmpeg("-f", "lavfi", "-i", colour, "-vf", wide, "-c:v", "ffv1", *tags, path)
    reader = FFmpegReader(str(path))
    image = next(iter(reader)).image
    assert (reader.info.wide, reader.info.hdr) == (True, False)
    assert np.abs(image[32, 32].astype(int) - seen).max() <= 4
    reader.close()


def test_interlaced_pictures_become_whole(interlaced: Path) -> None:
    reader = FFmpegReader(str(interlaced))
    frames = list(reader)
    assert reader.info.interlaced
    assert [frame.time for frame in frames] == pytest.approx([k / 25 for k in range(25)])
    piece = list(FFmpegReader(str(interlaced), span=Span(0.4, 0.6)))
    assert [frame.index for frame in piece] == [10, 11, 12, 13, 14]
    np.testing.assert_array_equal(piece[0].image, frames[10].image)
    assert (combs(frames[12].image) > 150).sum() <= 1  # untouched it is two at each edge of the bar


def test_a_broken_tail_gives_what_there_is_and_says_so(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    whole, broken = tmp_path / "whole.mkv", tmp_path / "broken.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x90:r=30:d=1", "-preset", "ultrafast", "-g", "5", whole)
    data = whole.read_bytes()
    broken.write_bytes(data[: len(data) * 6 // 10])
    reader, count = copy(broken, tmp_path / "out.mp4")
    assert 5 <= count < 30
    assert reader.damaged is not None


@pytest.mark.parametrize("lost", [2, 7, 11])
def test_a_sequence_with_a_gap_says_which_file_is_missing_and_how_many_are_behind_it(
    tmp_path: Path, ffmpeg: Callable[..., str], lost: int
) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=1.2", tmp_path / "f%03d.png")
    reader = FFmpegReader(str(tmp_path / "f%03d.png"))
    assert (len(list(reader)), reader.damaged) == (12, None)
    (tmp_path / f"f{lost:03d}.png").unlink()
    reader = FFmpegReader(str(tmp_path / "f%03d.png"))
    assert len(list(reader)) == lost - 1
    behind = "1 frame lies" if lost == 11 else f"{12 - lost} frames lie"
    said = f"{tmp_path}/f{lost:03d}.png is missing, and {behind} behind it: number them without a gap"
    assert reader.damaged == said


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_ends_with_the_pictures_of_one_that_is_cut(
    tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]], suffix: str
) -> None:
    source = tmp_path / "source.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc=s=160x90:r=30:d=2", "-f", "lavfi", "-i", "sine=440:d=6")
    ffmpeg(*lavfi, "-vf", "setpts=PTS+0.4/TB", "-preset", "ultrafast", "-c:a", "aac", source)
    outputs = {cut: tmp_path / f"{cut}{suffix}" for cut in (False, True)}
    for cut, out in outputs.items():
        reader = FFmpegReader(str(source))
        writer = FFmpegWriter(str(out), reader.info, sound_of=str(source))
        for frame in reader:
            writer.write(frame.image, frame.time)
            if frame.index == 29:
                break
        reader.close()
        writer.close(cut=cut)
    assert times(outputs[True]) == times(outputs[False])
    entries = ("-select_streams", "a", "-show_entries", "packet=pts_time", "-of", "csv=p=0")
    ends = {}
    for cut, out in outputs.items():
        sound = [float(line.strip(",")) for line in ffmpeg(*entries, out, program="ffprobe").split()]
        ends[cut] = sound[-1] - sound[0]
    assert ends[False] > 5  # which may rightly be longer than the pictures
    assert 1.3 < ends[True] < 1.5
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["source.mp4", *(o.name for o in outputs.values())]
    )


def test_a_clock_that_begins_anywhere_is_counted_from_its_beginning(
    tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]]
) -> None:
    source, out = tmp_path / "tv.ts", tmp_path / "tv.mp4"
    lavfi = ("-f", "lavfi", "-i", "testsrc=s=160x90:r=10:d=1", "-f", "lavfi", "-i", "sine=440:d=1.5")
    late = ("-vf", "setpts=PTS+0.4/TB", "-preset", "ultrafast", "-c:a", "aac")
    ffmpeg(*lavfi, *late, "-output_ts_offset", 40000, source)
    assert times(source)[0] > 40000
    _, count = copy(source, out)
    assert count == 10
    assert times(out)[0] == pytest.approx(0.42, abs=0.05)  # after the sound, as in the source
    assert np.diff(times(out)) == pytest.approx(np.diff(times(source)), abs=0.001)
    entries = ("-show_entries", "format=start_time,duration", "-of", "csv=p=0")
    start, duration = map(float, ffmpeg(*entries, out, program="ffprobe").split(","))
    assert start == pytest.approx(0, abs=0.05)
    assert duration < 2


def test_a_clock_that_is_set_back_is_said(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    parts, both = [tmp_path / "a.ts", tmp_path / "b.ts"], tmp_path / "both.ts"
    lavfi = ("-f", "lavfi", "-i", "testsrc=s=160x90:r=10:d=2", "-f", "lavfi", "-i", "sine=440:d=2")
    for part in parts:
        ffmpeg(*lavfi, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", part)
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    reader = FFmpegReader(str(both))
    moments = [frame.time for frame in reader]
    assert len(moments) == 40
    assert np.diff(moments) == pytest.approx(0.1, abs=0.001)
    assert reader.damaged is not None
    assert "is set back after 1.9 s, and the sound is not in step from there: ffmpeg -i" in reader.damaged


def test_a_variable_rate_is_no_damage(tmp_path: Path, ffmpeg: object) -> None:
    path, moments = str(tmp_path / "phone.mp4"), [0.0, 0.033, 0.036, 0.04, 0.1, 0.2, 0.201, 0.3]
    writer = FFmpegWriter(path, VideoInfo(64, 48, 30.0))
    for moment in moments:
        writer.write(np.zeros((48, 64, 3), np.uint8), moment)
    writer.close()
    reader = FFmpegReader(path)
    assert [frame.time for frame in reader] == pytest.approx(moments, abs=0.001)
    assert reader.damaged is None


def test_a_clock_of_milliseconds_is_no_rate(tmp_path: Path, ffmpeg: object) -> None:
    path = str(tmp_path / "fine.mkv")
    writer = FFmpegWriter(path, VideoInfo(64, 48, 30.0))
    for index in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8), index / 1000)
    writer.close()
    assert FFmpegReader(path).info.fps == 25


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, ffmpeg: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writer = FFmpegWriter("12:30.mp4", VideoInfo(64, 48, 25.0))
    writer.write(np.zeros((48, 64, 3), np.uint8), 0)
    writer.close()
    assert len(list(FFmpegReader("12:30.mp4"))) == 1
    with pytest.raises(VideoError, match="cannot be read as video"):
        FFmpegReader("12:31.mp4")


def test_the_last_picture_lasts_as_the_others_do(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    slides = tmp_path / "slides.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=1/5:d=15", "-preset", "ultrafast", slides)
    for name in ("out.mp4", "out.mkv"):
        assert copy(slides, tmp_path / name)[1] == 3
        entries = ("-show_entries", "format=duration", "-of", "csv=p=0", tmp_path / name)
        assert float(ffmpeg(*entries, program="ffprobe")) == pytest.approx(15, abs=0.01)


def test_what_is_no_video_is_said(tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    text, sound, empty = tmp_path / "notes.mp4", tmp_path / "sound.wav", tmp_path / "none.mp4"
    text.write_text("no video")
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=0.1", sound)
    for path in (text, sound, tmp_path / "missing.mp4", empty):
        with pytest.raises(VideoError, match=r"cannot be read as video"):
            FFmpegReader(str(path))
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-vf", "select=0", "-c:v", "ffv1", tmp_path / "zero.mkv")
    with pytest.raises(VideoError, match=r"no frame could be decoded|cannot be read as video"):
        list(FFmpegReader(str(tmp_path / "zero.mkv")))


def test_sound_that_a_container_does_not_hold_becomes_aac(
    tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]]
) -> None:
    source = tmp_path / "source.mov"
    lavfi = ("-f", "lavfi", "-i", "testsrc=s=160x90:r=30:d=1", "-f", "lavfi", "-i", "sine=440:d=1")
    ffmpeg(*lavfi, "-preset", "ultrafast", "-c:a", "pcm_s16le", source)
    entries = ("-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0")
    for name, codec in (("out.mp4", "aac"), ("out.ts", "aac"), ("out.mov", "pcm_s16le"), ("out.mkv", "pcm_s16le")):
        out = tmp_path / name
        _, count = copy(source, out)
        assert count == 30
        assert ffmpeg(*entries, out, program="ffprobe").split()[0].strip(",") == codec
        assert np.diff(times(out)) == pytest.approx(np.diff(times(source)), abs=0.001)


def test_what_ffmpeg_refuses_is_said_in_the_line_that_tells_why(tmp_path: Path, ffmpeg: object) -> None:
    def write_all(name: str) -> None:
        writer = FFmpegWriter(str(tmp_path / name), VideoInfo(64, 64, 25))
        for index in range(100):
            writer.write(np.zeros((64, 64, 3), np.uint8), index / 25)
        writer.close()

    with pytest.raises(VideoError, match=r"a\.webm: ffmpeg cannot write it \(Only VP8 or VP9"):
        write_all("a.webm")
    with pytest.raises(VideoError, match=r"suitable output format for '.*/a\.nothing'"):
        write_all("a.nothing")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_says_why_and_leaves_nothing(tmp_path: Path, ffmpeg: object) -> None:
    def write_all() -> None:
        writer = FFmpegWriter(str(tmp_path / "a.mp4"), VideoInfo(64, 64, 25), extra=("-profile:v", "nothing-such"))
        for index in range(100):
            writer.write(np.zeros((64, 64, 3), np.uint8), index / 25)

    with pytest.raises(VideoError, match=r"a\.mp4: ffmpeg cannot write it .*nothing-such"):
        write_all()
    assert not (tmp_path / "a.mp4").exists()
    stopped = FFmpegWriter(str(tmp_path / "b.mp4"), VideoInfo(64, 64, 25))
    stopped.write(np.zeros((64, 64, 3), np.uint8), 0)
    stopped.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_for_what_is_not_whole_is_told(tmp_path: Path, ffmpeg: object) -> None:
    with pytest.raises(VideoError, match="File name too long"):  # before the first picture
        FFmpegWriter(str(tmp_path / ("a" * 246 + ".mp4")), VideoInfo(64, 64, 25))
    assert list(tmp_path.iterdir()) == []


def test_without_ffmpeg_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VideoToolMissing, match=r"ffprobe is not installed.*install_ffmpeg\.sh"):
        FFmpegReader("a.mp4")


def test_a_writer_without_ffmpeg_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tools, out = tmp_path / "bin", tmp_path / "out"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(VideoToolMissing, match=r"ffmpeg is not installed.*install_ffmpeg\.sh"):
        FFmpegWriter(str(out / "a.mp4"), VideoInfo(64, 64, 25))
    (tools / "ffmpeg").write_bytes(b"\x7fELF")  # which the system cannot run
    (tools / "ffmpeg").chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        FFmpegWriter(str(out / "a.mp4"), VideoInfo(64, 64, 25))
    assert list(out.iterdir()) == []


def test_passwords_stay_out_of_messages() -> None:
    assert hidden_source("rtsp://me:secret@camera:554/a") == "rtsp://***@camera:554/a"
    assert hidden_source("rtsp://me:se/cr#et@camera:554/a") == "rtsp://***@camera:554/a"
    assert (
        hidden_source("rtsp://camera/user=admin&password=se@cr/et&channel=1")
        == "rtsp://camera/user=admin&password=***&channel=1"
    )
    assert hidden_source("http://me:key=x@camera?pwd=a;Token=b") == "http://***@camera?pwd=***;Token=***"
    for name in ("pass", "passwd", "PASSWORD", "loginpas", "api_key", "access_token", "auth", "secret"):
        assert hidden_source(f"http://camera/a.cgi?{name}=secret&b=1") == f"http://camera/a.cgi?{name}=***&b=1"
    assert hidden_source("http://camera/a?user=me&size=1#top") == "http://camera/a?user=me&size=1#top"
    assert hidden_source("walk@home.mp4") == "walk@home.mp4"
    assert hidden_source("password=1.mp4") == "password=1.mp4"
    assert hidden_source("walk.mp4") == "walk.mp4"
    assert [is_live(s) for s in ("0", "/dev/video0", "rtsp://c/a", "walk.mp4")] == [True, True, True, False]
    assert [is_endless(s) for s in ("0", "rtsp://c/a", "http://c/a.mjpg", "https://c/a")] == [True] * 4
    assert [is_endless(s) for s in ("walk.mp4", "12:30.mp4", "file:///walk.mp4")] == [False] * 3
