"""What is dragged to the page, or chosen there, and is no photo, or none any more."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import ActionChains

from server.keys import add_key
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.test_page import By, browser, page, photo, pixels, set_score, text, until, upload
from tests.server.test_page_pictures import large, save
from tests.server.test_page_sizes import idle

__all__ = ["browser", "large", "page", "photo"]  # fixtures

OVER = "return document.body.classList.contains('over')"


def drag(page: Any, name: str = "stage", *, files: tuple[Path, ...] = (), **items: str) -> bool:
    """Drag this to the middle of an element and let it go there; whether the page showed that it takes it."""
    middle = "const r = document.getElementById(arguments[0]).getBoundingClientRect();"
    x, y = page.execute_script(f"{middle} return [r.left + r.width / 2, r.top + r.height / 2]", name)
    carried = [{"mimeType": kind.replace("_", "/"), "data": value} for kind, value in items.items()]
    data = {"items": carried, "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        page.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    taken = page.execute_script(OVER)
    page.execute_cdp_cmd("Input.dispatchDragEvent", {"type": "drop", "x": x, "y": y, "data": data})
    assert not page.execute_script(OVER)
    return bool(taken)


def test_a_folder_is_told_from_a_gateway_that_is_away(page: Any, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    until(lambda: "·" in text(page, "model"))
    assert drag(page, files=(folder,))
    assert "“holiday” cannot be read: it is a folder" in until(lambda: text(page, "error"))
    assert not page.find_element(By.ID, "again").is_displayed()
    assert not page.find_element(By.ID, "busy").is_displayed()
    assert drag(page, files=(photo,))
    until(lambda: text(page, "summary"))
    assert text(page, "error") == ""
    people, seen = text(page, "summary"), pixels(page)
    for wrong in (folder, tmp_path / "notes.txt"):
        (tmp_path / "notes.txt").write_text("not a picture")
        drag(page, files=(wrong,))  # takes nothing from the photo that is seen
        until(lambda name=wrong.name: ("holiday" if name == "holiday" else "JPEG") in text(page, "error"))
        assert not page.find_element(By.ID, "busy").is_displayed()
        assert (text(page, "summary"), pixels(page)) == (people, seen)
    assert save(page, "json", "astronaut.json")


@pytest.mark.parametrize("then", ["another photo", "nothing"])
def test_what_is_saved_is_of_the_photo_that_was_opened(page: Any, large: Path, photo: Path, then: str) -> None:
    """Whatever has become of its file since."""
    upload(page, large)
    until(lambda: text(page, "summary"))
    parts = save(page, "parts", "large_parts.png")
    if then == "nothing":
        large.unlink()
    else:
        shutil.copy(photo, large)
    assert save(page, "parts", "large_parts.png") == parts
    assert json.loads(save(page, "json", "large.json"))["image"] == {"width": 2400, "height": 1600}
    assert Image.open(io.BytesIO(save(page, "png", "large_overlay.png"))).size == (2400, 1600)
    assert text(page, "error") == ""


def test_who_is_faint_is_asked_for_though_the_file_is_gone(page: Any, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.jpg"
    shutil.copy(photo, path)
    upload(page, path)
    before = until(lambda: text(page, "figures"))
    path.unlink()
    set_score(page, 5)
    until(lambda: text(page, "figures") != before)
    assert text(page, "error") == ""


PASTE = """
const clipboardData = new DataTransfer();
clipboardData.setData("text/plain", arguments[0]);
document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
"""


def test_a_link_is_said_to_be_none(page: Any, photo: Path) -> None:
    """The answer that is there stays, and so does the page."""
    upload(page, photo)
    people, address = until(lambda: text(page, "summary")), page.current_url
    assert not drag(page, text_plain=address, **{"text_uri-list": f"{address}assets/icon.svg"})
    assert "That is a link, not a photo: save the picture first" in until(lambda: text(page, "error"))
    for how in ("drag", "paste"):  # as text
        page.execute_script("document.getElementById('error').hidden = true")
        if how == "drag":
            assert not drag(page, text_plain="some words")
            assert text(page, "error") == ""
            assert not drag(page, text_plain=f" {address}photo.jpg\n")
        else:
            page.execute_script(PASTE, "some words")
            assert text(page, "error") == ""
            page.execute_script(PASTE, f"{address}photo.jpg")
        assert "That is a link, not a photo" in until(lambda: text(page, "error"))
    assert (text(page, "summary"), page.current_url) == (people, address)


def test_text_is_for_the_field_of_the_key(browser: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    secret = add_key(keys, "visitor")
    with Live(Settings(keys=keys), Slow) as live:
        browser.get(f"http://{live.address}/")
        until(browser.find_element(By.ID, "key").is_displayed)
        assert not drag(browser, "key-detail", text_plain="elsewhere")
        assert not drag(browser, "key", text_plain=secret)
        assert browser.find_element(By.ID, "key").get_property("value") == secret
        browser.find_element(By.CSS_SELECTOR, "[value=use]").click()
        until(lambda: "·" in text(browser, "model"))
        assert text(browser, "error") == ""
        browser.execute_script("sessionStorage.clear()")


def test_a_picture_is_dragged_here_by_the_mouse(page: Any, photo_jpeg: bytes) -> None:
    """As from another page: the browser's own events, from the button that is pressed to the one that is let go."""
    opened_at = page.current_url
    page.execute_script(PICTURE, list(photo_jpeg))
    picture = page.find_element(By.ID, "elsewhere")
    until(lambda: picture.get_property("naturalWidth"))
    pull(page, picture)
    until(lambda: idle(page))
    assert page.execute_script("return [canvas.width, canvas.height]") == [512, 512]
    assert (text(page, "error"), page.current_url) == ("", opened_at)
    assert not page.execute_script("return document.body.classList.contains('over')")
    people = text(page, "summary")
    pull(page, page.find_element(By.CSS_SELECTOR, "header img"))  # is no photo, and is not carried off
    assert (text(page, "summary"), text(page, "error")) == (people, "")
    pull(page, page.find_element(By.LINK_TEXT, "API"))
    assert "That is a link, not a photo" in until(lambda: text(page, "error"))
    assert (text(page, "summary"), page.current_url) == (people, opened_at)


PICTURE = """
const picture = document.createElement("img");
picture.id = "elsewhere";
picture.width = picture.height = 40;
picture.src = URL.createObjectURL(new Blob([new Uint8Array(arguments[0])], { type: "image/jpeg" }));
document.querySelector("header").append(picture);
"""


def pull(page: Any, element: Any) -> None:
    """Press the button on it, move to the photo's place and let go there."""
    place = page.find_element(By.ID, "screen")
    actions = ActionChains(page, duration=100).click_and_hold(element).move_by_offset(6, 6)
    actions.move_to_element(place).move_by_offset(5, 5).release().perform()
