"""Fixtures that several folders use."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import onnxruntime by themselves

ROOT = Path(__file__).resolve().parent.parent


def values(png: bytes) -> Any:
    """What a PNG holds, [H,W] or [H,W,3]: labels, instances, or I, U, V."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png), formats=("PNG",)))


@pytest.fixture(autouse=True, scope="session")
def _signals() -> Iterator[None]:
    """Programs that tests start obey Ctrl-C and a terminal's end also where the tests themselves run under `nohup` or
    behind `&`, which ignore them, and what is ignored is inherited; a handler is not."""
    numbers = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, lambda *_: None)
    yield
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures; tests that need it skip where it is absent."""
    path = Path(os.environ.get("PRCNN_TEST_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"needs real pictures: {path} is absent (set PRCNN_TEST_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def photo_jpeg() -> bytes:
    """A real photo of one person (NASA, public domain), 512x512."""
    data = pytest.importorskip("skimage.data")
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def pipeline():  # type: ignore[no-untyped-def]
    """The real pipeline with the shipped model."""
    from parsing_rcnn.pipeline import Pipeline

    return Pipeline(threads=1)


def _only(task: str, folder: Path) -> Path:
    """The shipped models in a folder, whose card says that the head of this task alone is trained."""
    import json

    own = ROOT / "model_repository"
    for entry in own.iterdir():
        if entry.name != "model_card.json":
            (folder / entry.name).symlink_to(entry)
    card = json.loads((own / "model_card.json").read_text())
    card["tasks"] = {name: {"trained": name == task} for name in card["tasks"]}
    (folder / "model_card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def charts_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of which the head of DensePose alone is trained, by their card."""
    return _only("densepose", tmp_path_factory.mktemp("charts"))


@pytest.fixture(scope="session")
def parts_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of which the head of parsing alone is trained, by their card."""
    return _only("parsing", tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def charts_pipeline(charts_repository: Path):  # type: ignore[no-untyped-def]
    """The real pipeline, of which the head of DensePose alone is trained."""
    from parsing_rcnn.pipeline import Pipeline

    return Pipeline(charts_repository, threads=1)
