"""What the page says and does while a photo is on its way, and where that takes too long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from server.errors import UploadTimeout
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.helpers import open_gate
from tests.server.test_page import By, browser, photo, text, until, upload
from tests.server.test_page_pictures import save
from tests.server.test_page_waiting import SAID
from tests.server.test_page_webcam import SECONDS, second

__all__ = ["browser", "photo"]  # fixtures


@contextmanager
def uplink(browser: Any, rate: int) -> Iterator[None]:
    """A connection that sends so many bytes a second."""
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": rate}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {**conditions, "uploadThroughput": -1})
        browser.execute_cdp_cmd("Network.disable", {})


def test_a_photo_that_is_on_its_way_is_no_silence(browser: Any, photo: Path) -> None:
    with Live(Settings(upload_seconds=600), open_gate) as live:
        browser.get(f"http://{live.address}/")
        until(lambda: "·" in text(browser, "model"))
        browser.execute_script(SAID + SECONDS)
        with uplink(browser, 2000):
            upload(browser, photo)
            until(lambda: "sending the photo…" in text(browser, "busy") or second(browser))
            for _ in range(9):
                second(browser)
            assert browser.execute_script("return aloud.textContent") == "sending the photo…"
            assert text(browser, "busy").endswith("%")
            assert not any("not answered" in said for said in browser.execute_script("return said"))
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert (text(browser, "error"), text(browser, "notice")) == ("", "")


@pytest.fixture
def heavy(tmp_path: Path, photo: Path) -> Path:
    path = tmp_path / "heavy.jpg"
    Image.open(photo).resize((2048, 2048)).save(path, quality=98)
    return path


class Late(Slow):
    """An engine for which whatever is large took too long to arrive."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.gate.set()
        self.most, self.sizes = most, list[int]()

    def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
        if isinstance(image, bytes):
            self.sizes.append(len(image))
            if len(image) > self.most:
                raise UploadTimeout("after 30 s the body has no end")
        return super().analyze(image, options)


def test_what_took_too_long_is_sent_smaller(browser: Any, heavy: Path) -> None:
    size = heavy.stat().st_size
    late = Late(size // 2)
    with Live(Settings(), lambda: late) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, heavy)
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert late.sizes[0] == size
        assert late.sizes[-1] < size / 3
        assert "the connection is slow. Downloads have 1024 × 1024 pixels." in text(browser, "converted")
        assert json.loads(save(browser, "json", "heavy.json"))["model"]["name"] == "slow"  # of what was sent, too
        assert text(browser, "error") == ""
        assert browser.execute_script("return [canvas.width, canvas.height]") == [1024, 1024]  # as the answer has it


def test_what_is_too_slow_however_small_is_said(browser: Any, heavy: Path) -> None:
    late = Late(0)
    with Live(Settings(), lambda: late) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, heavy)
        assert "The upload took too long" in until(lambda: text(browser, "error"))
        assert {late.sizes[0] > size for size in late.sizes} == {
            True,
            False,
        }  # both were tried, each once or more often
        assert browser.find_element(By.ID, "again").is_displayed()


def test_the_page_gives_up_what_the_gateway_would_refuse(browser: Any, heavy: Path) -> None:
    """Browsers send again what was answered by 408, as long as they have connections left."""
    late = Late(10**9)
    with Live(Settings(upload_seconds=600), lambda: late) as live:
        browser.get(f"http://{live.address}/")
        until(lambda: "·" in text(browser, "model"))
        with uplink(browser, 5000):
            browser.execute_script(COUNT)
            upload(browser, heavy)
            until(lambda: browser.execute_script(STARTED) == 1)
            browser.execute_script(LATER)
            until(lambda: browser.execute_script(STARTED) == 2)
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert "the connection is slow" in text(browser, "converted")
        assert late.sizes[-1] < heavy.stat().st_size / 3


COUNT = """
window.started = 0;
const own = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) {
  window.started++;
  own.call(this, body);
};
"""
STARTED = "return window.started"
LATER = "const now = performance.now.bind(performance); performance.now = () => now() + 1000 * 3600;"


def test_a_proxy_s_word_for_a_gateway_that_is_away(browser: Any) -> None:
    with Live(Settings(), open_gate) as live:
        browser.get(f"http://{live.address}/")
        said = browser.execute_async_script(PROBLEMS)
    assert said[:2] == [f"The gateway is not reached ({status}): it may be starting again" for status in (502, 504)]
    assert said[2:] == ["HTTP status 400", "The engine is not available: not ready"]


PROBLEMS = """
const [done] = arguments;
import("/assets/gateway.js").then(({ Problem }) => done([
  new Problem({}, 502), new Problem({}, 504), new Problem({}, 400),
  new Problem({ title: "The engine is not available", detail: "not ready" }, 503),
].map((one) => one.message)));
"""
