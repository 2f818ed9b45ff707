"""The page's choice of a model: of those that the gateway lists, the one that the photo and the webcam are asked of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from selenium.webdriver.support.ui import Select

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.helpers import spare_port
from tests.server.test_page import By, Keys, browser, is_saved, page, photo, text, until, upload
from tests.server.test_page_models import STATE, complaints, opened
from tests.server.test_page_webcam import press

__all__ = ["browser", "page", "photo"]  # fixtures


class Noting:
    """The real engine, which notes the model and the tiles of each picture."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.asked: list[str | None] = []
        self.tiles: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def analyze(self, image: Any, options: Options) -> People:
        if isinstance(image, bytes):
            self.asked.append(options.model)
            self.tiles.append(options.tiles)
        people: People = self.engine.analyze(image, options)
        return people

    def close(self) -> None: ...


@pytest.fixture
def noting(browser: Any, pipeline: Any) -> Iterator[tuple[Any, Noting]]:
    """The page, and what it asks for."""
    engine = Noting(pipeline)
    with Live(Settings(), lambda: engine) as live:
        opened(browser, live)
        yield browser, engine
    assert complaints(browser) == []


def choice(page: Any) -> Any:
    return page.find_element(By.ID, "size")


def idle(page: Any) -> bool:
    return not page.find_element(By.ID, "busy").is_displayed() and bool(text(page, "summary"))


def test_the_photo_is_analysed_anew_by_the_model_that_is_chosen(noting: tuple[Any, Noting], photo: Path) -> None:
    page, engine = noting
    upload(page, photo)
    until(lambda: idle(page))
    select = Select(choice(page))
    assert [option.text for option in select.options] == ["fast", "large", "accurate"]
    assert select.first_selected_option.text == "fast"
    assert page.find_element(By.CSS_SELECTOR, "label:has(#size)").text.startswith("Model")
    assert text(page, "size-words") == "the quickest"
    assert engine.asked == [None]
    choice(page).send_keys("a", Keys.TAB)  # the keyboard is enough
    until(lambda: engine.asked == [None, "accurate"])
    until(lambda: idle(page))
    assert page.execute_async_script(STATE)["model"]["name"] == "light accurate"
    assert text(page, "model").startswith("light accurate 7.1 · ")
    assert text(page, "size-words").startswith("every picture at both sizes")
    page.find_element(By.CSS_SELECTOR, "[data-kind=json]").click()
    saved = page.downloads / "astronaut.json"
    until(lambda: is_saved(saved))
    assert json.loads(saved.read_bytes())["model"]["name"] == "light accurate"
    saved.unlink()
    upload(page, photo)  # the next photo too
    until(lambda: engine.asked[-2:] == ["accurate", "accurate"])
    until(lambda: idle(page))
    select.select_by_visible_text("fast")
    until(lambda: engine.asked[-1] is None)
    until(lambda: idle(page))
    assert text(page, "error") == ""


def test_small_people_are_looked_for_in_tiles_where_that_is_chosen(
    browser: Any, noting: tuple[Any, Noting], photo: Path
) -> None:
    page, engine = noting
    small = page.find_element(By.ID, "small")
    assert not small.is_selected()
    upload(page, photo)
    until(lambda: idle(page))
    small.click()
    until(lambda: engine.tiles == [1, 3])
    until(lambda: idle(page))
    assert "tiles=3" in page.find_element(By.ID, "curl").get_attribute("textContent")
    page.refresh()  # it is kept, as the other choices are
    upload(page, photo)
    until(lambda: engine.tiles == [1, 3, 3])
    until(lambda: idle(page))
    page.find_element(By.ID, "small").send_keys(" ")
    until(lambda: engine.tiles == [1, 3, 3, 1])
    assert text(page, "error") == ""


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_tiles_are_asked_for_than_the_gateway_allows(
    browser: Any, photo: Path, pipeline: Any, most: int
) -> None:
    """Neither where it is opened, nor where it was started again under the page."""
    engine = Noting(pipeline)
    with Live(Settings(), lambda: engine, port=spare_port()) as live:
        opened(browser, live)
        upload(browser, photo)
        until(lambda: idle(browser))
        browser.find_element(By.ID, "small").click()
        until(lambda: engine.tiles == [1, 3])
        until(lambda: idle(browser))
    with Live(Settings(max_tiles=most), lambda: engine, port=live.port) as live:
        browser.execute_script("document.getElementById('summary').textContent = ''")
        upload(browser, photo)
        until(lambda: idle(browser))
        assert engine.tiles == [1, 3, most]
        assert text(browser, "error") == ""
        opened(browser, live)  # with the tick, which is kept
        upload(browser, photo)
        until(lambda: idle(browser))
        assert engine.tiles == [1, 3, most, most]
        small = browser.find_element(By.ID, "small")
        assert (small.is_selected(), small.is_displayed()) == (True, most > 1)
        assert ("tiles=" in browser.find_element(By.ID, "curl").get_attribute("textContent")) == (most > 1)
        assert text(browser, "error") == ""
    assert complaints(browser) == []


def test_the_webcam_goes_on_with_the_model_that_is_chosen(noting: tuple[Any, Noting]) -> None:
    page, engine = noting
    press(page)
    until(lambda: "fps" in text(page, "figures"))
    Select(choice(page)).select_by_visible_text("large")
    until(lambda: engine.asked[-3:] == ["large"] * 3)
    until(lambda: (page.execute_async_script(STATE) or {}).get("model", {}).get("name") == "light large")
    assert "fps" in text(page, "figures")
    press(page)
    assert text(page, "error") == ""


def test_a_choice_outlives_the_gateway_whose_default_it_was(browser: Any, photo: Path, pipeline: Any) -> None:
    """A gateway that is started again with another model answers with the one that the page shows."""
    with Live(Settings(), lambda: pipeline, port=spare_port()) as live:
        opened(browser, live)
        upload(browser, photo)
        until(lambda: idle(browser))
    with Live(Settings(model="large", threads=1), None, port=live.port):
        browser.execute_script("document.getElementById('summary').textContent = ''")
        upload(browser, photo)
        until(lambda: idle(browser))
        assert browser.execute_async_script(STATE)["model"]["name"] == "light fast"
        assert Select(choice(browser)).first_selected_option.text == "fast"
        assert text(browser, "model").startswith("light fast ")
        assert text(browser, "error") == ""
    assert complaints(browser) == []


def pick(page: Any, photo: Path, model: str) -> None:
    upload(page, photo)
    until(lambda: idle(page))
    Select(choice(page)).select_by_visible_text(model)
    until(lambda: text(page, "model").startswith(f"light {model} "))
    until(lambda: shown(page) == f"light {model}")
    until(lambda: idle(page))


def shown(page: Any) -> str | None:
    """The model of the answer that is shown."""
    answer = page.execute_async_script(STATE)
    return None if answer is None else str(answer["model"]["name"])


@pytest.mark.parametrize("asked", ["photo", "download", "webcam"])
def test_a_choice_that_a_gateway_which_was_started_again_has_no_more_is_given_up(
    browser: Any, photo: Path, pipeline: Any, asked: str
) -> None:
    with Live(Settings(), lambda: pipeline, port=spare_port()) as live:
        opened(browser, live)
        pick(browser, photo, "large")
    with Live(Settings(only_model=True), lambda: pipeline, port=live.port):
        if asked == "photo":
            browser.execute_script("document.getElementById('summary').textContent = ''")
            upload(browser, photo)
            until(lambda: idle(browser))
        elif asked == "download":
            browser.find_element(By.CSS_SELECTOR, "[data-kind=json]").click()
            saved = browser.downloads / "astronaut.json"
            until(lambda: is_saved(saved))
            assert json.loads(saved.read_bytes())["model"]["name"] == "light"
            saved.unlink()
        else:
            press(browser)
            until(lambda: "fps" in text(browser, "figures"))
            press(browser)
        assert text(browser, "error") == ""
        assert shown(browser) == "light"
        assert text(browser, "model").startswith("light 7.1 ")
        assert not choice(browser).is_displayed()
        assert text(browser, "lost") == "The gateway does not have the model “large” any more: it is “light” now."
    refused = "Error during WebSocket handshake: Unexpected response code: 422"  # which a browser says by itself
    assert [said for said in complaints(browser) if refused not in said] == []


def test_where_there_is_nothing_to_choose_nothing_is_offered(browser: Any, photo: Path) -> None:
    engine = Slow()
    engine.gate.set()
    with Live(Settings(), lambda: engine) as live:
        opened(browser, live)
        upload(browser, photo)
        until(lambda: idle(browser))
        assert not choice(browser).is_displayed()
        names = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        asked = [dict(parse_qsl(urlsplit(name).query)) for name in names if "/v1/analyze" in name]
        assert asked
        assert all("model" not in query for query in asked)
