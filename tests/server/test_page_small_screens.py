"""The page on phones and in zoomed windows: what is used together is seen together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains

from tests.server.test_page import By, Keys, analysed, browser, page, photo, text, until, upload
from tests.server.test_page_film import MakeFilm, film
from tests.server.test_page_film_opening import GREY
from tests.server.test_page_handed import drag
from tests.server.test_page_waiting import screen

__all__ = ["browser", "film", "page", "photo"]  # fixtures

BOX = (
    "const r = document.querySelector(arguments[0]).getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]"
)
TO = "document.querySelector(arguments[0]).scrollIntoView({ block: 'center', behavior: 'instant' })"


def box(page: Any, selector: str) -> list[float]:
    """Left, top, right and bottom of an element on the screen."""
    found: list[float] = page.execute_script(BOX, selector)
    return found


def seen(page: Any, selector: str) -> bool:
    """Whether all of it is on the screen, in height, and nothing lies over its middle."""
    left, top, right, bottom = box(page, selector)
    on_it = (
        "const [selector, x, y, bottom] = arguments;"
        "const [e, at] = [document.querySelector(selector), document.elementFromPoint(x, y)];"
        "return innerHeight >= bottom && (e === at || e.contains(at) || at?.contains(e))"
    )
    return top >= 0 and page.execute_script(on_it, selector, (left + right) / 2, (top + bottom) / 2, bottom)


@pytest.mark.parametrize(("width", "height"), [(360, 640), (740, 360), (768, 1024)])
def test_the_picture_is_seen_while_it_is_changed(page: Any, photo: Path, width: int, height: int) -> None:
    with screen(page, width, height, mobile=True):
        analysed(page, photo)
        for used in ("#opacity", "#score", "#legend li", "#boxes", "[data-kind=npz]"):
            page.execute_script(TO, used)
            assert seen(page, used), used
            assert seen(page, "#canvas"), used
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
        _, top, _, bottom = box(page, "#canvas")
        assert bottom - top > 0.3 * height


@pytest.mark.parametrize(("width", "height"), [(360, 640), (740, 360)])
def test_a_video_is_seen_with_what_it_is_controlled_by(page: Any, film: MakeFilm, width: int, height: int) -> None:
    """And so is what is wrong with the next file."""
    with screen(page, width, height, mobile=True):
        upload(page, film("clip.webm", [GREY] * 240))
        until(lambda: "fps" in text(page, "figures"))
        page.execute_script("scrollTo(0, 0)")
        assert all(seen(page, one) for one in ("#canvas", "#play", "#seek", "#when"))
        page.find_element(By.ID, "play").click()
        until(lambda: page.find_element(By.ID, "play").text == "Play the video")
        page.execute_script(TO, "#downloads")
        (wrong := film("wrong.webm", [GREY])).write_bytes(b"no video")
        upload(page, wrong)
        until(lambda: "no video that this browser plays" in text(page, "error"))
        until(lambda: seen(page, "#error"))


def test_where_the_keyboard_is_can_be_seen_in_a_zoomed_window(page: Any, photo: Path) -> None:
    with screen(page, 320, 256):
        page.execute_script("document.querySelector('a').focus()")
        ActionChains(page, duration=0).send_keys(Keys.TAB, Keys.TAB).perform()
        assert page.execute_script("return document.activeElement.id") == "file"
        assert seen(page, "#drop .button")
        analysed(page, photo)
        page.execute_script("document.querySelector('a').focus({ preventScroll: true })")
        ActionChains(page, duration=0).send_keys(Keys.TAB, Keys.TAB).perform()
        assert page.execute_script("return document.activeElement.id") == "file"
        assert seen(page, "#another")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 640)])
def test_a_long_name_breaks_no_line_of_the_page(
    page: Any, photo: Path, tmp_path: Path, width: int, height: int
) -> None:
    long, other = (tmp_path / f"{'WhatsApp_Image_2026-11-29_at_17.15.31_' * 4}{name}.jpg" for name in "ab")
    for path in (long, other):
        shutil.copy(photo, path)
    with screen(page, width, height, mobile=width < 500):
        drag(page, files=(long, other))
        until(lambda: text(page, "chosen") == f"Only {long.name} was opened; 1 other was left out.")
        for name in ("panel", "chosen", "notice"):
            inside = "const e = document.getElementById(arguments[0]); return e.scrollWidth <= e.clientWidth + 1"
            assert name == "chosen" or page.execute_script(inside, name), name
        assert box(page, "#chosen")[2] <= box(page, "#panel")[2]
        assert box(page, "#notice")[2] <= width
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
