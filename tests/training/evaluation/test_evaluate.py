"""The evaluation on tiny sets drawn here, of an analyzer that knows the truth and is spoilt in known ways."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.make_eval import write_crowd_test
from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from tests.training.helpers import SIDE, Spoil, TruthTeller, box_of
from training.data.datasets.records import read_pixels
from training.errors import DatasetError
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.report import print_table, write_report


def draw_data(root: Path) -> None:
    """Three held-out labelled photos, seven backgrounds, ten group photos with a tall, a small and a crowd box."""
    for name in ("ccp/images", "ccp/labels", "backgrounds", "groups/images"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(2)
    for number in (3, 13, 23, 24):
        labels = np.zeros((240, 160), np.uint8)
        labels[20:50, 60:90] = 13
        labels[50:130, 40:110] = 5
        labels[130:230, 50:100] = 9
        image = rng.integers(0, 255, (240, 160, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"ccp/images/{number:04d}.jpg"), image)
        cv2.imwrite(str(root / f"ccp/labels/{number:04d}.png"), labels)
    for number in range(7):
        cv2.imwrite(str(root / f"backgrounds/c{number}.jpg"), rng.integers(0, 255, (150, 260, 3), dtype=np.uint8))
    images, annotations = [], []
    for number in range(10):
        name = f"g{number}.jpg"
        cv2.imwrite(str(root / "groups/images" / name), rng.integers(0, 255, (200, 300, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": name, "width": 300, "height": 200})
        for box, crowd in (([10, 20, 60, 150], 0), ([120, 20, 20, 40], 0), ([200, 0, 90, 100], 1)):
            row = {"id": len(annotations) + 1, "image_id": number, "bbox": box, "iscrowd": crowd, "category_id": 1}
            annotations.append(row)
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (root / "groups/annotations.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluation")
    draw_data(root)
    write_crowd_test(root, root / "crowd", seed=3, count=6)
    return root


def measured(data: Path, spoil: Spoil = lambda people: people, kind: type[TruthTeller] = TruthTeller) -> Evaluation:
    """Evaluate an analyzer that knows all held-out pictures and no other."""
    analyzer = kind(spoil)
    for stem in ("0003", "0013", "0023"):
        labels = cv2.imread(str(data / f"ccp/labels/{stem}.png"), cv2.IMREAD_GRAYSCALE)
        analyzer.learn(data / f"ccp/images/{stem}.jpg", [box_of(labels != 0)], [labels])
    for number in (0, 3, 6):
        analyzer.learn(data / f"backgrounds/c{number}.jpg", [], [])
    for number in (0, 5):
        blank = np.zeros((200, 300), np.uint8)
        boxes = [(10, 20, 70, 170), (120, 20, 140, 60), (210, 10, 230, 90)]
        analyzer.learn(data / f"groups/images/g{number}.jpg", boxes, [blank] * 3)
    for path in sorted((data / "crowd/images").glob("*.jpg")):
        labels = cv2.imread(str(data / f"crowd/labels/{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        instances = cv2.imread(str(data / f"crowd/instances/{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        masks = [instances == k for k in range(1, int(instances.max()) + 1)]
        maps = [np.where(mask, labels, 0).astype(np.uint8) for mask in masks]
        analyzer.learn(path, [box_of(mask) for mask in masks], maps)
    return evaluate(analyzer, data, data / "crowd")


def test_the_truth_scores_full_marks(data: Path) -> None:
    figures = measured(data).figures
    photos, crowd, groups = figures["photos"], figures["crowd"], figures["groups"]
    # 128 cells over about 210 rows: outlines are off by a pixel here and there
    assert photos["miou"] > 0.95
    assert photos["miou_14"] > 0.95
    assert photos["miou_exact_paste"] > 0.95
    assert photos["pixel_accuracy"] > 0.98
    assert photos["person_iou"] > 0.97
    assert photos["main_person_found"] == 1.0
    assert photos["pictures"] == 3
    assert set(photos["iou"]) == set(CIHP.classes)
    assert np.isnan(photos["iou"]["Hat"])
    assert figures["backgrounds"]["with_false_person"] == 0
    assert figures["backgrounds"]["pictures"] == 3
    assert crowd["ap_50"] == crowd["ap_p_50"] == crowd["pcp_50"] == 1.0
    assert crowd["pictures"] == 6
    assert groups["ap_50"] == groups["ap"] == 1.0
    assert (groups["pictures"], groups["people"]) == (2, 2)
    assert groups["precision_at_0.5"] == groups["recall_at_0.5"] == 1.0


class OfOtherClasses(TruthTeller):
    """Finds the people whose parts are all the last one of three."""

    own = read_taxonomy({"name": "clothes", "classes": ["Background", "Skin", "Cloth"]})
    info = replace(TruthTeller.info, classes=own.classes)

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        people = super().analyze(image, options)
        assert people.parts is not None
        return replace(
            people, parts=np.where(people.parts > 0, np.uint8(2), np.uint8(0)), part_probs=None, taxonomy=self.own
        )


def test_of_other_classes_than_the_labels_all_but_the_parts_is_measured(data: Path, tmp_path: Path) -> None:
    result = measured(data, kind=OfOtherClasses)
    assert "photos" not in result.figures
    assert "CIHP's classes, and this model has others" in result.absent["photos"]
    assert result.absent["parts of the crowd"] == result.absent["photos"]
    assert result.figures["crowd"]["ap_50"] == result.figures["groups"]["ap_50"] == 1.0
    assert np.isnan(result.figures["crowd"]["ap_p_50"])
    write_report(result, tmp_path, OfOtherClasses(), None)
    assert json.loads((tmp_path / "results.json").read_text())["crowd"]["pcp_50"] is None


def test_missed_people_are_background(data: Path) -> None:
    figures = measured(data, lambda people: people.select([])).figures
    # 30x30 + 80x70 + 100x50 = 11,500 of 240x160 pixels are person
    assert figures["photos"]["pixel_accuracy"] == pytest.approx(1 - 11500 / 38400)
    assert figures["photos"]["miou"] == pytest.approx((1 - 11500 / 38400) / 4)
    assert figures["photos"]["person_iou"] == figures["photos"]["main_person_found"] == 0.0
    assert figures["crowd"]["ap_50"] == figures["crowd"]["ap_p_50"] == figures["crowd"]["pcp_50"] == 0.0
    assert figures["groups"]["ap_50"] == figures["groups"]["recall_at_0.5"] == 0.0


def test_doubtful_people_count_for_ap_alone(data: Path) -> None:
    def doubt(people: People) -> People:
        return replace(people, scores=np.full(len(people), 0.3, np.float32))

    figures = measured(data, doubt).figures
    assert figures["photos"]["main_person_found"] == 0.0
    assert figures["photos"]["person_iou"] == 0.0
    assert figures["crowd"]["ap_50"] == figures["groups"]["ap_50"] == 1.0
    assert figures["crowd"]["recall_at_0.5"] == 0.0


def test_shifted_boxes_and_false_people_are_seen(data: Path) -> None:
    def shift(people: People) -> People:
        if not len(people):
            box = np.array([[10, 10, 50, 100]], np.float32)
            return People(box, np.array([0.6], np.float32), people.image_size, parts=np.zeros((1, 8, 8), np.uint8))
        return replace(people, boxes=people.boxes + np.float32([500, 0, 500, 0]))

    figures = measured(data, shift).figures
    assert figures["backgrounds"]["with_false_person"] == 3
    assert figures["backgrounds"]["names"] == ["c0.jpg", "c3.jpg", "c6.jpg"]
    assert figures["photos"]["main_person_found"] == 0.0
    assert figures["crowd"]["ap_50"] == 0.0
    assert figures["groups"]["ap_50"] == 0.0


def test_passers_by_cost_the_whole_map_but_not_the_main_person(data: Path) -> None:
    def with_passer_by(people: People) -> People:
        if len(people) != 1 or people.image_size != (240, 160):
            return people
        assert people.parts is not None
        assert people.part_probs is not None
        return replace(
            people,
            boxes=np.concatenate([people.boxes, np.array([[120, 10, 158, 200]], np.float32)]),
            scores=np.array([0.9, 0.8], np.float32),
            parts=np.concatenate([people.parts, np.full((1, SIDE, SIDE), 9, np.uint8)]),
            part_probs=np.repeat(people.part_probs, 2, 0),
        )

    clean, figures = measured(data).figures["photos"], measured(data, with_passer_by).figures["photos"]
    assert figures["miou_main_person"] == clean["miou"] == clean["miou_main_person"]
    assert figures["person_iou"] < 0.7 < figures["person_iou_main_person"]
    assert figures["main_person_found"] == 1.0


def test_people_half_a_pixel_left_of_and_above_their_labels_are_in_register(data: Path) -> None:
    def moved(people: People) -> People:
        return replace(people, boxes=people.boxes - np.float32(0.5))

    clean, figures = measured(data).figures["photos"], measured(data, moved).figures["photos"]
    assert figures["miou_registered"] == clean["miou"] > figures["miou"]
    assert figures["person_iou_registered"] == clean["person_iou"] > clean["person_iou_registered"]


def test_swapped_sides_cost_twenty_classes_but_not_fourteen(data: Path) -> None:
    def face_to_arm(people: People) -> People:
        table = np.arange(20, dtype=np.uint8)
        table[13] = 14  # face becomes left arm: both are skin
        assert people.parts is not None
        assert people.part_probs is not None
        return replace(people, parts=table[people.parts])

    figures = measured(data, face_to_arm).figures["photos"]
    assert figures["iou"]["Face"] == 0.0
    assert figures["iou_14"]["Skin"] > 0.9
    assert figures["iou_exact_paste"]["Face"] > 0.9
    assert figures["miou"] < figures["miou_14"] - 0.2


def test_report_files(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = measured(data)
    write_report(result, tmp_path, TruthTeller(), None)
    print_table(result)
    table = capsys.readouterr().out
    assert "mIoU" in table
    assert "reached" in table
    assert "missed" not in table
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["photos"]["iou"]["Hat"] is None
    assert document["model"]["name"] == "truth"
    assert document["photos"]["miou"] == result.figures["photos"]["miou"]
    page = (tmp_path / "evaluation.md").read_text()
    assert all(f"| {name} |" in page for name in CIHP.classes)
    assert "| backgrounds: pictures with a false person |" in page
    for name in ("photos.png", "groups.png", "precision_recall.png", "classes.png"):
        sheet = cv2.imread(str(tmp_path / name))
        assert sheet.shape[0] >= 256
        assert sheet.std() > 20
    assert not (tmp_path / "photos_iuv.png").exists()  # this one knows no IUV


def test_sets_that_are_absent_are_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "backgrounds").symlink_to(data / "backgrounds")
    analyzer = TruthTeller()
    for number in (0, 3, 6):
        analyzer.learn(data / f"backgrounds/c{number}.jpg", [], [])
    result = evaluate(analyzer, tmp_path, tmp_path / "crowd")
    assert set(result.absent) == {"photos", "groups", "crowd", "consistency", "synthetic"}
    assert "make_eval" in result.absent["crowd"]
    with pytest.raises(DatasetError, match="nothing to measure"):
        evaluate(analyzer, tmp_path / "elsewhere", None)


class Seeing(TruthTeller):
    """Looks at the pixels that a file shows once it is turned as its tag asks, as what serves does, and knows only
    pictures the right way up."""

    def __init__(self, spoil: Spoil) -> None:
        super().__init__(spoil)
        self.pixels: list[tuple[NDArray[np.uint8], People]] = []

    def learn(self, picture: Path, boxes: list[tuple[int, int, int, int]], maps: list[NDArray[np.uint8]]) -> None:
        super().learn(picture, boxes, maps)
        people = self.known[picture.read_bytes()]
        self.pixels.append((read_pixels(picture), replace(people, image_size=read_pixels(picture).shape[:2])))

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        seen = decode(image) if isinstance(image, bytes) else image
        for pixels, known in self.pixels:
            if pixels.shape == seen.shape and np.abs(pixels.astype(int) - seen).mean() < 2:
                people = known.select(known.scores >= options.confidence)
                return people if options.part_probs else replace(people, part_probs=None)
        return People(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            seen.shape[:2],
            parts=np.zeros((0, SIDE, SIDE), np.uint8),
        )


@pytest.mark.parametrize("turn", [3, 6])
def test_labels_and_boxes_are_of_the_pixels_as_stored(data: Path, tmp_path: Path, turn: int) -> None:
    """A tag that asks viewers to turn the picture turns neither its labels nor its boxes."""
    tagged = tmp_path / "data"
    shutil.copytree(data, tagged)
    exif = Image.Exif()
    exif[0x0112] = turn
    for folder in ("ccp/images", "groups/images", "crowd/images"):
        for path in (tagged / folder).glob("*.jpg"):
            Image.open(path).save(path, quality="keep", exif=exif)
    result, plain = measured(tagged, kind=Seeing), measured(data).figures
    for name in ("photos", "groups", "crowd"):
        own, wanted = (
            {key: value for key, value in figures[name].items() if not isinstance(value, dict)}
            for figures in (result.figures, plain)
        )
        assert own == pytest.approx(wanted, nan_ok=True)
    write_report(result, tmp_path / "out", TruthTeller(), None)  # sheets lay the maps over the pictures
    assert (tmp_path / "out/photos.png").is_file()


def test_a_photo_on_which_nobody_is_labelled_has_no_main_person(data: Path, tmp_path: Path) -> None:
    blank = tmp_path / "data"
    shutil.copytree(data, blank)

    def with_labels(stem: str, value: int) -> Evaluation:
        cv2.imwrite(str(blank / f"ccp/labels/{stem}.png"), np.full((240, 160), value, np.uint8))
        analyzer = TruthTeller()
        for own in ("0003", "0013", "0023"):
            labels = cv2.imread(str(data / f"ccp/labels/{own}.png"), cv2.IMREAD_GRAYSCALE)
            analyzer.learn(data / f"ccp/images/{own}.jpg", [box_of(labels != 0)], [labels])
        for number in (0, 3, 6):
            analyzer.learn(data / f"backgrounds/c{number}.jpg", [], [])
        shutil.rmtree(blank / "groups", ignore_errors=True)
        return evaluate(analyzer, blank)

    first = with_labels("0003", 0).figures["photos"]
    assert (first["pictures"], first["main_person_found"]) == (3, 1.0)
    assert first["person_iou"] < 0.7 < first["person_iou_main_person"]  # whom it finds there is a passer-by
    assert with_labels("0013", 255).figures["photos"]["main_person_found"] == 1.0
    none = with_labels("0023", 0)
    assert np.isnan(none.figures["photos"]["main_person_found"])
    write_report(none, tmp_path / "out", TruthTeller(), None)
    assert json.loads((tmp_path / "out/results.json").read_text())["photos"]["main_person_found"] is None
    assert cv2.imread(str(tmp_path / "out/photos_maps.png")) is not None


def test_where_nobody_says_what_is_there_people_of_the_crowd_lose_nothing(data: Path, tmp_path: Path) -> None:
    """Everybody is answered with clothes far too wide, and then the labels say nothing of the ground beside them."""
    folder = tmp_path / "crowd"
    shutil.copytree(data / "crowd", folder)
    (tmp_path / "backgrounds").symlink_to(data / "backgrounds")
    analyzer = TruthTeller()
    for number in (0, 3, 6):
        analyzer.learn(data / f"backgrounds/c{number}.jpg", [], [])
    paths = sorted((folder / "labels").glob("*.png"))
    grounds = []
    for path in paths:
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        instances = cv2.imread(str(folder / "instances" / path.name), cv2.IMREAD_GRAYSCALE)
        masks = [instances == k for k in range(1, int(instances.max()) + 1)]
        maps = [np.where(mask, labels, np.where(instances == 0, 5, 0)).astype(np.uint8) for mask in masks]
        analyzer.learn(folder / f"images/{path.stem}.jpg", [box_of(mask) for mask in masks], maps)
        grounds.append(np.where(instances == 0, 255, labels))
    known = evaluate(analyzer, tmp_path, folder).figures["crowd"]
    for path, ground in zip(paths, grounds, strict=True):
        cv2.imwrite(str(path), ground)
    unknown = evaluate(analyzer, tmp_path, folder).figures["crowd"]
    assert known["ap_p_vol"] < unknown["ap_p_vol"]
    assert known["pcp_50"] <= unknown["pcp_50"] == unknown["ap_p_50"] == 1.0
