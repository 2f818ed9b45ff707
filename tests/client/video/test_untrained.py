"""`annotate` with a model of which only one head is trained, and how many people it hides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from parsing_rcnn.analyzer import Options
from parsing_rcnn.cli import build
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.video.annotate import Settings, annotate
from parsing_rcnn_client.video.ffmpeg import FFmpegReader
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.media import Frame, VideoInfo
from tests.client.video.test_annotate import Pictures, Seen


def command(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [*map(str, arguments), "--threads", "1"])


def test_only_the_trained_head_is_asked_and_that_is_said(
    walk_video: Path, charts_repository: Path, tmp_path: Path
) -> None:
    asked: list[frozenset[str]] = []
    whole = Pipeline.analyze

    def seen(self: Pipeline, image: Any, options: Options | None = None, **keywords: Any) -> People:
        assert options is not None
        asked.append(options.tasks)
        return whole(self, image, options, **keywords)

    out, lines, coco = tmp_path / "a.mp4", tmp_path / "a.jsonl", tmp_path / "a.json"
    files = ("-o", out, "--jsonl", lines, "--coco", coco, "--npz", tmp_path / "arrays")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pipeline, "analyze", seen)
        look = ("--layers", "anonymise,parts,boxes", "--hide", "faces")
        done = command("annotate", walk_video, *files, *look, "--repository", charts_repository)
    assert done.exit_code == 0, done.stderr
    assert set(asked) == {frozenset({"densepose"})}
    assert "note: the head of parsing is not trained in this model, so it is left out" in done.stderr
    assert json.loads(coco.read_text())["annotations"][0]["area"] > 0
    assert People.load(tmp_path / "arrays" / "000003.npz").parts is None


def test_faces_are_hidden_where_the_charts_have_a_head(
    walk_video: Path, pipeline: Pipeline, charts_pipeline: Pipeline
) -> None:
    """Also who asks for both heads from Python is not misled by the one that is not trained."""
    look, out, expected = Look(layers=("anonymise",), hide="faces"), Pictures(), Pictures()
    annotate(charts_pipeline, FFmpegReader(str(walk_video)), out, Settings(look, every=3))  # type: ignore[arg-type]

    class Charts:
        info = charts_pipeline.info

        def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
            return pipeline.analyze(image, replace(options, tasks=frozenset({"densepose"}), part_probs=False))

    annotate(Charts(), FFmpegReader(str(walk_video)), expected, Settings(look, every=3))  # type: ignore[arg-type]
    for ours, theirs in zip(out.written, expected.written, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_layers_of_charts_that_are_not_trained_are_refused(walk_video: Path, parts_repository: Path) -> None:
    for name in ("annotate", "stream"):
        out = ("-o", "none") if name == "stream" else ("--jsonl", "-")
        done = command(name, walk_video, *out, "--layers", "iuv", "--repository", parts_repository)
        assert done.exit_code == 2
        assert "the layer iuv needs the task densepose, whose head is not" in " ".join(done.stderr.split())


def test_who_asks_for_few_people_has_the_others_hidden_and_not_followed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)

    class Crowd:
        """Two people side by side, the second less sure."""

        def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
            boxes = np.array([[0, 0, 70, 120], [90, 0, 160, 120]], np.float32)
            found = People(boxes, np.array([0.9, 0.8], np.float32), (120, 160))
            return found.select(np.arange(min(2, options.max_people)))

    class Frames:
        info = VideoInfo(160, 120, 30)

        def __iter__(self) -> Any:
            return (Frame(index, index / 30, noise.copy()) for index in range(3))

        def close(self) -> None:
            pass

    for layers, hidden in ((("anonymise",), True), (("boxes",), False)):
        out, seen = Pictures(), Seen()
        settings = Settings(Look(layers=layers, hide="people"), max_people=1)
        annotate(Crowd(), Frames(), out, settings, records=[seen])  # type: ignore[arg-type]
        assert [frame.numbers.tolist() for frame in seen.frames] == [[1]] * 3
        changed = np.stack([(image != noise).any(axis=2) for image in out.written])[:, 10:-10]
        assert (changed[:, :, 100:150].mean() > 0.9) == hidden
        assert (changed[:, :, 10:60].mean() > 0.9) == hidden
