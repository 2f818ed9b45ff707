"""Readers and compositions on a tiny folder in the genuine layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.config import Config, DataConfig, TrainConfig
from training.data.groups import GroupPhotos
from training.data.mixture import Mixture
from training.data.sample import FILL, View, mask_box
from training.data.sources import LabelledPhotos, RenderedPeople
from training.data.things import Things
from training.errors import DatasetError


def config(**sources: float) -> Config:
    data = DataConfig(sources=sources, canvases=((160, 128),), final_canvases=((192, 128),), final_fraction=0.25)
    return Config(data=data, train=TrainConfig(iterations=8, batch_size=6, seed=3))


def test_validation_photos_never_train(data_folder: Path) -> None:
    train = LabelledPhotos.open(data_folder / "ccp")
    held = LabelledPhotos.open(data_folder / "ccp", validation=True)
    assert [p.name for p in held.images] == ["0003.jpg"]
    assert not {p.name for p in train.images} & {p.name for p in held.images}
    assert len(GroupPhotos.open(data_folder / "groups", validation=True).images) == 2


def test_group_boxes_and_crowds(data_folder: Path) -> None:
    groups = GroupPhotos.open(data_folder / "groups")
    assert groups.boxes[0].tolist() == [[26, 16, 74, 144], [126, 16, 174, 144]]
    assert groups.ignore[0].tolist() == [[0, 0, 20, 20]]


def test_a_missing_label_is_named(tmp_path: Path, data_folder: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0001.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"0001\.png"):
        LabelledPhotos.open(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        LabelledPhotos.open(tmp_path / "nowhere")


def test_batches_repeat_for_a_seed_and_change_canvas_at_the_end(data_folder: Path) -> None:
    recipe = config(photos=1.0, crowds=1.0, groups=1.0, empty=1.0)
    first, second = Mixture(data_folder, recipe)[2], Mixture(data_folder, recipe)[2]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        assert a.image.shape == (160, 128, 3)
    assert Mixture(data_folder, recipe)[7][0].image.shape == (192, 128, 3)


def test_every_sample_is_consistent(data_folder: Path) -> None:
    for index in range(6):
        for sample in Mixture(data_folder, config(photos=1.0, crowds=1.0, groups=1.0))[index]:
            assert len(sample.boxes) == len(sample.instance_ids)
            assert ((sample.parts > 0) == (sample.instances > 0)).all()
            for box, person in zip(sample.boxes, sample.instance_ids, strict=True):
                if person:
                    np.testing.assert_array_equal(box, mask_box(sample.instances == person))


def test_left_stays_left_after_a_flip(data_folder: Path) -> None:
    """In these figures the person's left arm is on the picture's right; a mirrored person keeps that."""
    checked = 0
    for index in range(8):
        for sample in Mixture(data_folder, config(photos=1.0))[index]:
            left, right = np.nonzero(sample.parts == 14)[1], np.nonzero(sample.parts == 15)[1]
            if len(left) > 40 and len(right) > 40:
                assert left.mean() > right.mean()
                checked += 1
    assert checked > 10


def test_a_view_moves_boxes_as_it_moves_pixels() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 12:30] = 255
    view = View(np.array([[2.0, 0.0, 3.0], [0.0, 2.0, 5.0]]), False)
    moved = view.warp(image, (100, 140), labels=True, fill=0)
    box = view.boxes(np.array([[12, 10, 30, 20]], np.float32), (100, 140))[0]
    np.testing.assert_array_equal(box, [27, 25, 63, 45])
    np.testing.assert_array_equal(mask_box(moved[..., 0] > 0), box)
    mirrored = View(np.array([[-1.0, 0.0, 60.0], [0.0, 1.0, 0.0]]), True)
    np.testing.assert_array_equal(mirrored.warp(image, (40, 60), labels=False, fill=0), image[:, ::-1])


def centroid(weights: np.ndarray) -> np.ndarray:
    """x, y of the middle of a picture's light."""
    rows, columns = np.indices(weights.shape) + 0.5
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()


@pytest.mark.parametrize("scale", [0.9, 0.49, 0.4, 0.33, 0.24])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_reduced_photo_stays_where_its_labels_are(scale: float, flipped: bool) -> None:
    rows, columns = np.indices((400, 400)) + 0.5
    bump = 255 * np.exp(-((columns - 190) ** 2 + (rows - 210) ** 2) / 5000)
    picture = np.repeat(bump[..., None], 3, 2).astype(np.uint8)
    matrix = np.array([[-scale if flipped else scale, 0.0, 400 * scale if flipped else 0.0], [0.0, scale, 0.0]])
    seen = View(matrix, flipped).warp(picture, (int(400 * scale), int(400 * scale)), labels=False, fill=0)
    np.testing.assert_allclose(centroid(seen[..., 0].astype(float)), matrix @ (190, 210, 1), atol=0.03)


@pytest.mark.parametrize("scale", [0.49, 0.33, 0.24])
def test_a_mirrored_view_of_a_mirrored_photo_is_the_same_picture(scale: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 60, 3)).astype(np.uint8)
    photo = cv2.resize(noise, (300, 250), interpolation=cv2.INTER_CUBIC)
    size = (int(250 * scale), int(300 * scale))
    straight = View(np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]]), False)
    mirrored = View(np.array([[-scale, 0.0, 300 * scale], [0.0, scale, 0.0]]), True)
    first = straight.warp(photo, size, labels=False, fill=0)
    second = mirrored.warp(np.ascontiguousarray(photo[:, ::-1]), size, labels=False, fill=0)
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(first[inner].astype(int) - second[inner]).max() <= 6  # OpenCV reads at 32nds of a pixel


def test_pasted_people_lie_where_their_labels_are(tmp_path: Path, data_folder: Path) -> None:
    folder = Path(shutil.copytree(data_folder, tmp_path / "data"))
    labels = np.zeros((160, 100), np.uint8)
    cv2.circle(labels, (50, 80), 40, 5, -1)
    for path in (folder / "ccp/images").iterdir():  # white people before white
        cv2.imwrite(str(path), np.full((160, 100, 3), 255, np.uint8))
        cv2.imwrite(str(folder / "ccp/labels" / f"{path.stem}.png"), labels)
    for path in [*(folder / "groups/images").iterdir(), *(folder / "backgrounds").iterdir()]:
        height, width = cv2.imread(str(path)).shape[:2]
        cv2.imwrite(str(path), np.full((height, width, 3), FILL, np.uint8))
    recipe = config(crowds=1.0)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"colours": False})})
    mixture, apart, outside = Mixture(folder, recipe), [], 0.0
    for index in range(30):
        for sample in mixture[index]:
            mask = sample.instances > 0
            inside = mask[1:-1, 1:-1].sum() == mask.sum()
            if sample.instances.max() == 1 and inside and mask.any():
                light = np.abs(sample.image[..., 0].astype(float) - FILL)
                apart.append(centroid(light) - centroid(mask.astype(float)))
                outside = max(outside, float(light[~mask].max()))
    assert len(apart) >= 4
    np.testing.assert_allclose(np.mean(apart, 0), 0, atol=0.05)
    assert outside < 10  # nothing of what was behind the person


def test_ignored_people_are_those_hidden(data_folder: Path) -> None:
    seen = 0
    for index in range(8):
        for sample in Mixture(data_folder, config(crowds=1.0))[index]:
            for person in range(1, int(sample.instances.max(initial=0)) + 1):
                box = mask_box(sample.instances == person)
                if box is None:
                    continue
                listed = person in sample.instance_ids
                ignored = any((box == other).all() for other in sample.ignore)
                assert listed != ignored
                seen += 1
    assert seen > 20


def test_rendered_people_bring_their_iuv(rendered_folder: Path, data_folder: Path) -> None:
    recipe = config(rendered=1.0, crowds=1.0)
    data = recipe.data.model_copy(update={"rendered": rendered_folder, "rendered_fraction": 0.5})
    mixture = Mixture(data_folder, recipe.model_copy(update={"data": data}))
    mapped = 0
    for index in range(4):
        for sample in mixture[index]:
            if sample.iuv is None:
                assert not sample.mapped
                continue
            own = np.isin(sample.instances, sample.mapped)
            assert set(np.unique(sample.iuv[own][:, 0])) <= {2, 15, 16}  # the arm is the other one when flipped
            np.testing.assert_array_equal(sample.iuv[own][:, 0] > 0, np.ones(own.sum(), bool))
            trunk = sample.iuv[own & (sample.iuv[..., 0] == 2)]
            flipped = bool((sample.iuv[own][:, 0] == 15).any())
            if sample.mapped == (1,) and len(trunk):
                assert (trunk[:, 2] == (205 if flipped else 50)).all()
            mapped += len(sample.mapped)
    assert mapped > 4


def test_rendered_people_need_a_folder(data_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"data\.rendered"):
        Mixture(data_folder, config(rendered=1.0))


def test_pseudo_labels_join_the_photos(tmp_path: Path, data_folder: Path) -> None:
    (data_folder / "ccp" / "unlabelled").mkdir(exist_ok=True)
    labels = np.full((160, 100), 255, np.uint8)
    labels[20:140, 30:70] = 5
    labels[:20] = 0
    cv2.imwrite(str(tmp_path / "0900.png"), labels)
    with pytest.raises(DatasetError, match="pseudo-label"):
        LabelledPhotos.open_pseudo(data_folder / "ccp" / "unlabelled", tmp_path)
    cv2.imwrite(str(data_folder / "ccp" / "unlabelled" / "0900.jpg"), np.full((160, 100, 3), 90, np.uint8))
    recipe = config(photos=1.0)
    data = recipe.data.model_copy(update={"pseudo_labels": tmp_path, "pseudo_fraction": 1.0})
    sample = Mixture(data_folder, recipe.model_copy(update={"data": data}))[0][0]
    assert set(np.unique(sample.parts)) <= {0, 5, 255}
    assert (sample.parts == 255).any()


def test_pieces_beside_people_show_nobody(data_folder: Path) -> None:
    mixture = Mixture(data_folder, config(empty=1.0))
    rng = np.random.default_rng(0)
    sizes = [piece.shape for _ in range(20) if (piece := mixture._beside_people(rng)) is not None]
    # people stand at 26-74 and 126-174 of 200, from 16 to 144 of 160: only strips between them are free
    assert all(width <= 52 or height <= 16 for height, width, _ in sizes)


def test_things_fill_pictures_without_people(data_folder: Path, tmp_path: Path) -> None:
    thing = np.zeros((40, 30, 4), np.uint8)
    thing[5:35, 5:25] = (255, 0, 0, 255)  # OpenCV writes BGRA: pure blue, transparent around it
    cv2.imwrite(str(tmp_path / "thing.png"), thing)
    sources: dict[str, float] = {"empty": 1.0}
    recipe = config(**sources)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"things": tmp_path})})
    mixture = Mixture(data_folder, recipe)
    samples = [mixture._empty(np.random.default_rng(k), (160, 128)) for k in range(12)]
    blue = [((s.image[..., 2] > 250) & (s.image[..., :2] < 5).all(2)).sum() for s in samples]
    assert 3 <= sum(count > 20 for count in blue) < 12  # about six in ten
    assert all(not s.parts.any() and len(s.boxes) == 0 and s.background_certain for s in samples)


def test_things_must_be_cut_out(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no PNG cut-outs"):
        Things.open(tmp_path)
    cv2.imwrite(str(tmp_path / "flat.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"flat\.png: no PNG with transparency"):
        Things.open(tmp_path).scatter(np.zeros((50, 50, 3), np.uint8), np.random.default_rng(0))


def test_labels_that_were_reduced_by_the_corners_of_pixels_are_put_back_on_their_photo() -> None:
    large = np.zeros((825, 550), np.uint8)
    cv2.ellipse(large, (270, 400), (130, 300), 0, 0, 360, 5, -1)
    photo = cv2.resize(large * 51, (341, 512), interpolation=cv2.INTER_AREA)
    labels = cv2.resize(large, (341, 512), interpolation=cv2.INTER_NEAREST)

    def agreement(shift: float, flipped: bool) -> float:
        scale = 3.0
        matrix = np.array([[-scale, 0, 1023], [0, scale, 0]] if flipped else [[scale, 0, 0], [0, scale, 0]], np.float64)
        view = View(matrix, flipped)
        seen = view.warp(photo, (1536, 1023), labels=False, fill=0) > 127
        said = view.of_shifted(shift).warp(labels, (1536, 1023), labels=True, fill=0) > 0
        return float((seen & said).sum() / (seen | said).sum())

    for flipped in (False, True):
        assert agreement(0.5, flipped) > 0.993 > agreement(0.0, flipped)
        assert agreement(0.5, flipped) > agreement(1.0, flipped)


def test_a_photo_that_is_named_by_no_number_is_named(data_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(data_folder / "ccp", tmp_path / "ccp")
    (tmp_path / "ccp/images/0004.jpg").rename(tmp_path / "ccp/images/anna 0004.jpg")
    for validation in (False, True):
        with pytest.raises(DatasetError, match=r"anna 0004\.jpg: its name is no number"):
            LabelledPhotos.open(tmp_path / "ccp", validation=validation)


def test_groups_without_crowds_or_with_a_byte_order_mark_are_read(data_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(data_folder / "groups", tmp_path / "groups")
    path = tmp_path / "groups/annotations.json"
    document = json.loads(path.read_text())
    for row in document["annotations"]:
        if not row["iscrowd"]:
            del row["iscrowd"]
    path.write_text(json.dumps(document), encoding="utf-8-sig")
    found, before = GroupPhotos.open(tmp_path / "groups"), GroupPhotos.open(data_folder / "groups")
    np.testing.assert_array_equal(np.stack(found.boxes), np.stack(before.boxes))
    np.testing.assert_array_equal(np.stack(found.ignore), np.stack(before.ignore))
    path.write_text("[]")
    with pytest.raises(DatasetError, match="not a COCO annotation file"):
        GroupPhotos.open(tmp_path / "groups")


def test_rendered_people_are_opened_for_who_draws_them(data_folder: Path, tmp_path: Path) -> None:
    def mixture(**sources: float) -> Mixture:
        recipe = config(**sources)
        absent = recipe.data.model_copy(update={"rendered": tmp_path / "nowhere"})
        return Mixture(data_folder, recipe.model_copy(update={"data": absent}))

    mixture(groups=1.0)
    mixture(groups=1.0, rendered=0.0)
    for source in ("rendered", "crowds"):
        with pytest.raises(DatasetError, match=r"data\.rendered: .*nowhere"):
            mixture(groups=1.0, **{source: 1.0})


def test_pseudo_labels_are_of_jpegs_of_any_suffix(tmp_path: Path) -> None:
    photos, labels = tmp_path / "photos", tmp_path / "labels"
    photos.mkdir()
    labels.mkdir()
    for name in ("1.jpg", "2.JPG", "3.Jpeg", "4.png"):
        (photos / name).touch()
        cv2.imwrite(str(labels / f"{name[0]}.png"), np.ones((4, 4), np.uint8))
    assert [p.name for p in LabelledPhotos.open_pseudo(photos, labels).images] == ["1.jpg", "2.JPG", "3.Jpeg"]
    (photos / "2.jpg").touch()
    with pytest.raises(DatasetError, match=r"2\.jpg: 2\.JPG has the same name but for its suffix"):
        LabelledPhotos.open_pseudo(photos, labels)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bbox": [float("nan")] * 4}, "bbox .* is no box x, y, w, h"),
        ({"bbox": [5, 5, -10, 20]}, "bbox .* is no box x, y, w, h"),
        ({"bbox": [5, 5, 10, 0]}, "bbox .* is no box x, y, w, h"),
        ({"bbox": [5, 5, 10, float("inf")]}, "bbox .* is no box x, y, w, h"),
        ({"bbox": ["5", 5, 10, 10]}, "bbox .* is no box x, y, w, h"),
        ({"iscrowd": "0"}, "iscrowd '0' is neither 0 nor 1"),
        ({"iscrowd": 2}, "iscrowd 2 is neither 0 nor 1"),
    ],
)
def test_people_of_groups_that_are_none_are_named(
    change: dict[str, object], says: str, data_folder: Path, tmp_path: Path
) -> None:
    document = json.loads((data_folder / "groups/annotations.json").read_text())
    document["annotations"][3] |= change
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    number = document["annotations"][3]["id"]
    with pytest.raises(DatasetError, match=rf"annotations\.json: annotation {number}: {says}"):
        GroupPhotos.open(tmp_path)


@pytest.mark.parametrize(
    ("folder", "shape", "value", "says"),
    [
        ("Category_ids", (96, 96), 40, "class 40, but the highest is 19 of the 20 classes"),
        ("Category_ids", (90, 96), 1, r"\(90, 96\) pixels, but 0000000\.jpg has \(96, 96\)"),
        ("Human_ids", (96, 90), 1, r"\(96, 90\) pixels, but 0000000\.jpg has \(96, 96\)"),
        ("IUV", (90, 90, 3), 1, r"\(90, 90\) pixels, but 0000000\.jpg has \(96, 96\)"),
        ("IUV", (96, 96), 1, r"not the I \(0\.\.24\), U and V"),
        ("IUV", (96, 96, 3), 25, r"not the I \(0\.\.24\), U and V"),
    ],
)
def test_maps_of_rendered_people_that_are_none_are_named(
    folder: str, shape: tuple[int, ...], value: int, says: str, rendered_folder: Path
) -> None:
    people = RenderedPeople.open(rendered_folder)
    assert people.read(0)[3].shape == (96, 96, 3)
    cv2.imwrite(str(rendered_folder / folder / "0000000.png"), np.full(shape, value, np.uint8))
    with pytest.raises(DatasetError, match=rf"{folder}/0000000\.png: {says}"):
        people.read(0)
