"""log.jsonl after a full disk, which leaves half a row at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from parsing_rcnn.cli import build
from tests.training.helpers import measuring, published


def train(data: Path, out: Path, count: int) -> Result:
    """`parsing-rcnn train` of so many steps, each of which is measured."""
    path = out.parent / "recipe.json"
    given = (f"train.iterations={count}", "train.evaluate_every=1", "train.evaluate_pictures=1")
    path.write_text(measuring(data, *given).model_dump_json())  # JSON is YAML
    return CliRunner().invoke(build(), ["train", str(path), "--data", str(data), "--out", str(out)])


def rows(log: Path) -> list[dict[str, Any]]:
    """The lines that are JSON; half a row is none."""
    found = []
    for line in log.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            assert line.startswith('{"step"')
    return found


@pytest.mark.parametrize("count", [1, 2], ids=["finished", "longer"])
def test_half_a_row_is_measured_again_and_stays_a_line_of_its_own(count: int, tmp_path: Path) -> None:
    data, run = published(tmp_path / "cihp"), tmp_path / "run"
    log = run / "log.jsonl"
    assert train(data, run, 1).exit_code == 0
    first = rows(log)
    assert "validation" in first[-1]
    log.write_text(log.read_text()[:-20])
    (run / "curves.png").unlink()
    again = train(data, run, count)
    assert again.exit_code == 0, again.output
    assert [(row["step"], "validation" in row) for row in rows(log)] == [(1, False), (count, count == 1)] + (
        [(2, True)] if count == 2 else []
    )
    assert (run / "curves.png").is_file()
    written = log.read_bytes()
    assert train(data, run, count).exit_code == 0
    assert log.read_bytes() == written
