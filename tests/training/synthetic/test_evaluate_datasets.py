"""Published datasets measured: an analyzer that knows the truth reaches all, a spoilt one what can be counted."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.cli import build
from parsing_rcnn.maps.specks import swept
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from tests.training.synthetic.conftest import write_people
from tests.training.tiny import tiny_network, tiny_recipe
from training.checkpoint import save_weights
from training.data.datasets.check import find_datasets
from training.data.datasets.cihp import RawCihp
from training.data.datasets.coco import CocoPeople
from training.data.synthetic.generator import Generator, Source
from training.data.synthetic.layouts import write_layout
from training.errors import DatasetError
from training.evaluation.analyzers import open_analyzer
from training.evaluation.datasets import evaluate_dataset, open_surface
from training.evaluation.sheets import TILE, dataset_sheet

COUNT = 3
SIDE = 256


def plain(items: object, _: str) -> object:
    return items


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, generator: Generator, source: Source, surface_file: Path) -> Path:
    out = tmp_path_factory.mktemp("dataset")
    write_people(out, generator, source, COUNT, 2)
    shutil.copy(surface_file, out)
    return out


def cells(array: NDArray[np.uint8], mask: NDArray[np.bool_], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What covers a box of whole pixels, in cells."""
    x1, y1, x2, y2 = (int(v) for v in box)
    own = np.where(mask[..., None] if array.ndim == 3 else mask, array, 0)[y1:y2, x1:x2]
    return np.asarray(cv2.resize(own, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def worst_tile(sheet: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The first tile of a sheet: picture | annotations | answer, of a picture of (height, width)."""
    return sheet[:TILE, : 3 * round(size[1] * TILE / size[0])]


class Knowing:
    """An Analyzer that has seen the dataset."""

    info = ModelInfo("truth", "1", "table", {"parsing": True, "densepose": True}, CIHP.classes, ((384, 640),), {})

    def __init__(self, dataset: Path) -> None:
        self.known: dict[bytes, People] = {}
        reader = RawCihp(dataset)
        for index in range(len(reader)):
            record = reader.read(index)
            assert record.parts is not None
            assert record.instances is not None
            iuv = cv2.imread(str(dataset / "IUV" / f"{record.image.stem}.png"))
            parts, maps = [], []
            for person in record.people:
                mask = record.instances == person.label
                parts.append(cells(record.parts, mask, person.box))
                maps.append(cells(iuv, mask, person.box).transpose(2, 0, 1))
            self.known[record.image.read_bytes()] = People(
                np.array([p.box for p in record.people], np.float32).reshape(-1, 4),
                np.linspace(0.9, 0.8, len(record.people), dtype=np.float32),
                record.size,
                parts=np.array(parts, np.uint8).reshape(-1, SIDE, SIDE),
                iuv=np.array(maps, np.uint8).reshape(-1, 3, SIDE, SIDE),
            )

    def spoil(self, people: People) -> People:
        return people

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        assert isinstance(image, bytes)
        return self.spoil(self.known[image])

    def close(self) -> None:
        pass


def test_the_truth_reaches_everything(dataset: Path) -> None:
    figures = evaluate_dataset(Knowing(dataset), RawCihp(dataset), plain).figures
    assert figures["pictures"] == COUNT
    assert figures["box_ap"] == figures["ap_p_50"] == figures["pcp_50"] == figures["ap_r_50"] == 1
    assert figures["ap_r_vol"] > 0.9
    assert figures["miou"] > 0.9  # cells of a 256th of a box against pixels
    assert figures["pixel_accuracy"] > 0.99
    assert list(figures["iou"]) == list(CIHP.classes)
    assert "gps_ap" not in figures


def test_the_true_iuv_reaches_every_point(dataset: Path) -> None:
    reader = CocoPeople(dataset / "densepose.json", dataset / "Images")
    figures = evaluate_dataset(Knowing(dataset), reader, plain, open_surface(dataset / "surface.npz")).figures
    assert figures["box_ap_50"] == figures["gps_ap_50"] == 1
    # the protocol's 255 against the 256 that points are written with moves a point by up to a pixel
    assert figures["gps_ap"] > 0.75
    assert figures["gpsm_ap_50"] > 0.9


class Haunted(Knowing):
    """Who sees a surer box than all others in a corner where nobody is, and maps there that it hardly believes."""

    def spoil(self, people: People) -> People:
        ghost = replace(
            people.select([0]),
            boxes=np.array([[0, 0, 8, 8]], np.float32),
            scores=np.array([0.95], np.float32),
            parts=np.full((1, SIDE, SIDE), 2, np.uint8),
            iuv=np.full((1, 3, SIDE, SIDE), 2, np.uint8),
        )
        count = len(people) + 1
        sure = np.ones((2, count, 25), np.float32)
        sure[:, 0] = 0.1
        both = {n: np.concatenate([getattr(ghost, n), getattr(people, n)]) for n in ("boxes", "scores", "parts", "iuv")}
        probs = (both["parts"][:, None] == np.arange(20)[:, None, None]).astype(np.uint8) * np.uint8(255)
        return replace(people, **both, part_scores=sure[0, :, :20], part_probs=probs, iuv_scores=sure[1])


def test_people_are_ranked_by_their_maps_or_as_by_the_authors(dataset: Path) -> None:
    points, surface = CocoPeople(dataset / "densepose.json", dataset / "Images"), open_surface(dataset / "surface.npz")
    haunted = Haunted(dataset)
    ours = evaluate_dataset(haunted, points, plain, surface).figures
    theirs = evaluate_dataset(haunted, points, plain, surface, exact=True).figures
    assert ours["gps_ap_50"] == 1 > theirs["gps_ap_50"]
    assert ours["gpsm_ap_50"] > theirs["gpsm_ap_50"]
    assert ours["box_ap_50"] == theirs["box_ap_50"] < 1  # boxes are ranked by their own score
    ours = evaluate_dataset(haunted, RawCihp(dataset), plain).figures
    theirs = evaluate_dataset(haunted, RawCihp(dataset), plain, exact=True).figures
    assert ours["ap_p_50"] == 1 > theirs["ap_p_50"]


def test_labels_are_of_the_pixels_as_stored(dataset: Path, tmp_path: Path) -> None:
    """A tag that asks viewers to turn the picture turns neither its labels nor what is measured against them."""
    split = tmp_path / "Training"
    shutil.copytree(dataset, split)
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = sorted((split / "Images").glob("*.jpg"))
    assert len(pictures) == COUNT
    for path in pictures:
        Image.open(path).save(path, quality="keep", exif=exif)
    seen = []

    class Looking(Knowing):
        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            assert isinstance(image, np.ndarray)
            seen.append(image.shape[:2])
            return self.spoil(list(self.known.values())[len(seen) - 1])

    reader = RawCihp(split)
    figures = evaluate_dataset(Looking(dataset), reader, plain).figures
    assert seen == [reader.size(index) for index in range(COUNT)]
    assert figures["miou"] > 0.9

    class Turning(Looking):
        def spoil(self, people: People) -> People:
            return replace(people, image_size=(1, 2))

    seen.clear()
    with pytest.raises(DatasetError, match=r"\.jpg: analysed as \(1, 2\) pixels, but its labels are of"):
        evaluate_dataset(Turning(dataset), reader, plain)


def test_pictures_are_ranked_by_what_is_wrong_with_them(dataset: Path, tmp_path: Path) -> None:
    class Wrong(Knowing):
        """Calls everything a hat in the last picture."""

        def spoil(self, people: People) -> People:
            if people is not list(self.known.values())[-1]:
                return people
            assert people.parts is not None
            return replace(people, parts=np.where(people.parts > 0, 1, 0).astype(np.uint8))

    analyzer, reader = Wrong(dataset), RawCihp(dataset)
    result = evaluate_dataset(analyzer, reader, plain)
    worst = min(result.pictures, key=lambda item: item[1])
    assert worst[0] == COUNT - 1
    assert worst[1] < 0.5 < min(quality for index, quality in result.pictures if index != worst[0])
    sheet = worst_tile(dataset_sheet(result, reader, analyzer), reader.size(worst[0]))
    hats = (np.abs(sheet.astype(int) - 0.65 * CIHP.palette[1][::-1]).max(2) < 0.36 * 255).sum()
    assert hats > 200


def test_what_nobody_knows_costs_nobody_and_is_grey_on_the_sheet(dataset: Path, tmp_path: Path) -> None:
    split = tmp_path / "Training"
    shutil.copytree(dataset, split)

    class Sprawling(Knowing):
        """Has everybody reach over the whole height of the picture."""

        def spoil(self, people: People) -> People:
            assert people.parts is not None
            height, width = people.image_size
            boxes = np.array([[0, 0, width, height]] * len(people), np.float32).reshape(-1, 4)
            parts = [cv2.resize(self.whole(people, row), (SIDE, SIDE), interpolation=0) for row in range(len(people))]
            return replace(people, boxes=boxes, parts=np.array(parts, np.uint8))

        @staticmethod
        def whole(people: People, row: int) -> NDArray[np.uint8]:
            own = people.select([row]).label_map()
            own[: people.image_size[0] // 3][people.label_map()[: people.image_size[0] // 3] == 0] = 4
            return own

    analyzer = Sprawling(dataset)
    known = evaluate_dataset(analyzer, RawCihp(split), plain).figures
    for path in (split / "Category_ids").glob("*.png"):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels[: len(labels) // 3][labels[: len(labels) // 3] == 0] = 255
        cv2.imwrite(str(path), labels)
    reader = RawCihp(split)
    result = evaluate_dataset(analyzer, reader, plain)
    assert result.figures["pcp_50"] >= known["pcp_50"]
    assert result.figures["ap_p_vol"] > known["ap_p_vol"]
    assert result.figures["ap_r_vol"] > known["ap_r_vol"]
    index = min(result.pictures, key=lambda item: item[1])[0]
    height, width = reader.size(index)
    sheet = worst_tile(dataset_sheet(result, reader, analyzer), (height, width))
    true = sheet[:, round(width * 256 / height) :][:80, : round(width * 256 / height)].astype(int)
    picture = sheet[:80, : round(width * 256 / height)].astype(int)
    grey = np.abs(true - 0.35 * picture - 0.65 * 128).max(2) < 4
    assert grey.mean() > 0.3


class Fronts(Knowing):
    """Takes all for the front of the torso."""

    def spoil(self, people: People) -> People:
        assert people.iuv is not None
        iuv = people.iuv.copy()
        iuv[:, 0] = np.where(iuv[:, 0] > 0, 2, 0)
        return replace(people, iuv=iuv)


class OneMissing(Knowing):
    """Never finds the second person."""

    def spoil(self, people: People) -> People:
        return people.select(np.arange(1))


def test_what_is_spoilt_is_seen(dataset: Path) -> None:
    body = open_surface(dataset / "surface.npz")
    reader = CocoPeople(dataset / "densepose.json", dataset / "Images")
    assert evaluate_dataset(Fronts(dataset), reader, plain, body).figures["gps_ap"] < 0.1
    half = evaluate_dataset(OneMissing(dataset), RawCihp(dataset), plain).figures
    people = half["people"]
    assert people > COUNT
    assert half["ap_p_50"] == pytest.approx(COUNT / people)
    assert half["pcp_50"] == pytest.approx(COUNT / people, abs=1e-6)
    assert 0 < half["ap_r_50"] < 0.9


class Blind(Knowing):
    """Finds nobody in the first picture that it sees."""

    def spoil(self, people: People) -> People:
        first = next(iter(self.known.values()))
        return people.select(np.zeros(0, int)) if people is first else people


def test_pictures_without_an_answer_count_or_not(dataset: Path) -> None:
    """The authors' code skips them in mIoU, whose maps they are not among, and counts their people as missed."""
    reader = RawCihp(dataset)
    counted = evaluate_dataset(Blind(dataset), reader, plain).figures
    skipped = evaluate_dataset(Blind(dataset), reader, plain, missing_predictions="skip").figures
    missed = len(reader.read(0).people)
    for figures in (counted, skipped):
        found = (figures["people"] - missed) / figures["people"]
        assert figures["ap_p_50"] == figures["ap_p_vol"] == pytest.approx(found)
        assert figures["pcp_50"] == pytest.approx(found)
    assert counted["miou"] < skipped["miou"]


class Doubtful(Knowing):
    """Finds all, the first person with a score of .4, the others with .2."""

    def spoil(self, people: People) -> People:
        return replace(people, scores=np.where(np.arange(len(people)) == 0, 0.4, 0.2).astype(np.float32))


def test_people_are_on_the_map_from_the_score_of_the_authors_code(dataset: Path) -> None:
    figures = evaluate_dataset(Doubtful(dataset), RawCihp(dataset), plain).figures
    first = evaluate_dataset(OneMissing(dataset), RawCihp(dataset), plain).figures
    assert figures["people"] > COUNT
    for name in ("miou", "pixel_accuracy"):  # from .3 on CIHP: those of .4 and none of .2
        assert figures[name] == first[name]
    assert figures["ap_p_50"] == figures["pcp_50"] == 1  # which all count people of any score


class Blurred(Knowing):
    """Gives probabilities that say something else than the labels: nothing but hats."""

    def spoil(self, people: People) -> People:
        assert people.parts is not None
        hats = np.zeros((len(people), len(CIHP), SIDE, SIDE), np.uint8)
        hats[:, 1] = 255
        return replace(people, part_probs=hats)


def test_the_exact_paste_reads_probabilities(dataset: Path) -> None:
    labels = evaluate_dataset(Blurred(dataset), RawCihp(dataset), plain).figures
    exact = evaluate_dataset(Blurred(dataset), RawCihp(dataset), plain, exact=True).figures
    assert labels["ap_p_50"] == 1
    assert exact["ap_p_50"] == exact["iou"]["Face"] == 0


class Crossing(Knowing):
    """Sees a sure person who wears nothing but a hat, and across that one an unsure one all in shoes."""

    size = (40, 60)

    def __init__(self) -> None:
        labels = np.stack([np.full((8, 8), label, np.uint8) for label in (1, 18)])
        probabilities = np.zeros((2, len(CIHP), 8, 8), np.uint8)
        probabilities[[0, 1], [1, 18]] = 255
        boxes = np.array([[20, 10, 40, 30], [0, 0, 60, 40]], np.float32)
        self.people = People(boxes, np.array([0.9, 0.6], np.float32), self.size, labels, part_probs=probabilities)

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        return self.people


def test_in_front_is_the_surer_person_of_the_authors_and_the_deeper_one_of_what_serves(tmp_path: Path) -> None:
    parts, human = np.full(Crossing.size, 18, np.uint8), np.full(Crossing.size, 2, np.uint8)
    parts[10:30, 20:40], human[10:30, 20:40] = 1, 1
    for folder, array in (("Images", np.zeros((*Crossing.size, 3), np.uint8)), ("Category_ids", parts)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / ("a.jpg" if folder == "Images" else "a.png")), array)
    (tmp_path / "Human_ids").mkdir()
    cv2.imwrite(str(tmp_path / "Human_ids" / "a.png"), human)
    exact = evaluate_dataset(Crossing(), RawCihp(tmp_path), plain, exact=True).figures
    # all of both: the surer one's box hides what lies below
    assert exact["miou"] == exact["pixel_accuracy"] == exact["ap_r_vol"] == 1
    served = evaluate_dataset(Crossing(), RawCihp(tmp_path), plain).figures
    # the middle of the larger one is deeper than the edge of the smaller one
    assert served["iou"]["Hat"] < 0.8
    assert served["ap_r_vol"] < 1
    assert served["ap_p_50"] == exact["ap_p_50"]  # which looks at everybody alone


@pytest.fixture(scope="module")
def speckled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network whose maps, of 64 x 64 cells, are all specks."""
    branch = {"roi_size": 16, "aspp_channels": 8, "channels": 8, "non_local_channels": 8, "convs": 0}
    recipe = tiny_recipe({"densepose": True}, branch=branch)
    network = tiny_network(recipe)
    torch.nn.init.normal_(network.parsing_head.up.deconv.weight, std=2.0)
    weights = tmp_path_factory.mktemp("speckled") / "weights.safetensors"
    save_weights(weights, network, recipe, {})
    return weights


@pytest.mark.parametrize("flip", [False, True])
def test_specks_are_left_where_nobody_wants_them_swept(dataset: Path, speckled: Path, flip: bool) -> None:
    image = next((dataset / "Images").glob("*.jpg")).read_bytes()
    options = Options(frozenset({"parsing"}), confidence=0.0, part_probs=True)
    clean, raw = (
        open_analyzer(checkpoint=speckled, flip=flip, sweep=sweep).analyze(image, options) for sweep in (True, False)
    )
    assert raw.parts is not None
    assert raw.part_probs is not None
    maps = swept({"PARTS": raw.parts, "PART_PROBS": raw.part_probs})
    for name, array in (("parts", maps["PARTS"]), ("part_probs", maps["PART_PROBS"])):
        np.testing.assert_array_equal(getattr(clean, name), array)
        assert not np.array_equal(getattr(raw, name), array)


def test_with_the_exact_paste_specks_are_measured_as_by_the_authors(
    dataset: Path, speckled: Path, tmp_path: Path
) -> None:
    split = tmp_path / "Training"
    split.mkdir()
    for folder in ("Images", "Category_ids", "Human_ids"):
        (split / folder).symlink_to(dataset / folder)
    command = ["evaluate", "--dataset", str(split), "--out", str(tmp_path), "--checkpoint", str(speckled)]
    for exact, sweeps in ((False, (True,)), (True, (True, False))):
        result = CliRunner().invoke(build(), [*command, *(["--exact-paste"] if exact else [])])
        assert result.exit_code == 0, result.output
        document = json.loads((tmp_path / "datasets.json").read_text())
        assert document["exact_paste"] is exact
        assert document["specks_swept"] is not exact
        (measured,) = document["splits"].values()
        for sweep in sweeps:
            analyzer = open_analyzer(checkpoint=speckled, sweep=sweep)
            figures = evaluate_dataset(analyzer, RawCihp(split), plain, exact=exact).figures
            assert (figures["pixel_accuracy"] == measured["pixel_accuracy"]) is (sweep is not exact)


def test_a_damaged_picture_is_named(dataset: Path, speckled: Path, tmp_path: Path) -> None:
    split = tmp_path / "Training"
    shutil.copytree(dataset, split)
    image = sorted((split / "Images").glob("*.jpg"))[1]
    png = cv2.imencode(".png", cv2.imread(str(image)))[1].tobytes()
    image.write_bytes(image.read_bytes()[:-2000])  # its header is whole
    analyzer, reader = open_analyzer(checkpoint=speckled), RawCihp(split)
    with pytest.raises(DatasetError) as caught:  # in the words of `datasets check`
        evaluate_dataset(analyzer, reader, plain)
    assert str(caught.value) == f"{image}: cut off, a JPEG without its end; the rest of it would be grey"
    image.write_bytes(png[:-2000])
    with pytest.raises(DatasetError, match=f"^{re.escape(str(image))}: the PNG is truncated or damaged") as caught:
        evaluate_dataset(analyzer, reader, plain)
    assert "send" not in str(caught.value)  # as the gateway asks its clients to


def test_other_classes_are_refused(dataset: Path, tmp_path: Path) -> None:
    write_layout(dataset, "mhp", tmp_path)
    (reader,) = find_datasets(tmp_path)
    with pytest.raises(DatasetError, match="59 part classes, and truth 20"):
        evaluate_dataset(Knowing(dataset), reader, plain)


def test_bodies_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "surface.npz"):
        with pytest.raises(DatasetError, match=r"surface\.npz"):
            open_surface(path)


def test_the_command_measures_exported_models_and_checkpoints(dataset: Path, tmp_path: Path) -> None:
    from training.checkpoint import save_weights
    from training.config import Config
    from training.model.parsing_rcnn import build_model

    out = tmp_path / "out"
    common = ["evaluate", "--dataset", str(dataset / "densepose.json"), "--out", str(out)]
    body = ["--surface", str(dataset / "surface.npz")]
    result = CliRunner().invoke(build(), [*common, *body])
    assert result.exit_code == 0, result.output
    document = json.loads((out / "datasets.json").read_text())
    (figures,) = document["splits"].values()
    for name in ("datasets_precision_recall.png", "datasets_worst_0.png"):
        assert cv2.imread(str(out / name)).std() > 10
    assert not (out / "datasets_classes.png").exists()  # points have no classes
    assert document["exact_paste"] is False
    assert 0 <= figures["gps_ap"] <= figures["gps_ap_50"] <= 1
    model = {
        "fpn": {"channels": 8},
        "rpn": {"anchor_sizes": [16, 32, 64, 96, 128], "pre_nms": 20, "proposals_test": 10},
        "box": {"channels": 8},
        "branch": {"roi_size": 8, "aspp_channels": 8, "channels": 8, "non_local_channels": 8, "convs": 0},
        "backbone": "efficientnet_lite0",
    }
    config = Config.model_validate({"name": "tiny", "model": model})
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, build_model(config.model), config, {})
    result = CliRunner().invoke(build(), [*common, "--checkpoint", str(weights), "--flip", "--scales", "96"])
    assert result.exit_code == 0, result.output
    assert "mirrored, short side 96" in json.loads((out / "datasets.json").read_text())["model"]["runtime"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--flip"], "--checkpoint"),
        (["--checkpoint", "a", "--uv-symmetry", "b.mat"], "--flip"),
        (["--checkpoint", "nowhere.safetensors"], "nowhere"),
        (["--checkpoint", "a", "--server", "http://127.0.0.1:1"], "exclude each other"),
        (["--checkpoint", "a", "--scales", "wide"], "--scales"),
        (["--checkpoint", "a", "--model", "fast"], "exported models"),
        (["--dataset", "nowhere"], "no such file or folder"),
    ],
)
def test_refusals_are_one_line(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(build(), ["evaluate", *arguments])
    assert result.exit_code == 1
    assert says in result.output
    assert "Traceback" not in result.output
