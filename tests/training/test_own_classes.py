"""Part classes of one's own, from the recipe to what serves: trained for two steps, exported, asked."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from export.card import completed
from export.onnx import taken_over
from export.options import ExportOptions
from export.triton_repository import write_models
from parsing_rcnn.analyzer import Options
from parsing_rcnn.cli import build
from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import CARD, ModelRepository
from parsing_rcnn.taxonomy import CIHP, MHP
from tests.training.helpers import LIGHT, SMALL
from tests.training.tiny import NARROW
from training.checkpoint import load_recipe, load_weights, save_weights
from training.config import Config, load_config
from training.data.datasets.check import find_datasets
from training.data.mixture import Mixture
from training.engine import TorchAnalyzer, load_checkpoint
from training.errors import CheckpointError, ConfigError, DatasetError
from training.model.parsing_rcnn import build_model
from training.objective import Objective
from training.train import Trainer

WORK = "{name: workwear, classes: [Background, Helmet, Vest, Left glove, Right glove], colours: {Vest: '#ff8800'}}"
SIZE = (96, 96)
CONFIGS = LIGHT.parent
LAST_LAYER = ["parsing_head.up.deconv.weight", "parsing_head.up.deconv.bias"]


def draw(root: Path) -> Path:
    """Three pictures to learn from and one to measure on, in CIHP's layout: a helmet, a vest and two gloves."""
    labels, people = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    labels[16:28, 42:58], labels[28:70, 36:64], labels[60:70, 26:36], labels[60:70, 64:74] = 1, 2, 4, 3
    people[labels > 0] = 1
    colours = np.array([[90, 90, 90], [0, 200, 255], [0, 120, 255], [200, 40, 40], [40, 200, 40]], np.uint8)
    for split, count in (("Training", 3), ("Validation", 1)):
        for folder in ("Images", "Category_ids", "Human_ids"):
            (root / split / folder).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(root / split / f"Images/{number}.jpg"), colours[labels])
            cv2.imwrite(str(root / split / f"Category_ids/{number}.png"), labels)
            cv2.imwrite(str(root / split / f"Human_ids/{number}.png"), people)
    return root


def recipe(data: Path, *overrides: str) -> Config:
    own = (f"model.taxonomy={WORK}", f"data.annotated={data}", "data.sources={annotated: 1}")
    return load_config(LIGHT, (*SMALL, *NARROW, "model.branch.roi_size=32", *own, "train.iterations=2", *overrides))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("workwear"))


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of the command."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "own.json").write_text(recipe(data, "model.pretrained=false").model_dump_json())  # JSON is YAML
    run = ["train", str(folder / "own.json"), "--data", str(folder / "none"), "--out", str(folder / "run")]
    done = CliRunner().invoke(build(), run)
    assert done.exit_code == 0, done.output
    return folder / "run" / "weights.safetensors"


@pytest.fixture(scope="module")
def repository(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("own") / "models"
    done = CliRunner().invoke(build(), ["export", str(weights), "--out", str(out), "--size", "96x128"])
    assert done.exit_code == 0, done.output
    return out


def test_a_recipe_says_them(data: Path, tmp_path: Path) -> None:
    own = recipe(data)
    assert own.model.taxonomy == read_taxonomy({
        "name": "workwear", "classes": ["Background", "Helmet", "Vest", "Left glove", "Right glove"],
        "colours": {"Vest": "#ff8800"},
    })  # fmt: skip
    assert own.model.parsing_classes == 5
    assert Config.model_validate_json(own.model_dump_json()) == own
    with pytest.raises(ConfigError, match=r"model\.parsing_classes: 20, but model.taxonomy, workwear, has 5 classes"):
        recipe(data, "model.parsing_classes=20")
    with pytest.raises(
        ConfigError, match=r"model\.taxonomy: 'pascal' is none of cihp, mhp, and no classes of your own"
    ):
        load_config(LIGHT, ("model.taxonomy=pascal",))
    assert load_config(LIGHT, ("model.taxonomy=mhp",)).model == load_config(LIGHT, ("model.parsing_classes=59",)).model
    (tmp_path / "below.yaml").write_text(f"model: {{taxonomy: {WORK}}}\n")
    (tmp_path / "above.yaml").write_text(
        "base: below.yaml\nmodel: {taxonomy: {name: hat, classes: [Background, Hat]}}\n"
    )
    assert load_config(tmp_path / "above.yaml").model.taxonomy.classes == ("Background", "Hat")  # no colour of Vest


@pytest.mark.parametrize(
    "below",
    [
        "model: {parsing_classes: 59}",
        load_config(LIGHT).model_dump_json(),  # as every saved recipe
    ],
)
def test_other_classes_than_a_bases_need_no_number(tmp_path: Path, below: str) -> None:
    (tmp_path / "below.yaml").write_text(below)
    (tmp_path / "above.yaml").write_text(f"base: below.yaml\nmodel: {{taxonomy: {WORK}}}\n")
    above = load_config(tmp_path / "above.yaml").model
    assert (above.taxonomy.name, above.parsing_classes) == ("workwear", 5)
    assert load_config(tmp_path / "below.yaml", (f"model.taxonomy={WORK}",)).model.taxonomy == above.taxonomy
    for settings in (("model.parsing_classes=20", f"model.taxonomy={WORK}"), ("model.taxonomy=mhp",)):
        with pytest.raises(ConfigError, match=r"model\.parsing_classes: \d+, but model.taxonomy, "):
            load_config(tmp_path / "above.yaml", (*settings, "model.parsing_classes=20"))


def test_mhps_recipes_say_mhp() -> None:
    for name in ("mhp_r50_1x", "mhp_r50_3x", "mhp_x101_3x"):
        model = load_config(CONFIGS / "paper" / f"{name}.yaml", ("model.pretrained=false",)).model
        assert (model.taxonomy, model.parsing_classes) == (MHP, 59)
    with_own = load_config(CONFIGS / "paper" / "mhp_r50_1x.yaml", (f"model.taxonomy={WORK}",))
    assert with_own.model.parsing_classes == 5


def test_a_mirrored_picture_has_the_gloves_exchanged(data: Path) -> None:
    mixture = Mixture(data, recipe(data, "train.batch_size=8", "data.colours=false"))
    assert mixture.flip_table[:6].tolist() == [0, 1, 2, 4, 3, 5]
    samples = [sample for index in range(4) for sample in mixture[index]]
    mirrored = set()
    for sample in samples:
        left, right = (np.flatnonzero((sample.parts == k).any(0)) for k in (3, 4))
        if len(left) and len(right):
            # the person faces us: the left glove is on the right of the picture, and in the mirror the other one is
            assert left.mean() > right.mean()
            _, green, blue = sample.image[sample.parts == 3].mean(0)
            mirrored.add(bool(green > blue))  # the left glove is blue as it is drawn, and the right one green
    assert mirrored == {False, True}


def test_photos_of_cihps_classes_do_not_teach_them(data: Path) -> None:
    with pytest.raises(DatasetError, match=r"data\.sources: photos: their part labels are CIHP's, and .* is workwear"):
        Mixture(data, recipe(data, "data.sources={photos: 1, annotated: 1}"))
    with pytest.raises(DatasetError, match="no such folder"):  # a detector learns from them all the same
        Mixture(data, recipe(data, "data.sources={photos: 1, annotated: 1}", "train.only=detector"))


def test_as_many_as_cihp_are_not_cihps(data: Path) -> None:
    names = ", ".join(f"part {k}" for k in range(1, len(CIHP)))
    own = recipe(data, f"model.taxonomy={{name: twenty, classes: [Background, {names}]}}").model
    network = build_model(own.model_copy(update={"pretrained": False}))
    objective = Objective(network, weigh_rare=True)
    assert objective.weights is None
    assert objective.possible.all()


def test_a_dataset_is_checked_by_the_recipe(data: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(f"model: {{taxonomy: {WORK}}}\n")
    labels = draw(tmp_path / "broken") / "Training" / "Category_ids" / "1.png"
    cv2.imwrite(str(labels), np.full(SIZE, 7, np.uint8))
    check = ["datasets", "check", str(tmp_path / "broken")]
    assert CliRunner().invoke(build(), check).exit_code == 0  # a class of CIHP
    found = CliRunner().invoke(build(), [*check, "--recipe", str(tmp_path / "own.yaml")])
    assert found.exit_code == 1
    assert "workwear, Training: 2 pictures" in found.output
    assert f"{labels}: class 7, but the highest is 4" in found.output.replace("\n", "")


def test_the_layout_with_annotation_files_goes_by_the_name(tmp_path: Path) -> None:
    for folder in ("train_img", "train_parsing", "annotations"):
        (tmp_path / folder).mkdir()
    row = {"id": 1, "image_id": 7, "bbox": [1, 1, 9, 9], "parsing": "a.png", "category_id": 1}
    images, categories = [{"id": 7, "file_name": "a.jpg"}], [{"id": 1}]
    document = json.dumps({"images": images, "annotations": [row], "categories": categories})
    for name in ("CIHP", "work_wear"):
        (tmp_path / f"annotations/{name}_train.json").write_text(document)
    own = read_taxonomy({"name": "work_wear", "classes": ["Background", "Vest"]})
    assert [(reader.name, reader.classes) for reader in find_datasets(tmp_path, taxonomy=own)] == [
        ("work_wear_train", 2)
    ]
    assert [(reader.name, reader.classes) for reader in find_datasets(tmp_path)] == [("CIHP_train", 20)]


@pytest.mark.parametrize("other", ["cihp", "{name: two, classes: [Background, Hat]}"])
def test_other_weights_begin_all_but_the_last_layer(data: Path, tmp_path: Path, other: str) -> None:
    made = recipe(data, f"model.taxonomy={other}", "model.pretrained=false")
    save_weights(tmp_path / "weights.safetensors", build_model(made.model), made, {})
    network = build_model(recipe(data, "model.pretrained=false").model)
    anew = load_weights(tmp_path / "weights.safetensors", network, other_classes=True)
    assert anew == LAST_LAYER


def test_weights_of_as_many_others_begin_all_but_the_last_layer(data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    made = recipe(data, "model.pretrained=false")
    save_weights(weights, build_model(made.model), made, {})
    given = load_file(weights)
    swapped = WORK.replace("Helmet, Vest", "Vest, Helmet")
    for own, begins_anew in ((swapped, True), (WORK.replace("name: workwear", "name: work, pairs: []"), False)):
        now = recipe(data, "model.pretrained=false", f"model.taxonomy={own}")
        network = build_model(now.model)
        fresh = {name: value.clone() for name, value in network.state_dict().items()}
        assert load_weights(weights, network, other_classes=True) == (LAST_LAYER if begins_anew else [])
        for name, value in network.state_dict().items():
            assert torch.equal(value, (fresh if begins_anew and name in LAST_LAYER else given)[name]), name
        (tmp_path / "own.json").write_text(now.model_dump_json())
        words = ["train", str(tmp_path / "own.json"), "--warm-start", str(weights), "--out", str(tmp_path / "run")]
        said = CliRunner().invoke(build(), [*words, "--data", str(tmp_path / "none"), "--set", "data.annotated=none"])
        assert (f"{weights} has other part classes: {', '.join(LAST_LAYER)} begin anew, of 5" in said.output) == (
            begins_anew
        )
    weights.with_suffix(".json").unlink()  # nobody says whose they are
    assert load_weights(weights, build_model(now.model), other_classes=True) == []


def test_the_card_has_them_and_what_serves_answers_in_them(weights: Path, repository: Path, data: Path) -> None:
    own = load_recipe(weights).model.taxonomy
    card = json.loads((repository / CARD).read_text())
    assert card["taxonomy"] == {
        "name": "workwear",
        "classes": ["Background", "Helmet", "Vest", "Left glove", "Right glove"],
        "colours": {
            "Background": "#000000", "Helmet": "#00ff00", "Vest": "#ff8800", "Left glove": "#0000ff",
            "Right glove": "#ff0000",
        },
        "pairs": [["Left glove", "Right glove"]],
    }  # fmt: skip
    assert ModelRepository.open(repository).taxonomy == own
    assert load_recipe(repository).model.taxonomy == own  # a repository is a checkpoint
    picture = (data / "Validation/Images/0.jpg").read_bytes()
    options = Options(frozenset({"parsing"}), confidence=0.0, max_people=2)
    with Pipeline(repository, runtime="onnxruntime", precision="fp32") as pipeline:
        people = pipeline.analyze(picture, options)
    assert people.taxonomy == own
    assert people.part_scores is not None
    assert people.part_scores.shape == (2, 5)
    torch.set_num_threads(1)
    assert TorchAnalyzer(*load_checkpoint(weights)).analyze(picture, options).taxonomy == own


def test_a_card_may_colour_and_pair_them_otherwise(weights: Path, tmp_path: Path) -> None:
    own, card = load_recipe(weights).model.taxonomy, tmp_path / "card.json"
    words = ["export", str(weights), "--out", str(tmp_path / "models"), "--size", "96x128", "--card", str(card)]
    classes = list(own.classes)
    for other, said in (
        ([*classes[:1], "Vest", "Helmet", *classes[3:]], "class 1 is 'Vest' in the card and 'Helmet' in the weights"),
        ([*classes, "Boots"], "class 5 is 'Boots' in the card and no class in the weights"),
    ):
        card.write_text(json.dumps({"taxonomy": {"name": "workwear", "classes": other}}))
        refused = CliRunner().invoke(build(), words)
        assert refused.exit_code == 1
        assert f"the weights have the 5 classes of workwear: {said}; take taxonomy out of the card" in refused.output
    card.write_text(json.dumps({"taxonomy": {"name": "workwear", "classes": classes, "colours": {"Vest": "#0088ff"}}}))
    done = CliRunner().invoke(build(), words)
    assert done.exit_code == 0, done.output
    opened = ModelRepository.open(tmp_path / "models").taxonomy
    assert (opened.classes, opened.mirror) == (own.classes, own.mirror)
    assert opened.palette[2].tolist() == [0, 0x88, 0xFF]
    assert load_recipe(tmp_path / "models").model.taxonomy == own  # what was learnt
    options, made = ExportOptions(), tmp_path / "models"
    again = completed(made / CARD, taken_over(made, options), load_recipe(made), options, {})  # of another export of it
    assert read_taxonomy(again["taxonomy"]) == opened


def test_a_run_goes_on_in_other_colours_and_in_no_other_classes(data: Path, tmp_path: Path) -> None:
    one = ("model.pretrained=false", "train.iterations=1")
    Trainer(recipe(data, *one), data, tmp_path).run()
    coloured = f"model.taxonomy={WORK.replace('ff8800', '0088ff')}"
    assert Trainer(recipe(data, *one, coloured), data, tmp_path).resume()
    for old, new in (("name: workwear", "name: sitewear"), ("Helmet", "Cap"), ("colours:", "pairs: [], colours:")):
        other = (*one, f"model.taxonomy={WORK.replace(old, new)}")
        with pytest.raises(CheckpointError, match=r"model\.taxonomy was \{.*--set '.*' goes on") as refusal:
            Trainer(recipe(data, *other), data, tmp_path).resume()
        setting = str(refusal.value).split("--set '")[1].split("' goes on")[0]
        assert Trainer(recipe(data, *other, setting), data, tmp_path).resume()


def test_triton_is_told_them(repository: Path, tmp_path: Path) -> None:
    write_models(repository)
    text = (repository / "human_parsing" / "config.pbtxt").read_text()
    assert 'key: "card.taxonomy" value: { string_value: "workwear" }' in text
    assert r"\"Left glove\"" in text
    assert "dims: [-1, 5]" in text


def test_they_are_measured_on_a_dataset_of_theirs(repository: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "--repository", str(repository), "--dataset", str(data), "--out", str(tmp_path)]
    done = CliRunner().invoke(build(), [*arguments, "--runtime", "onnxruntime"])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "datasets.json").read_text())["splits"]["workwear, Validation"]
    assert list(figures["iou"]) == ["Background", "Helmet", "Vest", "Left glove", "Right glove"]


@pytest.mark.parametrize("command", ["verify", "quantize"])
def test_photos_of_cihps_classes_are_refused_before_the_work(repository: Path, tmp_path: Path, command: str) -> None:
    words = {"verify": [], "quantize": ["--calibrate", str(tmp_path), "--out", str(tmp_path / "int8")]}[command]
    done = CliRunner().invoke(build(), [command, "--repository", str(repository), "--data", str(tmp_path), *words])
    assert done.exit_code
    assert isinstance(done.exception, SystemExit)
    assert "the label maps of its photos are of CIHP's classes, and the model's parts of workwear's" in done.output
