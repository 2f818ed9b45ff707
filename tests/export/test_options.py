"""Options of `export`: what is refused, and with which words."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from export.options import PAPER_CANVASES, ExportOptions, OptionError
from parsing_rcnn.cli import build
from training.config import Config
from training.engine import LIGHT_CANVASES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--precision", "fp8"], "--precision fp8: choose one of fp32, fp16, bf16"),
        (["--precision", "int8"], "INT8 is made of an exported repository by `parsing-rcnn quantize`"),
        (["--size", "384"], "--size 384: HEIGHTxWIDTH, as in 384x640"),
        (["--size", "384x650"], "--size 384x650: height and width are multiples of 32 from 64 to 1344"),
        (["--size", "1376x640"], "--size 1376x640: height and width are multiples of 32 from 64 to 1344"),
        (["--proposals", "0"], "--proposals 0: a number from 1 to 5000"),
        (["--max-people", "65"], "--max-people 65: a number from 1 to 64"),
        (["--max-people", "8", "--static-people", "9"], "--static-people 9: a number from 1 to 8"),
        (["--people-buckets", "1,x"], "--people-buckets 1,x: numbers between commas, as in 1,4,16,64"),
        (["--people-buckets", "2,64"], "--people-buckets 2,64: rising numbers from 1 to at most 64"),
        (["--people-buckets", "1,4,4,64"], "--people-buckets 1,4,4,64: rising numbers from 1 to at most 64"),
        (["--people-buckets", "1,4"], "--people-buckets 1,4: end below the 64 people that a picture may have"),
        (["--pooling", "max"], "--pooling max: choose one of roi_align, matmul"),
        (["--target", "tflite"], "choose one of onnx, openvino, triton, tensorrt"),
    ],
)
def test_refusals(words: list[str], message: str) -> None:
    result = CliRunner().invoke(build(), ["export", "weights.safetensors", *words])
    assert result.exit_code == 2
    assert message in result.output


def test_a_missing_checkpoint_is_named() -> None:
    result = CliRunner().invoke(build(), ["export", "nowhere.safetensors"])
    assert result.exit_code == 1
    assert "nowhere" in result.output


def test_defaults_say_nothing_in_the_card() -> None:
    assert ExportOptions().told() == {}
    told = ExportOptions(precision="fp16", max_people=8, static_people=4, people_buckets=(1, 4)).told()
    assert told == {"precision": "fp16", "max_people": 8, "static_people": 4, "people_buckets": [1, 4]}


def test_canvases_go_with_the_backbone() -> None:
    light = Config.model_validate({"model": {"backbone": "efficientnet_lite0"}})
    assert ExportOptions().canvases(light) == LIGHT_CANVASES
    assert ExportOptions().canvases(Config()) == PAPER_CANVASES
    assert ExportOptions(sizes=((64, 96),)).canvases(Config()) == ((64, 96),)


def test_the_recipe_is_that_of_what_was_exported() -> None:
    assert ExportOptions().recipe(Config()) == Config()
    recipe = ExportOptions(proposals=77).recipe(Config())
    assert recipe.model.rpn.proposals_test == 77
    assert Config.model_validate(recipe.model_dump()) == recipe


def test_static_people_need_no_more_buckets_than_rows() -> None:
    assert ExportOptions(static_people=4, people_buckets=(1, 4)).most_people == 4
    with pytest.raises(OptionError, match="end below the 5 people"):
        ExportOptions(static_people=5, people_buckets=(1, 4))
