"""Models of which only one head is trained: what is answered where nobody names a task, and where somebody does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from parsing_rcnn import draw
from parsing_rcnn.codecs import image, png
from parsing_rcnn.convert import person_rle
from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.settings import Settings
from tests.server.conftest import wait_until_ready
from tests.server.helpers import people_of

URL = "/v1/analyze"
BOTH = {"tasks": "parsing,densepose"}


@pytest.fixture(scope="module")
def charts(charts_pipeline: Pipeline) -> Iterator[TestClient]:
    """A client of a gateway whose model has a trained head of DensePose alone."""
    with TestClient(create_app(Settings(), lambda: charts_pipeline)) as running:
        wait_until_ready(running)
        yield running


def picture_of(client: TestClient, data: bytes, **query: str) -> np.ndarray:  # type: ignore[type-arg]
    answer = client.post(URL, params=query, content=data, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_where_no_task_is_named_the_trained_head_answers(
    charts: TestClient, pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    answer = charts.post(URL, content=photo_jpeg)
    assert answer.json()["warnings"] == []
    people = pipeline.analyze(photo_jpeg, tasks="densepose")
    for index, person in enumerate(people_of(answer)):
        assert "parts" not in person
        assert person["rle"] == person_rle(people, index)
    with np.load(
        io.BytesIO(charts.post(URL, content=photo_jpeg, headers={"Accept": "application/x-npz"}).content)
    ) as of:
        assert "iuv" in of
        assert "parts" not in of
    whole = charts.post(URL, content=photo_jpeg, headers={"Accept": "application/zip"}).content
    names = zipfile.ZipFile(io.BytesIO(whole)).namelist()
    assert names == ["photo.json", "photo_overlay.png", "photo_IUV.png", "photo_INDS.png"]


@pytest.mark.parametrize("named", [{}, BOTH])
def test_pictures_are_of_the_trained_head(
    charts: TestClient, pipeline: Pipeline, photo_jpeg: bytes, named: dict[str, str]
) -> None:
    photo, people = image.decode(photo_jpeg), pipeline.analyze(photo_jpeg, tasks="densepose")
    suspects = pipeline.analyze(photo_jpeg, tasks="densepose", confidence=0.1)
    hidden = draw.anonymise(photo, suspects, hide="faces")
    np.testing.assert_array_equal(
        picture_of(charts, photo_jpeg, render="overlay", **named), draw.overlay(photo, people)
    )
    np.testing.assert_array_equal(picture_of(charts, photo_jpeg, render="inds", **named), people.iuv_map()[1])
    np.testing.assert_array_equal(picture_of(charts, photo_jpeg, render="cutout", **named), draw.cutout(photo, people))
    np.testing.assert_array_equal(picture_of(charts, photo_jpeg, render="anonymise", hide="faces", **named), hidden)


def test_masks_alone_are_of_the_trained_head(charts: TestClient, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    people = pipeline.analyze(photo_jpeg, tasks="densepose")
    for include in ("masks", "masks,inds"):
        answer = charts.post(URL, params={"include": include}, content=photo_jpeg)
        assert answer.json()["warnings"] == []
        assert [one["rle"] for one in people_of(answer)] == [person_rle(people, i) for i in range(len(people))]


def test_a_head_that_is_named_answers_with_a_warning(charts: TestClient, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    said = ["the parsing head of this model is not trained: its maps mean nothing"]
    for named in ({"tasks": "parsing"}, {"include": "parts"}, BOTH):
        answer = charts.post(URL, params=named, content=photo_jpeg)
        assert answer.json()["warnings"] == said
        assert "parts" in people_of(answer)[0]
    labels = pipeline.analyze(photo_jpeg, tasks="parsing").label_map()
    assert (picture_of(charts, photo_jpeg, render="parts") == labels).all()
    assert (
        png.encode_iuv(pipeline.analyze(photo_jpeg).iuv_map()[0])
        == charts.post(URL, params={"render": "iuv"}, content=photo_jpeg, headers={"Accept": "image/png"}).content
    )
