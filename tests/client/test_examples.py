"""The examples, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
