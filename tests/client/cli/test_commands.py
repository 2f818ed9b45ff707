"""`parsing-rcnn predict`, `info` and `models` on the shipped model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.codecs.rle import decode
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.pipeline import Pipeline
from tests.client.cli.hanging import Hanging

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parsing_rcnn", *arguments]
    return subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, timeout=280, check=False)


def refused(*arguments: str, given: str | None = None) -> str:
    """What a command that is called wrongly says on standard error."""
    done = CliRunner().invoke(build(), arguments, input=given)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    return done.stderr


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory, photo_jpeg: bytes) -> tuple[Path, dict[str, object], int]:
    """One good picture, one damaged, in a folder: (folder of results, the JSON, exit code)."""
    base = tmp_path_factory.mktemp("predict")
    (base / "in").mkdir()
    (base / "in" / "astronaut.jpg").write_bytes(photo_jpeg)
    (base / "in" / "damaged.jpg").write_bytes(photo_jpeg[:2000])
    (base / "in" / "phone.heic").write_bytes(b"")
    done = run("predict", str(base / "in"), "-o", str(base / "out"), "--json", "--threads", "1")
    assert "failed: " in done.stderr
    assert re.search(rf"^1 picture, \d+ p\w+, 1 failed: {re.escape(str(base / 'out'))}$", done.stderr, re.MULTILINE)
    assert "left out: 1 file of another type (.heic): convert it to JPEG, PNG or WebP\n" in done.stderr
    assert "Traceback" not in done.stderr
    return base / "out", json.loads(done.stdout), done.returncode


def test_one_bad_file_does_not_stop_the_rest(predicted: tuple[Path, dict[str, object], int]) -> None:
    out, report, code = predicted
    assert code == 1
    assert [Path(name).name for name in report["failed"]] == ["damaged.jpg"]
    assert report["left_out"] == 1
    assert sorted(path.name for path in out.iterdir()) == [
        "astronaut.json",
        "astronaut.npz",
        "astronaut_INDS.png",
        "astronaut_IUV.png",
        "astronaut_overlay.png",
        "astronaut_parts.png",
    ]


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path, photo_jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(photo_jpeg)
    (tmp_path / "file").write_text("not a folder")
    done = run("predict", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "file"))
    assert done.returncode == 2
    assert f"-o {tmp_path / 'file'}: no folder can be made there (File exists)" in done.stderr


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_that_is_a_link_to_itself_is_named(tmp_path: Path, photo_jpeg: bytes, below: str) -> None:
    (tmp_path / "a.jpg").write_bytes(photo_jpeg)
    (tmp_path / "loop").symlink_to("loop")
    out = tmp_path / "loop" / below
    said = refused("predict", str(tmp_path / "a.jpg"), "-o", str(out))
    assert f"{out}: cannot be read (Too many levels of symbolic links)" in said
    assert said.rstrip().endswith("name another folder with -o")


@pytest.mark.parametrize("option", ["--jsonl", "--csv", "--coco"])
def test_a_file_below_a_link_to_itself_is_named(tmp_path: Path, photo_jpeg: bytes, option: str) -> None:
    (tmp_path / "a.jpg").write_bytes(photo_jpeg)
    (tmp_path / "loop").symlink_to("loop")
    file = tmp_path / "loop" / "all"
    said = refused("predict", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "out"), option, str(file))
    assert f"{option} {file}: no folder can be made there" in said
    assert not list((tmp_path / "out").iterdir())


def test_files_agree_with_each_other(predicted: tuple[Path, dict[str, object], int]) -> None:
    out = predicted[0]
    arrays = np.load(out / "astronaut.npz")
    assert set(arrays) >= {"boxes", "scores", "parts", "iuv", "image_size"}
    assert arrays["image_size"].tolist() == [512, 512]
    assert arrays["image_size"].dtype == np.int32
    count = len(arrays["boxes"])
    assert count >= 1
    assert arrays["parts"].shape == (count, 128, 128)
    assert arrays["iuv"].shape == (count, 3, 128, 128)
    document = json.loads((out / "astronaut.json").read_text())
    card = json.loads((ROOT / "model_repository" / "model_card.json").read_text())
    assert document["model"] == {"name": card["name"], "version": str(card["version"])}
    assert len(document["predictions"]) == count
    first = document["predictions"][0]
    x1, y1, x2, y2 = arrays["boxes"][0]
    assert [first["x"], first["y"]] == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2], abs=0.01)
    labels = cv2.imread(str(out / "astronaut_parts.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (512, 512)
    assert labels.dtype == np.uint8
    if count == 1:
        np.testing.assert_array_equal(decode(first["rle"]).astype(bool), labels > 0)
    iuv = cv2.cvtColor(cv2.imread(str(out / "astronaut_IUV.png")), cv2.COLOR_BGR2RGB)
    inds = cv2.imread(str(out / "astronaut_INDS.png"), cv2.IMREAD_UNCHANGED)
    assert iuv.shape == (512, 512, 3)
    assert iuv[..., 0].max() <= 24
    assert inds.shape == (512, 512)
    overlay = cv2.imread(str(out / "astronaut_overlay.png"))
    assert overlay.shape == (512, 512, 3)


def test_bgr_writes_i_as_the_first_release_did(
    predicted: tuple[Path, dict[str, object], int], tmp_path: Path, photo_jpeg: bytes
) -> None:
    """OpenCV reads blue first: scripts of the first release take I from the channel 0 of its arrays."""
    picture = tmp_path / "astronaut.jpg"
    picture.write_bytes(photo_jpeg)
    done = run("predict", str(picture), "-o", str(tmp_path), "--bgr", "--threads", "1")
    assert done.returncode == 0, done.stderr
    plain = cv2.imread(str(predicted[0] / "astronaut_IUV.png"))
    iuv = cv2.imread(str(tmp_path / "astronaut_IUV.png"))
    assert 0 < iuv[..., 0].max() <= 24
    np.testing.assert_array_equal(iuv, plain[..., ::-1])
    inds = [cv2.imread(str(out / "astronaut_INDS.png"), cv2.IMREAD_UNCHANGED) for out in (predicted[0], tmp_path)]
    np.testing.assert_array_equal(*inds)


def test_tasks_and_wrong_options(tmp_path: Path, photo_jpeg: bytes) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(photo_jpeg)
    done = run("predict", str(picture), "-o", str(tmp_path / "out"), "--tasks", "parsing", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out" / "a_IUV.png").exists()
    for arguments, says in (
        (["--tasks", "pose"], "tasks: pose is unknown"),
        (["--confidence", "2"], "--confidence"),
        (["--max-people", "65"], "--max-people"),
    ):
        assert says in refused("predict", str(picture), "-o", str(tmp_path / "out"), *arguments)
    failed = run("predict", str(tmp_path / "missing"), "-o", str(tmp_path / "out"))
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")


def test_a_folder_of_other_types_is_told_of(tmp_path: Path) -> None:
    for name in ("a.heic", "b.GIF"):
        (tmp_path / name).write_bytes(b"")
    for arguments, given in (((str(tmp_path),), None), (("-",), f"{tmp_path}\n")):
        said = refused("predict", *arguments, "-o", str(tmp_path / "out"), given=given)
        assert "left out: 2 files of other types (.gif, .heic): convert them to JPEG, PNG or WebP" in said


def test_a_picture_of_another_type_on_standard_input_is_refused_as_such(tmp_path: Path, gateway_url: str) -> None:
    _, picture = cv2.imencode(".bmp", np.zeros((8, 8, 3), np.uint8))
    command = [sys.executable, "-m", "parsing_rcnn", "predict", "-", "-o", str(tmp_path), "--server", gateway_url]
    done = subprocess.run(command, cwd=ROOT, input=picture.tobytes(), capture_output=True, timeout=120, check=False)
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "failed: -: the bytes are BMP: JPEG, PNG and WebP are accepted" in said
    assert "Traceback" not in said


def test_info_and_models_as_json() -> None:
    about = json.loads(run("info", "--json").stdout)
    assert about["model"] == "light"
    assert about["tasks"]["parsing"] == "trained"
    listed = json.loads(run("models", "--json").stdout)
    assert set(listed["files"]) == {"detector", "parsing", "densepose_head"}


def test_names_on_standard_input_a_server_and_resuming(tmp_path: Path, photo_jpeg: bytes, gateway_url: str) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(photo_jpeg)
    out = tmp_path / "out"
    names = f"{tmp_path / 'a.jpg'}\n{tmp_path / 'b.jpg'}\n"
    arguments = ("predict", "-", "-o", str(out), "--server", gateway_url, "--json", "--resume")
    first = json.loads(run(*arguments, given=names).stdout)
    assert [Path(p["source"]).name for p in first["pictures"]] == ["a.jpg", "b.jpg"]
    assert json.loads((out / "a.json").read_text())["model"]["name"] == "light"
    (out / "b.json").unlink()  # as if the run had been cut inside b
    again = run(*arguments, given=names)
    second = json.loads(again.stdout)
    people = second["pictures"][0]["people"]
    assert f"1 picture, {people} {'person' if people == 1 else 'people'}, 0 failed, 1 skipped" in again.stderr
    assert [Path(p["source"]).name for p in second["pictures"]] == ["b.jpg"]
    assert second["skipped"] == 1
    lower = json.loads(run(*arguments, "--confidence", "0.3", given=names).stdout)  # another question
    assert (len(lower["pictures"]), lower["skipped"]) == (2, 0)


def test_a_server_that_is_gone_ends_the_run_and_says_how_to_go_on(tmp_path: Path, photo_jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(photo_jpeg)
    gone = ("--server", "http://127.0.0.1:9", "--timeout", "2")
    done = run("predict", str(tmp_path), "-o", str(tmp_path / "out"), *gone)
    assert done.returncode == 1
    assert "is the gateway running" in done.stderr
    assert "Traceback" not in done.stderr
    both = run("predict", str(tmp_path), "-o", str(tmp_path / "out"), *gone, "--embedded")
    assert both.returncode == 2
    assert "exclude each other" in both.stderr


def test_it_is_said_that_a_server_does_not_answer_while_it_is_asked_again(tmp_path: Path, photo_jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(photo_jpeg)
    gone = ("--server", "http://127.0.0.1:9", "--timeout", "8")
    for command in (("predict", str(tmp_path), "-o", str(tmp_path / "out")), ("info",)):
        done = run(*command, *gone)
        assert done.returncode == 1
        told, last = done.stderr.splitlines()
        assert told.startswith("http://127.0.0.1:9: no answer (")
        assert re.search(r"; trying for \d s$", told)
        assert last.startswith("error: ")


def test_info_of_a_server(gateway_url: str) -> None:
    about = json.loads(run("info", "--server", gateway_url, "--json").stdout)
    assert about["model"] == "light"
    assert gateway_url in about["runtime"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    path = tmp_path / "clip.mp4"
    source = ("-f", "lavfi", "-i", "testsrc=s=160x120:r=10:d=1")
    subprocess.run(["ffmpeg", "-v", "error", *source, str(path)], check=True, timeout=60)
    return path


def test_annotate_writes_a_video_and_records(clip: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    done = run("annotate", str(clip), "-o", str(out), "--jsonl", str(lines), "--every", "2", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 10
    assert len(lines.read_text().splitlines()) == 10
    assert out.stat().st_size > 1000


def test_annotate_leaves_nothing_where_its_output_fails(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "in" / "two.mkv"
    source.parent.mkdir()
    tracks = ("-f", "lavfi", "-i", "sine=440:d=1", "-map", "0", "-map", "1", "-map", "1", "-c:a", "aac")
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, *tracks, source], check=True, timeout=60)
    out = tmp_path / "out"
    files = ("-o", str(out / "o.flv"), "--jsonl", str(out / "o.jsonl"), "--coco", str(out / "o.json"))
    done = run("annotate", str(source), *files, "--threads", "1")
    assert done.returncode == 1
    assert "at most one audio stream is supported in flv" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


def test_annotate_says_what_is_wrong(clip: Path, tmp_path: Path, photo_jpeg: bytes) -> None:
    atlas = str(tmp_path / "atlas.jpg")
    Path(atlas).write_bytes(photo_jpeg)
    for arguments, says in (
        ((str(clip),), "nothing to write"),
        ((str(clip), "-o", str(clip)), "is the source itself"),
        ((str(clip), "-o", str(tmp_path / "o.mp4"), "--layers", "bones"), "choose from parts"),
        (("rtsp://camera/door", "-o", str(tmp_path / "o.mp4")), "has no end"),
        ((str(clip), "-o", str(tmp_path / "o.mp4"), "--layers", "texture", "--atlas", atlas), "6 rows of 4 squares"),
    ):
        assert says in refused("annotate", *arguments, "--threads", "1")
    done = run("annotate", str(tmp_path / "none.mp4"), "-o", str(tmp_path / "o.mp4"), "--threads", "1")
    assert done.returncode == 1, done.stderr
    assert "cannot be read as video" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "option", "path", "says"),
    [
        ("annotate", "-o", "{folder}", "is a folder"),
        ("annotate", "-o", "{file}/x.mp4", "no folder can be made there"),
        ("annotate", "-o", "{folder}/out", "name a .mp4, .mov or .mkv"),
        ("annotate", "-o", "{folder}/out.webm", "name a .mp4, .mov or .mkv"),
        ("annotate", "--jsonl", "{file}/x.jsonl", "no folder can be made there"),
        ("annotate", "--coco", "{folder}", "is a folder"),
        ("stream", "-o", "{folder}", "is a folder"),
        ("stream", "-o", "{file}/x.mp4", "no folder can be made there"),
        ("stream", "-o", "{folder}/out", "name a .mp4, .mov or .mkv"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_opened(
    clip: Path, tmp_path: Path, command: str, option: str, path: str, says: str
) -> None:
    folder, file = tmp_path / "there", tmp_path / "file"
    folder.mkdir()
    file.write_text("no folder")
    given = [str(clip), option, path.format(folder=folder, file=file)]
    # nobody opens this repository
    done = CliRunner().invoke(build(), [command, *given, "--repository", str(tmp_path / "none")])
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("port", ["", "x", "-1", "8090.5", "99999"])
@pytest.mark.parametrize("sources", [1, 2])
def test_a_port_that_is_none_is_named(clip: Path, port: str, sources: int) -> None:
    done = CliRunner().invoke(build(), ["stream", *[str(clip)] * sources, "-o", f"mjpeg:{port}"])
    assert done.exit_code == 2
    assert f"mjpeg:{port}: the port is no number from 1 to 65535" in done.stderr


def test_two_pages_are_refused(clip: Path) -> None:
    done = CliRunner().invoke(build(), ["stream", str(clip), str(clip), "-o", "mjpeg:8090", "-o", "mjpeg:8091"])
    assert done.exit_code == 2
    assert "one page shows all sources: --out mjpeg:8090" in done.stderr


def test_stream_never_writes_over_its_source(clip: Path) -> None:
    done = CliRunner().invoke(build(), ["stream", str(clip), "-o", str(clip)])
    assert done.exit_code == 2
    assert "is the source itself" in done.stderr


def test_stream_of_a_file_ends_with_it(clip: Path, tmp_path: Path) -> None:
    done = run("stream", str(clip), "-o", str(tmp_path / "live.mp4"), "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    (state,) = json.loads(done.stdout)
    assert state["frames"] == 10
    assert state["shown"] + state["dropped"] + state["failed"] >= 10
    assert f"{clip}: 10 frames, {state['shown']} shown, {state['dropped']} dropped\n" in done.stderr


def test_stream_says_that_an_output_failed(endless: Path) -> None:
    nowhere = "rtsp://127.0.0.1:9/nowhere"
    done = run("stream", str(endless), "-o", nowhere, "--no-reconnect", "--threads", "1", "--json")
    assert done.returncode == 1
    (state,) = json.loads(done.stdout)
    assert state["problem"].startswith(f"{nowhere}: ffmpeg cannot write it (")
    assert done.stderr.endswith(f"error: {state['problem']}\n")
    assert "connecting" not in done.stderr


def test_stream_does_not_tell_of_each_frame_that_a_busy_server_refuses(
    endless: Path, tmp_path: Path, pipeline: Pipeline, serve_app: Any
) -> None:
    import httpx2

    from server.app import create_app
    from server.settings import Settings

    busy = threading.Event()

    class Busy:
        """The real pipeline, which refuses half of the pictures, each time with another number."""

        asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(pipeline, name)

        def analyze(self, *arguments: Any, **options: Any) -> Any:
            self.asked += 1
            if busy.is_set() and self.asked % 2:
                raise EngineUnavailable(f"{self.asked} wait already")
            return pipeline.analyze(*arguments, **options)

    with serve_app(create_app(Settings(), Busy)) as url:
        while httpx2.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.05)
        busy.set()
        done = run("stream", str(endless), "-o", str(tmp_path / "o.mp4"), "--server", url, "--seconds", "8")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.endswith("wait already") or line.endswith(": live")]
    assert any(line.endswith("wait already") for line in told), done.stderr
    assert len(told) <= 4  # after 0, 2, 6 and 14 seconds


def test_stream_goes_on_while_its_server_is_away(clip: Path, tmp_path: Path) -> None:
    out, longer = tmp_path / "live.mp4", tmp_path / "longer.mp4"  # of which a busy machine may miss seconds
    subprocess.run(["ffmpeg", "-v", "error", "-stream_loop", "6", "-i", clip, "-c", "copy", longer], check=True)
    away = ("--server", "http://127.0.0.1:9", "--timeout", "60")
    done = run("stream", str(longer), "-o", str(out), *away, "--json")
    assert done.returncode == 0, done.stderr
    (state,) = json.loads(done.stdout)
    assert state["failed"] >= 3  # not one picture that is asked about again and again
    assert state["shown"] >= 3
    assert f"{longer}: http://127.0.0.1:9: no answer" in done.stderr
    assert f", {state['failed']} without an answer\n" in done.stderr


def began(command: list[str], sign: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a command as a terminal does, in a process group of its own, and wait until it writes."""
    around, pipes = {**os.environ, **environment}, {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=around, **pipes, text=True, start_new_session=True)
    end = time.monotonic() + 120
    while not sign.exists() or not sign.stat().st_size:
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(process.communicate()[1])
        time.sleep(0.05)
    return process


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of noise, which soon fills every buffer of whoever writes it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    folder = tmp_path_factory.mktemp("endless")
    noise, path = folder / "noise.mp4", folder / "endless.mp4"
    source = ("-f", "lavfi", "-i", "testsrc=s=480x360:r=10:d=1", "-vf", "noise=alls=90:allf=t")
    subprocess.run(["ffmpeg", "-v", "error", *source, "-preset", "ultrafast", noise], check=True, timeout=60)
    subprocess.run(["ffmpeg", "-v", "error", "-stream_loop", "60", "-i", noise, "-c", "copy", path], check=True)
    return path


def frames_of(video: Path) -> int:
    entries = ["-select_streams", "v", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
    probe = ["ffprobe", "-v", "error", *entries, str(video)]
    said = subprocess.run(probe, check=True, capture_output=True, text=True, timeout=60).stdout
    return int(said.strip(",\n"))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("command", "code"), [("annotate", 130), ("stream", 0)])
def test_a_signal_finishes_the_output(
    endless: Path, tmp_path: Path, command: str, code: int, sent: signal.Signals
) -> None:
    """Ctrl-C, what ends processes in an orderly way, a terminal that is closed."""
    out = tmp_path / "out.mp4"
    arguments = [command, str(endless), "-o", str(out), "--threads", "1"]
    lines, coco, arrays = tmp_path / "out.jsonl", tmp_path / "out.json", tmp_path / "arrays"
    records = ["--jsonl", str(lines), "--coco", str(coco), "--npz", str(arrays)]
    arguments += records if command == "annotate" else []
    process = began([sys.executable, "-m", "parsing_rcnn", *arguments], tmp_path / ".out.part.mp4")
    os.killpg(process.pid, sent)  # a terminal sends it to the whole group
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "Traceback" not in said
    frames = frames_of(out)
    assert frames > 0
    if command == "annotate":
        assert len(lines.read_text().splitlines()) == len(json.loads(coco.read_text())["images"]) == frames
        assert len(list(arrays.iterdir())) == told_frames(said, f"{out} and {lines} and {coco} and {arrays} hold them")
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_a_signal_while_a_whole_video_is_finished_takes_nothing_away(clip: Path, tmp_path: Path) -> None:
    out, programs, sign = tmp_path / "out.mp4", tmp_path / "bin", tmp_path / "finishing"
    programs.mkdir()
    script = """#!/bin/sh
case "$*" in *.part.*) ;; *) exec {0} "$@" ;; esac
{0} "$@" || exit
echo > {1}
sleep 2
"""
    slow = programs / "ffmpeg"
    slow.write_text(script.format(shutil.which("ffmpeg"), sign))
    slow.chmod(0o755)
    command = [sys.executable, "-m", "parsing_rcnn", "annotate", str(clip), "-o", str(out), "--threads", "1"]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    process = began(command, sign, PATH=path)
    for sent in (signal.SIGTERM, signal.SIGINT):
        process.send_signal(sent)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert frames_of(out) == 10


def test_a_source_whose_ffmpeg_is_killed_is_told_and_what_is_done_is_left(clip: Path, tmp_path: Path) -> None:
    """As by a system without memory. The sound, which another ffmpeg reads, ends with the pictures."""
    source, out, programs = tmp_path / "source.mkv", tmp_path / "out" / "out.mp4", tmp_path / "bin"
    sound = ("-f", "lavfi", "-i", "sine=440:d=9", "-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "copy")
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, *sound, source], check=True, timeout=60)
    programs.mkdir()
    script = """#!/bin/sh
case "$*" in *"rawvideo -") ;; *) exec {0} "$@" ;; esac
{0} "$@" | head -c {1}
kill -KILL $$
"""
    dying = programs / "ffmpeg"
    dying.write_text(script.format(shutil.which("ffmpeg"), 5 * 160 * 120 * 3))
    dying.chmod(0o755)
    command = [sys.executable, "-m", "parsing_rcnn", "annotate", str(source), "-o", str(out), "--threads", "1"]
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{source}: ffmpeg was ended by signal 9 after 5 frames" in done.stderr
    assert "Traceback" not in done.stderr
    assert told_frames(done.stderr, f"{out} holds them") == frames_of(out) == 5
    entries = ["-select_streams", "a", "-show_entries", "stream=duration", "-of", "csv=p=0"]
    said = subprocess.run(["ffprobe", "-v", "error", *entries, out], check=True, capture_output=True, text=True).stdout
    assert 0.4 < float(said.strip(", \n")) < 0.7
    assert [path.name for path in out.parent.iterdir()] == ["out.mp4"]


def told_frames(said: str, where: str) -> int:
    """How many frames an interrupted command says are done."""
    (frames,) = re.findall(rf"^stopped after (\d+) frames?; {re.escape(where)}$", said, re.MULTILINE)
    return int(frames)


def test_a_second_signal_changes_nothing(endless: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "parsing_rcnn", "annotate", str(endless), "-o", str(out), "--threads", "1"]
    process = began([*command, "--jsonl", str(lines)], tmp_path / ".out.part.mp4")
    for sent in [signal.SIGTERM, *[signal.SIGINT] * 20]:
        os.killpg(process.pid, sent)
        time.sleep(0.01)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert told_frames(said, f"{out} and {lines} hold them") == frames_of(out)


def test_an_interrupted_command_does_not_wait_for_an_engine_that_hangs(
    endless: Path, tmp_path: Path, pipeline: Pipeline, serve_app: Any
) -> None:
    from server.app import create_app
    from server.settings import Settings

    out, engine = tmp_path / "out.mp4", Hanging(pipeline)
    with serve_app(create_app(Settings(), lambda: engine)) as url:
        options = ["-o", str(out), "--jsonl", "-", "--server", url, "--timeout", "600"]
        command = [sys.executable, "-m", "parsing_rcnn", "annotate", str(endless), *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            for _ in range(3):
                assert process.stdout.readline()
            engine.hangs.set()
            assert engine.asked.wait(120)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=120)
        finally:
            engine.answers.set()
            process.kill()
    assert process.returncode == 130, said
    assert told_frames(said, f"{out} and standard output hold them") == frames_of(out)


class HangingSoon(Hanging):
    """`Hanging` from the second picture on."""

    def __init__(self, pipeline: Pipeline, picture: bytes) -> None:
        super().__init__(pipeline)
        self._picture = picture

    def analyze(self, image: Any, *arguments: Any, **options: Any) -> Any:
        people = super().analyze(image, *arguments, **options)
        if isinstance(image, bytes) and image == self._picture:
            self.hangs.set()
        return people


def test_an_interrupted_predict_tells_what_is_done_and_waits_for_nobody(
    tmp_path: Path, photo_jpeg: bytes, pipeline: Pipeline, serve_app: Any
) -> None:
    from server.app import create_app
    from server.settings import Settings

    for name in "abcdef":
        (tmp_path / f"{name}.jpg").write_bytes(photo_jpeg)
    out, engine, coco = tmp_path / "out", HangingSoon(pipeline, photo_jpeg), tmp_path / "all.json"
    coco.write_text("of an earlier run")
    with serve_app(create_app(Settings(), lambda: engine)) as url:
        options = ["-o", str(out), "--server", url, "--timeout", "600", "--in-flight", "1", "--json"]
        options += ["--coco", str(coco)]
        command = [sys.executable, "-m", "parsing_rcnn", "predict", str(tmp_path), *options]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            assert engine.asked.wait(120)
            while not (out / "a.json").is_file():
                assert process.poll() is None
                time.sleep(0.01)
            assert {path.name for path in (*tmp_path.glob("*.part"), *out.glob(".*"))} == {
                "all.json.part",
                ".predict.part",
            }
            for _ in range(3):
                os.killpg(process.pid, signal.SIGINT)
            told, said = process.communicate(timeout=120)
        finally:
            engine.answers.set()
            process.kill()
    assert process.returncode == 130, said
    report = json.loads(told)
    count = len(report["pictures"])
    assert 1 <= count == len(list(out.glob("*.json"))) < 6
    assert f"stopped after {count} picture" in said
    assert coco.read_text() == "of an earlier run"
    assert [*tmp_path.glob("*.part"), *out.glob(".*")] == []
    assert said.endswith("the same command with --resume goes on from there\n")
    assert "Traceback" not in said


@pytest.mark.parametrize("lost", [False, True], ids=["alone", "beside a lost source"])
def test_an_interrupted_stream_does_not_wait_for_an_engine_that_hangs(
    endless: Path, tmp_path: Path, pipeline: Pipeline, serve_app: Any, lost: bool
) -> None:
    from server.app import create_app
    from server.settings import Settings

    out, engine = tmp_path / "out.mp4", Hanging(pipeline)
    with serve_app(create_app(Settings(), lambda: engine)) as url:
        sources = [str(endless), "-o", str(out), *(["rtsp://127.0.0.1:9/none", "-o", str(tmp_path / "no.mp4")] * lost)]
        command = [sys.executable, "-m", "parsing_rcnn", "stream", *sources, "--server", url, "--timeout", "600"]
        process = began([*command, "--json"], tmp_path / ".out.part.mp4")
        try:
            engine.hangs.set()
            assert engine.asked.wait(120)
            process.send_signal(signal.SIGTERM)
            states, said = process.communicate(timeout=120)
        finally:
            engine.answers.set()
            process.kill()
    assert process.returncode == lost, said
    assert "Traceback" not in said
    assert said.count("error: rtsp://127.0.0.1:9/none: cannot be read") == lost
    shown = frames_of(out)
    assert json.loads(states)[0]["shown"] == shown > 0
    assert re.search(rf"^{re.escape(str(endless))}: \d+ frames, {shown} shown, ", said, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_nohup_lets_the_terminal_go(endless: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = [
        "nohup",
        sys.executable,
        "-m",
        "parsing_rcnn",
        "annotate",
        str(endless),
        "-o",
        str(out),
        "--threads",
        "1",
    ]
    process = began(command, tmp_path / ".out.part.mp4")
    os.killpg(process.pid, signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert frames_of(out) > 0


def test_a_server_that_goes_for_good_leaves_what_is_done(
    endless: Path, tmp_path: Path, pipeline: Pipeline, serve_app: Any, kept_port: int
) -> None:
    import httpx2

    from server.app import create_app
    from server.settings import Settings

    out, lines = tmp_path / "out" / "out.mp4", tmp_path / "out" / "out.jsonl"
    with serve_app(create_app(Settings(), lambda: pipeline), kept_port) as url:
        while httpx2.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.05)
        options = ["-o", str(out), "--jsonl", str(lines), "--server", url, "--timeout", "3"]
        command = [sys.executable, "-m", "parsing_rcnn", "annotate", str(endless), *options]
        process = began(command, out.with_name(".out.part.mp4"))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "is the gateway running" in said
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.jsonl", "out.mp4"]
    assert frames_of(out) >= 1
    # and where nothing is done nothing is left
    options = ["-o", str(tmp_path / "none" / "o.mp4"), "--server", url, "--timeout", "2"]
    done = run("annotate", str(endless), *options)
    assert (done.returncode, "is the gateway running" in done.stderr) == (1, True)
    assert list((tmp_path / "none").iterdir()) == []


def test_ffmpeg_ends_when_the_command_is_killed(endless: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "parsing_rcnn", "annotate", str(endless), "-o", str(out), "--threads", "1"]
    process = began(command, tmp_path / ".out.part.mp4")

    def left() -> list[str]:
        """The command, the reader and the writer, by the files on their command lines."""
        commands = {path.parent.name: _read(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        return [
            number for number, line in commands.items() if any(str(f).encode() in line for f in (endless, tmp_path))
        ]

    assert len(left()) >= 3
    process.kill()
    process.communicate(timeout=120)
    end = time.monotonic() + 90
    while left():
        assert time.monotonic() < end
        time.sleep(0.05)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def test_stream_tells_of_a_source_that_never_came_and_prints_its_json(clip: Path) -> None:
    gone = ("http://127.0.0.1:9/none.mjpg", "-o", "mjpeg:0", "--seconds", "600", "--threads", "1", "--json")
    command = [sys.executable, "-m", "parsing_rcnn", "stream", *gone]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            said = ""
            while "cannot be read as video" not in said:  # seconds, where the machine is busy
                said = process.stderr.readline()
                assert said, "it ended before it told"
            process.send_signal(signal.SIGINT)
            states, last = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "cannot be read as video" in last.splitlines()[-1]
    assert "Traceback" not in last
    (state,) = json.loads(states)
    assert (state["frames"], state["connected"]) == (0, False)


def test_stream_tells_of_a_source_that_does_not_work_while_it_tries(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    source = "http://127.0.0.1:9/none.mjpg"
    command = [sys.executable, "-m", "parsing_rcnn", "stream", source, "-o", "mjpeg:0", "--threads", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = [process.stderr.readline(), process.stderr.readline()]
    process.send_signal(signal.SIGINT)
    _, last = process.communicate(timeout=120)
    assert said[0].startswith("watch at http://")
    assert said[1].startswith(f"{source}: cannot be read as video (")
    assert last.splitlines()[:2] == ["stopping", f"{source}: 0 frames, 0 shown, 0 dropped"]


def test_the_command_line_starts_without_what_it_may_not_need() -> None:
    script = "import sys, typer, parsing_rcnn_client.commands as c; c.register(typer.Typer()); print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert not {"cv2", "numpy", "httpx2", "tenacity", "openvino", "onnxruntime"} & set(done.stdout.split())
