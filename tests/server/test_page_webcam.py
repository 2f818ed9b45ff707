"""The page's webcam where something is in its way: the browser, a busy gateway, one that is silent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from server.settings import Settings
from tests.server.clock import Share
from tests.server.conftest import Live, Slow
from tests.server.helpers import spare_port
from tests.server.test_page import (
    By,
    analysed,
    browser,
    chromium,
    page,
    photo,
    pixels,
    set_score,
    text,
    until,
    upload,
)

__all__ = ["browser", "page", "photo"]  # fixtures

COUNT = """
window.streams = 0; window.frames = 0;
const Own = WebSocket;
window.WebSocket = class extends Own {
  constructor(...all) { super(...all); window.streams++; }
  send(...all) { window.frames++; super.send(...all); }
};
"""
# the visitor's answer to the browser's question comes when `answer` is called, with an error or without
ASK = """
window.tracks = [];
const own = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const error = await new Promise((done) => (window.answer = done));
  if (error) throw new DOMException("", error);
  const media = await own(wanted);
  tracks.push(...media.getTracks());
  return media;
};
"""
# the seconds that the page counts pass when `second` is called
SECONDS = """
window.counted = [];
window.setInterval = (act) => counted.push(act);
window.clearInterval = (number) => { if (number) counted[number - 1] = null; };
window.second = () => counted.slice().forEach((act) => act?.());
"""


def press(page: Any) -> None:
    page.find_element(By.CSS_SELECTOR, "[data-action=webcam]").click()


def second(page: Any) -> None:
    """One more passes of those that the page counts: see `SECONDS`."""
    page.execute_script("second()")


def button(page: Any) -> str:
    return str(page.find_element(By.CSS_SELECTOR, "[data-action=webcam]").text)


@pytest.mark.parametrize("how", ["button", "photo"])
def test_what_opens_after_stop_is_closed(page: Any, photo: Path, how: str) -> None:
    page.execute_script(COUNT + ASK)
    press(page)
    until(lambda: page.execute_script("return Boolean(window.answer)"))
    if how == "button":
        press(page)
    else:
        upload(page, photo)
    until(lambda: button(page) == "Open the webcam")
    page.execute_script("answer()")
    until(lambda: page.execute_script("return tracks.length > 0 && tracks.every((t) => t.readyState === 'ended')"))
    assert page.execute_script("return window.streams") == 0
    assert text(page, "error") == ""


def test_a_refused_webcam_leaves_the_photo(page: Any, photo: Path) -> None:
    analysed(page, photo)
    people, before = text(page, "summary"), pixels(page)
    page.execute_script(ASK)
    press(page)
    until(lambda: page.execute_script("return Boolean(window.answer)"))
    set_score(page, 30)  # what is shown is still the photo
    set_score(page, 5)
    page.execute_script("answer('NotAllowedError')")
    until(lambda: "allow it in the browser" in text(page, "error"))
    assert button(page) == "Open the webcam"
    set_score(page, 5)
    assert (text(page, "summary"), pixels(page)) == (people, before)
    saved = len(list(page.downloads.glob("astronaut*.json")))
    page.find_element(By.CSS_SELECTOR, "[data-kind=json]").click()
    until(lambda: len(list(page.downloads.glob("astronaut*.json"))) > saved)


def upload_to_a_gateway_that_went(browser: Any, photo: Path) -> tuple[Slow, int]:
    """Leave a photo on the page that nobody answered: (engine of the gateway that may come back, its port)."""
    slow = Slow()
    slow.gate.set()
    with Live(Settings(), lambda: slow, port=spare_port()) as live:
        browser.get(f"http://{live.address}/")
        until(lambda: "·" in text(browser, "model"))
        port = live.port
    upload(browser, photo)
    until(lambda: "does not answer" in text(browser, "error"))
    return slow, port


@pytest.mark.parametrize("how", ["refused", "stopped"])
def test_a_webcam_that_never_went_live_leaves_a_photo_its_second_try(browser: Any, photo: Path, how: str) -> None:
    slow, port = upload_to_a_gateway_that_went(browser, photo)
    browser.execute_script(ASK)
    press(browser)
    until(lambda: browser.execute_script("return Boolean(window.answer)"))
    assert text(browser, "error") == ""
    if how == "refused":
        browser.execute_script("answer('NotAllowedError')")
        until(lambda: "allow it in the browser" in text(browser, "error"))
    else:
        press(browser)
        assert "does not answer" in text(browser, "error")
    with Live(Settings(), lambda: slow, port=port):
        browser.find_element(By.ID, "again").click()
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert text(browser, "error") == ""


def test_a_refused_webcam_offers_no_try_that_is_in_vain(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    upload(page, tmp_path / "notes.txt")
    until(lambda: "JPEG" in text(page, "error"))
    page.execute_script(ASK)
    press(page)
    until(lambda: page.execute_script("return Boolean(window.answer)"))
    page.execute_script("answer('NotAllowedError')")
    until(lambda: "allow it in the browser" in text(page, "error"))
    assert not page.find_element(By.ID, "again").is_displayed()


def test_a_share_that_is_used_up_makes_the_webcam_wait(
    browser: Any,
    pipeline: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Share(monkeypatch)
    with Live(Settings(rate=2, burst=2), lambda: pipeline) as live:
        browser.get(f"http://{live.address}/")
        browser.execute_script(COUNT)
        press(browser)
        until(lambda: "your share of 2 pictures a second" in text(browser, "notice"))
        sent = browser.execute_script("return window.frames")
        until(lambda: browser.execute_script("return window.frames") > sent + 5)  # it goes on, and is told so again
        assert button(browser) == "Stop the webcam"
        assert text(browser, "error") == ""
        press(browser)
        until(lambda: not text(browser, "notice"))


def test_an_engine_that_is_away_is_waited_for(browser: Any, pipeline) -> None:  # type: ignore[no-untyped-def]
    away = Away(pipeline)
    with Live(Settings(), lambda: away) as live:  # type: ignore[arg-type,return-value]
        browser.get(f"http://{live.address}/")
        browser.execute_script(COUNT)
        press(browser)
        until(lambda: "fps" in text(browser, "figures"))
        away.now = True
        until(lambda: "no server is well" in text(browser, "notice"))
        now = "return [window.frames, performance.now()]"
        sent, begin = browser.execute_script(now)
        time.sleep(2)
        frames, end = browser.execute_script(now)
        assert frames <= sent + 4 + 2 * (end - begin) / 1000  # two on the way, and two each second
        away.now = False
        until(lambda: not text(browser, "notice"))
        assert button(browser) == "Stop the webcam"
        assert text(browser, "error") == ""
        press(browser)


class Away:
    """An engine that can be taken away."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.now = engine, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def analyze(self, image: Any, options: Options) -> People:
        if self.now:
            raise EngineUnavailable("no server is well")
        people: People = self.engine.analyze(image, options)
        return people

    def close(self) -> None: ...


def test_silence_is_told_and_ends(browser: Any) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        browser.execute_script(SECONDS)
        press(browser)
        until(lambda: "has not answered for" in text(browser, "notice") or second(browser))
        slow.gate.set()
        until(lambda: not text(browser, "notice"))
        assert button(browser) == "Stop the webcam"
        slow.gate.clear()
        until(lambda: "has not answered for 30 s" in text(browser, "error") or second(browser))
        assert button(browser) == "Open the webcam"
        slow.gate.set()


def test_one_press_is_one_webcam(browser: Any, pipeline) -> None:  # type: ignore[no-untyped-def]
    """Pressed again while the page still waits for the gateway, the button takes the wish back."""
    with Live(Settings(), lambda: pipeline) as live:
        browser.get(f"http://{live.address}/")
        until(lambda: "·" in text(browser, "model"))
        browser.execute_script(COUNT + ASK)
        browser.execute_script("for (let i = 0; i < 2; i++) document.querySelector('[data-action=webcam]').click()")
        assert button(browser) == "Open the webcam"
        assert browser.execute_script("return Boolean(window.answer)") is False
        assert browser.execute_script("return window.streams") == 0


def test_a_phone_films_what_is_before_it_and_can_be_turned(live: Live, tmp_path: Path) -> None:
    """Asked for is the camera on the back; where there are several, a button takes the next one."""
    with chromium(tmp_path, "--use-fake-device-for-media-stream=device-count=2") as browser:
        browser.get(f"http://{live.address}/")
        browser.execute_script(OPENED)
        press(browser)
        turn = browser.find_element(By.ID, "turn")
        until(turn.is_displayed)
        until(lambda: "fps" in text(browser, "figures"))
        turn.click()
        until(lambda: browser.execute_script("return opened.length") == 2)
        until(turn.is_enabled)
        wanted, tracks = browser.execute_script("return [wishes, opened.map((track) => track.readyState)]")
        assert wanted[0]["video"]["facingMode"] == {"ideal": "environment"}
        assert tracks == ["ended", "live"]
        assert len(set(browser.execute_script("return opened.map((track) => track.getSettings().deviceId)"))) == 2
        frames = text(browser, "figures")
        until(lambda: text(browser, "figures") != frames)  # the stream goes on
        press(browser)
        assert not turn.is_displayed()
        assert browser.execute_script("return opened[1].readyState") == "ended"
        assert text(browser, "error") == ""


OPENED = """
window.wishes = []; window.opened = [];
const own = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  wishes.push(wanted);
  const media = await own(wanted);
  opened.push(...media.getTracks());
  return media;
};
"""
