"""What the page paints: people who overlap, what its colours mean, and how large a photo is shown."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from server.settings import Settings
from tests.conftest import values
from tests.server.conftest import Live
from tests.server.test_page import By, Keys, analysed, browser, page, photo, pixels, set_score, text, until, upload

__all__ = ["browser", "page", "photo"]  # fixtures


TWINS = ([0, 0, 1], [-40, 0, 1])
CROWD = ([0, 0, 1], [180, 150, 0.45], [60, 240, 0.6])
"""Of each person x and y of the first one's box, moved by so many pixels, and its size beside it."""


class Several:
    """The real engine, whose best person stands in several places; `whose` says who of them is found."""

    def __init__(self, engine: Any, places: Any) -> None:
        self.engine, self.places, self.whose = engine, places, [*range(len(places))]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def analyze(self, image: Any, options: Options) -> People:
        one = self.engine.analyze(image, options).select([0] * len(self.places))
        x1, y1, x2, y2 = one.boxes[0]
        boxes = [[x1 + x, y1 + y, x1 + x + s * (x2 - x1), y1 + y + s * (y2 - y1)] for x, y, s in self.places]
        scores = np.float32([0.9, 0.8, 0.7][: len(boxes)])
        return replace(one, boxes=np.float32(boxes), scores=scores).select(self.whose)

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
    twins = Several(pipeline, TWINS)
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


def test_who_is_in_front_is_who_is_so_in_every_map(browser: Any, photo: Path) -> None:
    """Whoever a pixel belongs to there is painted and named; those whom the slider hides leave theirs to the others."""
    crowd = Several(Pipeline(precision="fp32"), CROWD)  # the same rims on every machine
    alone: dict[str, list[NDArray[np.int16]]] = {"parts": [], "iuv": []}
    with Live(Settings(), lambda: crowd) as live:
        browser.get(f"http://{live.address}/")
        for whose in ([0], [1], [2], [0, 1, 2]):
            crowd.whose = whose
            upload(browser, photo)
            until(lambda: text(browser, "summary"))
            until(lambda: not browser.find_element(By.ID, "busy").is_displayed())
            for look, pictures in alone.items():
                tick(browser, look)
                pictures.append(picture(browser))
        people = crowd.analyze(photo.read_bytes(), Options(part_probs=True))
        headers, query = {"Accept": "image/png"}, "?render=inds&exact=true"
        answer = httpx.post(
            f"http://{live.address}/v1/analyze{query}", content=photo.read_bytes(), headers=headers, timeout=60
        )
        owners = {"parts": people.instance_map(exact=True), "iuv": values(answer.content)}
        claims = {"parts": people.masks(exact=True), "iuv": replace(people, parts=None).masks(exact=True)}
        for look, (*each, together) in alone.items():
            owner, claimed = owners[look], claims[look]
            by_score = np.where(claimed.any(axis=0), claimed.argmax(axis=0) + 1, 0)
            assert (owner != by_score).sum() > 10_000, look
            wanted = np.select([(owner == k)[..., None] for k in (1, 2, 3)], each, together)
            wrong = abs(together - wanted).max(axis=2) > 2
            # where all three meet at a rim, an owner by both kinds of map may be none by this one
            assert not (wrong & (claimed.sum(axis=0) < 3)).any(), look
            assert wrong.sum() < 20, look
        inside = cv2.erode(
            (owners["parts"] == owners["iuv"]).astype(np.uint8) * owners["iuv"], np.ones((9, 9), np.uint8)
        )
        for number in (2, 3):
            row, column = np.argwhere((inside == number) & claims["iuv"][0])[0]
            assert named(browser, column, row).endswith(f" · person {number} ({people.scores[number - 1]:.2f})")
        set_score(browser, 75)  # the third is hidden
        tick(browser, "parts")
        fewer = picture(browser)
        claimed = claims["parts"]
        lost = (owners["parts"] == 3) & (claimed[0] | claimed[1])
        assert lost.sum() > 5_000
        wanted = np.where(claimed[0][..., None], *alone["parts"][:2])
        assert (abs(fewer - wanted)[lost].max(axis=1) <= 2).all()


def named(page: Any, column: int, row: int) -> str:
    """What is said of a pixel of the photo that is pointed at."""
    page.execute_script(POINT, int(column), int(row))
    return text(page, "hint")


POINT = """
const [canvas, area] = [document.getElementById("canvas"), document.getElementById("canvas").getBoundingClientRect()];
const at = (start, side, pixel) => start + ((pixel + 0.5) * area[side]) / canvas[side];
const [clientX, clientY] = [at(area.left, "width", arguments[0]), at(area.top, "height", arguments[1])];
canvas.dispatchEvent(new MouseEvent("mousemove", { clientX, clientY }));
"""


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


def test_the_photo_stays_while_the_panel_is_scrolled(page: Any, photo: Path) -> None:
    analysed(page, photo)
    page.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    assert page.execute_script("return scrollY") > 100
    top, bottom = page.execute_script(
        "const { top, bottom } = canvas.getBoundingClientRect(); return [top, innerHeight - bottom]"
    )
    assert top >= 0
    assert bottom >= 0


WRITTEN = """
window.written = [];
const own = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  written.push(text);
  own.call(this, text, ...place);
};
"""


def test_people_have_the_numbers_that_the_hint_names(browser: Any, photo: Path, pipeline) -> None:  # type: ignore[no-untyped-def]
    """Those of the certain are written last: they lie over the others' where there is no room for all."""
    crowd = Several(pipeline, CROWD)
    with Live(Settings(), lambda: crowd) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary") == "3 people")
        browser.execute_script(WRITTEN)
        set_score(browser, 50)
        assert browser.execute_script("return written") == ["3 · 0.70", "2 · 0.80", "1 · 0.90"]


def test_boxes_that_are_narrow_have_short_tags(browser: Any, photo: Path, pipeline) -> None:  # type: ignore[no-untyped-def]
    """A score that is wider than the box would lie on the next one's; the hint has it."""
    twins = Several(pipeline, ([0, 0, 1], [380, 0, 0.05]))  # of 354 and 18 pixels
    with Live(Settings(), lambda: twins) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary") == "2 people")
        browser.execute_script(WRITTEN)
        set_score(browser, 50)
        assert browser.execute_script("return written") == ["2", "1 · 0.90"]
        said = [named(browser, x, y) for x in range(394, 408, 3) for y in range(34, 56, 4)]
        assert any(one.endswith(" · person 2 (0.80)") for one in said)


def test_arrow_keys_start_on_the_first_person_and_say_where_nobody_is(browser: Any, photo: Path, pipeline) -> None:  # type: ignore[no-untyped-def]
    """In the middle of a group there is often nobody."""
    beside = Several(pipeline, ([-10, 40, 0.4], [340, 250, 0.35]))
    with Live(Settings(), lambda: beside) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary") == "2 people")
        canvas = browser.find_element(By.ID, "canvas")
        assert "with Shift: larger steps" in canvas.get_attribute("aria-label")
        assert named(browser, 256, 256) == ""
        canvas.send_keys(Keys.ARROW_DOWN)
        assert text(browser, "hint").endswith(" · person 1 (0.90)")
        x1, y1, x2, y2 = beside.analyze(photo.read_bytes(), Options()).boxes[0]
        where = browser.execute_async_script(PROBE)
        assert where == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2 + 5], abs=1)
        canvas.send_keys(Keys.SHIFT, *[Keys.ARROW_UP] * 20)
        assert text(browser, "hint") == "nobody here"
        canvas.send_keys(Keys.ESCAPE)
        assert text(browser, "hint") == ""
        set_score(browser, 95)  # nobody is shown
        canvas.send_keys(Keys.ARROW_DOWN)
        assert browser.execute_async_script(PROBE) == [256, 261]
        assert text(browser, "hint") == "nobody here"


PROBE = "const done = arguments[0]; import('/assets/state.js').then(({ state }) => done(state.probe))"


def test_the_legend_is_even_and_stays_where_it_is(page: Any, photo: Path) -> None:
    analysed(page, photo)
    tick(page, "parts")
    items = page.find_elements(By.CSS_SELECTOR, "#legend li")
    assert {"Upper clothes", "Torso skin"} <= {item.text for item in items}
    places = "return [...document.querySelectorAll('#legend li, #downloads')].map((e) => e.getBoundingClientRect().top)"
    before = page.execute_script(places)
    for item in items:
        page.execute_script("arguments[0].focus()", item)
        assert page.execute_script(places) == before
