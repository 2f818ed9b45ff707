"""Two sizes of one picture: who is taken from which, by hand and on the shipped model."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import simplejpeg

from export.rendered.pictures import render_scene
from parsing_rcnn.analyzer import Options
from parsing_rcnn.geometry import Window
from parsing_rcnn.inference.two_sizes import united, united_people
from parsing_rcnn.models import SecondSize
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import ModelRepository

TALL, SMALL = [0, 0, 99, 400], [200, 10, 230, 100]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def found(
    first: list[tuple[list[float], float]], second: list[tuple[list[float], float]], confidence: float = 0.0
) -> list[tuple[bool, int, float]]:
    """(second, row, score) of people below 300 pixels taken from the second size."""
    answer = united(
        (boxes(*(box for box, _ in first)), boxes(*(box for box, _ in second))),
        (scores(*(score for _, score in first)), scores(*(score for _, score in second))),
        300,
        confidence,
        64,
    )
    rows = zip(answer.second.tolist(), answer.rows.tolist(), answer.scores.tolist(), strict=True)
    return [(second, row, round(score, 3)) for second, row, score in rows]


def test_each_size_answers_for_its_own_people() -> None:
    both = [(SMALL, 0.6), (TALL, 0.7)]
    assert found(both, [(TALL, 0.9), (SMALL, 0.8)]) == [(True, 1, 0.8), (False, 1, 0.7)]


def test_what_only_the_other_size_sees_has_half_its_score() -> None:
    assert found([(SMALL, 0.9)], [(TALL, 0.8)]) == [(False, 0, 0.45), (True, 0, 0.4)]
    assert found([(SMALL, 0.9)], [(TALL, 0.8)], confidence=0.42) == [(False, 0, 0.45)]
    # as much as where the own size says nearly nothing
    assert found([(SMALL, 0.9)], [(SMALL, 0.1)]) == [(True, 0, 0.45)]


def test_two_boxes_of_one_person_are_one() -> None:
    """Boxes 400 and 200 pixels tall on the same feet have IoU 0.5 and a mean height of 300; with 199 less of both."""
    assert found([(TALL, 0.9)], [([0, 0, 99, 200], 0.8)]) == [(False, 0, 0.9)]
    assert found([(TALL, 0.9)], [([0, 0, 99, 199], 0.8)]) == [(False, 0, 0.9), (True, 0, 0.8)]
    assert found([([0, 0, 99, 320], 0.9)], [([0, 0, 99, 270], 0.8)]) == [(True, 0, 0.8)]


def test_of_several_the_nearest_are_pairs() -> None:
    """The second box lies on both of the first size, and nearer to the second of them."""
    first = [([0, 0, 100, 100], 0.9), ([20, 0, 120, 100], 0.7)]
    assert found(first, [([18, 0, 118, 100], 0.8)]) == [(True, 0, 0.8), (False, 0, 0.45)]


def test_nobody_and_the_most_people() -> None:
    assert found([], []) == []
    kept = united((boxes(TALL, SMALL), boxes()), (scores(0.5, 0.9), scores()), 500, 0.0, 1)
    assert (kept.second.tolist(), kept.rows.tolist()) == ([False], [1])
    assert kept.take(np.array([[1], [2]]), np.zeros((0, 1), int)).tolist() == [[2]]


def test_boxes_go_from_canvas_to_canvas() -> None:
    """A picture at 2 canvas pixels a pixel, and at 3 from column 8 on: its pixel (10, 20) is (20, 40) and (38, 60)."""
    one, other = Window(2, 2, 0, 0, 100, 200), Window(3, 3, 0, 8, 100, 200)
    np.testing.assert_allclose(other.clip(boxes([0, -4, 700, 320])), [[8, 0, 608, 300]])
    np.testing.assert_allclose(one.onto(other, boxes([20, 40, 60, 80])), [[38, 60, 98, 120]])
    np.testing.assert_allclose(other.onto(one, boxes([38, 60, 98, 120])), [[20, 40, 60, 80]])


CANVASES = ((384, 640), (640, 384))
SECOND = SecondSize(((512, 832), (832, 512)), 300)


def answer(*people: tuple[list[float], float], mark: int, maps: bool = True) -> People:
    """People in a picture of 320x192, which is twice as large on a canvas of 640x384; maps hold a mark and the row."""
    count = len(people)
    cells = (mark + np.arange(count, dtype=np.uint8)).reshape(-1, 1, 1)
    fields = {
        "parts": cells.repeat(2, 1).repeat(2, 2),
        "part_scores": np.full((count, 20), mark, np.float32),
        "part_probs": np.full((count, 20, 2, 2), mark, np.uint8),
        "iuv": np.full((count, 3, 2, 2), mark, np.uint8),
        "iuv_scores": np.full((count, 25), mark, np.float32),
    }
    return People(
        boxes(*(box for box, _ in people)),
        scores(*(score for _, score in people)),
        (192, 320),
        **(fields if maps else {}),
        timings={"detector": float(mark), "total": 2.0 * mark},
        tracker_id=np.arange(count, dtype=np.int32),
    )


def test_whole_answers_are_joined_by_heights_on_the_canvas() -> None:
    """149 pixels are 298 of the canvas, the second size's; 151 are 302, the first one's."""
    tall, short = [0, 20, 60, 171], [100, 20, 160, 169]
    first = answer((tall, 0.6), (short, 0.9), mark=1)
    second = answer((short, 0.8), (tall, 0.7), mark=10)
    people = united_people(first, second, SECOND, CANVASES, 0.5, 64)
    assert people.boxes.tolist() == [short, tall]
    assert people.scores.tolist() == scores(0.8, 0.6).tolist()
    assert people.parts is not None
    assert people.parts[:, 0, 0].tolist() == [10, 1]
    for name in ("part_scores", "part_probs", "iuv", "iuv_scores"):
        array = getattr(people, name)
        assert array.reshape(2, -1)[:, 0].tolist() == [10, 1], name
        assert array.dtype == getattr(first, name).dtype
    assert people.tracker_id is None
    assert people.timings == {"detector": 11.0, "total": 22.0}
    assert len(united_people(first, second, SECOND, CANVASES, 0.7, 64)) == 1
    assert united_people(first, second, SECOND, CANVASES, 0.5, 1).scores.tolist() == scores(0.8).tolist()


def test_whole_answers_without_people_or_maps() -> None:
    nobody, somebody = answer(mark=1, maps=False), answer((TALL, 0.9), mark=10, maps=False)
    people = united_people(nobody, nobody, SECOND, CANVASES, 0.5, 64)
    assert (len(people), people.parts, people.iuv) == (0, None, None)
    assert united_people(nobody, somebody, SECOND, CANVASES, 0.4, 64).scores.tolist() == scores(0.45).tolist()


def test_answers_for_two_pictures_are_refused() -> None:
    one = answer((TALL, 0.9), mark=1)
    with pytest.raises(ValueError, match="image_size"):
        united_people(one, People.empty((10, 10)), SECOND, CANVASES, 0.5, 64)
    with pytest.raises(ValueError, match="parts: only one of the two answers has them"):
        united_people(one, answer((TALL, 0.9), mark=1, maps=False), SECOND, CANVASES, 0.5, 64)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Four tall people, and two small ones in the middle of the same street."""
    street = render_scene(3, 480, 640, 4)
    small = render_scene(5, 200, 100, 1)
    street[100:300, 270:370] = small
    return street


@pytest.fixture(scope="module")
def three(scene: np.ndarray) -> dict[str, People]:
    names = ("fast", "large", "accurate")
    return {name: Pipeline(model=name, threads=2).analyze(scene, confidence=0.3) for name in names}


def test_the_accurate_model_takes_each_person_from_one_of_the_others(three: dict[str, People]) -> None:
    """Boxes, maps and scores are those of `fast` for who is 300 of its pixels tall, else those of `large`."""
    accurate = three["accurate"]
    assert len(accurate) >= 4
    scale = min(384 / 480, 640 / 640)
    sizes = set()
    for person in accurate:
        size = "fast" if (person.boxes[0, 3] - person.boxes[0, 1]) * scale >= 300 else "large"
        sizes.add(size)
        gaps = np.abs(three[size].boxes - person.boxes).max(axis=1)
        twin = three[size].select([int(gaps.argmin())])
        assert gaps.min() < 0.01
        assert person.scores == pytest.approx(twin.scores)
        for own, others in ((person.parts, twin.parts), (person.iuv, twin.iuv)):
            assert own is not None
            assert others is not None
            assert (own == others).mean() > 0.999  # where an edge cuts them, boxes differ in the last bit
    assert sizes == {"fast", "large"}


def test_whole_answers_of_both_sizes_are_the_accurate_models(three: dict[str, People]) -> None:
    accurate = Pipeline(model="accurate", threads=2, graphs=()).repository
    assert accurate.second_size == SecondSize(((512, 832), (832, 512), (672, 672)), 300)
    joined_as_by(accurate, three)


def test_of_a_large_jpeg_whose_edge_cuts_people_too(scene: np.ndarray) -> None:
    """It is decoded at another scale for each size; and what lies beyond the edge counts for nobody's height."""
    large = cv2.resize(scene[100:400], (2560, 1200))
    data, names = simplejpeg.encode_jpeg(large, 90), ("fast", "large", "accurate")
    pipelines = {name: Pipeline(model=name, threads=2) for name in names}
    joined_as_by(
        pipelines["accurate"].repository,
        {name: pipeline.analyze(data, confidence=0.3) for name, pipeline in pipelines.items()},
    )


def joined_as_by(accurate: ModelRepository, answers: dict[str, People]) -> None:
    """The embedded model's answer is that of both sizes put together."""
    expected = answers["accurate"]
    assert len(expected) > 2
    assert accurate.second_size is not None
    people = united_people(answers["fast"], answers["large"], accurate.second_size, accurate.canvases, 0.3, 64)
    np.testing.assert_allclose(people.boxes, expected.boxes, atol=0.01)
    np.testing.assert_allclose(people.scores, expected.scores, atol=1e-5)
    for name in ("parts", "iuv"):
        assert (getattr(people, name) == getattr(expected, name)).mean() > 0.999, name
    for name in ("part_scores", "iuv_scores"):
        np.testing.assert_allclose(getattr(people, name), getattr(expected, name), atol=0.01, err_msg=name)
    assert people.timings.keys() == expected.timings.keys()


def test_a_picture_may_ask_for_another_model_than_the_pipeline_was_opened_with(
    scene: np.ndarray, three: dict[str, People]
) -> None:
    opened = {model: Pipeline(model=model, threads=2) for model in (None, "accurate")}
    for pipeline in opened.values():
        for name, expected in three.items():
            people = pipeline.analyze(scene, confidence=0.3, model=name)
            for field in ("boxes", "scores", "parts", "part_scores", "iuv", "iuv_scores"):
                np.testing.assert_array_equal(getattr(people, field), getattr(expected, field), err_msg=name)
    for model, name in ((None, "fast"), ("accurate", "accurate")):  # and who asks for none gets its own
        people = opened[model].analyze(scene, confidence=0.3)
        np.testing.assert_array_equal(people.boxes, three[name].boxes)


def test_nobody_on_either_size(scene: np.ndarray) -> None:
    people = Pipeline(model="accurate", threads=2).analyze(np.full_like(scene, 90), Options(frozenset({"parsing"})))
    assert len(people) == 0
    assert people.parts is not None
    assert people.parts.shape == (0, 128, 128)
