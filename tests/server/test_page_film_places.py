"""Where a video is on the page: what is seen, what its controls say, and what is analysed are of one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.codecs.image import decode
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import open_gate, spare_port
from tests.server.test_page import By, browser, page, pixels, text, until, upload
from tests.server.test_page_film import MakeFilm, button, film, go_to, place, press
from tests.server.test_page_pictures import save

__all__ = ["browser", "film", "page"]  # fixtures

STEP = 7  # of grey, from one frame to the next
RATE = 2  # frames a second
SEEN = "return canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0]"
OVER = "const { state } = await import('/assets/state.js'); arguments[0](state.film.video.ended)"


def counting(count: int) -> list[Any]:
    """Frames that say by their grey which one they are."""
    return [np.full((64, 64, 3), STEP * number, np.uint8) for number in range(count)]


def seen(page: Any) -> float:
    """The second whose frame is seen, of a video of such."""
    return round(int(page.execute_script(SEEN)) / STEP) / RATE


def live_at_first(browser: Any, live: Live, path: Path) -> None:
    browser.get(f"http://{live.address}/")
    upload(browser, path)
    until(lambda: "fps" in text(browser, "figures"))


def test_a_paused_video_is_where_its_picture_is(browser: Any, film: MakeFilm) -> None:
    """However late the answer to it came."""
    slow = open_gate()
    with Live(Settings(), lambda: slow) as live:
        live_at_first(browser, live, film("count.webm", counting(36)))
        slow.gate.clear()
        begin = place(browser)
        until(lambda: place(browser) > begin + 3)  # it plays on, unanswered
        press(browser)
        slow.gate.set()
        assert abs(seen(browser) - place(browser)) <= 1 / RATE
        assert place(browser) < begin + 3
        press(browser)
        until(lambda: place(browser) > begin + 3)  # and goes on from there
        press(browser)
        assert abs(seen(browser) - place(browser)) <= 1 / RATE


def test_a_video_that_is_over_shows_its_last_frame(browser: Any, film: MakeFilm) -> None:
    slow = open_gate()
    with Live(Settings(), lambda: slow) as live:
        live_at_first(browser, live, film("count.webm", counting(36)))
        slow.gate.clear()
        go_to(browser, 16)
        until(lambda: browser.execute_async_script(OVER))
        assert seen(browser) < 35 / RATE
        slow.gate.set()
        until(lambda: button(browser) == "Play the video")
        assert seen(browser) == 35 / RATE
        assert text(browser, "when") == "0:18 of 0:18"


def test_a_place_that_was_not_answered_when_it_was_paused_is_analysed(browser: Any, film: MakeFilm) -> None:
    slow = open_gate()
    with Live(Settings(), lambda: slow) as live:
        live_at_first(browser, live, film("count.webm", counting(36)))
        slow.gate.clear()
        go_to(browser, 15.2)
        press(browser)
        slow.gate.set()
        until(lambda: "on the server" in text(browser, "figures"))
        assert (seen(browser), place(browser)) == (15, 15.2)


def test_who_goes_back_while_the_end_is_awaited_sees_that_place(browser: Any, film: MakeFilm) -> None:
    slow = open_gate()
    with Live(Settings(), lambda: slow) as live:
        live_at_first(browser, live, film("count.webm", counting(12)))
        slow.gate.clear()
        until(lambda: browser.execute_async_script(OVER))
        go_to(browser, 1.2)
        slow.gate.set()
        until(lambda: "on the server" in text(browser, "figures"))
        assert (seen(browser), place(browser)) == (1, 1.2)


@pytest.fixture
def damaged(film: MakeFilm) -> Path:
    """Half a minute whose middle, around 0:15, is zeros."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    path = film("holiday.mp4", [np.repeat(np.repeat(frame, 8, 0), 8, 1) for frame in noise])
    data = bytearray(path.read_bytes())
    middle = slice(2 * len(data) // 5, 3 * len(data) // 5)
    data[middle] = bytes(len(data[middle]))
    path.write_bytes(data)
    return path


def test_a_damaged_video_keeps_its_other_places(page: Any, damaged: Path) -> None:
    """Whether the damage was come to or gone to: the one that is seen stays."""
    upload(page, damaged)
    until(lambda: "fps" in text(page, "figures"))
    press(page)
    go_to(page, 2)
    until(lambda: "on the server" in text(page, "figures"))
    kept = pixels(page)
    go_to(page, 15)
    until(lambda: "“holiday.mp4” is damaged at 0:15" in text(page, "error"))
    assert not page.find_element(By.ID, "again").is_displayed()
    until(lambda: place(page) == 2)
    assert pixels(page) == kept
    go_to(page, 26)
    until(lambda: pixels(page) != kept)
    assert text(page, "error") == ""
    go_to(page, 15)
    until(lambda: "is damaged at 0:15" in text(page, "error"))
    assert text(page, "when") == "0:26 of 0:30"
    press(page)  # from where it was
    until(lambda: text(page, "when") == "0:30 of 0:30")
    until(lambda: button(page) == "Play the video")
    assert text(page, "error") == ""


def test_a_video_that_breaks_while_it_plays_says_where(page: Any, damaged: Path) -> None:
    upload(page, damaged)
    until(lambda: "fps" in text(page, "figures"))
    go_to(page, 10)
    until(lambda: "“holiday.mp4” is damaged at 0:1" in text(page, "error"))
    assert button(page) == "Play the video"
    assert 9 <= place(page) < 20
    go_to(page, 26)
    until(lambda: "on the server" in text(page, "figures"))
    assert text(page, "error") == ""


def test_a_place_that_is_not_analysed_has_no_result(browser: Any, film: MakeFilm) -> None:
    slow, port = open_gate(), spare_port()
    with Live(Settings(), lambda: slow, port=port) as live:
        live_at_first(browser, live, film("count.webm", counting(36)))
        press(browser)
        go_to(browser, 3)
        until(lambda: "on the server" in text(browser, "figures"))
    go_to(browser, 9)
    until(lambda: "does not answer" in text(browser, "error"))
    assert seen(browser) == 9
    assert not browser.find_element(By.ID, "panel").is_displayed()
    with Live(Settings(), lambda: slow, port=port):
        browser.find_element(By.ID, "again").click()
        until(lambda: "on the server" in text(browser, "figures"))
        assert text(browser, "summary") == "Nobody found"


def test_a_place_whose_picture_is_too_large_for_the_gateway_is_sent_smaller(
    browser: Any, film: MakeFilm, photo_jpeg: bytes
) -> None:
    slow = open_gate()
    with Live(Settings(max_bytes=150_000), lambda: slow) as live:
        live_at_first(browser, live, film("clip.webm", [decode(photo_jpeg)] * 20))
        press(browser)
        go_to(browser, 3)
        until(lambda: "on the server" in text(browser, "figures"))
        assert text(browser, "converted") == "Sent as JPEG: the gateway refuses it as PNG."
        assert text(browser, "error") == ""
        assert save(browser, "json", "clip.json")
