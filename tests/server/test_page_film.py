"""A video file on the page, in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.codecs.image import decode
from tests.server.test_page import By, analysed, browser, is_saved, page, photo, pixels, text, until, upload

__all__ = ["browser", "page", "photo"]  # fixtures

MakeFilm = Callable[[str, list[NDArray[np.uint8]]], Path]


@pytest.fixture
def film(tmp_path: Path) -> MakeFilm:
    """Writes RGB frames as a WebM, or an MP4 as its name says, of two frames a second."""

    def write(name: str, frames: list[NDArray[np.uint8]]) -> Path:
        path = tmp_path / name
        height, width = frames[0].shape[:2]
        codec = cv2.VideoWriter.fourcc(*("VP80" if path.suffix == ".webm" else "vp09"))
        writer = cv2.VideoWriter(str(path), codec, 2, (width, height))
        for frame in frames:
            writer.write(frame[..., ::-1])
        writer.release()
        return path

    return write


@pytest.fixture
def somebody(photo_jpeg: bytes) -> NDArray[np.uint8]:
    return decode(photo_jpeg)[:384, :384]


@pytest.fixture
def nobody(somebody: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.full_like(somebody, 90)


def button(page: Any) -> str:
    return str(page.find_element(By.ID, "play").text)


def press(page: Any) -> None:
    page.find_element(By.ID, "play").click()


def go_to(page: Any, seconds: float) -> None:
    page.execute_script(
        "const s = document.getElementById('seek'); s.value = arguments[0];"
        "for (const kind of ['input', 'change']) s.dispatchEvent(new Event(kind))",
        seconds,
    )


def place(page: Any) -> float:
    return float(page.find_element(By.ID, "seek").get_property("value"))


def people(page: Any) -> bool:
    return text(page, "summary") not in ("", "Nobody found")


PLACES = """
window.places = [];
const when = document.getElementById("when");
new MutationObserver(() => places.push(when.textContent)).observe(when, { childList: true });
"""


def test_a_video_plays_to_its_end_and_again(page: Any, film: MakeFilm, somebody: Any, nobody: Any) -> None:
    upload(page, film("clip.webm", [nobody] * 2 + [somebody] * 4))
    until(lambda: button(page) == "Play the video")  # it has come to its end by itself
    assert people(page)
    assert "fps" in text(page, "figures")
    assert text(page, "when") == "0:03 of 0:03"
    page.execute_script(PLACES)
    press(page)
    until(lambda: "0:03 of 0:03" in page.execute_script("return places"))
    assert page.execute_script("return places[0]") == "0:00 of 0:03"  # from its beginning
    until(lambda: button(page) == "Play the video")
    assert people(page)
    assert text(page, "error") == ""


PLAY_PAUSE_PLAY = """
const [done] = arguments;
const play = document.getElementById("play");
const { state } = await import("/assets/state.js");
state.film.video.addEventListener("seeking", () => (play.click(), play.click(), done()), { once: true });
play.click();
"""


def test_who_changes_their_mind_sees_it_play(page: Any, film: MakeFilm) -> None:
    """Play, pause and play, faster than the browser finds the beginning again."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 90, 160, 3), np.uint8)
    upload(page, film("clip.webm", [cv2.resize(frame, (1280, 720)) for frame in noise]))
    until(lambda: button(page) == "Play the video")  # it has come to its end
    page.execute_script(PLACES)
    page.execute_async_script(PLAY_PAUSE_PLAY)
    until(lambda: "0:04 of 0:04" in page.execute_script("return places"))
    until(lambda: button(page) == "Play the video")
    assert text(page, "error") == ""


def test_of_a_single_frame_the_answer_is_seen_and_saved(page: Any, film: MakeFilm, somebody: Any) -> None:
    upload(page, film("one.webm", [somebody]))
    until(lambda: people(page))
    until(lambda: button(page) == "Play the video")
    page.find_element(By.CSS_SELECTOR, "[data-kind=json]").click()
    saved = page.downloads / "one.json"
    until(lambda: is_saved(saved))
    answer = json.loads(saved.read_text())
    assert (answer["image"]["width"], answer["image"]["height"]) == (384, 384)
    assert len(answer["predictions"]) > 0


def test_a_place_that_is_chosen_is_analysed_as_a_photo(page: Any, film: MakeFilm, somebody: Any, nobody: Any) -> None:
    upload(page, film("clip.webm", [nobody] * 60 + [somebody] * 180))  # half a minute, and one and a half
    until(lambda: "fps" in text(page, "figures"))
    press(page)
    until(lambda: button(page) == "Play the video")
    go_to(page, 40)
    until(lambda: "on the server" in text(page, "figures"))
    until(lambda: people(page))
    assert text(page, "when") == "0:40 of 2:00"
    go_to(page, 1)
    until(lambda: text(page, "summary") == "Nobody found")
    go_to(page, 31)
    until(lambda: people(page))
    press(page)
    until(lambda: "fps" in text(page, "figures"))  # it goes on from there
    assert place(page) > 30
    assert people(page)
    go_to(page, 0)  # while it plays
    until(lambda: text(page, "summary") == "Nobody found")
    assert place(page) < 30
    assert button(page) == "Pause the video"


def test_what_cannot_be_played_leaves_the_photo(page: Any, photo: Path, tmp_path: Path) -> None:
    analysed(page, photo)
    before = pixels(page)
    (tmp_path / "broken.webm").write_bytes(b"no video")
    upload(page, tmp_path / "broken.webm")
    until(lambda: "“broken.webm” is no video that this browser plays" in text(page, "error"))
    assert "parsing-rcnn annotate" in text(page, "error")
    assert pixels(page) == before
    assert not page.find_element(By.ID, "film").is_displayed()


def test_a_photo_or_the_webcam_takes_the_place_of_a_video(
    page: Any, film: MakeFilm, photo: Path, somebody: Any, nobody: Any
) -> None:
    clip = film("clip.webm", [nobody] * 120)
    controls = page.find_element(By.ID, "film")
    upload(page, clip)
    until(lambda: text(page, "summary") == "Nobody found")
    analysed(page, photo)
    assert "on the server" in text(page, "figures")
    assert not controls.is_displayed()
    upload(page, clip)
    until(lambda: text(page, "summary") == "Nobody found")
    webcam = page.find_element(By.CSS_SELECTOR, "[data-action=webcam]")
    assert webcam.text == "Open the webcam"
    webcam.click()
    until(lambda: people(page))  # the webcam shows the photo
    assert not controls.is_displayed()
    assert webcam.text == "Stop the webcam"
    webcam.click()
    assert text(page, "error") == ""
