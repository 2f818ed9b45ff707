"""JSON, COCO, supervision and DensePose: the same people in every reader's own words."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.codecs import rle
from parsing_rcnn.codecs.json import INCLUDE, dumps, to_json
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from tests.conftest import values


def people() -> People:
    """One person with a face over a coat, one who leaves the picture on the right; IUV besides."""
    parts = np.zeros((2, 8, 8), np.uint8)
    parts[0, :4, 2:6] = 13
    parts[0, 4:] = 7
    parts[1, 1:7, 1:7] = 12
    iuv = np.zeros((2, 3, 8, 8), np.uint8)
    iuv[:, 0] = parts
    iuv[:, 1:] = np.where(parts > 0, np.arange(8, dtype=np.uint8) * 30, 0)[:, None]
    scores = np.zeros((2, 20), np.float32)
    scores[0, [7, 13]] = [0.75, 0.5]
    scores[1, 12] = 0.25
    sure = np.zeros((2, 25), np.float32)
    sure[0, [7, 13]], sure[1, 12] = [0.25, 0.5], 0.75
    boxes = np.array([[10.3, 5.2, 26.3, 37.2], [40, 8, 56, 24]], np.float32)
    return People(
        boxes,
        np.array([0.9, 0.6], np.float32),
        (40, 50),
        parts=parts,
        part_scores=scores,
        iuv=iuv,
        iuv_scores=sure,
        timings={"decode": 1.23456},
    )


def chart(labels_uv_str: str) -> NDArray[np.uint8]:
    planes: NDArray[np.uint8] = values(base64.b64decode(labels_uv_str)).transpose(2, 0, 1)
    return planes


def read(document: dict[str, Any]) -> Any:
    return json.loads(dumps(document))


def png(text: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def silhouette(person: People, index: int) -> NDArray[np.bool_]:
    canvas = np.zeros(person.image_size, np.bool_)
    mask, (x, y) = person.mask(index)
    canvas[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return canvas


def test_boxes_have_a_centre_and_corners() -> None:
    document = read(to_json(people()))
    assert document["image"] == {"width": 50, "height": 40}
    assert document["timings_ms"] == {"decode": 1.235}
    person = document["predictions"][0]
    assert (person["x"], person["y"], person["width"], person["height"]) == pytest.approx((18.3, 21.2, 16, 32))
    assert person["bbox"] == pytest.approx([10.3, 5.2, 26.3, 37.2])
    assert (person["class"], person["class_id"], person["confidence"]) == ("person", 0, 0.9)
    assert person["offset"] == [10, 5]
    assert len({p["detection_id"] for p in document["predictions"]}) == 2


def test_numbers_have_few_digits() -> None:
    """Of a thousandth of a pixel, however single precision has them: 10.12345 is 10.1234502792... there."""
    boxes = np.array([[10.12345, 5.98765, 26.4567, 36.00049]], np.float32)
    scores = np.full((1, 20), 0.1234567, np.float32)
    parts = np.full((1, 8, 8), 7, np.uint8)
    who = People(boxes, np.array([0.87654321], np.float32), (40, 50), parts=parts, part_scores=scores)
    (person,) = read(to_json(who))["predictions"]
    assert person["bbox"] == [10.123, 5.988, 26.457, 36]
    assert (person["width"], person["height"]) == (16.334, 30.012)
    assert (person["x"], person["y"]) == (18.29, 20.994)
    assert (person["confidence"], person["parts"][0]["score"]) == (0.87654, 0.1235)
    third = replace(who, boxes=np.array([[0.001, 0.002, 8.002, 8.003]], np.float32))
    assert [to_json(third)["predictions"][0][side] for side in ("x", "y")] == [4.0015, 4.0025]


def test_masks_are_full_frame_run_lengths() -> None:
    who = people()
    for index, person in enumerate(read(to_json(who))["predictions"]):
        assert person["rle"]["size"] == [40, 50]
        assert np.array_equal(rle.decode(person["rle"]), silhouette(who, index))


def test_parts_have_names_scores_and_areas_in_pixels() -> None:
    person = read(to_json(people()))["predictions"][0]
    assert person["parts"] == [
        {"class": "Coat", "class_id": 7, "score": 0.75, "area": 16 * 16},
        {"class": "Face", "class_id": 13, "score": 0.5, "area": 8 * 16},
    ]


def test_charts_have_names_scores_and_areas_in_pixels() -> None:
    person = read(to_json(people()))["predictions"][0]
    assert person["densepose"]["charts"] == [
        {"class": "Right-upper leg (1)", "class_id": 7, "score": 0.25, "area": 16 * 16},
        {"class": "Right-lower leg (2)", "class_id": 13, "score": 0.5, "area": 8 * 16},
    ]
    without = read(to_json(replace(people(), iuv_scores=None)))["predictions"][1]
    assert without["densepose"]["charts"] == [{"class": "Left-lower leg (1)", "class_id": 12, "area": 8 * 12}]


def test_exact_areas_of_charts_are_of_the_exact_charts() -> None:
    who = people()
    exact = read(to_json(replace(who, parts=None, part_scores=None), exact=True))["predictions"][0]
    pasted = np.bincount(who.iuv_crop(0, exact=True)[0][0].ravel())
    areas = {one["class_id"]: one["area"] for one in exact["densepose"]["charts"]}
    assert areas == {7: pasted[7], 13: pasted[13]}
    assert areas != {7: 16 * 16, 13: 8 * 16}


def test_exact_areas_are_of_the_exact_parts() -> None:
    # the map says class 5 everywhere, the probabilities say class 7 in the lower half of 32 pixels
    probabilities = np.zeros((1, 20, 8, 4), np.uint8)
    probabilities[:, 5, :4] = probabilities[:, 7, 4:] = 255
    box, parts = np.array([[0, 0, 4, 8]], np.float32), np.full((1, 8, 4), 5, np.uint8)
    who = People(box, np.array([0.9], np.float32), (8, 4), parts=parts, part_probs=probabilities)

    def areas(exact: bool) -> dict[int, int]:
        (person,) = read(to_json(who, include=["parts"], exact=exact))["predictions"]
        return {part["class_id"]: part["area"] for part in person["parts"]}

    assert areas(exact=False) == {5: 32}
    assert areas(exact=True) == {5: 16, 7: 16}


def test_maps_are_cut_to_the_box_and_offset_places_them() -> None:
    who = people()
    for index, person in enumerate(read(to_json(who, include=INCLUDE))["predictions"]):
        labels, offset = who.crop(index)
        assert person["offset"] == list(offset)
        assert np.array_equal(png(person["parts_png"]), labels)
        assert person["densepose"]["shape_chw"] == [3, *labels.shape]
        assert person["densepose"]["score"] == [0.3333, 0.75][index]  # of cells: (32 * 0.25 + 16 * 0.5) / 48
        assert np.array_equal(chart(person["densepose"]["labels_uv_str"]), who.iuv_crop(index)[0])
        for part in person["parts"]:
            assert np.array_equal(rle.decode(part["crop_rle"]), labels == part["class_id"])


def test_exact_pastes_iuv_smoothly() -> None:
    who = people()
    probs = np.zeros((len(who), 20, *who.parts.shape[1:]), np.uint8)
    exact = read(to_json(replace(who, part_probs=probs), exact=True))["predictions"][0]
    wanted = who.iuv_crop(0, exact=True)[0]
    assert np.array_equal(chart(exact["densepose"]["labels_uv_str"]), wanted)


def test_mask_formats() -> None:
    who = people()
    masks = read(to_json(who, include=["masks"], mask_format="png"))["predictions"]
    assert np.array_equal(png(masks[0]["mask_png"]) == 255, who.mask(0)[0])
    square = read(to_json(who, include=["masks"], mask_format="polygon"))["predictions"][1]
    # The second person's cells 1..6 of 8 on a box of 16 pixels at (40, 8), cut by the picture's right edge at 50.
    assert {(p["x"], p["y"]) for p in square["points"]} == {(42, 10), (42, 21), (49, 10), (49, 21)}
    for person in read(to_json(who, include=["masks"], mask_format="none"))["predictions"]:
        assert not {"rle", "points", "polygons", "mask_png"} & set(person)


def in_pieces() -> People:
    """Somebody cut in two by who stands in front, with a hole; and somebody of whom a square, a line and a dot show."""
    parts = np.zeros((2, 8, 8), np.uint8)
    parts[0, 0:3, 2:6] = 13
    parts[0, 4:8] = 7
    parts[0, 5:7, 3:5] = 0
    parts[1, 1:4, 1:4] = 7
    parts[1, 0:6, 7] = 7
    parts[1, 6, 3] = 7
    boxes = np.array([[10, 4, 26, 20], [30, 20, 38, 28]], np.float32)  # cells of 2 x 2 pixels, and of one
    return People(boxes, np.array([0.9, 0.8], np.float32), (40, 50), parts=parts)


def corners(left: int, top: int, right: int, bottom: int) -> set[tuple[int, int]]:
    return {(left, top), (left, bottom), (right, top), (right, bottom)}


def test_polygons_are_all_pieces_with_their_holes_filled() -> None:
    who = in_pieces()
    document = read(to_json(who, include=["masks"], mask_format="polygon"))
    found = [[{(p["x"], p["y"]) for p in piece} for piece in person["polygons"]] for person in document["predictions"]]
    assert found == [
        [corners(10, 12, 25, 19), corners(14, 4, 21, 9)],  # the larger one first, outermost pixels
        [corners(31, 21, 33, 23)],  # without line and dot
    ]
    for index, person in enumerate(document["predictions"]):
        assert person["points"] == person["polygons"][0]
        pieces = [np.array([[p["x"], p["y"]] for p in piece]) for piece in person["polygons"]]
        filled = cv2.fillPoly(np.zeros(who.image_size, np.uint8), pieces, 1) > 0
        truth = rle.decode(read(to_json(who))["predictions"][index]["rle"])
        assert int((filled & ~truth).sum()) == [16, 0][index]  # the hole: 2 x 2 cells of 2 x 2 pixels
        assert int((truth & ~filled).sum()) == [0, 7][index]
    line = who.select([1])
    assert line.parts is not None
    line.parts[0, :, :7] = 0
    (person,) = read(to_json(line, include=["masks"], mask_format="polygon"))["predictions"]
    assert not {"points", "polygons"} & set(person)


def test_include_nothing_is_boxes_only() -> None:
    person = read(to_json(people(), include=[]))["predictions"][0]
    assert not {"rle", "parts", "parts_png", "densepose"} & set(person)


@pytest.mark.parametrize(
    ("what", "of_both", "of_charts"),
    [
        ("masks", {"rle"}, {"rle"}),
        ("parts", {"parts"}, set()),
        ("label_map", {"parts_png"}, set()),
        ("iuv", {"densepose"}, {"densepose"}),
        ("part_masks", {"parts"}, set()),
        ("inds", set(), set()),
    ],
)
def test_what_is_included_alone_is_all_that_is_carried(what: str, of_both: set[str], of_charts: set[str]) -> None:
    bare = set(to_json(people(), include=[])["predictions"][0])
    for who, wanted in ((people(), of_both), (replace(people(), parts=None, part_scores=None), of_charts)):
        document = to_json(who, include=[what])
        assert set(document["predictions"][0]) - bare == wanted
        assert ("inds_png" in document) == (what == "inds")


def crowd(**fields: Any) -> People:
    """Two people who overlap: the surer one reaches over the other's middle with the rim of the parts alone."""
    parts = np.zeros((2, 20, 20), np.uint8)
    parts[0, :, :18] = 1
    parts[1] = 2
    iuv = np.zeros((2, 3, 20, 20), np.uint8)
    iuv[0, 0, 2:18, :16] = 1
    iuv[1, 0, :, 1:] = 2
    boxes = np.array([[10, 0, 50, 60], [30, 0, 90, 60]], np.float32)
    return People(boxes, np.array([0.9, 0.6], np.float32), (60, 100), **{"parts": parts, "iuv": iuv, **fields})


@pytest.mark.parametrize("exact", [False, True])
def test_inds_say_who_is_in_front_by_the_rule_of_the_maps(exact: bool) -> None:
    def inds(who: People) -> NDArray[np.uint8]:
        return png(read(to_json(who, include=["inds"], exact=exact))["inds_png"])

    parts = crowd().parts
    assert parts is not None
    probabilities = (255 * (np.arange(20)[None, :, None, None] == parts[:, None])).astype(np.uint8)
    who = crowd(part_probs=probabilities)
    by_parts, by_charts = who.instance_map(exact), who.iuv_map(exact)[1]
    claimed = who.masks(exact).sum(axis=0)
    assert ((by_parts == 2) & (claimed == 2)).any()  # the higher score is not always in front
    assert not np.array_equal(by_parts, by_charts)
    owner = inds(who)
    assert np.array_equal(owner > 0, (by_parts > 0) | (by_charts > 0))
    assert np.array_equal(owner[claimed == 2], by_parts[claimed == 2])
    for only in (replace(who, iuv=None), replace(who, parts=None, part_probs=None)):
        maps = only.instance_map(exact) if only.iuv is None else only.iuv_map(exact)[1]
        assert np.array_equal(inds(only), maps)


def test_of_maps_that_mean_nothing_no_silhouette_is_made() -> None:
    doubted = replace(crowd(), untrained=frozenset({"parsing"}))
    charts = replace(crowd(), parts=None)
    for include in (["masks"], ["inds"]):
        wanted = read(to_json(charts, include=include))
        assert read(to_json(doubted, include=include)) == wanted
        assert read(to_json(crowd(), include=include)) != wanted


def test_inds_of_few_many_and_none() -> None:
    assert "inds_png" not in to_json(crowd())
    assert "inds_png" not in to_json(People(people().boxes, people().scores, (40, 50)), include=["inds"])
    assert not png(to_json(People.empty((4, 6)), include=["inds"])["inds_png"]).any()
    many = crowd().select([0, *[1] * 299])
    boxes = np.array([[i % 100, i // 100, i % 100 + 1, i // 100 + 1] for i in range(300)], np.float32)
    full = np.ones((300, 20, 20), np.uint8)
    who = replace(many, boxes=boxes, parts=full, iuv=None)
    assert png(to_json(who, include=["inds"])["inds_png"])[:3].ravel().tolist() == list(range(1, 301))


@pytest.mark.parametrize("count", [255, 256])
def test_inds_name_everybody_up_to_the_last_of_8_bits_and_beyond(count: int) -> None:
    boxes = np.array([[i, 0, i + 1, 1] for i in range(count)], np.float32)
    who = People(boxes, np.full(count, 0.5, np.float32), (1, count), parts=np.ones((count, 1, 1), np.uint8))
    assert png(to_json(who, include=["inds"])["inds_png"])[0].tolist() == list(range(1, count + 1))


def test_inds_name_somebody_where_a_part_is_or_a_chart() -> None:
    parts, iuv = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 3, 4, 4), np.uint8)
    parts[:, :, :2] = 5
    iuv[:, 0, :, 1:3] = 1
    who = People(np.array([[0, 0, 4, 1]], np.float32), np.array([0.9], np.float32), (1, 4), parts=parts, iuv=iuv)
    assert png(to_json(who, include=["inds"])["inds_png"]).tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include": ["part", "masks", "mask"]}, "include: 'mask', 'part' is unknown.*masks, parts"),
        ({"mask_format": "svg"}, "mask_format: 'svg'.*rle, png"),
    ],
)
def test_unknown_options_name_the_known_ones(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptions, match=message):
        to_json(people(), **options)


def test_nobody_and_no_maps() -> None:
    assert read(to_json(People.empty((4, 6)))) == {
        "image": {"width": 6, "height": 4},
        "predictions": [],
        "timings_ms": {},
    }
    boxes_only = People(people().boxes, people().scores, (40, 50))
    assert "rle" not in read(to_json(boxes_only))["predictions"][0]
    iuv_only = People(people().boxes, people().scores, (40, 50), iuv=people().iuv)
    person = read(to_json(iuv_only))["predictions"][0]
    assert "parts" not in person
    assert np.array_equal(rle.decode(person["rle"]), silhouette(people(), 0))


def test_supervision_reads_the_json_as_it_is() -> None:
    supervision = pytest.importorskip("supervision")
    who = people()
    detections = supervision.Detections.from_inference(read(to_json(who)))
    assert np.allclose(detections.xyxy, who.boxes, atol=1e-3)
    assert np.allclose(detections.confidence, who.scores)
    assert detections.data["class_name"].tolist() == ["person", "person"]
    for index in range(2):
        assert np.array_equal(detections.mask[index], silhouette(who, index))
    assert len(supervision.Detections.from_inference(read(to_json(People.empty((4, 6)))))) == 0
    pieces = read(to_json(in_pieces(), include=["masks"], mask_format="polygon"))
    largest = supervision.Detections.from_inference(pieces).mask.sum(axis=(1, 2))
    assert largest.tolist() == [16 * 8, 9]


def test_to_supervision() -> None:
    pytest.importorskip("supervision")
    who = people()
    detections = who.to_supervision()
    assert np.array_equal(detections.xyxy, who.boxes)
    assert set(detections.data) == {"class_name"}  # what sinks write
    maps = who.to_supervision(maps=True).data
    assert np.array_equal(maps["parts"], who.parts)
    assert np.array_equal(maps["iuv"], who.iuv)
    for index in range(2):
        assert np.array_equal(np.asarray(detections.mask[index]), silhouette(who, index))
    assert len(detections[detections.confidence > 0.7]) == 1
    assert len(People.empty((4, 6)).to_supervision()) == 0


def test_to_coco_is_what_pycocotools_loads() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    mask = pytest.importorskip("pycocotools.mask")
    who = people()
    results = who.to_coco(image_id=7)
    truth = coco.COCO()
    truth.dataset = {"images": [{"id": 7, "height": 40, "width": 50}], "categories": [{"id": 1}], "annotations": []}
    truth.createIndex()
    loaded = truth.loadRes(json.loads(dumps(results)))
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[7]))
    assert [a["score"] for a in annotations] == pytest.approx([0.9, 0.6])
    for index, annotation in enumerate(annotations):
        assert annotation["bbox"][2] == pytest.approx(16)
        assert np.array_equal(mask.decode(annotation["segmentation"]), silhouette(who, index))


def test_the_snippet_of_the_documentation_for_supervision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("supervision")
    page = (Path(__file__).resolve().parents[3] / "docs" / "outputs.md").read_text(encoding="utf-8")
    (snippet,) = (t for t in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import supervision" in t)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"people": people(), "photo": np.zeros((40, 50, 3), np.uint8)}
    exec(snippet, names)
    assert len(names["detections"]) == 2
    assert names["faces"].data["person"].tolist() == [0]
    with Path("people.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class_name"], round(float(row["confidence"]), 4), row["frame"]) for row in rows] == [
        ("person", 0.9, "0"),
        ("person", 0.6, "0"),
    ]
    assert Path("people.csv").stat().st_size < 500


PARTS = [(0, 7, 0.9 * 0.75), (0, 13, 0.9 * 0.5), (1, 12, 0.6 * 0.25)]
"""(person, class, score) of `people`."""


def part_mask(who: People, index: int, class_id: int) -> NDArray[np.bool_]:
    canvas = np.zeros(who.image_size, np.bool_)
    labels, _ = who.crop(index)
    canvas[who.window(index).slices] = labels == class_id
    return canvas


def test_to_coco_of_parts_is_what_pycocotools_loads() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    mask = pytest.importorskip("pycocotools.mask")
    who = people()
    truth = coco.COCO()
    categories = [{"id": k, "name": name} for k, name in enumerate(who.taxonomy.classes)]
    truth.dataset = {"images": [{"id": 7, "height": 40, "width": 50}], "categories": categories, "annotations": []}
    truth.createIndex()
    loaded = truth.loadRes(json.loads(dumps(who.to_coco(image_id=7, parts=True))))
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[7]))
    assert [(a["person"], a["category_id"]) for a in annotations] == [(i, k) for i, k, _ in PARTS]
    assert [a["score"] for a in annotations] == pytest.approx([score for _, _, score in PARTS])
    for annotation, (index, class_id, _) in zip(annotations, PARTS, strict=True):
        found = mask.decode(annotation["segmentation"])
        assert np.array_equal(found, part_mask(who, index, class_id))
        assert annotation["bbox"] == list(mask.toBbox(annotation["segmentation"]))
    assert "bbox" not in who.to_coco(7, parts=True, boxes=False)[0]
    with pytest.raises(ValueError, match="no parts"):
        People(who.boxes, who.scores, who.image_size, iuv=who.iuv).to_coco(7, parts=True)


CHARTS = [(0, 7, 0.9 * 0.25), (0, 13, 0.9 * 0.5), (1, 12, 0.6 * 0.75)]
"""(person, I, score) of `people`, whose I are their parts."""


def test_to_coco_of_charts() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    who = replace(people(), parts=None)
    results = who.to_coco(7, charts=True)
    assert [(a["image_id"], a["person"], a["category_id"]) for a in results] == [(7, i, k) for i, k, _ in CHARTS]
    assert [a["score"] for a in results] == pytest.approx([score for _, _, score in CHARTS])
    for result, (index, class_id, _) in zip(results, CHARTS, strict=True):
        assert np.array_equal(mask.decode(result["segmentation"]), part_mask(people(), index, class_id))
        assert result["bbox"] == list(mask.toBbox(result["segmentation"]))
    assert "bbox" not in who.to_coco(7, charts=True, boxes=False)[0]
    with pytest.raises(ValueError, match="no iuv"):
        replace(people(), iuv=None).to_coco(7, charts=True)
    assert replace(people(), parts=None).select([]).to_coco(7, charts=True) == []
    for which, says in (("charts", "no iuv: analyze .*densepose"), ("parts", "no parts: analyze .*parsing")):
        with pytest.raises(ValueError, match=says):
            People.empty((4, 6)).to_coco(7, **{which: True})
    with pytest.raises(ValueError, match="parts or charts: their classes have the same numbers"):
        who.to_coco(7, charts=True, parts=True)


def test_a_tracked_person_has_a_number() -> None:
    followed = replace(people(), tracker_id=np.array([7, 2], np.int32))
    assert [person["tracker_id"] for person in read(to_json(followed))["predictions"]] == [7, 2]
    assert [person["tracker_id"] for person in read(to_json(people()))["predictions"]] == [None, None]


def test_to_supervision_has_the_numbers() -> None:
    pytest.importorskip("supervision")
    followed = replace(people(), tracker_id=np.array([7, 2], np.int32))
    assert followed.to_supervision().tracker_id.tolist() == [7, 2]
    assert followed.to_supervision(parts=True).tracker_id.tolist() == [7, 7, 2]  # two parts of one, one of the other
    assert people().to_supervision().tracker_id is None


def test_to_supervision_of_parts() -> None:
    pytest.importorskip("supervision")
    who = people()
    detections = who.to_supervision(parts=True)
    assert list(zip(detections.data["person"].tolist(), detections.class_id.tolist(), strict=True)) == [
        (index, class_id) for index, class_id, _ in PARTS
    ]
    assert detections.data["class_name"].tolist() == ["Coat", "Face", "Skirt"]
    assert detections.confidence == pytest.approx([score for _, _, score in PARTS])
    for k, (index, class_id, _) in enumerate(PARTS):
        wanted = part_mask(who, index, class_id)
        assert np.array_equal(np.asarray(detections.mask[k]), wanted)
        rows, columns = np.nonzero(wanted)
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert detections.xyxy[k].tolist() == corners
    assert len(detections[detections.data["class_name"] == "Face"]) == 1
    assert len(People.empty((4, 6), parts=who.parts[:0]).to_supervision(parts=True)) == 0  # type: ignore[index]


def test_to_supervision_of_charts() -> None:
    pytest.importorskip("supervision")
    detections = people().to_supervision(charts=True)
    names = ["Right-upper leg (1)", "Right-lower leg (2)", "Left-lower leg (1)"]
    assert detections.data["class_name"].tolist() == names
    assert detections.class_id.tolist() == [class_id for _, class_id, _ in CHARTS]
    assert detections.confidence == pytest.approx([score for _, _, score in CHARTS])
    for given in ({"charts": True, "parts": True}, {"charts": True, "maps": True}):
        with pytest.raises(ValueError, match=r"parts or charts"):
            people().to_supervision(**given)


def test_silhouettes_without_boxes_have_areas_of_their_own() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    who = people()
    truth = coco.COCO()
    truth.dataset = {"images": [{"id": 7, "height": 40, "width": 50}], "categories": [{"id": 1}], "annotations": []}
    truth.createIndex()
    loaded = truth.loadRes(json.loads(dumps(who.to_coco(image_id=7, boxes=False))))
    areas = [annotation["area"] for annotation in loaded.loadAnns(loaded.getAnnIds())]
    assert areas == [silhouette(who, index).sum() for index in range(2)]
    bare = People(who.boxes, who.scores, who.image_size)
    assert all("bbox" in result for result in bare.to_coco(7, boxes=False))


def test_to_densepose_forms_agree() -> None:
    who = people()
    result = who.to_densepose()[1]
    assert result.box == (40, 8, 50, 24)
    assert result.score == pytest.approx(0.6 * 0.75)  # of the person and of the charts
    assert result.labels_uv_uint8.shape == (3, 16, 10)
    assert (result.labels.dtype, result.uv.dtype) == (np.int64, np.float32)
    assert result.labels[8, 5] == 12
    assert result.uv[0, 8, 5] == pytest.approx(60 / 255)
    shape, text = result.compressed()
    assert shape == (3, 16, 10)
    assert np.array_equal(chart(text), result.labels_uv_uint8)
