"""The page with classes of one's own, and downloads where the gateway has another model since."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parsing_rcnn.taxonomy import CIHP, Taxonomy
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import spare_port
from tests.server.test_page import By, browser, is_saved, photo, text, until
from tests.server.test_page_layers import named
from tests.server.test_page_models import Renamed, analysed, complaints, names, opened

__all__ = ["browser", "photo"]  # fixtures

HAIR, FACE = "PPE ISO-20471", "Sicherheitsschutzhelmkinnriemenverschlusssysteme_gelb"
OWN = Taxonomy(
    "workwear",
    tuple({2: HAIR, 13: FACE}.get(label, name) for label, name in enumerate(CIHP.classes)),
    CIHP.palette[::-1] * np.array([[0]] + [[1]] * (len(CIHP) - 1), np.uint8),
)


@pytest.fixture
def narrow(browser: Any) -> Iterator[None]:
    metrics = {"width": 320, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_are_shown_as_they_were_given(browser: Any, photo: Path, pipeline: Any) -> None:
    with Live(Settings(), lambda: Renamed(pipeline, "own", OWN)) as live:
        opened(browser, live)
        analysed(browser, photo)
        assert names(browser) == {HAIR, FACE}
        assert FACE in {named(browser, x, y).split(" · ")[0] for x in (180, 220) for y in range(20, 180, 10)}
    assert complaints(browser) == []


@pytest.mark.usefixtures("narrow")
def test_long_names_stay_within_a_small_screen(browser: Any, photo: Path, pipeline: Any) -> None:
    with Live(Settings(), lambda: Renamed(pipeline, "own", OWN)) as live:
        browser.get(f"http://{live.address}/")
        analysed(browser, photo)
        assert FACE in names(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 320
        wide = "return [...document.querySelectorAll('#legend li')].map((e) => e.scrollWidth - e.clientWidth)"
        assert max(browser.execute_script(wide)) <= 0


def test_what_is_saved_is_of_the_model_that_is_shown(browser: Any, photo: Path, pipeline: Any) -> None:
    for old in browser.downloads.glob("astronaut_parts*"):
        old.unlink()
    with Live(Settings(), lambda: Renamed(pipeline, "own", OWN), port=spare_port()) as live:
        opened(browser, live)
        analysed(browser, photo)
    with Live(Settings(), lambda: Renamed(pipeline, "shipped"), port=live.port):
        browser.find_element(By.CSS_SELECTOR, "[data-kind=parts]").click()
        saved = browser.downloads / "astronaut_parts.png"
        until(lambda: is_saved(saved))
        assert text(browser, "model").startswith("shipped ")
        assert {"Hair", "Face"} <= names(browser)
        palette = np.array(Image.open(io.BytesIO(saved.read_bytes())).getpalette() or ()).reshape(-1, 3)
        assert palette[2].tolist() == CIHP.palette[2].tolist()
    assert complaints(browser) == []
