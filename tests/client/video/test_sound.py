"""The sound beside the pictures: track by track copied, encoded, or left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from parsing_rcnn_client.video.backends import Video
from parsing_rcnn_client.video.encoding import Encoding
from parsing_rcnn_client.video.span import Span

SHOWN = ("-select_streams", "a", "-show_entries", "stream=codec_name", "-of", "csv=p=0")
BACKENDS = ["ffmpeg", "pyav"]


def annotated(source: Path, out: Path, backend: str = "ffmpeg", span: Span | None = None) -> list[str]:
    """Write a copy of a video, or of a piece of it; which tracks are left out."""
    if backend == "pyav":
        pytest.importorskip("av")
    video = Video(str(source), backend, span, Encoding())
    reader = video.read()
    writer = video.write(out, reader)
    for frame in reader:
        writer.write(frame.image, frame.time)
    writer.close(cut=span is not None and span.end is not None)
    return list(writer.left_out)


def codecs(path: Path, ffmpeg: Callable[..., str]) -> list[str]:
    return [line.strip(",") for line in ffmpeg(*SHOWN, path, program="ffprobe").split()]


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., str]) -> Path:
    """2 s of 10 pictures a second, with two tracks of AAC."""
    path = tmp_path_factory.mktemp("tones") / "tones.mp4"
    tracks = ("-f", "lavfi", "-i", "sine=440:d=2", "-f", "lavfi", "-i", "sine=880:d=2")
    given = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=2", *tracks, "-map", "0", "-map", "1", "-map", "2")
    ffmpeg(*given, "-preset", "ultrafast", "-c:a", "aac", path)
    return path


def with_unknown(source: Path, out: Path, track: int) -> Path:
    """A copy of an MP4 in which one of its tracks of AAC has a codec that nobody knows."""
    data, place = source.read_bytes(), -1
    for _ in range(track + 1):
        place = data.index(b"mp4a", place + 1)
    setup = data.index(b"esds", place)
    data = data[:place] + b"?pac" + data[place + 4 : setup] + b"?pac" + data[setup + 4 :]
    out.write_bytes(data)
    return out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("unknown", [0, 1])
def test_a_track_that_nobody_knows_is_left_out_and_named(
    tones: Path, tmp_path: Path, ffmpeg: Callable[..., str], unknown: int, backend: str
) -> None:
    out = tmp_path / "out.mp4"
    left_out = annotated(with_unknown(tones, tmp_path / "source.mp4", unknown), out, backend)
    assert len(left_out) == 1
    assert left_out[0].startswith(f"sound track {unknown + 1}")
    assert codecs(out, ffmpeg) == ["aac"]
    same = ("-c", "copy", "-f", "md5", "-")
    assert ffmpeg("-i", out, "-map", "0:a", *same) == ffmpeg("-i", tones, "-map", f"0:a:{1 - unknown}", *same)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pictures_stay_where_no_track_is_known(
    tones: Path, tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]], backend: str
) -> None:
    source, out = with_unknown(with_unknown(tones, tmp_path / "a.mp4", 1), tmp_path / "b.mp4", 0), tmp_path / "out.mp4"
    assert len(annotated(source, out, backend)) == 2
    assert (times(out), codecs(out, ffmpeg)) == (times(tones), [])


@pytest.mark.parametrize("span", [None, Span(0.5, 1.5), Span(0.5)])
def test_each_track_is_copied_where_it_can_be(
    tmp_path: Path, ffmpeg: Callable[..., str], tones: Path, span: Span | None
) -> None:
    source, out = tmp_path / "mixed.mov", tmp_path / "out.mp4"
    ffmpeg("-i", tones, "-map", "0", "-c", "copy", "-c:a:0", "pcm_s16le", source)
    assert annotated(source, out, span=span) == []
    assert codecs(out, ffmpeg) == ["aac", "aac"]
    entries = ("-select_streams", "a", "-show_entries", "stream=duration", "-of", "csv=p=0")
    lengths = [float(line.strip(",")) for line in ffmpeg(*entries, out, program="ffprobe").split()]
    whole = 2 if span is None else (span.end or 2) - span.start
    assert lengths == pytest.approx([whole, whole], abs=0.1)
    if span is None:
        same = ("-map", "0:a:1", "-c", "copy", "-f", "md5", "-")
        assert ffmpeg("-i", out, *same) == ffmpeg("-i", source, *same)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_damaged_head_in_a_transport_stream_costs_neither_pictures_nor_sound(
    tones: Path, tmp_path: Path, ffmpeg: Callable[..., str], times: Callable[[Path], list[float]], backend: str
) -> None:
    source, out = tmp_path / "source.ts", tmp_path / "out.mp4"
    ffmpeg("-i", tones, "-map", "0:v", "-map", "0:a:0", "-c", "copy", source)
    data = bytearray(source.read_bytes())
    head = b"\xff\xf1\x50"  # of a packet of AAC of one channel, 44100 Hz
    places = [place for place in range(len(data)) if data[place : place + 3] == head]
    assert len(places) > 50
    data[places[40] : places[40] + 2] = bytes(2)
    source.write_bytes(data)
    annotated(source, out, backend)
    assert len(times(out)) == 20
    entries = ("-select_streams", "a", "-show_entries", "stream=duration", "-of", "csv=p=0")
    assert float(ffmpeg(*entries, out, program="ffprobe").strip(", \n")) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_sound_before_the_first_picture_of_a_piece_stays(
    tones: Path, tmp_path: Path, ffmpeg: Callable[..., str], suffix: str, backend: str
) -> None:
    source, out = tmp_path / f"late.{suffix}", tmp_path / "out.mkv"
    late = ("-itsoffset", "1.2", "-i", tones, "-i", tones, "-map", "0:v", "-map", "1:a:0", "-c", "copy")
    ffmpeg(*late, source)
    annotated(source, out, backend, Span(0.4))
    entries = ("-select_streams", "a", "-show_entries", "packet=pts_time", "-of", "csv=p=0")
    heard = [float(line.strip(",")) for line in ffmpeg(*entries, out, program="ffprobe").split()]
    assert heard[0] < 0.1
    assert heard[-1] == pytest.approx(1.6, abs=0.1)


def test_what_cannot_be_decoded_is_left_out(tones: Path, tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    """A track without a single packet tells nothing that its copy would need."""
    source, out = tmp_path / "source.ts", tmp_path / "out.mp4"
    ffmpeg("-i", tones, "-map", "0:v", "-map", "0:a:0", "-c", "copy", source)
    data, packets = source.read_bytes(), []
    for place in range(0, len(data), 188):
        packet = data[place : place + 188]
        if int.from_bytes(packet[1:3], "big") & 0x1FFF != 0x101:  # the track of the sound, which its list still names
            packets.append(packet)
    source.write_bytes(b"".join(packets))
    left_out = annotated(source, out)
    assert left_out == ["sound track 1 (aac): ffmpeg can neither copy nor decode it"]
    assert codecs(out, ffmpeg) == []
