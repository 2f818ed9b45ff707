"""The npz archive: names, dtypes, and a load that trusts nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn.codecs import npz
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import MHP


def people() -> People:
    rng = np.random.default_rng(0)
    iuv = rng.integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    iuv[:, 0] %= 25
    return People(
        np.array([[0, 0, 5, 5], [1, 2, 8, 9]], np.float32),
        np.array([0.9, 0.8], np.float32),
        (12, 34),
        parts=rng.integers(0, 20, (2, 16, 16), dtype=np.uint8),
        part_scores=rng.random((2, 20), dtype=np.float32),
        iuv=iuv,
        iuv_scores=rng.random((2, 25), dtype=np.float32),
    )


def test_names_and_dtypes_are_the_documented_ones() -> None:
    with np.load(io.BytesIO(npz.encode(people()))) as archive:
        found = {name: (archive[name].dtype.name, archive[name].shape) for name in archive}
    assert found == {
        "boxes": ("float32", (2, 4)),
        "scores": ("float32", (2,)),
        "parts": ("uint8", (2, 16, 16)),
        "part_scores": ("float32", (2, 20)),
        "iuv": ("uint8", (2, 3, 16, 16)),
        "iuv_scores": ("float32", (2, 25)),
        "image_size": ("int32", (2,)),
    }


def test_round_trip(tmp_path: Path) -> None:
    before = people()
    (tmp_path / "a.npz").write_bytes(npz.encode(before))
    for after in (npz.decode(npz.encode(before)), npz.decode(tmp_path / "a.npz")):
        assert after.image_size == (12, 34)
        for name in ("boxes", "scores", "parts", "part_scores", "iuv", "iuv_scores"):
            assert np.array_equal(getattr(after, name), getattr(before, name))


def test_maps_that_were_not_computed_stay_away() -> None:
    after = npz.decode(npz.encode(People.empty((3, 4))))
    assert len(after) == 0
    assert after.parts is None
    assert after.iuv is None
    assert npz.decode(npz.encode(People.empty((3, 4))), MHP).taxonomy is MHP


def test_a_pickle_is_never_loaded() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, boxes=np.array([{}], dtype=object), scores=np.zeros(0), image_size=np.zeros(2))
    with pytest.raises(ValueError, match="allow_pickle"):
        npz.decode(buffer.getvalue())


def test_other_files_are_refused() -> None:
    for data in (b"", b"no archive", npz.encode(people())[:200]):
        with pytest.raises(ValueError, match="not an npz of people"):
            npz.decode(data)
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    with pytest.raises(ValueError, match="not an npz of people"):
        npz.decode(single.getvalue())
    lacking = io.BytesIO()
    np.savez(lacking, boxes=np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match="not an npz of people"):
        npz.decode(lacking.getvalue())
