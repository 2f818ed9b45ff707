"""The page where the gateway has another model: from the start, or since the page was opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import spare_port
from tests.server.test_page import By, browser, photo, set_score, text, until, upload
from tests.server.test_page_layers import named
from tests.server.test_page_webcam import button, press

__all__ = ["browser", "photo"]  # fixtures

BOTH = {"parsing": True, "densepose": True}
LABELS = (2, 13)
"""Hair and face of the shipped model; MHP calls these numbers something else."""


class Renamed:
    """The real engine under another name, with another label set or fewer trained heads."""

    def __init__(self, engine: Any, name: str, taxonomy: Taxonomy = CIHP, tasks: dict[str, bool] | None = None) -> None:
        self.engine = engine
        self.become(name, taxonomy, tasks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def become(self, name: str, taxonomy: Taxonomy = CIHP, tasks: dict[str, bool] | None = None) -> None:
        self.name, self.taxonomy, self.tasks = name, taxonomy, tasks or BOTH

    @property
    def info(self) -> ModelInfo:
        info: ModelInfo = self.engine.info
        return replace(info, name=self.name, tasks=self.tasks, classes=self.taxonomy.classes)

    def analyze(self, image: Any, options: Options) -> People:
        people: People = self.engine.analyze(image, options)
        fields = {name: getattr(people, name) for name in ("part_scores", "part_probs")}
        more = len(self.taxonomy) - len(people.taxonomy)
        wider = {
            name: np.pad(values, [(0, 0), (0, more), *[(0, 0)] * (values.ndim - 2)])
            for name, values in fields.items()
            if values is not None
        }
        return replace(people, taxonomy=self.taxonomy, **wider)

    def close(self) -> None: ...


class Restless(Renamed):
    """One whose name is another one whenever it is asked for."""

    @property
    def info(self) -> ModelInfo:
        self.name += "+"
        return super().info


def opened(browser: Any, live: Live) -> None:
    browser.get(f"http://{live.address}/")
    browser.get_log("browser")
    until(lambda: "·" in text(browser, "model"))


def analysed(browser: Any, path: Path) -> None:
    browser.execute_script("document.getElementById('summary').textContent = ''")
    upload(browser, path)
    until(lambda: text(browser, "summary") or text(browser, "error"))
    assert text(browser, "error") == ""


def names(browser: Any) -> set[str]:
    """What the legend says of the labels of a head."""
    script = "return [...document.querySelectorAll('#legend li')].map((e) => [e.dataset.id, e.textContent])"
    return {name for label, name in browser.execute_script(script) if int(label) in LABELS}


def colours(browser: Any) -> dict[int, tuple[int, ...]]:
    script = "return [...document.querySelectorAll('#legend li')].map((e) => [e.dataset.id, e.innerHTML])"
    found = browser.execute_script(script)
    return {int(label): tuple(int(v) for v in html.split("rgb(")[1].split(")")[0].split(",")) for label, html in found}


def assert_shows(browser: Any, name: str, taxonomy: Taxonomy) -> None:
    assert text(browser, "model").startswith(f"{name} ")
    first = {label: taxonomy.classes[label].replace("-", " ").lower() for label in LABELS}
    assert {name.lower() for name in names(browser)} == set(first.values())
    shown = colours(browser)
    assert {label: shown[label] for label in LABELS} == {
        label: tuple(int(v) for v in taxonomy.palette[label]) for label in LABELS
    }


def complaints(browser: Any) -> list[str]:
    """Of the console, but for requests that a gateway which had gone did not answer."""
    told = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    return [entry["message"] for entry in told if "Failed to load resource" not in entry["message"]]


@pytest.mark.parametrize("turned", [False, True])
def test_a_photo_for_a_model_that_is_new_since_has_its_names_and_colours(
    browser: Any, photo: Path, pipeline: Any, turned: bool
) -> None:
    old, new = (("cihp", CIHP), ("mhp", MHP))[:: -1 if turned else 1]
    with Live(Settings(), lambda: Renamed(pipeline, *old), port=spare_port()) as live:
        opened(browser, live)
        analysed(browser, photo)
        assert_shows(browser, *old)
    with Live(Settings(), lambda: Renamed(pipeline, *new), port=live.port):
        analysed(browser, photo)
        assert_shows(browser, *new)
        set_score(browser, 5)  # and this, too, is an answer of the new one
        until(lambda: not browser.find_element(By.ID, "busy").is_displayed())
        assert_shows(browser, *new)
        label = new[1].classes[2].replace("-", " ").lower()
        assert label in {named(browser, x, y).split(" · ")[0].lower() for x in (180, 220) for y in range(20, 80, 6)}
    assert complaints(browser) == []


def test_of_a_model_that_is_new_since_only_what_is_trained_is_asked(browser: Any, photo: Path, pipeline: Any) -> None:
    with Live(Settings(), lambda: Renamed(pipeline, "both"), port=spare_port()) as live:
        opened(browser, live)
        analysed(browser, photo)
    with Live(
        Settings(), lambda: Renamed(pipeline, "parts", tasks={"parsing": True, "densepose": False}), port=live.port
    ):
        set_score(browser, 5)  # the photo that is there already
        until(lambda: text(browser, "model").startswith("parts "))
        until(lambda: text(browser, "summary"))
        assert text(browser, "error") == ""
        said = browser.execute_async_script(STATE)
        assert said["warnings"] == []
        assert all("densepose" not in person for person in said["predictions"])
        assert not browser.find_element(By.ID, "iuv").is_displayed()
    assert complaints(browser) == []


STATE = "const done = arguments[0]; import('/assets/state.js').then(({ state }) => done(state.answer))"


def test_a_model_without_parts_offers_none_and_shows_iuv(browser: Any, photo: Path, pipeline: Any) -> None:
    charts = Renamed(pipeline, "iuv", tasks={"parsing": False, "densepose": True})
    with Live(Settings(), lambda: charts, port=spare_port()) as live:
        opened(browser, live)
        analysed(browser, photo)
        assert "green and blue are U and V" in text(browser, "iuv-words")
        for selector in ("#parts", "[data-kind=parts]"):
            assert not browser.find_element(By.CSS_SELECTOR, selector).is_displayed()
        for selector in ("#iuv", "[data-kind=iuv]", "[data-kind=cutout]"):
            assert browser.find_element(By.CSS_SELECTOR, selector).is_displayed()
    with Live(Settings(), lambda: Renamed(pipeline, "both"), port=live.port):
        analysed(browser, photo)
        assert browser.find_element(By.ID, "parts").is_displayed()
        assert "Hair" in text(browser, "legend")
        assert not browser.find_element(By.ID, "iuv").is_selected()
    assert complaints(browser) == []


def test_the_webcam_goes_on_with_a_model_that_is_new_since(browser: Any, pipeline: Any) -> None:
    """Whether it was so before the stream began, or is while it runs."""
    engine = Renamed(pipeline, "first")
    with Live(Settings(), lambda: engine) as live:
        opened(browser, live)
        engine.become("second", MHP)
        press(browser)
        until(lambda: "fps" in text(browser, "figures"))
        assert text(browser, "model").startswith("second ")
        until(lambda: "Helmet" in names(browser))
        engine.become("third", CIHP, {"parsing": True, "densepose": False})
        until(lambda: text(browser, "model").startswith("third "))
        until(lambda: {"Hair", "Face"} >= names(browser) > set())
        until(lambda: (browser.execute_async_script(STATE) or {}).get("warnings") == [])
        assert button(browser) == "Stop the webcam"
        press(browser)
        assert text(browser, "error") == ""
    assert complaints(browser) == []


@pytest.mark.parametrize("source", ["photo", "webcam"])
def test_models_that_take_turns_are_not_waited_for_for_ever(
    browser: Any, photo: Path, pipeline: Any, source: str
) -> None:
    with Live(Settings(), lambda: Restless(pipeline, "one")) as live:
        opened(browser, live)
        if source == "photo":
            upload(browser, photo)
        else:
            press(browser)
        until(lambda: "with one model and then with another" in text(browser, "error"))
        assert browser.find_element(By.ID, "again").is_displayed() == (source == "photo")
        assert button(browser) == "Open the webcam"
        assert not browser.find_element(By.ID, "busy").is_displayed()
    assert complaints(browser) == []
