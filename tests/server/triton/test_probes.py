"""Late probes: a model that answers nobody is sick soon, one that is only behind its queue is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from server.probes import Prober


class Late:
    """A server whose probes are late; `step` requests of others end between two of them."""

    def __init__(self, step: int) -> None:
        self.step, self.ended = step, 0

    def infer(self, *_: Any, **__: Any) -> None:
        raise InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED")

    def get_inference_statistics(self, *_: Any, **__: Any) -> Any:
        self.ended += self.step
        success = SimpleNamespace(count=self.ended)
        return SimpleNamespace(model_stats=[SimpleNamespace(inference_stats=SimpleNamespace(success=success))])

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("step", "rounds"), [(0, 6), (3, 60)])
def test_how_often_a_probe_may_be_late(tmp_path: Path, step: int, rounds: int) -> None:
    (tmp_path / "detector").mkdir()
    with Prober("127.0.0.1:1", "http://127.0.0.1:1/metrics", tmp_path) as prober:
        prober._client.close()
        prober._client = Late(step)
        prober._inputs["detector"], prober._instances["detector"] = [], 1
        found = [list(prober.sick()) for _ in range(rounds)]
    assert found[:-1] == [[]] * (rounds - 1)
    assert found[-1] == [("detector", "Deadline Exceeded")]
