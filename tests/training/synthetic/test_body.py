"""The base mesh in the repository, and banks of shapes in a cache."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from training.data.synthetic import body as module
from training.data.synthetic.body import load_body, load_shapes


def test_shapes_from_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.synthetic.body.find_spec", lambda _: None)
    body = load_body()
    even, odd = load_shapes(tmp_path, 0, 256), load_shapes(tmp_path, 1, 256)
    assert len(even) == len(odd) == 6
    assert even.rest.shape == (6, *body.template.shape)
    assert not np.array_equal(even.rest[0], odd.rest[0])
    assert not list(tmp_path.iterdir())


def _load(cache: Path, together: Barrier) -> None:
    bake = module.bake_shapes

    def baked(seed: int, count: int) -> dict[str, np.ndarray]:
        arrays = bake(seed, count)
        together.wait(120)
        return arrays

    module.bake_shapes = baked
    load_shapes(cache, 0, 1)


def test_two_processes_may_bake_one_bank_at_once(tmp_path: Path) -> None:
    pytest.importorskip("anny")
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=_load, args=(tmp_path, together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["shapes_0_1.npz"]
    assert len(load_shapes(tmp_path, 0, 1)) == 1
