"""The rows of log.jsonl, the log of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_rows(log: Path) -> list[dict[str, Any]]:
    """The rows in their order. What is no row is left out: a full disk or a power cut leaves half of one."""
    rows = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def ends_within_a_row(log: Path) -> bool:
    """Whether a row that is appended would go on the line of half a row."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 1, 0))
        return file.read() not in (b"", b"\n")
