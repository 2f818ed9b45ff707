"""What the page paints: people who overlap, what its colours mean, and how large a photo is shown."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.people import Options, People
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.test_page import By, analysed, browser, page, photo, pixels, text, until, upload

__all__ = ["browser", "page", "photo"]  # fixtures


class Twins:
    """The real engine, whose best person stands 40 pixels further left, too; `whose` says who of the two is found."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.whose = engine, [0, 1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def analyze(self, image: Any, options: Options) -> People:
        one = self.engine.analyze(image, options).select([0, 0])
        boxes = one.boxes - np.float32([[0, 0, 0, 0], [40, 0, 40, 0]])
        return replace(one, boxes=boxes, scores=np.float32([0.9, 0.8])).select(self.whose)

    def close(self) -> None: ...


def tick(page: Any, *wanted: str) -> None:
    """Show these layers and no others."""
    for name in ("parts", "iuv", "contours", "boxes"):
        box = page.find_element(By.ID, name)
        if box.is_selected() != (name in wanted):
            box.click()


def picture(page: Any) -> NDArray[np.int16]:
    """What the canvas shows, [H,W,3]."""
    png = base64.b64decode(pixels(page).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int16)


def test_who_is_in_front_hides_who_is_behind(browser: Any, photo: Path, pipeline) -> None:  # type: ignore[no-untyped-def]
    """Every pixel of two people shows one of them, as if the other were not there."""
    twins = Twins(pipeline)
    shown: dict[str, list[NDArray[np.int16]]] = {look: [] for look in ("parts", "highlight", "iuv", "contours")}
    with Live(Settings(), lambda: twins) as live:
        browser.get(f"http://{live.address}/")
        for whose in ([0], [1], [0, 1]):
            twins.whose = whose
            upload(browser, photo)
            until(lambda: text(browser, "summary"))
            until(lambda: not browser.find_element(By.ID, "busy").is_displayed())
            for look, pictures in shown.items():
                tick(browser, "parts" if look == "highlight" else look)
                if look == "highlight":
                    browser.execute_script("document.querySelector('#legend li').focus()")
                pictures.append(picture(browser))
                browser.execute_script("document.activeElement.blur()")
    for look, (one, other, both) in shown.items():
        assert (abs(one - other).max(axis=2) > 8).sum() > 10_000, look
        like = [abs(both - alone).max(axis=2) <= 2 for alone in (one, other)]
        assert (like[0] | like[1]).all(), look
        assert all((~same).any() for same in like), look  # and both are there


def test_only_colours_that_are_shown_are_explained(page: Any, photo: Path) -> None:
    analysed(page, photo)
    tick(page, "parts")
    assert "Hair" in text(page, "legend-box")
    assert "U" not in text(page, "legend-box").split()
    tick(page, "iuv")
    assert "Hair" not in text(page, "legend-box")
    assert "green and blue are U and V" in text(page, "iuv-words")
    tick(page, "contours")
    assert text(page, "iuv-words") == ""
    assert "U from blue to yellow" in text(page, "contours-words")
    tick(page, "boxes")
    assert not page.find_element(By.ID, "legend-box").is_displayed()


@pytest.mark.parametrize(("width", "height"), [(300, 100), (512, 512), (4000, 500)])
def test_photos_fill_the_stage_up_to_twice_their_size(page: Any, tmp_path: Path, width: int, height: int) -> None:
    """In their own shape, and no larger than what can be seen at once."""
    path = tmp_path / "grey.png"
    Image.new("L", (width, height), 128).save(path)
    upload(page, path)
    until(lambda: page.find_element(By.ID, "canvas").is_displayed())
    canvas, stage, below = page.execute_script(
        "return ['canvas', 'stage', 'another'].map((id) => document.getElementById(id).getBoundingClientRect())"
    )
    assert canvas["width"] / canvas["height"] == pytest.approx(width / height, rel=0.02)
    free = page.execute_script("return innerHeight") - below["bottom"]
    assert free >= 0
    as_large_as_it_may = [free < 30, abs(canvas["width"] - stage["width"]) < 1, abs(canvas["width"] - 2 * width) < 1]
    assert any(as_large_as_it_may)
    assert canvas["width"] <= min(2 * width, stage["width"]) + 1
