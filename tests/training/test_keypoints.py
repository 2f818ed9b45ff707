"""COCO keypoints train the branch, and a parsing run begins from what they taught."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from training.config import Config, load_config
from training.data.batch import Batch
from training.data.datasets.check import find_datasets
from training.errors import DatasetError
from training.losses.keypoints import keypoint_loss, keypoint_targets
from training.train import Trainer

LIGHT = Path(__file__).parents[2] / "training" / "configs" / "light.yaml"
PAIRS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))


def test_cells_by_hand() -> None:
    rois = torch.tensor([[10.0, 20, 18, 36]])
    keypoints = torch.zeros(1, 17, 3)
    keypoints[0, 0] = torch.tensor([10.0, 20, 2])  # the first cell
    keypoints[0, 1] = torch.tensor([18.0, 36, 1])  # the far corner: the last
    keypoints[0, 2] = torch.tensor([13.0, 30, 2])  # x 3/8, y 10/16: column 1 and row 2 of four
    keypoints[0, 3] = torch.tensor([9.0, 30, 2])  # outside
    keypoints[0, 4] = torch.tensor([13.0, 30, 0])  # not labelled
    cells, valid = keypoint_targets(keypoints, rois, 4)
    assert cells[0, :3].tolist() == [0, 15, 9]
    assert valid[0].tolist() == [True] * 3 + [False] * 14


def test_the_loss_by_hand() -> None:
    logits = torch.zeros(1, 17, 2, 2)
    cells, valid = torch.zeros(1, 17, dtype=torch.int64), torch.zeros(1, 17, dtype=torch.bool)
    assert keypoint_loss(logits, cells, valid).item() == 0
    valid[0, :2] = True
    assert float(keypoint_loss(logits, cells, valid)) == pytest.approx(math.log(4))
    sure = torch.zeros(1, 17, 2, 2)
    sure[0, 0, 0, 0] = 3.0
    wanted = (math.log(math.exp(3) + 3) - 3 + math.log(4)) / 2
    assert float(keypoint_loss(sure, cells, valid)) == pytest.approx(wanted)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO's own layout: annotations/person_keypoints_train2017.json beside train2017/, with what its files contain."""
    (tmp_path / "coco/annotations").mkdir(parents=True)
    (tmp_path / "coco/train2017").mkdir()
    rng = np.random.default_rng(0)
    images, rows = [], []
    for number in range(6):
        picture = rng.integers(90, 150, (120, 160, 3)).astype(np.uint8)
        name = f"{number + 9:012d}.jpg"
        images.append({"id": number + 9, "file_name": name, "width": 160, "height": 120, "license": 1})
        common = {"image_id": number + 9, "category_id": 1, "area": 2400.0, "segmentation": [[1, 1, 2, 1, 2, 2]]}
        if number < 4:  # people with keypoints: a bright dot each
            left = 20 + 20 * number
            points = np.zeros((17, 3), int)
            points[:] = [(left + 4 + 2 * k, 16 + 5 * k, 2 if k % 5 else 1) for k in range(17)]
            points[16] = 0  # not labelled
            cv2.rectangle(picture, (left, 10), (left + 40, 110), (60, 60, 200), -1)
            for x, y, _ in points[:16]:
                cv2.circle(picture, (int(x), int(y)), 2, (255, 255, 255), -1)
            keypoints = {"keypoints": points.ravel().tolist(), "num_keypoints": 16}
            rows.append({"id": number, "bbox": [left, 10, 40, 100], "iscrowd": 0, **keypoints, **common})
        elif number == 4:  # somebody small, without
            empty = {"keypoints": [0] * 51, "num_keypoints": 0}
            rows.append({"id": number, "bbox": [10, 10, 20.5, 30.25], "iscrowd": 0, **empty, **common})
        cv2.imwrite(str(tmp_path / "coco/train2017" / name), picture)
    crowd = {"segmentation": {"counts": [0, 19200], "size": [120, 160]}, "keypoints": [0] * 51, "num_keypoints": 0}
    rows.append({"id": 99, "image_id": 9, "category_id": 1, "bbox": [100, 0, 50, 30], "iscrowd": 1, **crowd})
    document = {
        "info": {"year": 2017},
        "licenses": [],
        "images": images,
        "annotations": rows,
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"], "skeleton": [[16, 14]]}],
    }
    (tmp_path / "coco/annotations/person_keypoints_train2017.json").write_text(json.dumps(document))
    return tmp_path / "coco/annotations/person_keypoints_train2017.json"


def recipe(coco: Path, *overrides: str) -> Config:
    common = (
        "data.sources={annotated: 1.0}",
        f"data.annotated=[{coco}]",
        "data.rendered=null",
        "data.colours=false",
        "data.canvases=[[96,128]]",
        "data.final_fraction=0",
        "model.keypoints=true",
        "model.pretrained=false",
        "model.fpn.channels=32",
        "model.box.channels=32",
        "model.branch.aspp_channels=32",
        "model.branch.channels=32",
        "model.branch.non_local_channels=16",
        "model.branch.convs=1",
        "model.branch.conv_channels=64",
        "train.batch_size=2",
        "train.workers=0",
        "train.warmup=2",
        "train.autocast=none",
        "train.parsing=false",
        "train.densepose=false",
        "train.ema_decay=0",
        "train.backbone_norm=train",
        "train.learning_rate=0.003",
        "train.half_size_losses=true",
    )
    return load_config(LIGHT, (*common, *overrides))


def test_coco_in_its_own_layout_is_found_and_counted(coco: Path) -> None:
    (reader,) = find_datasets(coco)
    assert reader.read(0).image == coco.parents[1] / "train2017" / "000000000009.jpg"
    assert reader.keypoints
    first = reader.read(0).people[0]
    # (24, 16) is the number of a pixel, whose middle is half a pixel on; what is not labelled stays nowhere
    assert first.keypoints is not None
    assert first.keypoints[0].tolist() == [24.5, 16.5, 1]
    assert first.keypoints[16].tolist() == [0, 0, 0]
    assert first.area == 2400
    assert reader.useful().tolist() == [0, 1, 2, 3, 4]  # nobody is in the last
    assert reader.useful(keypoints=True).tolist() == [0, 1, 2, 3]
    result = CliRunner().invoke(build(), ["datasets", "check", str(coco)])
    assert result.exit_code == 0, result.output
    assert "6 pictures, 5 people" in result.output
    assert "(keypoints)" in result.output


def test_flips_exchange_the_sides_of_keypoints(coco: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe(coco, "train.iterations=20"), tmp_path, tmp_path / "run")
    seen = set()
    for index in range(10):
        for sample in trainer.mixture[index]:
            for number, keypoints in sample.keypoints.items():
                assert number in sample.instance_ids
                dots = [sample.image[min(int(y), 95), min(int(x), 127)].min() for x, y, v in keypoints if v > 0]
                # where a keypoint is said to be there is its white dot, unless the canvas cuts it off
                assert np.median(dots) > 180
                labelled = keypoints[:, 2] > 0
                assert labelled.sum() == 16
                flipped = not labelled[15]
                assert labelled[16] == flipped
                # drawn from left to right; mirrored, they go from right to left and have changed places
                assert keypoints[5, 0] < keypoints[6, 0]
                seen.add(flipped)
    assert seen == {True, False}


def test_keypoints_are_learnt_and_a_parsing_run_begins_from_them(coco: Path, tmp_path: Path, data_folder: Path) -> None:
    trainer = Trainer(recipe(coco, "train.iterations=60"), tmp_path, tmp_path / "keypoints")
    batch = trainer.mixture[0]
    assert all(sample.origin.startswith(str(coco.parents[1] / "train2017")) for sample in batch)
    falls = [trainer.update([Batch.of(batch)]) for _ in range(30)]
    assert set(falls[0]) == {"rpn_objectness", "rpn_box", "box_class", "box_delta", "keypoints"}
    assert float(falls[0]["keypoints"]) == pytest.approx(math.log(64 * 64), abs=1.5)  # it begins by knowing nothing
    assert float(falls[-1]["keypoints"]) < 0.75 * float(falls[0]["keypoints"])
    trainer.save()
    before = load_file(tmp_path / "keypoints" / "weights.safetensors")

    own = (
        "model.keypoints=false",
        "model.parsing_classes=59",
        "train.parsing=true",
        "train.densepose=true",
        "train.iterations=1",
        "data.annotated=[]",
        "data.sources={groups: 1.0}",
    )
    weights = f"train.warm_start={tmp_path / 'keypoints' / 'weights.safetensors'}"
    begun = Trainer(recipe(coco, *own, weights), data_folder, tmp_path / "parsing")
    after = begun.model.state_dict()
    assert not any(name.startswith("keypoint_head.") for name in after)
    for name, value in before.items():
        part = name.split(".")[0]
        if part in ("backbone", "fpn", "rpn", "box", "parsing_trunk"):
            assert torch.equal(after[name], value), name
        if part == "parsing_trunk":
            assert torch.equal(after[name.replace("parsing_trunk", "densepose_trunk")], value)
    assert after["parsing_head.up.deconv.weight"].shape[1] == 59  # begins anew, for whatever classes
    begun.run()
    assert (tmp_path / "parsing" / "weights.safetensors").is_file()


def test_the_command_trains_keypoints_and_goes_on(coco: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(recipe(coco, "train.iterations=1").model_dump_json())  # JSON is YAML
    for out, more in (("a", []), ("b", ["--warm-start", str(tmp_path / "a" / "weights.safetensors")])):
        result = CliRunner().invoke(build(), ["train", str(path), "--out", str(tmp_path / out), *more])
        assert result.exit_code == 0, result.output
        assert "drawing curves.png" in result.output
        assert "sheet.png" not in result.output  # keypoints alone leave nothing to paint
    a, b = (load_file(tmp_path / out / "weights.safetensors") for out in ("a", "b"))
    assert a.keys() == b.keys()
    assert any(name.startswith("keypoint_head.") for name in b)


def test_people_without_keypoints_teach_none(coco: Path, tmp_path: Path) -> None:
    document = json.loads(coco.read_text())
    for row in document["annotations"]:
        row["keypoints"] = [0] * 51
    coco.write_text(json.dumps(document))
    with pytest.raises(
        DatasetError, match="nobody with keypoints in any picture; one counts from 10 labelled keypoints"
    ):
        Trainer(recipe(coco), tmp_path, tmp_path / "run")


def test_instances_files_have_people_only(coco: Path) -> None:
    document = json.loads(coco.read_text())
    document["categories"].append({"id": 17, "name": "cat"})
    document["annotations"].append({"id": 500, "image_id": 9, "category_id": 17, "bbox": [1, 1, 5, 5]})
    coco.write_text(json.dumps(document))
    (reader,) = find_datasets(coco)
    assert len(reader.read(0).people) == 2
