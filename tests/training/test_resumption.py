"""Which runs go on from a checkpoint after the recipes have got new keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.helpers import recipe
from training.checkpoint import load_state, save_state
from training.errors import CheckpointError
from training.train import Trainer


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    """Change the recipe in the state of a run."""
    state = load_state(path)
    saved = json.loads(state["recipe"])
    change(saved)
    save_state(path, {**state, "recipe": json.dumps(saved)})


def test_a_run_goes_on_where_its_recipe_has_not_yet_got_a_key(tmp_path: Path, data_folder: Path) -> None:
    def older(saved: Any) -> None:
        del saved["data"]["label_shift"], saved["train"]["keep_every"], saved["model"]["stride_in_1x1"]

    unshifted = recipe("train.iterations=1", "data.label_shift=0")
    Trainer(unshifted, data_folder, tmp_path).run()
    rewrite(tmp_path / "state.pt", older)
    assert Trainer(unshifted, data_folder, tmp_path).resume()
    with pytest.raises(CheckpointError, match=r"label_shift was 0.0, is 0.5\); --set data.label_shift=0.0 goes on"):
        Trainer(recipe(), data_folder, tmp_path).resume()


def test_a_key_that_is_no_more_is_named(tmp_path: Path, data_folder: Path) -> None:
    Trainer(recipe("train.iterations=1"), data_folder, tmp_path).run()
    rewrite(tmp_path / "state.pt", lambda saved: saved["model"].update(gone=3))
    with pytest.raises(CheckpointError, match=r"model.gone was 3, is None\); take another --out"):
        Trainer(recipe("train.iterations=1"), data_folder, tmp_path).resume()


def test_what_is_said_to_go_on_does_so(tmp_path: Path, data_folder: Path) -> None:
    Trainer(recipe("train.iterations=1"), data_folder, tmp_path).run()
    with pytest.raises(CheckpointError, match=r"--set 'data.sources=\{.*\}' goes on") as caught:
        Trainer(recipe("train.iterations=1", "data.sources={photos: 1}"), data_folder, tmp_path).resume()
    said = str(caught.value).split("--set '")[1].split("'")[0]
    assert Trainer(recipe("train.iterations=1", said), data_folder, tmp_path).resume()
