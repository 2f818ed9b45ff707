"""What a visitor has chosen on the page, over a reload; and the command that does the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.support.ui import Select

from server.keys import add_key
from server.settings import Settings
from tests.conftest import values
from tests.server.conftest import Live
from tests.server.test_page import By, Keys, browser, page, photo, text, until, upload
from tests.server.test_page_layers import tick
from tests.server.test_page_pictures import save
from tests.server.test_page_sizes import idle
from tests.server.test_page_waiting import SAID

__all__ = ["browser", "page", "photo"]  # fixtures

SLOT = "parsing-rcnn-choices"
KEPT = """
return Object.fromEntries([...document.querySelectorAll("#panel input, #panel select")]
  .map((e) => [e.id, e.type === "checkbox" ? e.checked : e.value]));
"""
AT_FIRST = {
    "parts": True, "iuv": False, "contours": False, "boxes": True, "opacity": "65", "score": "50", "size": "fast",
    "small": False, "hiding": "hide=heads&style=pixelate",
}  # fmt: skip


def reloaded(page: Any) -> dict[str, Any]:
    """What is chosen on the page when that was loaded again."""
    page.refresh()
    until(lambda: "·" in text(page, "model"))
    return dict(page.execute_script(KEPT))


def test_choices_are_kept_over_a_reload(page: Any, photo: Path) -> None:
    upload(page, photo)
    until(lambda: idle(page))
    assert page.execute_script(KEPT) == AT_FIRST
    tick(page, "iuv", "contours")
    page.find_element(By.ID, "opacity").send_keys(Keys.ARROW_RIGHT)
    page.find_element(By.ID, "score").send_keys(*[Keys.ARROW_LEFT] * 3)
    Select(page.find_element(By.ID, "hiding")).select_by_visible_text("people blurred")
    Select(page.find_element(By.ID, "size")).select_by_visible_text("large")
    chosen = {
        "parts": False, "iuv": True, "contours": True, "boxes": False, "opacity": "66", "score": "47", "size": "large",
        "small": False, "hiding": "hide=people&style=blur",
    }  # fmt: skip
    assert page.execute_script(KEPT) == chosen
    assert reloaded(page) == chosen
    assert text(page, "model").startswith("light large ")
    upload(page, photo)
    until(lambda: idle(page))
    assert text(page, "score-value") == "0.47"
    assert not text(page, "legend")  # as chosen: no parts are shown
    asked = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all("model=large" in name and "confidence=0.47" in name for name in asked if "/v1/analyze" in name)
    assert (text(page, "lost"), text(page, "error")) == ("", "")


NONSENSE = {"parts": "x", "iuv": 1, "opacity": "much", "score": "500", "hiding": "hide=all", "other": True}


@pytest.mark.parametrize("kept", ["{", "null", "7", json.dumps(NONSENSE)])
def test_what_is_kept_and_means_nothing_is_passed_over(page: Any, kept: str) -> None:
    page.execute_script("localStorage.setItem(arguments[0], arguments[1])", SLOT, kept)
    assert reloaded(page) == AT_FIRST
    assert text(page, "notice") == ""


def test_what_another_tab_keeps_stays(page: Any, photo: Path) -> None:
    first, address = page.current_window_handle, page.current_url
    upload(page, photo)
    until(lambda: idle(page))
    page.switch_to.new_window("tab")
    try:
        page.get(address)
        upload(page, photo)
        until(lambda: idle(page))
        Select(page.find_element(By.ID, "hiding")).select_by_visible_text("people blurred")
    finally:
        page.close()
        page.switch_to.window(first)
    page.find_element(By.ID, "opacity").send_keys(Keys.ARROW_RIGHT)
    assert reloaded(page) == AT_FIRST | {"opacity": "66", "hiding": "hide=people&style=blur"}


def test_a_model_that_was_kept_and_is_gone_is_said_once(page: Any, photo: Path) -> None:
    page.execute_script("localStorage.setItem(arguments[0], arguments[1])", SLOT, json.dumps({"size": "huge"}))
    assert reloaded(page) == AT_FIRST
    said = "The gateway does not have the model “huge” any more: it is “fast” now."
    assert text(page, "notice") == said
    upload(page, photo)
    until(lambda: idle(page))
    assert text(page, "lost") == said
    upload(page, photo)  # it was read
    until(lambda: idle(page))
    assert text(page, "lost") == ""
    assert reloaded(page) == AT_FIRST
    assert text(page, "notice") == ""


REFUSE = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })"


def test_where_nothing_may_be_kept_the_page_works(page: Any, photo: Path) -> None:
    refusal = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": REFUSE})
    try:
        assert reloaded(page) == AT_FIRST
        upload(page, photo)
        until(lambda: idle(page))
        tick(page, "iuv")
        assert page.find_element(By.ID, "iuv-words").is_displayed()
        assert reloaded(page) == AT_FIRST
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", refusal)
        page.refresh()


@pytest.fixture
def curl() -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")


def commands(page: Any) -> str:
    box = page.find_element(By.TAG_NAME, "details")
    if not box.get_property("open"):
        box.find_element(By.TAG_NAME, "summary").click()
    return text(page, "curl")


@pytest.mark.usefixtures("curl")
def test_the_command_gives_what_the_page_saves(page: Any, photo: Path, tmp_path: Path) -> None:
    """Whatever the photo is called; its picture is of what is shown."""
    name = "it's $me;.jpg"
    shutil.copy(photo, tmp_path / name)
    upload(page, tmp_path / name)
    until(lambda: idle(page))
    Select(page.find_element(By.ID, "size")).select_by_visible_text("large")
    until(lambda: idle(page))
    tick(page, "iuv")
    subprocess.run(commands(page), shell=True, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    saved = json.loads(save(page, "json", "it's $me;.json"))
    given = json.loads((tmp_path / "it's $me;.json").read_bytes())
    assert given["model"]["name"] == saved["model"]["name"] == "light large"
    assert given["predictions"] == saved["predictions"]
    iuv = (tmp_path / "it's $me;_iuv.png").read_bytes()
    assert np.array_equal(values(iuv), values(save(page, "iuv", "it's $me;_IUV.png")))
    for shown, render in (("contours", "contour"), ("parts", "overlay")):
        tick(page, shown)
        assert f"&render={render}" in commands(page)


@pytest.mark.usefixtures("curl")
def test_the_command_names_no_key(browser: Any, photo: Path, tmp_path: Path, pipeline: Any) -> None:
    """It is read from where the client has it, too."""
    keys = tmp_path / "keys.json"
    secret = add_key(keys, "visitor")
    with Live(Settings(keys=keys), lambda: pipeline) as live:
        browser.get(f"http://{live.address}/")
        until(browser.find_element(By.ID, "key").is_displayed)
        browser.find_element(By.ID, "key").send_keys(secret, Keys.ENTER)
        upload(browser, photo)
        until(lambda: idle(browser))
        said = commands(browser)
        assert secret not in said
        shutil.copy(photo, tmp_path / photo.name)
        environment = {"PARSING_RCNN_API_KEY": secret}
        subprocess.run(said, shell=True, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
        assert json.loads((tmp_path / "astronaut.json").read_bytes())["predictions"]
        browser.execute_script("sessionStorage.clear()")


def test_the_command_is_copied_or_marked(page: Any, photo: Path) -> None:
    """Pages on http have no clipboard."""
    upload(page, photo)
    until(lambda: idle(page))
    wanted = commands(page)
    page.execute_script(SAID)  # it does not stand for long
    page.find_element(By.ID, "copy").click()
    until(lambda: page.execute_script("return said.includes('Copied.')"))
    page.execute_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.find_element(By.ID, "copy").click()
    until(lambda: page.execute_script("return said.some((text) => text.startsWith('Marked'))"))
    assert page.execute_script("return String(getSelection())").strip() == wanted


def test_what_the_browser_converted_has_no_file_for_a_command(page: Any, tmp_path: Path) -> None:
    gif = tmp_path / "moving.gif"
    Image.new("RGB", (64, 64)).save(gif)
    upload(page, gif)
    until(lambda: idle(page))
    assert "@photo.jpg" in commands(page)
