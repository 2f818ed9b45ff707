"""The name of what is pointed at, when something else has come under the pointer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from server.settings import Settings
from tests.server.conftest import Live
from tests.server.test_page import By, Keys, analysed, browser, page, photo, set_score, text, until, upload
from tests.server.test_page_layers import TWINS, Several, named
from tests.server.test_page_webcam import press

__all__ = ["browser", "page", "photo"]  # fixtures


def point(page: Any, how: str) -> str:
    """What is said of the face of the test photo."""
    if how == "mouse":
        return named(page, 220, 120)
    page.find_element(By.ID, "canvas").send_keys(Keys.ARROW_DOWN)
    return text(page, "hint")


@pytest.mark.parametrize("how", ["mouse", "keys"])
def test_the_next_photo_has_no_name_from_the_one_before(page: Any, photo: Path, tmp_path: Path, how: str) -> None:
    Image.new("L", (512, 512), 128).save(tmp_path / "grey.png")
    analysed(page, photo)
    assert " V 0." in point(page, how)
    upload(page, tmp_path / "grey.png")
    until(lambda: text(page, "summary") == "Nobody found")
    assert text(page, "hint") == ""


@pytest.mark.parametrize(("how", "nobody"), [("mouse", ""), ("keys", "nobody here")])
def test_who_is_hidden_is_not_named(browser: Any, photo: Path, pipeline, how: str, nobody: str) -> None:  # type: ignore[no-untyped-def]
    faint = Several(pipeline, TWINS[:1])  # of 0.9
    with Live(Settings(), lambda: faint) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary") == "1 person")
        named_first = point(browser, how)
        assert " V 0." in named_first
        set_score(browser, 95)
        assert text(browser, "hint") == nobody
        set_score(browser, 50)
        assert text(browser, "hint") == named_first


WRITTEN = """
window.written = 0;
new MutationObserver((all) => (written += all.length)).observe(document.getElementById("hint"), { childList: true });
"""


@pytest.mark.parametrize(("how", "nobody"), [("mouse", ""), ("keys", "nobody here")])
def test_the_name_goes_with_the_webcam_s_frames(browser: Any, photo: Path, pipeline, how: str, nobody: str) -> None:  # type: ignore[no-untyped-def]
    """It is read aloud: written when it is another, and without U and V, which are others with every frame."""
    twins = Several(pipeline, TWINS)
    with Live(Settings(), lambda: twins) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary") == "2 people")
        assert " V 0." in point(browser, how)
        press(browser)
        until(lambda: "fps" in text(browser, "figures") and text(browser, "summary") == "2 people")
        assert text(browser, "hint") == ""  # a photo's no more
        said = point(browser, how)
        assert said.endswith(" · person 1")
        assert " V 0." not in said
        browser.execute_script(WRITTEN)
        frames = text(browser, "figures")
        for _ in range(3):
            until(lambda before=frames: text(browser, "figures") != before)
            frames = text(browser, "figures")
        assert (text(browser, "hint"), browser.execute_script("return written")) == (said, 0)
        twins.whose = []
        until(lambda: text(browser, "summary") == "Nobody found")
        assert text(browser, "hint") == nobody
        twins.whose = [0, 1]
        until(lambda: text(browser, "summary") == "2 people")
        assert text(browser, "hint") == said
        press(browser)
        assert " V 0." in point(browser, how)  # of the last frame, which stays
