"""The page where the gateway makes a visitor wait, or refuses: what is said, where, and how it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from server.keys import add_key
from server.settings import Settings
from tests.server.clock import Share
from tests.server.conftest import Live, Slow
from tests.server.test_page import By, Keys, browser, photo, text, until, upload
from tests.server.test_page_webcam import SECONDS, press, second, upload_to_a_gateway_that_went

__all__ = ["browser", "photo"]  # fixtures


class Starting(Live):
    """The gateway as it is before its engine is ready."""

    def __enter__(self) -> Starting:
        self._thread.start()
        until(lambda: self.server.started)
        return self


@contextmanager
def screen(browser: Any, width: int, height: int, *, mobile: bool = False) -> Iterator[None]:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def free_below(browser: Any, name: str) -> float:
    """Pixels of the screen below an element."""
    below = browser.execute_script(
        "return innerHeight - document.getElementById(arguments[0]).getBoundingClientRect().bottom", name
    )
    return float(below)


def test_why_a_phone_waits_is_said(browser: Any, photo: Path) -> None:
    """Its header has no room for the state of the gateway; who does not wait is not told."""
    slow, loaded = Slow(), threading.Event()
    slow.gate.set()
    with Starting(Settings(), lambda: loaded.wait(120) and slow) as live, screen(browser, 390, 844, mobile=True):  # type: ignore[arg-type,return-value]
        browser.get(f"http://{live.address}/")
        until(lambda: "being loaded" in browser.find_element(By.ID, "model").get_attribute("textContent"))
        assert text(browser, "notice") == ""
        press(browser)
        until(lambda: "the model is being loaded" in text(browser, "notice"))
        press(browser)
        until(lambda: not text(browser, "notice"))
        upload(browser, photo)
        until(lambda: "the model is being loaded" in text(browser, "notice"))
        loaded.set()
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        until(lambda: not text(browser, "notice"))


def test_silence_is_told_to_who_waits_for_a_photo(browser: Any, photo: Path) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        browser.execute_script(SECONDS)
        upload(browser, photo)
        until(lambda: "has not answered for" in text(browser, "notice") or second(browser))
        slow.gate.set()
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert text(browser, "notice") == ""  # it has answered


def test_who_still_waits_is_still_told_what_for(browser: Any, photo: Path) -> None:
    """Though another file is saved meanwhile."""
    slow = Slow()
    slow.gate.set()
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary"))
        until(lambda: not text(browser, "notice"))
        slow.gate.clear()
        browser.execute_script(SAID + SECONDS)
        for kind in ("json", "npz", "png"):
            browser.find_element(By.CSS_SELECTOR, f"[data-kind={kind}]").click()
        overlay = browser.find_element(By.CSS_SELECTOR, "[data-kind=png]")
        until(lambda: overlay.get_attribute("aria-busy") == "false")  # it needs no gateway
        assert browser.execute_script("return said.includes('Making the Overlay PNG…')")
        assert text(browser, "notice") == "Making the npz…"
        said = "The gateway has not answered for 5 s: it is busy, or the photo is still on its way."
        until(lambda: text(browser, "notice") == said or second(browser))
        slow.gate.set()
        until(lambda: not text(browser, "notice"))
        assert not browser.find_elements(By.CSS_SELECTOR, "[aria-busy=true]")
        assert text(browser, "error") == ""


SAID = """
window.said = [];
const note = document.getElementById("notice");
new MutationObserver(() => said.push(note.textContent)).observe(note, { childList: true });
"""


def test_a_short_wait_is_waited_for(browser: Any, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, share = Slow(), Share(monkeypatch)
    slow.gate.set()
    with Live(Settings(rate=0.125, burst=1), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        until(lambda: "·" in text(browser, "model"))
        answer = httpx.post(f"http://{live.address}/v1/analyze", content=photo.read_bytes(), timeout=60)
        assert answer.status_code == 200
        upload(browser, photo)
        until(lambda: "The photo is sent again in 8 s" in text(browser, "notice"))
        share.now += 8
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert text(browser, "error") == ""


def test_a_photo_that_was_refused_is_sent_again_on_request(browser: Any, photo: Path) -> None:
    slow, port = upload_to_a_gateway_that_went(browser, photo)
    with Live(Settings(), lambda: slow, port=port):
        browser.find_element(By.ID, "again").click()
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert text(browser, "error") == ""


def test_refusals_are_seen_and_say_what_a_visitor_can_do(browser: Any, photo: Path, tmp_path: Path) -> None:
    """Headers are nothing to them; an error stands where they look, and hides no button."""
    tall = tmp_path / "tall.png"
    Image.new("L", (800, 1200), 128).save(tall)
    slow = Slow()
    slow.gate.set()
    with Live(Settings(rate=0.005, burst=1), lambda: slow) as live, screen(browser, 390, 844, mobile=True):
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary"))
        button = browser.find_element(By.CSS_SELECTOR, "[data-kind=json]")
        browser.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
        top = "return document.getElementById('error').getBoundingClientRect().top"
        button.click()
        until(lambda: text(browser, "error"))
        until(lambda: browser.execute_script(top) >= 0 and free_below(browser, "error") >= 0)
        with screen(browser, 1440, 900):
            upload(browser, tall)
            said = until(lambda: text(browser, "error"))
            assert "Too many pictures" in said
            assert "Try again in " in said
            assert "Retry-After" not in said
            assert browser.find_element(By.ID, "again").is_displayed()
            until(lambda: free_below(browser, "another") >= 0)


def test_a_key_that_is_not_given_is_asked_for_again(browser: Any, photo: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    secret = add_key(keys, "visitor")
    slow = Slow()
    slow.gate.set()
    with Live(Settings(keys=keys), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        until(browser.find_element(By.ID, "key").is_displayed)
        browser.find_element(By.ID, "key").send_keys(Keys.ESCAPE)
        until(lambda: "asks for a key" in text(browser, "error"))
        assert text(browser, "model") == "a key is needed"
        assert not browser.find_elements(By.LINK_TEXT, "Metrics")  # a link cannot carry it
        browser.find_element(By.ID, "again").click()
        until(browser.find_element(By.ID, "key").is_displayed)
        browser.find_element(By.ID, "key").send_keys(secret, Keys.ENTER)
        until(lambda: "·" in text(browser, "model"))
        assert text(browser, "error") == ""
        browser.execute_script("sessionStorage.clear()")
