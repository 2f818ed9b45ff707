"""Photo in, people out: the shipped model on a real photo."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from export.rendered.pictures import render_scene
from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import InvalidImage, InvalidOptions
from parsing_rcnn.geometry import turn_upright
from parsing_rcnn.inference.views import Source
from parsing_rcnn.pipeline import GraphPipeline, Pipeline, Stopwatch
from parsing_rcnn.taxonomy import CIHP

# the astronaut of the photo: head and body as one can see, to about ten pixels
ASTRONAUT = np.array([5, 0, 445, 512], np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = float(np.prod(np.clip(high - low, 0, None)))
    return both / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def test_a_real_photo(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    people = pipeline.analyze(photo_jpeg)
    assert people.image_size == (512, 512)
    assert people.scores[0] > 0.8
    assert iou(people.boxes[0], ASTRONAUT) > 0.6
    labels = people.label_map()
    assert CIHP.classes[labels[130, 225]] == "Face"
    # in a close-up the light model takes short hair for a hat now and then, and says so in its limits
    assert CIHP.classes[labels[45, 225]] in ("Hair", "Hat")
    assert {"decode", "preprocess", "detector", "parsing", "densepose", "postprocess", "total"} <= set(people.timings)


def test_scores_are_of_what_the_maps_show(pipeline: Pipeline) -> None:
    """People at the edge of a street and small ones; the network scores parts on maps before the edge cuts them."""
    people = pipeline.analyze(render_scene(8, 480, 640, 3)[:330], Options(confidence=0.05))
    assert len(people) > 2
    for labels, scores in ((people.parts, people.part_scores), (people.iuv[:, 0], people.iuv_scores)):
        for cells, own in zip(labels, scores, strict=True):
            assert set(np.flatnonzero(own)) <= set(np.unique(cells))


def test_bytes_and_array_agree(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    one = pipeline.analyze(photo_jpeg)
    other = pipeline.analyze(simplejpeg.decode_jpeg(photo_jpeg, "RGB"))
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.parts, other.parts)


def test_the_answer_lies_where_the_person_is_at_any_size(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    """Twice as large and in the right half of a wide picture: the box moves along."""
    image = simplejpeg.decode_jpeg(photo_jpeg, "RGB")
    before = pipeline.analyze(image).boxes[0]
    wide = np.full((1024, 1820, 3), 200, np.uint8)
    wide[:, 796:] = cv2.resize(image, (1024, 1024))
    found = pipeline.analyze(simplejpeg.encode_jpeg(wide, 95))
    assert found.image_size == (1024, 1820)
    best = max(iou(box, before * 2 + np.array([796, 0, 796, 0], np.float32)) for box in found.boxes)
    assert best > 0.7


def blob(height: int, width: int) -> np.ndarray:
    """Something bright near the far corner of a dark picture."""
    y, x = (np.arange(n) + 0.5 - n + max(n / 20, 12) for n in (height, width))
    rows, columns = (np.exp(-((v / max(len(v) / 160, 6)) ** 2) / 2) for v in (y, x))
    return np.repeat(np.rint(255 * np.outer(rows, columns)).astype(np.uint8)[:, :, None], 3, axis=2)


def centre(image: np.ndarray) -> np.ndarray:
    """(x, y) of the centre of what is bright, in pixels."""
    bright = image[:, :, 0].astype(float)
    sums = bright.sum(0), bright.sum(1)
    return np.array([own @ (np.arange(len(own)) + 0.5) / own.sum() for own in sums])


@pytest.mark.parametrize(
    ("size", "orientation"),
    [
        ((1080, 1921), 1),
        ((105, 5121), 1),
        ((5121, 105), 1),
        ((1081, 1919), 3),  # what libjpeg adds at the far edges is upright at the near ones
        ((5121, 105), 6),
        ((1279, 1706), 1),  # decoded at the size of the canvas, which the picture does not fill
        ((961, 5113), 8),
        ((400, 12001), 1),  # beyond an eighth: halved once more
    ],
)
def test_a_jpeg_lies_where_the_same_picture_does(pipeline: Pipeline, size: tuple[int, int], orientation: int) -> None:
    """libjpeg decodes at eighths of the size, rounded up: a column that is a pixel on the canvas, or a tenth of one."""
    stored = blob(*size)
    exif = Image.Exif()
    exif[0x0112] = orientation
    wanted = centre(turn_upright(stored, orientation))
    for format, how in (("JPEG", {"quality": 98}), ("PNG", {"compress_level": 1})):
        encoded = io.BytesIO()
        Image.fromarray(stored).save(encoded, format, exif=exif, **how)
        canvas, window = pipeline.preprocess(Source(encoded.getvalue(), pipeline.limits), Options(), Stopwatch())
        scales = np.array([window.scale_x, window.scale_y])
        columns, rows = np.rint(scales * [window.width, window.height]).astype(int)
        off = centre(canvas[:rows, :columns]) - wanted * scales  # pixels of the canvas
        assert np.abs(off).max() < 0.15, format


def test_heads_are_not_run_for_nobody(pipeline: Pipeline, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.full((300, 400, 3), 120, np.uint8)
    options = [Options(part_probs=probabilities) for probabilities in (False, True)]
    somebody = [pipeline.analyze(photo_jpeg, o) for o in options]
    first = [pipeline.analyze(grey, o) for o in options]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a head was run for nobody")

    monkeypatch.setattr(pipeline.graphs, "parsing", refuse)
    monkeypatch.setattr(pipeline.graphs, "densepose", refuse)
    again = [pipeline.analyze(grey, o) for o in options]
    for name in ("parts", "part_scores", "part_probs", "iuv", "iuv_scores"):
        for one, before, now in zip(somebody, first, again, strict=True):
            wanted = getattr(one, name)
            assert (getattr(now, name) is None) == (wanted is None), name
            if wanted is not None:
                assert getattr(now, name).shape == getattr(before, name).shape == (0, *wanted.shape[1:]), name
                assert getattr(now, name).dtype == wanted.dtype, name
    with pytest.raises(AssertionError, match="for nobody"):
        pipeline.analyze(photo_jpeg)


def test_heads_are_not_run_for_rows_beyond_the_people(
    pipeline: Pipeline, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs, seen = pipeline.graphs, []
    detector, parsing, densepose = graphs.detector, graphs.parsing, graphs.densepose

    def fixed(*given: np.ndarray) -> dict[str, np.ndarray]:
        """Five rows, as of a detector that always has so many, of which two are people."""
        return {**detector(*given), "COUNT": np.array([2], np.int32)}

    monkeypatch.setattr(graphs, "detector", fixed)
    monkeypatch.setattr(graphs, "parsing", lambda rows, **how: seen.append(len(rows)) or parsing(rows, **how))
    monkeypatch.setattr(graphs, "densepose", lambda rows: seen.append(len(rows)) or densepose(rows))
    people = pipeline.analyze(photo_jpeg, confidence=0.0, max_people=5)
    assert len(people) == len(people.parts) == len(people.iuv) == 2
    assert seen == [2, 2]


def test_with_nobody_each_task_still_has_its_own_maps(pipeline: Pipeline) -> None:
    """Their shapes are remembered, so a pipeline that has met nobody yet is asked for one task after the other."""
    fresh = GraphPipeline(pipeline.graphs, pipeline.info, CIHP)
    grey = np.full((300, 400, 3), 120, np.uint8)
    parsed = fresh.analyze(grey, tasks="parsing", confidence=1.0)
    placed = fresh.analyze(grey, tasks="densepose", confidence=1.0)
    assert parsed.parts.shape == (0, 128, 128)
    assert parsed.iuv is None
    assert placed.iuv.shape == (0, 3, 128, 128)
    assert placed.parts is None


@pytest.mark.parametrize("wide", [True, False])
def test_the_longer_side_of_an_array_is_at_most_max_side(pipeline: Pipeline, wide: bool) -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, ::2] = 200  # stripes of a pixel: half as large they are grey
    stripes = image if wide else np.ascontiguousarray(image.transpose(1, 0, 2))
    canvas, window = pipeline.preprocess(Source(stripes, pipeline.limits), Options(max_side=32), Stopwatch())
    rows, columns = round(window.scale_y * window.height), round(window.scale_x * window.width)
    assert (canvas[:rows, :columns] == 100).all()


def test_options(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    only = pipeline.analyze(photo_jpeg, Options(tasks=frozenset({"parsing"}), confidence=0.0, max_people=3))
    assert len(only) == 3
    assert only.iuv is None
    assert only.part_probs is None
    assert only.parts is not None
    exact = pipeline.analyze(photo_jpeg, Options(part_probs=True))
    assert exact.part_probs is not None
    assert (exact.label_map(exact=True) == exact.label_map()).mean() > 0.97
    small = pipeline.analyze(photo_jpeg, Options(max_side=256))
    assert small.image_size == (512, 512)
    assert iou(small.boxes[0], ASTRONAUT) > 0.5


def test_nobody_gives_empty_arrays_of_the_right_rank(pipeline: Pipeline) -> None:
    people = pipeline.analyze(np.full((300, 200, 3), 128, np.uint8), Options(confidence=1.0))
    assert len(people) == 0
    assert people.boxes.shape == (0, 4)
    assert people.parts.shape == (0, 128, 128)
    assert people.iuv.shape == (0, 3, 128, 128)
    assert people.label_map().shape == (300, 200)
    assert not people.label_map().any()


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (33, 31)])
def test_extreme_shapes(pipeline: Pipeline, size: tuple[int, int]) -> None:
    people = pipeline.analyze(np.zeros((*size, 3), np.uint8), Options(confidence=0.0, max_people=2))
    assert people.image_size == size
    assert np.isfinite(people.boxes).all()
    assert (people.boxes >= 0).all()
    assert (people.boxes[:, 2] <= size[1]).all()
    assert (people.boxes[:, 3] <= size[0]).all()
    people.label_map()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(tasks=frozenset({"pose"})), "tasks: pose is unknown; choose from"),
        (Options(confidence=1.5), r"confidence: 1\.5 is outside 0\.\.1"),
        (Options(max_people=0), r"max_people: 0 is outside 1\.\.64"),
        (Options(max_side=5), r"max_side: 5 is outside 32"),
        (Options(confidence="0.3"), r"confidence: '0\.3' is no number in 0\.\.1"),
        (Options(max_people=2.5), r"max_people: 2\.5 is no whole number in 1\.\.64"),
    ],
)
def test_wrong_options_are_named(pipeline: Pipeline, photo_jpeg: bytes, options: Options, says: str) -> None:
    with pytest.raises(InvalidOptions, match=says):
        pipeline.analyze(photo_jpeg, options)


def test_options_are_an_object_or_keywords(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    wanted = pipeline.analyze(photo_jpeg, Options(frozenset({"parsing"}), confidence=0.0, max_people=3))
    found = pipeline.analyze(photo_jpeg, tasks="parsing", confidence=0.0, max_people=3)
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.parts, wanted.parts)
    assert found.iuv is None


def test_one_task_may_be_given_by_its_name_and_several_in_any_collection() -> None:
    assert Options(tasks="parsing").tasks == frozenset({"parsing"})
    assert Options(tasks=["parsing", "densepose"]) == Options()
    assert Options(tasks=()) == Options(tasks="") == Options(tasks=frozenset())
    assert Options(tasks="parsing,densepose") == Options(tasks=["densepose, parsing"]) == Options()


@pytest.mark.parametrize(
    ("options", "keywords", "kind", "says"),
    [
        (None, {"confidense": 0.3}, InvalidOptions, "confidense: unknown; the options are tasks, confidence, max_peop"),
        (None, {"tasks": "pose"}, InvalidOptions, "tasks: pose is unknown; choose from"),
        (
            None,
            {"tasks": [["parsing"]]},
            InvalidOptions,
            r"tasks: expected their names, got \['parsing'\]; choose from",
        ),
        (None, {"tasks": [b"parsing"]}, InvalidOptions, "tasks: expected their names, got b'parsing'; choose from"),
        (None, {"tasks": None}, InvalidOptions, "tasks: expected their names, got None; choose from parsing"),
        ({"confidence": 0.3}, {}, TypeError, r"options: expected Options, got dict; write Options\(confidence"),
        (0.3, {}, TypeError, "options: expected Options, got float"),
        (Options(), {"confidence": 0.3}, TypeError, "confidence: given beside options"),
    ],
)
def test_wrong_ways_to_give_options_name_the_field_and_the_remedy(
    pipeline: Pipeline, photo_jpeg: bytes, options: object, keywords: dict, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        pipeline.analyze(photo_jpeg, options, **keywords)


def test_a_pipeline_is_a_context(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    with pipeline as same:
        assert same is pipeline
    with pytest.raises(ValueError, match="mine"), pipeline:
        raise ValueError("mine")


def test_max_side_holds_for_pictures_of_pillow(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    wanted = pipeline.analyze(np.asarray(Image.open(io.BytesIO(photo_jpeg))), max_side=128)
    found = pipeline.analyze(Image.open(io.BytesIO(photo_jpeg)), max_side=128)
    np.testing.assert_array_equal(found.parts, wanted.parts)
    assert found.image_size == (512, 512)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_wrong_arrays_are_named(pipeline: Pipeline, array: np.ndarray) -> None:
    with pytest.raises(InvalidImage, match=r"uint8 \[height,width,3\] RGB"):
        pipeline.analyze(array)
