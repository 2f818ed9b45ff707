"""The examples, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def photo(tmp_path: Path, photo_jpeg: bytes) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_jpeg)
    return path


@pytest.fixture
def clip(tmp_path: Path, photo: Path) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    path = tmp_path / "clip.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-loop", "1", "-i", photo, "-t", "0.4", "-r", "10", path], check=True)
    return path


def test_picture(photo: Path, tmp_path: Path) -> None:
    assert " at [" in run("picture.py", photo, tmp_path / "overlay.png")
    assert (tmp_path / "overlay.png").stat().st_size > 100_000


def test_folder(photo: Path, gateway_url: str) -> None:
    (photo.parent / "bad.jpg").write_bytes(b"no picture")
    said = run("folder.py", photo.parent, gateway_url).splitlines()
    assert said[0].startswith("bad.jpg failed: ")
    assert said[1].startswith("photo.jpg")


def test_video(clip: Path, tmp_path: Path) -> None:
    assert run("video.py", clip, tmp_path / "hidden.mp4").startswith("4 frames, ")
    assert (tmp_path / "hidden.mp4").is_file()


def test_live(clip: Path) -> None:
    assert "frames shown" in run("live.py", clip, 0)


def test_texture(photo: Path, tmp_path: Path) -> None:
    said = run("texture.py", photo, photo, tmp_path / "dressed.png")
    assert "% of the atlas is filled by" in said
    assert "; 1 people in" in said
    assert (tmp_path / "dressed.png").is_file()
    assert (tmp_path / "dressed_atlas.png").is_file()


def test_export(photo: Path, tmp_path: Path) -> None:
    assert "DensePose chart" in run("export.py", photo, tmp_path / "people.json")
    first = json.loads((tmp_path / "people.json").read_text())[0]
    assert first["image_id"] == 1
    assert {"bbox", "score", "segmentation"} <= set(first)
