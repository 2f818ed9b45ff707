"""The page for who hears it: what is read aloud and when, where the focus is, and what is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response

from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import open_gate
from tests.server.test_page import By, analysed, browser, page, photo, set_score, text, until, upload
from tests.server.test_page_film import MakeFilm, film, press
from tests.server.test_page_film_opening import GREY
from tests.server.test_page_sizes import idle
from tests.server.test_page_webcam import upload_to_a_gateway_that_went

__all__ = ["browser", "film", "page", "photo"]  # fixtures

HEARD = """
window.heard = [];
const said = document.getElementById("aloud");
new MutationObserver(() => heard.push(said.textContent)).observe(said, { childList: true });
"""


def test_every_result_is_read_aloud(page: Any, photo: Path) -> None:
    """That of the second photo too, where it is the same; by an element that was there before."""
    for _ in range(2):
        page.execute_script(HEARD)
        upload(page, photo)
        until(lambda: idle(page))
        heard = page.execute_script("return heard")
        assert "looking for people…" in heard
        assert heard[-1] == text(page, "summary")
    page.execute_script(HEARD)
    set_score(page, 5)
    until(lambda: page.execute_script("return heard.length") and idle(page))
    assert page.execute_script("return aloud.textContent") == text(page, "summary")


LIVE = """
return [...document.querySelectorAll("output, [role=status], [role=alert], [role=log], [aria-live]")].map((e) => e.id);
"""


def test_a_video_that_plays_is_not_read_aloud(page: Any, film: MakeFilm) -> None:
    """Its place and the slider's number change often; who wants to know has them from the sliders."""
    assert sorted(page.execute_script(LIVE)) == ["aloud", "converted", "error-text", "hint", "lost", "notice"]
    page.execute_script(HEARD)
    upload(page, film("clip.webm", [GREY] * 240))
    until(lambda: "fps" in text(page, "figures"))
    begin = text(page, "when")
    until(lambda: text(page, "when") != begin)
    press(page)
    assert page.execute_script("return seek.ariaValueText") == text(page, "when")
    assert page.execute_script("return score.ariaValueText") == text(page, "score-value") == "0.50"
    assert page.execute_script("return heard.filter(Boolean)") == ["looking for people…", "Nobody found"]


def test_after_a_second_try_the_keyboard_is_somewhere(browser: Any, photo: Path) -> None:
    slow, port = upload_to_a_gateway_that_went(browser, photo)
    with Live(Settings(), lambda: slow, port=port):
        browser.execute_script("document.getElementById('again').focus()")
        browser.find_element(By.ID, "again").click()
        assert browser.execute_script("return document.activeElement.id") == "canvas"
        until(lambda: text(browser, "summary"))


def test_a_link_that_leads_nowhere_is_not_offered(browser: Any) -> None:
    """As behind a proxy that keeps the metrics for others."""
    with Live(Settings(), open_gate) as live:
        browser.get(f"http://{live.address}/")
        until(lambda: "·" in text(browser, "model"))
        assert browser.find_elements(By.LINK_TEXT, "Metrics")
        application, refused = live.app.middleware_stack, Response(status_code=403)

        async def proxy(scope: Any, receive: Any, send: Any) -> None:
            await (refused if scope.get("path") == "/metrics" else application)(scope, receive, send)  # type: ignore[misc]

        live.app.middleware_stack = proxy
        browser.refresh()
        until(lambda: "·" in text(browser, "model"))
        until(lambda: not browser.find_elements(By.LINK_TEXT, "Metrics"))


def test_who_runs_no_scripts_is_told(client: Any) -> None:
    assert "<noscript><p>This page finds people in photos with JavaScript" in client.get("/").text


def test_what_is_downloaded_is_explained(page: Any, photo: Path) -> None:
    analysed(page, photo)
    words = {
        kind: page.find_element(By.CSS_SELECTOR, f"[data-kind={kind}]").get_attribute("title")
        for kind in ("parts", "npz")
    }
    assert "nearly black" in words["parts"]
    assert "NumPy" in words["npz"]
    assert text(page, "place-words") == "I is a part of the body, U and V the place on it."
