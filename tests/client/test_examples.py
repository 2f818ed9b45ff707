"""The examples, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from parsing_rcnn.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment())
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


def test_live_opens_a_camera_of_http_again(photo: Path, kept_port: int) -> None:
    """A motion JPEG camera, which is lost and comes back."""
    import cv2
    import numpy as np

    from parsing_rcnn_client.video.sinks import MjpegPage

    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    image = np.asarray(cv2.resize(cv2.imread(str(photo)), (160, 160)), np.uint8)

    def show(page: MjpegPage) -> None:
        place = page.sink("camera")
        while not page.closed:
            place.show(image, 0.0)
            time.sleep(0.04)
        place.close()

    def plug(port: int) -> MjpegPage:
        page = MjpegPage(port)
        threading.Thread(target=show, args=(page,), daemon=True).start()
        return page

    camera = plug(kept_port)
    command = [sys.executable, str(ROOT / "examples" / "live.py"), f"{camera.url}/0.mjpg", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    hangs = threading.Timer(200, process.kill)
    hangs.start()
    assert process.stdout is not None
    try:
        watched = process.stdout.readline().split()[-1]
        with urlopen(f"{watched}/0.mjpg", timeout=100) as pictures:
            assert pictures.read(1000)
        camera.close()
        lost = process.stdout.readline()
        camera = plug(kept_port)
        while (said := process.stdout.readline()) not in ("live\n", ""):
            pass
    finally:
        process.send_signal(signal.SIGINT)
        last, _ = process.communicate(timeout=120)
        hangs.cancel()
        camera.close()
    assert lost == "the source ended\n"
    assert said == "live\n"
    assert "frames shown" in last


def test_live_tells_of_a_source_that_does_not_work() -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    command = [sys.executable, str(ROOT / "examples" / "live.py"), "rtsp://127.0.0.1:9/none", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    said = [process.stdout.readline(), process.stdout.readline()]
    process.send_signal(signal.SIGINT)
    _, last = process.communicate(timeout=120)
    assert said[0].startswith("watch at http://")
    assert "cannot be read as video" in said[1]
    assert last.startswith("error: rtsp://127.0.0.1:9/none: cannot be read as video")


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_without_arguments_it_says_how_it_is_called(example: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / example)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment())
    assert done.returncode == 1
    assert f"python examples/{example} " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("example", "says"),
    [
        ("picture.py", "of no known image type"),
        ("export.py", "of no known image type"),
        ("texture.py", "of no known image type"),
        ("video.py", "cannot be read as video"),
    ],
)
def test_bad_input_ends_in_the_message_of_the_library(example: str, says: str, tmp_path: Path) -> None:
    if example == "video.py" and shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    bad, gone = tmp_path / "bad", tmp_path / "gone"
    bad.write_text("neither a picture nor a video")
    for source in (bad, gone):
        sources = [str(source)] * (2 if example == "texture.py" else 1)
        command = [sys.executable, str(ROOT / "examples" / example), *sources, str(tmp_path / "out.mp4")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment())
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        if source == bad:
            assert says in done.stderr
    assert not (tmp_path / "out.mp4").exists()


def refused(example: str, *arguments: object) -> str:
    """What an example says that cannot begin."""
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment())
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_live_says_that_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for port in (other.getsockname()[1], "99999", "none"):
            assert refused("live.py", tmp_path / "walk.mp4", port) == (
                f"error: no page can be shown at port {port}: choose another, python examples/live.py SOURCE PORT\n"
            )


def test_a_folder_without_photos_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        said = refused("folder.py", folder, "http://127.0.0.1:9")
        assert said == f"error: {folder}: no *.jpg there: name a folder of photos\n"


def test_a_folder_whose_gateway_has_no_address_is_said(photo: Path) -> None:
    said = refused("folder.py", photo.parent, "nowhere")
    assert said.startswith("error: nowhere: not an address")
    assert said.count("\n") == 1


def test_they_use_only_what_the_packages_promise(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    files = [str(path) for path in sorted((ROOT / "examples").glob("*.py"))]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", *files]
    given = {**environment(), "MYPYPATH": environment()["PYTHONPATH"]}
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_texture(photo: Path, tmp_path: Path) -> None:
    said = run("texture.py", photo, photo, tmp_path / "dressed.png")
    assert "% of the atlas is filled by" in said
    assert f"; {len(Pipeline().analyze(photo.read_bytes()))} people in" in said
    assert (tmp_path / "dressed.png").is_file()
    assert (tmp_path / "dressed_atlas.png").is_file()


def test_export(photo: Path, tmp_path: Path) -> None:
    assert "DensePose chart" in run("export.py", photo, tmp_path / "people.json")
    first = json.loads((tmp_path / "people.json").read_text())[0]
    assert first["image_id"] == 1
    assert {"bbox", "score", "segmentation"} <= set(first)
