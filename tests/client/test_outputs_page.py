"""docs/outputs.md: what it shows runs, and its table of parts is the taxonomy.

Its snippet for supervision is run in tests/parsing_rcnn/codecs/test_json.py, where that is installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from parsing_rcnn import draw
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(snippets: list[str], names: dict[str, Any]) -> dict[str, Any]:
    for text in snippets:
        exec(compile(text, "docs/outputs.md", "exec"), names)
    return names


@pytest.fixture
def photo(photo_jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(photo_jpeg)
    frame = cv2.imdecode(np.frombuffer(photo_jpeg, np.uint8), cv2.IMREAD_COLOR)
    walk = cv2.VideoWriter("walk.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 25, (512, 512))
    for shift in (0, 4, 8):
        walk.write(np.roll(frame, shift, axis=1))
    walk.release()


@pytest.mark.usefixtures("photo")
def test_every_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    first = next(k for k, text in enumerate(SNIPPETS) if "tritonclient" in text)
    names = run([text for text in SNIPPETS[:first] if "import supervision" not in text], {})
    assert "pixels of hair" in capsys.readouterr().out
    people = names["people"]
    assert isinstance(people, People)
    assert Path("people.npz").is_file()
    assert {c["category_id"] for c in names["parts"]} <= {c["id"] for c in names["categories"]}
    assert names["atlas"].shape == (768, 512, 4)
    difference = np.abs(names["dressed"].astype(int) - names["photo"])[people.masks()[0]]
    assert difference.mean() < 20  # in their own clothes
    assert names["legend"].shape[2] == 3


@pytest.mark.usefixtures("photo")
def test_the_loop_over_opencv_s_frames_follows_and_draws_in_the_right_colours(pipeline: Pipeline) -> None:
    (loop,) = [text for text in SNIPPETS if "VideoCapture" in text]
    names = run([loop], {})
    walkers = names["walkers"]
    assert walkers.tracker_id.tolist() == [1]  # the third frame's, as the first one's
    capture = cv2.VideoCapture("walk.mp4")
    last = [capture.read()[1] for _ in range(3)][-1]
    upright = np.ascontiguousarray(last[..., ::-1])
    expected = pipeline.analyze(upright, confidence=0.5)
    np.testing.assert_allclose(walkers.boxes, expected.boxes, atol=0.01)
    drawn = np.asarray(Image.open("frame.png").convert("RGB"))
    np.testing.assert_array_equal(drawn, draw.overlay(upright, walkers, labels=[1]))


@pytest.mark.usefixtures("photo")
def test_tritons_client_against_the_gateway(gateway_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tritonclient.http")
    first = next(k for k, text in enumerate(SNIPPETS) if "tritonclient" in text)
    texts = [text.replace("127.0.0.1:8000", gateway_url.removeprefix("http://")) for text in SNIPPETS[first:]]
    names = run(texts, {})
    assert "people in a picture of [512 512]" in capsys.readouterr().out
    assert names["labels"].shape == (512, 512)


def test_the_table_of_parts_is_the_taxonomy() -> None:
    rows = re.findall(r"(\d+) \| ([\w-]+) \| `#(\w{6})`", PAGE)
    assert sorted((int(k), name, colour) for k, name, colour in rows) == [
        (k, CIHP.classes[k], bytes(CIHP.palette[k]).hex()) for k in range(len(CIHP))
    ]


def test_the_files_of_predict_are_those_of_the_table(photo_jpeg: bytes, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from parsing_rcnn.cli import build

    (tmp_path / "photo.jpg").write_bytes(photo_jpeg)
    everything = ["--layers", "parts,boxes,anonymise", "--cutout", "--crops"]
    done = CliRunner().invoke(
        build(), ["predict", str(tmp_path / "photo.jpg"), "-o", str(tmp_path / "out"), *everything]
    )
    assert done.exit_code == 0, done.output
    written = {path.name for path in (tmp_path / "out").rglob("photo*")}
    assert written == set(re.findall(r"`(photo[\w]*\.(?:npz|json|png|jpg))`", PAGE)) - {"photo.jpg"}
    people = People.load(next((tmp_path / "out").rglob("photo.npz")))
    labels = np.asarray(Image.open(next((tmp_path / "out").rglob("photo_parts.png"))))
    np.testing.assert_array_equal(labels, people.label_map())
