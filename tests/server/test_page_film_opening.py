"""How a video comes to the page and goes: what is seen before its first frame, what stays, and who has its stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.helpers import metric, open_gate
from tests.server.test_page import By, analysed, browser, page, photo, text, until, upload
from tests.server.test_page_film import MakeFilm, button, film, go_to, press
from tests.server.test_page_handed import drag
from tests.server.test_page_waiting import SAID, screen

__all__ = ["browser", "film", "page", "photo"]  # fixtures

GREY = np.full((64, 64, 3), 90, np.uint8)
HELD = """
const [done] = arguments;
window.held = new WebSocket(`ws://${location.host}/v1/stream`, ["parsing-rcnn.v1"]);
held.onopen = () => done();
"""


def test_a_video_that_is_on_its_way_is_seen_to_be_waited_for(browser: Any, film: MakeFilm) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, film("clip.webm", [GREY] * 20))
        assert slow.begun.acquire(timeout=60)
        assert "looking for people" in text(browser, "busy")
        slow.gate.set()
        until(lambda: "fps" in text(browser, "figures"))
        assert not text(browser, "busy")


def test_a_video_that_is_given_up_is_not_waited_for(browser: Any, film: MakeFilm, photo: Path) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, film("clip.webm", [GREY] * 20))
        assert slow.begun.acquire(timeout=60)
        upload(browser, photo)
        slow.gate.set()
        until(lambda: "on the server" in text(browser, "figures"))
        until(lambda: not text(browser, "busy"))
        assert not browser.find_element(By.ID, "film").is_displayed()


def test_a_video_that_found_no_stream_is_tried_again(browser: Any, film: MakeFilm) -> None:
    slow = open_gate()
    with Live(Settings(max_streams=1), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        browser.execute_async_script(HELD)
        upload(browser, film("clip.webm", [GREY] * 20))
        until(lambda: "all places may be taken, or a proxy in between passes no WebSockets" in text(browser, "error"))
        assert not text(browser, "busy")
        browser.execute_script("held.close()")
        until(lambda: metric(live, "parsing_rcnn_streams") == 0)
        browser.find_element(By.ID, "again").click()
        until(lambda: "fps" in text(browser, "figures"))
        assert browser.find_element(By.ID, "film").is_displayed()
        assert text(browser, "error") == ""


def test_who_leaves_the_page_leaves_the_stream_to_others(browser: Any, film: MakeFilm) -> None:
    slow = open_gate()
    with Live(Settings(max_streams=1), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, film("clip.webm", [GREY] * 240))
        until(lambda: "fps" in text(browser, "figures"))
        browser.get(f"http://{live.address}/docs")
        until(lambda: metric(live, "parsing_rcnn_streams") == 0)
        browser.back()
        until(lambda: "·" in text(browser, "model"))
        assert text(browser, "error") == ""
        assert button(browser) in ("Play the video", "")  # "": the browser has not kept the page


def test_what_cannot_be_played_leaves_the_video(page: Any, film: MakeFilm, tmp_path: Path) -> None:
    (tmp_path / "broken.webm").write_bytes(b"no video")
    upload(page, film("clip.webm", [GREY] * 60))
    until(lambda: "fps" in text(page, "figures"))
    upload(page, tmp_path / "broken.webm")
    until(lambda: "“broken.webm” is no video that this browser plays" in text(page, "error"))
    assert page.find_element(By.ID, "film").is_displayed()
    assert page.find_element(By.CSS_SELECTOR, "[data-action=webcam]").text == "Open the webcam"
    assert button(page) == "Play the video"
    go_to(page, 12)
    until(lambda: "on the server" in text(page, "figures"))
    assert text(page, "when") == "0:12 of 0:30"
    press(page)
    until(lambda: "fps" in text(page, "figures"))
    upload(page, film("other.webm", [GREY] * 20))  # and the next one takes its place
    until(lambda: text(page, "when").endswith("of 0:10"))
    assert text(page, "error") == ""


def test_what_is_no_picture_leaves_the_video_that_plays(page: Any, film: MakeFilm, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    upload(page, film("clip.webm", [GREY] * 240))
    until(lambda: "fps" in text(page, "figures"))
    upload(page, tmp_path / "notes.txt")
    until(lambda: "JPEG, PNG and WebP are accepted" in text(page, "error"))
    frames, begin = text(page, "figures"), text(page, "when")
    until(lambda: text(page, "figures") != frames and text(page, "when") != begin)
    assert button(page) == "Pause the video"
    press(page)


def test_what_only_the_gateway_reads_takes_the_place_of_a_photo(browser: Any, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:2000])
    with Live(Settings(), open_gate) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary"))
        upload(browser, tmp_path / "cut.jpg")
        until(lambda: browser.find_element(By.ID, "drop").is_displayed())
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert text(browser, "error") == ""


def test_what_is_left_out_of_several_files_is_said(page: Any, film: MakeFilm, photo: Path) -> None:
    until(lambda: "·" in text(page, "model"))
    page.execute_script(SAID)
    one, other = film("one.webm", [GREY] * 40), film("other.webm", [GREY] * 40)
    drag(page, files=(one, other))
    until(lambda: text(page, "chosen") == "Only one.webm was opened; 1 other was left out.")
    assert page.execute_script("return said.includes('Only one.webm was opened; 1 other was left out.')")
    drag(page, files=(one, photo))
    until(lambda: text(page, "chosen") == "Only astronaut.jpg was opened; 1 other was left out.")
    upload(page, other)
    until(lambda: "fps" in text(page, "figures"))
    assert text(page, "chosen") == ""


def test_a_phone_shows_how_to_play_it(page: Any, film: MakeFilm) -> None:
    upload(page, film("clip.webm", [GREY] * 240))
    until(lambda: "fps" in text(page, "figures"))
    press(page)
    for width in (390, 360, 320):
        with screen(page, width, 700, mobile=True):
            ends = page.execute_script(
                "return ['play', 'seek', 'when'].map((id) => document.getElementById(id).getBoundingClientRect())"
                ".map((r) => [r.left, r.right])"
            )
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
            assert all(0 <= left < right <= width for left, right in ends)
            assert ends[1][1] - ends[1][0] > 120  # a finger finds its place


def test_how_many_people_there_are_is_read_aloud_when_that_changes(page: Any, film: MakeFilm, photo: Path) -> None:
    analysed(page, photo)
    page.execute_script(
        "window.told = 0; const summary = document.getElementById('summary');"
        "new MutationObserver((all) => (told += all.length)).observe(summary, { childList: true });"
    )
    upload(page, film("clip.webm", [GREY] * 12))
    until(lambda: button(page) == "Play the video")
    assert text(page, "summary") == "Nobody found"
    assert page.execute_script("return told") == 1
