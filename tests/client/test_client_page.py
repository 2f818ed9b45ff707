"""client/README.md: what it shows first runs as it is pasted."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

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


def test_the_callback_of_live_sources_prints_who_is_there(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class Print" in code]
    assert snippet.count("rtsp://camera/door") == 1
    names: dict[str, Any] = {}
    exec(compile(snippet.replace("rtsp://camera/door", str(clip)), "client/README.md", "exec"), names)
    live = names["live"]
    end = time.monotonic() + 60
    while not live.sources[0].state.analysed:
        assert time.monotonic() < end
        time.sleep(0.05)
    live.close()
    assert re.match(r"door \{1: \[\d+\.0, \d+\.0, \d+\.0, \d+\.0\]\}\n", capsys.readouterr().out)
