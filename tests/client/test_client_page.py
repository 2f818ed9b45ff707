"""client/README.md: what it shows first runs as it is pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "client" / "README.md").read_text(encoding="utf-8")


def test_the_first_snippet_runs(
    photo_jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for path in (tmp_path / "photo.jpg", tmp_path / "photos" / "a.jpg"):
        path.write_bytes(photo_jpeg)
    monkeypatch.chdir(tmp_path)
    snippet = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    exec(compile(snippet, "client/README.md", "exec"), {})
    assert re.fullmatch(r"People\(\d+ in 512x512: .*; parts, iuv\)\n", capsys.readouterr().out)
