"""Small videos, made when needed."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn_client.video.layers import Look, paint

UNTAGGED = [("1280x720", "bt709"), ("720x1280", "bt709"), ("640x480", "bt601")]
"""Size of a video, and the matrix that players take for its colours where no tag names one."""


def annotated(
    image: NDArray[np.uint8],
    people: People,
    numbers: NDArray[np.intp],
    shown: NDArray[np.float32],
    look: Look,
    doubtful: People | None = None,
) -> NDArray[np.uint8]:
    """A copy of the frame with what `paint` draws over it."""
    canvas = image.copy()
    paint(canvas, people, numbers, shown, look, doubtful)
    return canvas


@pytest.fixture
def require_colours_of_players(
    tmp_path: Path, ffmpeg: Callable[..., str]
) -> Callable[[Callable[..., Any], str, str], None]:
    """Checks how a reader shows a colour in a video whose matrix no tag names: (its class, a size, the matrix)."""

    def check(reader: Callable[..., Any], size: str, matrix: str) -> None:
        path = tmp_path / "untagged.mp4"
        colour = ("-f", "lavfi", "-i", f"color=c=0x1d9c3d:s={size}:r=5:d=0.4")
        ffmpeg(*colour, "-vf", f"scale=out_color_matrix={matrix},format=yuv420p", "-preset", "ultrafast", path)
        entries = ("-show_entries", "stream=color_space", "-of", "csv=p=0", path)
        assert ffmpeg(*entries, program="ffprobe").strip() in ("", "unknown")
        frame = next(iter(reader(str(path))))
        assert np.abs(frame.image[100, 100].astype(int) - (0x1D, 0x9C, 0x3D)).max() <= 3

    return check


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., str]:
    """Runs ffmpeg with arguments and returns its output."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")

    def run(*arguments: object, program: str = "ffmpeg") -> str:
        quiet = ("-v", "error", "-y") if program == "ffmpeg" else ("-v", "error")
        command = [program, *quiet, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    return run


@pytest.fixture(scope="session")
def times(ffmpeg: Callable[..., str]) -> Callable[[Path], list[float]]:
    """The times of a video's frames, by ffprobe, seconds."""

    def read(path: Path) -> list[float]:
        options = ("-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0")
        return [
            float(line.strip(", ")) for line in ffmpeg(*options, path, program="ffprobe").split() if line.strip(", ")
        ]

    return read


OFFSETS = [4 * i for i in range(24)]


FLAT = [(131, 128, 128), (120, 100, 150), (90, 140, 110)]
"""Colours (Y, Cb, Cr) for `require_brightness_stays` which ffmpeg's own conversion to RGB makes darker."""


@pytest.fixture
def require_brightness_stays(
    tmp_path: Path, ffmpeg: Callable[..., str]
) -> Callable[[Callable[[Path, Path], None], tuple[int, int, int]], None]:
    """Checks that a copy of a video of one colour has that colour: (copies a file to a file, its Y, Cb and Cr)."""

    def check(copy: Callable[[Path, Path], None], colour: tuple[int, int, int]) -> None:
        source, out, raw = tmp_path / "flat.mkv", tmp_path / "copy.mkv", tmp_path / "copy.yuv"
        lum, cb, cr = colour
        flat = f"color=s=128x64:r=5:d=0.4,format=yuv420p,geq=lum={lum}:cb={cb}:cr={cr}"
        ffmpeg("-f", "lavfi", "-i", flat, "-crf", "1", "-colorspace", "bt709", "-color_range", "tv", source)
        copy(source, out)
        ffmpeg("-i", out, "-pix_fmt", "yuv420p", "-fps_mode", "passthrough", "-f", "rawvideo", raw)
        luma, blue, red = np.split(np.fromfile(raw, np.uint8).reshape(2, -1), [128 * 64, 128 * 64 * 5 // 4], axis=1)
        assert (luma.mean(), blue.mean(), red.mean()) == pytest.approx(colour, abs=0.2)

    return check


@pytest.fixture(scope="session")
def walk() -> list[NDArray[np.uint8]]:
    """24 frames, 320x240: a real portrait sliding to the right by 4 pixels a frame."""
    cv2 = pytest.importorskip("cv2")
    portrait = cv2.resize(pytest.importorskip("skimage.data").astronaut(), (200, 200), interpolation=cv2.INTER_AREA)
    frames = []
    for offset in OFFSETS:
        frame = np.full((240, 320, 3), 120, np.uint8)
        frame[40:, offset : offset + 200] = portrait
        frames.append(frame)
    return frames


@pytest.fixture(scope="session")
def walk_video(walk: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory, ffmpeg: object) -> Path:
    """The same as a file, 12.5 frames a second."""
    from parsing_rcnn_client.video.encoding import Encoding
    from parsing_rcnn_client.video.ffmpeg import FFmpegWriter
    from parsing_rcnn_client.video.media import VideoInfo

    path = tmp_path_factory.mktemp("walk") / "walk.mp4"
    writer = FFmpegWriter(str(path), VideoInfo(320, 240, 12.5), encoding=Encoding(crf=12, preset="ultrafast"))
    for index, frame in enumerate(walk):
        writer.write(frame, index * 0.08)
    writer.close()
    return path


@pytest.fixture(scope="session")
def interlaced(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., str]) -> Path:
    """25 pictures, 25 a second, 160x96: a white bar that moves to the right by two pixels from field to field."""
    path = tmp_path_factory.mktemp("interlaced") / "interlaced.mp4"
    moving = "nullsrc=s=160x96:r=50:d=1,format=gray,geq=lum='if(between(X-2*N,10,40),235,16)',format=yuv420p"
    woven = ("-vf", "tinterlace=interleave_top,fieldorder=tff", "-flags", "+ilme+ildct", "-x264-params", "tff=1")
    ffmpeg("-f", "lavfi", "-i", moving, *woven, "-crf", "1", path)
    return path


def combs(image: NDArray[np.uint8]) -> NDArray[np.intp]:
    """How much each column's lines differ from both their neighbours, at most."""
    lines = image[..., 1].astype(np.intp)
    return np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).max(axis=0)


@pytest.fixture(scope="session")
def displayed(tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., str]) -> Callable[..., Path]:
    """Makes an MP4 of 3 frames, 160x90 as stored, which is turned by degrees clockwise and mirrored before that."""
    folder = tmp_path_factory.mktemp("displayed")
    plain = folder / "plain.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x90:r=10:d=0.3", "-preset", "ultrafast", plain)
    data, unit = plain.read_bytes(), 1 << 16
    at = data.index(struct.pack(">9i", unit, 0, 0, 0, unit, 0, 0, 0, 1 << 30), data.index(b"tkhd"))

    def make(degrees: float, mirror: bool = False) -> Path:
        turn, side = math.radians(degrees), -1 if mirror else 1
        a, b, c, d = side * math.cos(turn), side * math.sin(turn), -math.sin(turn), math.cos(turn)
        rows = [round(v * unit) for v in (a, b, 0, c, d, 0, 0, 0)]
        path = folder / f"{degrees}{mirror}.mp4"
        path.write_bytes(data[:at] + struct.pack(">9i", *rows, 1 << 30) + data[at + 36 :])
        return path

    return make
