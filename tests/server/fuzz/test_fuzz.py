"""A quick share of the wrong requests; `make fuzz` sends all of them."""

from __future__ import annotations

import os

from tests.server.conftest import Live
from tests.server.fuzz.send import run

CASES = int(os.environ.get("PRCNN_TEST_FUZZ_CASES", "400"))


def test_wrong_requests_get_a_clear_answer(live: Live) -> None:
    report = run(f"http://{live.address}", seed=1, numbers=range(CASES))
    assert report.faults == []
    assert sum(report.outcomes.values()) == CASES
    statuses = {outcome for _, outcome in report.outcomes}
    assert {"200", "400", "415"} <= statuses  # and not all refused for one reason
    assert {kind for kind, _ in report.outcomes} == {"picture", "form", "JSON", "tensor", "options", "frame", "HTTP"}
