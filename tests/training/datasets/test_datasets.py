"""Readers on tiny folders in the published layouts, and `parsing-rcnn datasets check`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.datasets.layouts import SIZE, per_person, picture, run, save, two_people
from training.config import Config, DataConfig, ModelConfig, TrainConfig, load_config
from training.data.annotated import grouped
from training.data.datasets.check import find_datasets
from training.data.datasets.cihp import PersonMaps, RawCihp
from training.data.datasets.coco import CocoPeople
from training.data.datasets.mhp import RawMhp
from training.data.mixture import Mixture
from training.errors import ConfigError, DatasetError

RECIPE = Path(__file__).parents[3] / "training/configs/paper/cihp_r50_1x.yaml"


def test_raw_cihp(cihp: Path) -> None:
    training, validation = RawCihp.find(cihp)
    assert (len(training), len(validation)) == (2, 1)
    record = training.read(0)
    assert record.size == SIZE
    assert [person.box.tolist() for person in record.people] == [[4, 4, 18, 30], [30, 8, 44, 36]]
    assert [person.label for person in record.people] == [1, 2]
    np.testing.assert_array_equal(record.parts, two_people()[0])


@pytest.mark.parametrize("layout", ["mhp", "repository_layout"])
def test_one_map_a_person(layout: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(layout)
    (reader,) = RawMhp.find(root) if layout == "mhp" else PersonMaps.find(root)
    assert len(reader) == 1
    record = reader.read(0)
    np.testing.assert_array_equal(record.parts, two_people()[0])
    np.testing.assert_array_equal(record.instances, two_people()[1])
    assert len(record.people) == 2


def test_everybody_keeps_an_own_map_where_people_overlap(mhp: Path) -> None:
    """The authors measure against each file; the maps of the picture have what the last one left."""
    behind, front, hidden = np.zeros((3, *SIZE), np.uint8)
    behind[2:30, 2:20], front[2:30, 10:30], hidden[5:9, 12:16] = 12, 11, 3
    for index, own in enumerate((hidden, behind, front), 1):
        save(mhp / f"val/parsing_annos/9_03_0{index}.png", np.dstack([own] * 3))
    picture(mhp / "val/images/9.jpg")
    (mhp / "list/val.txt").write_text("9\n")
    record = next(reader for reader in RawMhp.find(mhp) if reader.split == "val").read(0)
    for person, own in zip(record.people, (hidden, behind, front), strict=True):
        np.testing.assert_array_equal(person.map_in(record), own)
    assert [person.box.tolist() for person in record.people] == [[12, 5, 16, 9], [2, 2, 20, 30], [10, 2, 30, 30]]
    assert (record.instances == 1).sum() == 0
    assert record.parts[10, 15] == 11


def test_where_nobody_says_what_is_there_stays_so_for_everybody(cihp: Path) -> None:
    parts, human = two_people()
    parts[:, 50:], parts[10:12, 4:18], parts[8:10, 30:44] = 255, 255, 255  # beside people, and in each of the two
    save(cihp / "Training/Category_ids/0000000.png", parts)
    record = RawCihp.find(cihp)[0].read(0)
    for person in record.people:
        own = person.map_in(record)
        np.testing.assert_array_equal(own == 255, parts == 255)
        np.testing.assert_array_equal(own[parts < 255], np.where(human == person.label, parts, 0)[parts < 255])


def test_mhps_test_split_is_for_measuring_and_may_come_without_maps(mhp: Path) -> None:
    for number in (5, 6):
        picture(mhp / f"test/images/{number}.jpg")
    assert [reader.name for reader in find_datasets(mhp)] == ["MHP v2, train"]
    save(mhp / "test/parsing_annos/6_01_01.png", np.dstack([per_person()[0]] * 3))
    (mhp / "list/test_all.txt").write_text("6\n")
    train, test = find_datasets(mhp)
    assert (train.validation, test.validation) == (False, True)
    assert len(test) == len(test.read(0).people) == 1


TEST_LISTS = ("CIHP_test", "MHP-v2_test_all", "MHP-v2_test_inter_top10", "MHP-v2_test_inter_top20")


@pytest.mark.parametrize("name", TEST_LISTS)
@pytest.mark.parametrize("annotations", [None, []], ids=["no annotations", "an empty list"])
def test_the_authors_test_lists_without_maps_are_left(
    repository_layout: Path, name: str, annotations: list[object] | None
) -> None:
    split = name.partition("_")[2]
    picture(repository_layout / f"{split}_img/b.jpg")
    document = {"images": [{"id": 1, "file_name": "b.jpg"}], "categories": [{"id": 1, "name": "person"}]}
    given = {} if annotations is None else {"annotations": annotations}
    (repository_layout / f"annotations/{name}.json").write_text(json.dumps(document | given))
    assert [reader.name for reader in find_datasets(repository_layout)] == ["CIHP_train"]
    assert run(str(repository_layout))[0] == 0
    assert len(mixture(repository_layout).annotated or ()) == 1


def test_a_test_split_with_maps_is_read(repository_layout: Path) -> None:
    for kind in ("img", "parsing"):
        shutil.copytree(repository_layout / f"train_{kind}", repository_layout / f"test_{kind}")
    folder = repository_layout / "annotations"
    shutil.copy(folder / "CIHP_train.json", folder / "CIHP_test.json")
    assert [(reader.name, reader.validation) for reader in find_datasets(repository_layout)] == [
        ("CIHP_test", True),
        ("CIHP_train", False),
    ]


@pytest.mark.parametrize("annotations", [None, []], ids=["no annotations", "an empty list"])
def test_denseposes_test_list_is_left_of_a_folder_and_refused_by_name(
    densepose: Path, annotations: list[object] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its download script brings densepose_coco_2014_test.json along, which lists pictures."""
    (densepose / "densepose_coco_2014_minival.json").rename(densepose / "densepose_coco_2014_train.json")
    document = {"images": [{"id": 9, "file_name": "p.jpg", "height": 40, "width": 60}], "categories": []}
    given = {} if annotations is None else {"annotations": annotations}
    test = densepose / "densepose_coco_2014_test.json"
    test.write_text(json.dumps(document | given))
    (reader,) = find_datasets(densepose)
    assert reader.name.startswith("densepose_coco_2014_train.json")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{test}: pictures without annotations; it is left out\n"
    assert run(str(densepose))[0] == 0
    assert len(mixture(densepose, parsing=False, densepose=True).annotated or ()) == 1
    code, output = run(str(test))
    assert code == 2
    assert "annotation" in output
    with pytest.raises(DatasetError, match=r"densepose_coco_2014_test\.json"):
        mixture(test, parsing=False, densepose=True)


@pytest.mark.parametrize(("layout", "inner"), [("cihp", "instance-level_human_parsing"), ("mhp", "LV-MHP-v2")])
def test_what_an_archive_unpacks_to_is_found_a_folder_further_down(
    layout: str, inner: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    above = tmp_path_factory.mktemp("unpacked")
    shutil.copytree(request.getfixturevalue(layout), above / inner)
    named = [reader.name for reader in find_datasets(above / inner)]
    assert [reader.name for reader in find_datasets(above)] == named
    (above / "densepose_other").mkdir()
    assert [reader.name for reader in find_datasets(above)] == named
    shutil.copytree(above / inner, above / "another")  # which of them is meant nobody says
    with pytest.raises(DatasetError, match="no dataset that is known"):
        find_datasets(above)


def test_densepose_points_and_regions(densepose: Path) -> None:
    (reader,) = CocoPeople.find(densepose, None)
    person, crowd = reader.read(0).people
    assert person.box.tolist() == [4, 4, 18, 30]
    assert person.points is not None
    assert person.points.part.tolist() == [2, 24]
    assert person.points.u.tolist() == [0.25, 0.5]
    assert (person.points.regions[64:128] == 1).all()
    assert person.points.regions.sum() == 64 * 256
    assert crowd.crowd
    assert crowd.keypoints is not None
    assert crowd.keypoints.shape == (17, 3)


def test_whole_folders_are_counted(cihp: Path) -> None:
    code, output = run(str(cihp))
    assert code == 0
    assert "CIHP, Training: 2 pictures, 4 people" in output
    assert "CIHP, Validation: 1 pictures, 2 people" in output


def test_points_are_counted(densepose: Path) -> None:
    code, output = run(str(densepose / "densepose_coco_2014_minival.json"), "--images", str(densepose / "images"))
    assert code == 0
    assert "1 pictures, 1 people, 2 DensePose points" in output


def test_what_is_broken_is_named(cihp: Path) -> None:
    (cihp / "Training/Human_ids/0000001.png").unlink()
    save(cihp / "Training/Category_ids/0000000.png", np.full(SIZE, 20, np.uint8))
    code, output = run(str(cihp))
    assert code == 1
    assert "0000001.png: missing" in output.replace("\n", "")
    assert "class 20, but the highest is 19" in output.replace("\n", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dp_V": [0.5]}, "unequal lengths"),
        ({"dp_I": [2.0, 25.0]}, "parts are 1..24"),
        ({"dp_masks": [[]] * 3}, "there are 14 regions"),
        ({"bbox": [1, 2, 4]}, "is no box"),
        ({"keypoints": [1, 2, 2]}, "3 keypoint numbers, not 51"),
    ],
)
def test_broken_annotations_are_named(densepose: Path, change: dict[str, object], message: str) -> None:
    path = densepose / "densepose_coco_2014_minival.json"
    document = json.loads(path.read_text())
    document["annotations"][0].update(change)
    path.write_text(json.dumps(document))
    (reader,) = CocoPeople.find(path, None)
    with pytest.raises(DatasetError, match="annotation 1.*" + message):
        reader.read(0)


def test_a_box_without_extent_is_left_out_and_named(densepose: Path) -> None:
    """COCO's own annotation 2206849 has one; it must not end a run of 130,000 steps."""
    path = densepose / "densepose_coco_2014_minival.json"
    before = len(CocoPeople.find(path, None)[0].read(0).people)
    document = json.loads(path.read_text())
    document["annotations"].append(document["annotations"][0] | {"id": 2206849, "bbox": [9.98, 188.56, 5.54, 0.0]})
    path.write_text(json.dumps(document))
    (reader,) = CocoPeople.find(path, None)
    assert len(reader.read(0).people) == before
    assert reader.useful().tolist() == [0]
    code, output = run(str(path), "--images", str(densepose / "images"))
    assert code == 1
    assert "annotation 2206849: bbox [9.98, 188.56, 5.54, 0.0] has no extent" in output.replace("\n", " ")


def test_maps_of_another_size_and_16_bits_are_refused(cihp: Path) -> None:
    reader = RawCihp.find(cihp)[0]
    cv2.imwrite(str(cihp / "Training/Category_ids/0000000.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(DatasetError, match=r"\(10, 10\) pixels, but 0000000.jpg has \(40, 60\)"):
        reader.read(0)
    cv2.imwrite(str(cihp / "Training/Category_ids/0000001.png"), np.zeros(SIZE, np.uint16))
    with pytest.raises(DatasetError, match="8 bits"):
        reader.read(1)


@pytest.mark.parametrize(
    ("layout", "image"),
    [
        ("cihp", "Training/Images/0000000.jpg"),
        ("mhp", "train/images/12.jpg"),
        ("repository_layout", "train_img/a.jpg"),
    ],
)
def test_a_picture_is_decoded_where_its_pixels_are_wanted(
    layout: str, image: str, request: pytest.FixtureRequest
) -> None:
    """By a run once, of whose time decoding is most, and by the check; a record needs no more than the header."""
    root = request.getfixturevalue(layout)
    data = (root / image).read_bytes()
    thumbnail = b"\xff\xe1\xff\xff" + bytes(0xFFFF - 2)
    unknown = b"\xff\xda\x00\x08\x01\x09\x00\x00\x3f\x00\xff\xd9"  # the pixels of a ninth channel
    for start in (data[:2], data[:2] + 5 * thumbnail):  # the second one is longer than what is read at first
        (root / image).write_bytes(start + data[2 : data.index(b"\xff\xda")] + unknown)
        reader = find_datasets(root)[0]
        assert reader.read(0).size == SIZE
        assert len(reader.read(0).people) == 2
    code, output = run(str(root))
    assert code == 1
    assert f"{Path(image).name}: missing, or cannot be read" in output.replace("\n", "")
    batches = mixture(root, 59 if layout == "mhp" else 20)
    with pytest.raises(DatasetError, match=r"\.jpg: missing, or cannot be read"):
        _ = [batches[index] for index in range(20)]


def test_nothing_known_is_said(tmp_path: Path) -> None:
    assert run(str(tmp_path / "nowhere"))[0] == 2
    with pytest.raises(DatasetError, match="Category_ids"):
        find_datasets(tmp_path)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DatasetError, match="not a COCO annotation file"):
        find_datasets(tmp_path)


def test_rendered_folders_are_whole(rendered_folder: Path) -> None:
    code, output = run(str(rendered_folder))
    assert code == 0
    assert "2 pictures, 2 people" in output


def mixture(path: Path, classes: int = 20, **train_: object) -> Mixture:
    data = DataConfig(sources={"annotated": 1.0}, annotated=(path,), canvases=((64, 96),), final_fraction=0.0)
    train = TrainConfig(iterations=40, batch_size=1, seed=3, **train_)
    return Mixture(path / "nothing of ours", Config(model=ModelConfig(parsing_classes=classes), data=data, train=train))


def test_a_published_dataset_trains_without_any_other(cihp: Path) -> None:
    batches = mixture(cihp)
    seen = set()
    for index in range(12):
        (sample,) = batches[index]
        assert sample.image.shape == (64, 96, 3)
        assert len(sample.boxes) == len(sample.instance_ids)
        for box, person in zip(sample.boxes, sample.instance_ids, strict=True):
            rows, columns = np.nonzero(sample.instances == person)
            assert abs(columns.min() - box[0]) <= 2
            assert abs(rows.max() + 1 - box[3]) <= 2
            seen |= set(np.unique(sample.parts[sample.instances == person]).tolist())
    assert {2, 5, 6} <= seen


def test_mhp_sides_swap_by_its_own_table(mhp: Path) -> None:
    own = np.zeros(SIZE, np.uint8)
    own[5:35, 10:30], own[5:35, 30:50] = 5, 6  # left arm, right arm
    for path in (mhp / "train/parsing_annos").glob("*.png"):
        path.unlink()
    save(mhp / "train/parsing_annos/12_01_01.png", np.dstack([own] * 3))
    orders = set()
    batches = mixture(mhp, classes=59)
    for index in range(40):
        (sample,) = batches[index]
        columns = [np.nonzero(sample.parts == k)[1] for k in (5, 6)]
        if all(len(c) for c in columns):
            orders.add(bool(columns[0].mean() < columns[1].mean()))
    assert orders == {True}  # a flip moves the left arm to the other side and makes it the right one


def test_points_crowds_and_boxes_without_maps(densepose: Path) -> None:
    seen = set()
    for index in range(20):
        (sample,) = mixture(densepose / "densepose_coco_2014_minival.json", parsing=False, densepose=True)[index]
        assert len(sample.ignore) >= 1
        assert not sample.parts.any()
        assert set(sample.points) == set(sample.instance_ids.tolist())
        for box, person in zip(sample.boxes, sample.instance_ids.tolist(), strict=True):
            points = sample.points[person]
            # the canvas may cut the box, never the frame that the points are placed in
            assert points.frame[0] <= box[0] + 1e-3
            assert points.frame[3] >= box[3] - 1e-3
            fraction = (points.x - points.frame[0]) / (points.frame[2] - points.frame[0])
            flipped = points.part.tolist() == [2, 23]
            assert flipped or points.part.tolist() == [2, 24]
            np.testing.assert_allclose(fraction, [0.5, 1 - 10 / 256 if flipped else 10 / 256], atol=1e-4)
            np.testing.assert_allclose(points.u, [0.25, 0.5], atol=1e-6)
            np.testing.assert_allclose(points.v, [0.25 if flipped else 0.75, 1.0], atol=1e-6)
            seen.add(flipped)
    assert seen == {True, False}


def test_a_folders_validation_splits_are_not_trained_on(cihp: Path, densepose: Path) -> None:
    assert [reader.validation for reader in RawCihp.find(cihp)] == [False, True]
    assert len(mixture(cihp).annotated or ()) == 2  # Training has two pictures, Validation one
    only_measuring = densepose / "measuring"
    only_measuring.mkdir()
    (densepose / "densepose_coco_2014_minival.json").rename(only_measuring / "densepose_minival2014.json")
    with pytest.raises(DatasetError, match="only validation splits"):
        mixture(only_measuring)


@pytest.mark.parametrize(
    ("name", "validation"),
    [
        ("densepose_coco_2014_train", False),
        ("densepose_coco_2014_valminusminival", False),
        ("densepose_valminusminival2014", False),
        ("densepose_minival2014", True),
        ("densepose_coco_2014_test", True),
        ("person_keypoints_train2017", False),
        ("person_keypoints_val2017", True),
        ("densepose", False),  # rendered people
    ],
)
def test_which_coco_files_are_for_measuring(densepose: Path, name: str, validation: bool) -> None:
    path = (densepose / "densepose_coco_2014_minival.json").rename(densepose / f"{name}.json")
    assert CocoPeople(path, densepose / "images").validation == validation


def paper_batches(cihp: Path, **settings: object) -> Mixture:
    data = DataConfig(
        sources={"annotated": 1.0}, annotated=(cihp,), short_sides=(64, 96), longest_side=120, colours=False, **settings
    )
    config = Config(data=data, train=TrainConfig(iterations=40, batch_size=2, seed=5))
    return Mixture(cihp / "nothing of ours", config)


def test_whole_pictures_at_several_sizes(cihp: Path) -> None:
    tall = np.full((60, 40, 3), 200, np.uint8)
    for index in range(3):
        name = f"{100 + index:07d}"
        save(cihp / "Training" / "Images" / f"{name}.jpg", tall)
        for folder, values in zip(("Category_ids", "Human_ids"), two_people(), strict=True):
            save(cihp / "Training" / folder / f"{name}.png", np.ascontiguousarray(values.T))
    batches = paper_batches(cihp)
    assert batches.annotated is not None
    epochs = []
    for epoch in range(2):
        shapes = []
        for number in range(3):  # two wide pictures in one batch, three tall ones in two
            first, second = batches[3 * epoch + number]
            assert first.image.shape == second.image.shape
            assert all(side % 32 == 0 for side in first.image.shape[:2])
            shapes.append(first.image.shape[0] > first.image.shape[1])
            for sample in (first, second):
                whole = (sample.image != 114).any(2)
                # 40 x 60 at a short side of 64 or 80 (longest 120): the rest of the canvas is grey
                extent = sorted(int(np.flatnonzero(whole.any(axis))[-1]) + 1 for axis in (0, 1))
                assert (
                    np.abs(np.subtract(extent, (64, 96))).max() <= 1
                    or np.abs(np.subtract(extent, (80, 120))).max() <= 1
                )
                assert len(sample.boxes) == 2
                for box, person in zip(sample.boxes, sample.instance_ids, strict=True):
                    rows, columns = np.nonzero(sample.instances == person)
                    assert abs(columns.min() - box[0]) <= 1.5
                    assert abs(rows.max() + 1 - box[3]) <= 1.5
        epochs.append(sorted(shapes))
    assert epochs == [[False, True, True]] * 2


def test_an_epoch_is_dealt_out_once(cihp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 57,000 pictures it takes as long as reading one."""
    dealt: list[int] = []

    def counted(rng: np.random.Generator, wide: NDArray[np.bool_], count: int) -> list[NDArray[np.int64]]:
        dealt.append(len(grouped(rng, wide, count)))
        return grouped(rng, wide, count)

    monkeypatch.setattr("training.data.annotated.grouped", counted)
    for name in ("0000002", "0000003", "0000004"):  # five wide pictures: three batches of two
        for folder, suffix in (("Images", "jpg"), ("Category_ids", "png"), ("Human_ids", "png")):
            shutil.copy(cihp / f"Training/{folder}/0000000.{suffix}", cihp / f"Training/{folder}/{name}.{suffix}")
    batches = paper_batches(cihp)
    for number in range(6):
        assert len(batches[number]) == 2
    assert dealt == [3, 3]


def test_whole_pictures_keep_the_smallest_person(cihp: Path) -> None:
    """Nobody says in the paper that small people are ignored; canvases that are drawn do ignore them."""
    small = np.zeros(SIZE, np.uint8)
    small[4:8, 10:13] = 1  # 6.4 x 4.8 or 8 x 6 canvas pixels at a short side of 64 or 80
    save(cihp / "Training" / "Category_ids" / "0000000.png", np.where(small, 2, 0).astype(np.uint8))
    save(cihp / "Training" / "Human_ids" / "0000000.png", small)
    heights = [
        float(sample.boxes[0, 3] - sample.boxes[0, 1])
        for number in range(2)
        for sample in paper_batches(cihp)[number]
        if len(sample.boxes) == 1 and not len(sample.ignore)
    ]
    assert heights
    assert max(heights) < 12


def test_short_sides_are_for_annotated_datasets_alone(cihp: Path) -> None:
    data = DataConfig(sources={"annotated": 1.0, "photos": 1.0}, annotated=(cihp,), short_sides=(64,))
    with pytest.raises(DatasetError, match=r"data\.short_sides"):
        Mixture(cihp, Config(data=data))


def test_one_dataset_is_named_by_its_path_alone(cihp: Path) -> None:
    def named(value: object) -> tuple[Path, ...]:
        return load_config(RECIPE, (f"data.annotated={value}",)).data.annotated

    assert named(cihp) == named(f"[{cihp}]") == DataConfig.model_validate({"annotated": cihp}).annotated == (cihp,)
    assert named(f"[{cihp}, {cihp / 'more'}]") == (cihp, cihp / "more")
    with pytest.raises(ConfigError, match=r"data\.annotated"):
        named(5)


def test_annotated_pictures_need_a_dataset(tmp_path: Path) -> None:
    data = DataConfig(sources={"annotated": 1.0})
    with pytest.raises(DatasetError, match=r"data\.annotated"):
        Mixture(tmp_path, Config(data=data))


PARSING, DENSEPOSE = {}, {"parsing": False, "densepose": True}


@pytest.mark.parametrize(
    ("layout", "classes", "train", "says"),
    [
        ("cihp", 59, PARSING, r"CIHP, Training: 20 part classes, but the recipe has model\.parsing_classes=59"),
        ("mhp", 20, PARSING, r"MHP v2, train: 59 part classes, but the recipe has model\.parsing_classes=20"),
        ("mhp", 20, {"densepose": True}, r"59 part classes"),
        ("repository_layout", 59, PARSING, r"CIHP_train: 20 part classes"),
        ("densepose", 20, PARSING, r"densepose_train.json \(DensePose, keypoints\): no part labels"),
        ("cihp", 20, DENSEPOSE, r"CIHP, Training: no DensePose points"),
        ("cihp", 20, {"densepose": True}, r"CIHP, Training: no DensePose points"),
    ],
)
def test_a_dataset_that_the_recipe_would_train_wrongly_on_is_refused(
    layout: str, classes: int, train: dict[str, object], says: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(layout)
    for file in root.glob("densepose_*.json"):
        file.rename(root / "densepose_train.json")
    with pytest.raises(DatasetError, match=says):
        mixture(root, classes, **train)


def test_datasets_that_together_have_what_is_trained_are_taken(cihp: Path, densepose: Path) -> None:
    both = densepose / "densepose_train.json"  # in the same folder as CIHP's splits, like rendered people
    (densepose / "densepose_coco_2014_minival.json").rename(both)
    assert len(mixture(cihp, densepose=True).annotated or ()) == 3
    # of other classes, and nothing that is trained asks for them
    assert len(mixture(cihp, 59, parsing=False).annotated or ()) == 3
    assert len(mixture(cihp, 59, only="detector").annotated or ()) == 3
    with pytest.raises(DatasetError, match="20 part classes"):
        mixture(cihp, 59, only="parsing")


def test_what_another_source_teaches_no_dataset_has_to(densepose: Path, data_folder: Path) -> None:
    path = densepose / "densepose_coco_2014_minival.json"
    data = DataConfig(sources={"annotated": 1.0, "photos": 1.0}, annotated=(path,))
    assert Mixture(data_folder, Config(data=data, train=TrainConfig(densepose=True))).annotated is not None
    data = data.model_copy(update={"sources": {"annotated": 1.0, "photos": 0.0}})
    with pytest.raises(DatasetError, match="no part labels"):
        Mixture(data_folder, Config(data=data))
