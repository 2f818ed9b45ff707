"""The snippets of docs/outputs.md for Triton's own client, against a real Triton."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.pipeline import Pipeline
from tests.server.triton.conftest import Running

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "outputs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("transport", "address"), [("http", "127.0.0.1:8000"), ("grpc", "127.0.0.1:8001")])
def test_tritons_client(
    triton: Running,
    pipeline: Pipeline,
    photo_jpeg: bytes,
    transport: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(photo_jpeg)
    page = PAGE.replace("import tritonclient.http as", f"import tritonclient.{transport} as")
    assert address in page
    page = re.sub(r'(InferenceServerClient)\("[^"]+"\)', rf'\1("{getattr(triton, transport)}")', page)
    names: dict[str, Any] = {}
    for text in page.split("```python\n")[1:]:
        if "tritonclient" in text or names:
            exec(compile(text.partition("```")[0], "docs/outputs.md", "exec"), names)
    names["client"].close()
    np.testing.assert_array_equal(names["labels"], pipeline.analyze(photo_jpeg).label_map())
