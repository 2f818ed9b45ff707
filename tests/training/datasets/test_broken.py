"""`parsing-rcnn datasets check` on broken folders of each layout: what is missing is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.datasets.layouts import SIZE, run, save
from tests.training.helpers import TruthTeller, recipe
from training.data.mixture import Mixture
from training.errors import DatasetError
from training.evaluation.run import run_datasets
from training.validation import Validation

Break = Callable[[Path], object]
MAP = np.zeros(SIZE, np.uint8)


def rows(path: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def densepose_rows(change: Callable[[dict], object]) -> Break:  # type: ignore[type-arg]
    return lambda root: rows(root / "densepose_coco_2014_minival.json", change)


def cihp_rows(change: Callable[[dict], object]) -> Break:  # type: ignore[type-arg]
    return lambda root: rows(root / "annotations/CIHP_train.json", change)


def cut(path: Path, share: float, zeros: bool = False) -> None:
    """What an ended download leaves, or a full disk (`zeros`); noise, so that most of the file is pixels."""
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8))
    data = path.read_bytes()
    kept = data[: int(share * len(data))]
    path.write_bytes(kept + bytes(len(data) - len(kept)) if zeros else kept)
    assert cv2.imread(str(path)).shape == (*SIZE, 3), "decoders say nothing"


def below(path: Path) -> None:
    (path.parent / "more").mkdir()
    path.rename(path.parent / "more" / path.name)


CASES: tuple[tuple[str, Break, str], ...] = (
    ("cihp", lambda r: shutil.rmtree(r / "Training/Human_ids"), "Training: no Human_ids"),
    ("cihp", lambda r: shutil.rmtree(r / "Validation/Images"), "Validation: no Images"),
    ("cihp", lambda r: (r / "Training/Images/0000000.jpg").unlink(), "Category_ids/0000000.png: a map of no picture"),
    (
        "cihp",
        lambda r: (r / "Training/Images/0000000.jpg").rename(r / "Training/Images/0000000.JPG"),
        "Images/0000000.JPG: not read, and so its maps are not",
    ),
    ("cihp", lambda r: below(r / "Training/Images/0000000.jpg"), "Images/more/0000000.jpg: not read, and so its maps"),
    (
        "cihp",
        lambda r: (r / "Training/Images/0000000.jpg").write_bytes(b"no"),
        "0000000.jpg: missing, or cannot",
    ),
    ("cihp", lambda r: save(r / "Training/Human_ids/0000001.png", MAP[:9]), "but the class map has (40, 60)"),
    ("cihp", lambda r: cut(r / "Training/Images/0000001.jpg", 0.6), "0000001.jpg: cut off"),
    ("cihp", lambda r: cut(r / "Training/Images/0000001.jpg", 0.6, zeros=True), "0000001.jpg: cut off"),
    ("mhp", lambda r: cut(r / "train/images/12.jpg", 0.99), "12.jpg: cut off"),
    ("densepose", lambda r: cut(r / "images/p.jpg", 0.6), "p.jpg: cut off"),
    (
        "cihp",
        lambda r: save(r / "Training/Human_ids/0000001.png", MAP),
        "0000001.jpg: parts, but nobody in Human_ids",
    ),
    ("mhp", lambda r: shutil.rmtree(r / "train/parsing_annos"), "no parsing_annos or annotations"),
    ("mhp", lambda r: shutil.rmtree(r / "train/images"), "no images"),
    ("mhp", lambda r: (r / "train/images/12.jpg").unlink(), "12.jpg: missing"),
    ("mhp", lambda r: (r / "train/parsing_annos/12_02_01.png").unlink(), "12_02_NN.png: 1 maps of 2 people"),
    ("mhp", lambda r: save(r / "train/parsing_annos/77_01_01.png", MAP), "77_01_01.png: a map of no picture"),
    ("mhp", lambda r: save(r / "train/parsing_annos/12_02_00.png", MAP + 59), "class 59, but the highest is 58"),
    ("repository_layout", lambda r: shutil.rmtree(r / "train_parsing"), "train_parsing: no such folder"),
    ("repository_layout", lambda r: shutil.rmtree(r / "train_img"), "train_img: no such folder"),
    ("repository_layout", lambda r: (r / "train_parsing/a-1.png").unlink(), "a-1.png: missing"),
    ("repository_layout", lambda r: save(r / "train_parsing/z.png", MAP), "z.png: no annotation names it"),
    ("repository_layout", cihp_rows(lambda d: d["annotations"][0].pop("parsing")), "annotation 0 has no parsing"),
    ("repository_layout", cihp_rows(lambda d: d["images"][0].pop("file_name")), "image 7 has no file_name"),
    ("repository_layout", cihp_rows(lambda d: d.pop("annotations")), "not a COCO annotation file (no 'annotations')"),
    ("densepose", lambda r: (r / "images/p.jpg").unlink(), "p.jpg: missing"),
    ("densepose", lambda r: cv2.imwrite(str(r / "images/p.jpg"), MAP[:9]), "(9, 60) pixels, but its annotation file"),
    ("densepose", densepose_rows(lambda d: d["images"][0].pop("file_name")), "image 3 has no file_name"),
    ("densepose", densepose_rows(lambda d: d["images"][0].pop("height")), "image 3 has no height and width"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].pop("dp_U")), "has dp_I but no 'dp_U'"),
    (
        "densepose",
        densepose_rows(lambda d: d["annotations"][0].update(dp_V="ab")),
        "or are no numbers",
    ),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(bbox=["a", 1, 2, 3])), "is no box x, y, w, h"),
    (
        "densepose",
        densepose_rows(lambda d: d["annotations"][0]["dp_masks"].__setitem__(3, {"size": [256, 256], "counts": "x"})),
        "dp_masks, region 4: no run lengths",
    ),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(image_id=8)), "is of image 8, not listed"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(image_id="3")), "is of image '3', not listed"),
    (
        "densepose",
        densepose_rows(lambda d: d["images"].append({"id": "4", "file_name": "q.jpg"})),
        "not a COCO annotation file (image id '4' is text, and others are numbers)",
    ),
    (
        "densepose",
        densepose_rows(lambda d: d["annotations"][0].update(iscrowd="0")),
        "not a COCO annotation file (annotation 1: iscrowd '0' is neither 0 nor 1)",
    ),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(image_id=[3])), "1: image_id [3] is no number"),
    (
        "densepose",
        densepose_rows(lambda d: d["annotations"][0].update(category_id={})),
        "1: category_id {} is no number",
    ),
    ("densepose", densepose_rows(lambda d: d["images"].append(d["images"][0])), "image id 3 is there twice"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(dp_masks=5)), "annotation 1: dp_masks 5"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(dp_U=[64.0, 127.0])), "1: dp_U 64; U and V are"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(dp_V=[0.5, -0.5])), "1: dp_V -0.5; U and V are"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(dp_x=[300.0, 9.0])), "1: dp_x 300; points lie"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(dp_y=[9.0, -4.0])), "1: dp_y -4; points lie in"),
    ("densepose", densepose_rows(lambda d: d["annotations"][0].update(dp_I=[2.5, 3.0])), "1: dp_I 2.5; a part is"),
    (
        "densepose",
        densepose_rows(lambda d: d["annotations"][1].update(keypoints=[1, 2])),
        "2: 2 keypoint numbers, not 51",
    ),
    (
        "densepose",
        densepose_rows(lambda d: d["annotations"][1].update(keypoints=[5] * 51)),
        "2: a keypoint's visibility",
    ),
    (
        "densepose",
        lambda r: (r / "densepose_coco_2014_minival.json").write_text("{"),
        "densepose_coco_2014_minival.json: not a COCO annotation file",
    ),
)


@pytest.mark.parametrize(("layout", "damage", "says"), CASES, ids=[f"{c[0]}: {c[2]}" for c in CASES])
def test_what_is_missing_is_named(layout: str, damage: Break, says: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(layout)
    assert run(str(root))[0] == 0, "it is whole before"
    damage(root)
    code, output = run(str(root))
    assert code in (1, 2)
    assert says in output.replace("\n", "")
    assert "Traceback" not in output


def test_a_list_with_a_byte_order_mark_is_read(mhp: Path) -> None:
    (mhp / "list/train.txt").write_text("12\r\n", encoding="utf-8-sig")
    assert run(str(mhp))[0] == 0


def test_a_list_names_a_picture_a_line(mhp: Path) -> None:
    """With blanks in its name, and once."""
    for path in (mhp / "train/images/12.jpg", *(mhp / "train/parsing_annos").glob("12_*.png")):
        path.rename(path.with_name(f"on site {path.name}"))
    (mhp / "list/train.txt").write_text("\non site 12 \n\n")
    code, output = run(str(mhp))
    assert (code, "MHP v2, train: 1 pictures, 2 people" in output) == (0, True), output
    (mhp / "list/train.txt").write_text("on site 12\non site 12\n")
    code, output = run(str(mhp))
    assert (code, "MHP v2, train: 1 pictures, 2 people" in output) == (1, True), output
    said = f"{mhp / 'list/train.txt'}: on site 12 is there more than once; it counts as one picture"
    assert said in output.replace("\n", " ").replace("  ", " ")


def test_points_at_the_edge_of_their_frame_and_chart_are_whole(densepose: Path) -> None:
    edges = {"dp_x": [0.0, 256.0], "dp_y": [255.0, 0.0], "dp_U": [0.0, 1.0], "dp_V": [1.0, 0.0], "dp_I": [1.0, 24.0]}
    densepose_rows(lambda d: d["annotations"][0].update(edges))(densepose)
    assert run(str(densepose))[0] == 0


def test_whole_pictures_are_not_called_cut_off(cihp: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    path = cihp / "Training/Images/0000000.jpg"
    for options in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)):
        cv2.imwrite(str(path), noise, options)
        assert run(str(cihp))[0] == 0
    whole = path.read_bytes()
    film = b"\xff\xda" + np.random.default_rng(1).bytes(300).replace(b"\xff", b"")
    for behind in (bytes(300), b"the maker's own notes", whole, whole[:-2], film):  # cameras append things
        path.write_bytes(whole + behind)
        assert run(str(cihp))[0] == 0
    exif = b"\xff\xe1" + (len(whole) + 2).to_bytes(2) + whole  # a thumbnail
    path.write_bytes(whole[:2] + exif + b"\xff\xff" + whole[3:])
    assert run(str(cihp))[0] == 0
    path.write_bytes(whole[:2] + exif + whole[2 : len(whole) * 3 // 5])
    assert "0000000.jpg: cut off" in run(str(cihp))[1]
    path.write_bytes(whole)
    ignored = np.full(SIZE, 255, np.uint8)  # nobody, and nobody says what is there
    save(cihp / "Training/Category_ids/0000000.png", ignored)
    save(cihp / "Training/Human_ids/0000000.png", MAP)
    assert run(str(cihp))[0] == 0


def test_maps_without_anybody_are_named(cihp: Path) -> None:
    """Training refuses them, and says that this command says why."""
    for folder in ("Category_ids", "Human_ids"):
        for number in range(2):
            save(cihp / f"Training/{folder}/{number:07d}.png", MAP)
    code, output = run(str(cihp))
    assert code == 1
    assert "CIHP, Training: nobody in any picture, so nothing is learnt" in output
    assert "CIHP, Validation: nobody" not in output


@pytest.mark.parametrize("folders", [True, False], ids=["empty folders", "no folders"])
def test_an_empty_split_is_left_until_it_is_measured(folders: bool, cihp: Path) -> None:
    shutil.rmtree(cihp / "Validation")
    for name in ("Images", "Category_ids", "Human_ids") if folders else (".",):
        (cihp / "Validation" / name).mkdir(parents=True)
    config = recipe(f"data.annotated={cihp}", "data.sources={annotated: 1}")
    assert len(Mixture(cihp, config).annotated or ()) == 2
    train = config.train.model_copy(update={"evaluate_every": 1})
    with pytest.raises(DatasetError, match="CIHP, Validation: its folders are empty"):
        Validation(config.model_copy(update={"train": train}))
    with pytest.raises(DatasetError, match="CIHP, Validation: its folders are empty"):
        run_datasets(TruthTeller(), cihp, None, None, cihp / "out")
    code, output = run(str(cihp))
    assert code == 1
    assert "CIHP, Training: 2 pictures" in output
    assert "CIHP, Validation: its folders are empty" in output
    assert f"{cihp / 'Validation'}: empty; " in output.replace("\n", "")
    shutil.rmtree(cihp / "Training/Images")
    (cihp / "Training/Images").mkdir()  # where maps lie it is not empty
    assert "no pictures NAME.jpg here" in run(str(cihp))[1].replace("\n", " ")
    shutil.rmtree(cihp / "Training")
    (cihp / "Training").mkdir()
    code, output = run(str(cihp))
    assert code == 2
    assert "Training: empty; a split of CIHP holds" in output.replace("\n", " ")
