"""A gateway over weights with part classes of one's own: the shipped ones, whose card calls their classes otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import CARD, ModelRepository
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import Client
from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live, wait_until_ready

NAMES = ["Background", *(f"Teil {name}" for name in CIHP.classes[1:])]
OWN = {"name": "teile", "classes": NAMES, "colours": {"Teil Hair": "#123456"}}


def repository_with(taxonomy: dict[str, Any], parent: Path) -> Path:
    """The shipped weights, whose card has this taxonomy."""
    folder = parent / "models"
    shutil.copytree(ModelRepository.open().path, folder)
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "taxonomy": taxonomy}))
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository_with(OWN, tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def pipeline(repository: Path) -> Iterator[Pipeline]:
    with Pipeline(repository) as opened:
        yield opened


def test_the_gateway_answers_in_them(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    with TestClient(create_app(Settings(), lambda: pipeline)) as client:
        wait_until_ready(client)
        own, *others = client.get("/v1/taxonomies").json()
        assert [one["name"] for one in others] == ["cihp", "mhp", "densepose", "densepose-coarse"]
        assert (own["name"], own["classes"], own["palette"][2]) == ("teile", NAMES, [0x12, 0x34, 0x56])
        (model,) = client.get("/v1/models").json()
        assert model["classes"] == NAMES  # by them the page finds its colours
        assert model["card"]["taxonomy"] == OWN
        people = client.post("/v1/analyze", content=photo_jpeg).json()["predictions"]
        assert people
        assert {part["class"] for person in people for part in person["parts"]} <= set(NAMES[1:])
        config = client.get("/v2/models/human_parsing/config").json()
        assert config["parameters"]["card.taxonomy"]["string_value"] == "teile"
        assert json.loads(config["parameters"]["card.classes"]["string_value"]) == OWN


def test_the_sdk_takes_them_from_there(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    with Live(Settings(drain_seconds=1), lambda: pipeline) as live, Client.connect(f"http://{live.address}") as client:
        people = client.analyze(photo_jpeg)
        assert people.taxonomy == read_taxonomy(OWN)
        local = pipeline.analyze(photo_jpeg)
        assert local.taxonomy == people.taxonomy
        np.testing.assert_array_equal(people.label_map(), local.label_map())
        picture = people.label_map() == NAMES.index("Teil Hair")
        assert picture.any()


def test_the_sdk_takes_them_from_there_though_they_are_called_as_built_in_ones(
    tmp_path: Path, photo_jpeg: bytes
) -> None:
    said = {"name": "bright", "classes": list(CIHP.classes), "colours": {"Hair": "#123456"}}
    with (
        Pipeline(repository_with(said, tmp_path)) as own,
        Live(Settings(drain_seconds=1), lambda: own) as live,
        Client.connect(f"http://{live.address}") as client,
    ):
        people = client.analyze(photo_jpeg)
    assert people.taxonomy == read_taxonomy(said)
    assert people.taxonomy != CIHP
