"""Which pictures the page takes, how it sends them, and what it then saves."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.test_page import By, browser, is_saved, page, photo, text, until, upload
from tests.server.test_page_layers import picture
from tests.server.test_page_webcam import press

__all__ = ["browser", "page", "photo"]  # fixtures


@pytest.fixture
def large(tmp_path: Path, photo_jpeg: bytes) -> Path:
    """A photo that has more pixels than the page shows."""
    path = tmp_path / "large.jpg"
    Image.open(io.BytesIO(photo_jpeg)).resize((2400, 1600)).save(path, quality=90)
    return path


def save(page: Any, kind: str, name: str) -> bytes:
    """A download."""
    path: Path = page.downloads / name
    path.unlink(missing_ok=True)
    page.find_element(By.CSS_SELECTOR, f"[data-kind={kind}]").click()
    until(lambda: is_saved(path))
    return path.read_bytes()


def test_large_photos_are_analysed_small_and_saved_whole(page: Any, live: Live, large: Path) -> None:
    """And the time on the server is that until the answer was written, not that of the networks alone."""
    upload(page, large)
    until(lambda: text(page, "summary"))
    assert page.execute_script("return [canvas.width, canvas.height]") == [2048, 1365]
    timing = page.execute_script(
        "return performance.getEntriesByType('resource').findLast((one) => one.name.includes('/v1/analyze'))"
        ".serverTiming.find((one) => one.name === 'total').duration"
    )
    server, whole = (int(number) for number in re.findall(r"\d+", text(page, "figures")))
    assert abs(server - timing) <= 1
    assert whole >= server
    headers = {"Accept": "image/png"}
    query = "tasks=parsing&confidence=0.50&render=parts&exact=true"
    direct = httpx.post(
        f"http://{live.address}/v1/analyze?{query}", content=large.read_bytes(), headers=headers, timeout=60
    )
    assert save(page, "parts", "large_parts.png") == direct.content
    overlay = Image.open(io.BytesIO(save(page, "png", "large_overlay.png"))).convert("RGB")
    assert overlay.size == (2400, 1600)
    differs = np.abs(np.asarray(overlay.resize((2048, 1365))).astype(int) - picture(page)).max(axis=2) > 40
    assert differs.mean() < 0.02  # what is seen
    assert json.loads(save(page, "json", "large.json"))["image"] == {"width": 2400, "height": 1600}


@pytest.mark.parametrize("kind", ["gif", "bmp"])
def test_what_only_the_browser_reads_is_converted(page: Any, tmp_path: Path, photo_jpeg: bytes, kind: str) -> None:
    path = tmp_path / f"converted.{kind}"
    Image.open(io.BytesIO(photo_jpeg)).save(path)
    upload(page, path)
    until(lambda: text(page, "summary"))
    assert "onverted by your browser" in text(page, "converted")
    assert text(page, "error") == ""
    assert json.loads(save(page, "json", "converted.json"))["image"] == {"width": 512, "height": 512}


def test_what_is_too_large_for_the_gateway_is_converted(browser: Any, tmp_path: Path, photo_jpeg: bytes) -> None:
    path = tmp_path / "heavy.png"
    Image.open(io.BytesIO(photo_jpeg)).resize((1500, 1500)).save(path, compress_level=1)
    slow = Slow()
    slow.gate.set()
    with Live(Settings(max_bytes=800_000), lambda: slow) as live:
        assert path.stat().st_size > 1_500_000
        browser.get(f"http://{live.address}/")
        upload(browser, path)
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert "1500 × 1500 pixels" in text(browser, "converted")
        assert text(browser, "error") == ""


def test_after_a_refused_download_all_are_of_the_same_size(
    browser: Any, tmp_path: Path, photo_jpeg: bytes, pipeline
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "heavy.png"
    Image.open(io.BytesIO(photo_jpeg)).resize((2400, 1600)).save(path, compress_level=1)
    assert path.stat().st_size > 2_000_000
    with Live(Settings(max_bytes=1_500_000), lambda: pipeline) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, path)
        until(lambda: text(browser, "summary"))
        assert text(browser, "converted") == ""
        assert json.loads(save(browser, "json", "heavy.json"))["image"] == {"width": 2048, "height": 1365}
        assert "Downloads have 2048 × 1365 pixels" in text(browser, "converted")
        for kind, name in (("png", "heavy_overlay.png"), ("parts", "heavy_parts.png")):
            assert Image.open(io.BytesIO(save(browser, kind, name))).size == (2048, 1365)


BOTH = """
const own = XMLHttpRequest.prototype.send, waiting = [];
XMLHttpRequest.prototype.send = function (body) {
  waiting.push(() => own.call(this, body));
  if (waiting.length < 2) return;
  XMLHttpRequest.prototype.send = own;
  waiting.forEach((go) => go());
};
for (const kind of ["json", "parts"]) document.querySelector(`[data-kind=${kind}]`).click();
"""
"""Two downloads whose requests leave at once."""


def test_two_downloads_that_are_refused_at_once_both_come_smaller(
    browser: Any, tmp_path: Path, photo_jpeg: bytes
) -> None:
    path, slow = tmp_path / "heavy.png", Slow()
    slow.gate.set()
    Image.open(io.BytesIO(photo_jpeg)).resize((2400, 1600)).save(path, compress_level=1)
    both = [browser.downloads / name for name in ("heavy.json", "heavy_parts.png")]
    for one in both:
        one.unlink(missing_ok=True)
    with Live(Settings(max_bytes=1_500_000), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, path)
        until(lambda: text(browser, "summary"))
        browser.execute_script(BOTH)
        until(lambda: all(one.exists() for one in both) or text(browser, "error"))
        assert text(browser, "error") == ""
        assert "Downloads have 2048 × 1365 pixels" in text(browser, "converted")


def test_a_conversion_that_failed_is_tried_again(page: Any, tmp_path: Path, photo_jpeg: bytes) -> None:
    path = tmp_path / "once.bmp"
    Image.open(io.BytesIO(photo_jpeg)).resize((2400, 1600)).save(path)
    upload(page, path)
    until(lambda: text(page, "summary"))
    page.execute_script("""
window.own = OffscreenCanvas.prototype.convertToBlob;
OffscreenCanvas.prototype.convertToBlob = function () {
  OffscreenCanvas.prototype.convertToBlob = own;
  return Promise.reject(new DOMException("no memory", "EncodingError"));
};""")
    for _ in range(2):
        assert json.loads(save(page, "json", "once.json"))["image"] == {"width": 2400, "height": 1600}
        assert text(page, "error") == ""
    assert page.execute_script("return OffscreenCanvas.prototype.convertToBlob === own")


def test_a_webp_stands_as_it_is_seen(page: Any, tmp_path: Path, photo_jpeg: bytes) -> None:
    """Of those that say how they are to be turned, browsers do not take notice, and the gateway does."""
    photo, exif = Image.open(io.BytesIO(photo_jpeg)).resize((600, 400)), Image.Exif()
    exif[0x112] = 6
    for name, more in (("turned", {"exif": exif}), ("plain", {})):
        photo.save(tmp_path / f"{name}.webp", quality=90, **more)
        upload(page, tmp_path / f"{name}.webp")
        until(lambda: text(page, "summary") and not page.find_element(By.ID, "busy").is_displayed())
        assert ("onverted by your browser" in text(page, "converted")) == bool(more)
        width, height = page.execute_script("return [canvas.width, canvas.height]")
        assert json.loads(save(page, "json", f"{name}.json"))["image"] == {"width": width, "height": height}
        assert Image.open(io.BytesIO(save(page, "parts", f"{name}_parts.png"))).size == (width, height)


@pytest.mark.parametrize("size", [(600, 400), (2400, 1600)])
def test_what_is_transparent_is_on_white_as_for_the_gateway(
    page: Any, tmp_path: Path, photo_jpeg: bytes, size: tuple[int, int]
) -> None:
    photo = Image.open(io.BytesIO(photo_jpeg)).resize(size).convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, 9, size[1]))
    photo.save(tmp_path / "glass.png", compress_level=1)
    upload(page, tmp_path / "glass.png")
    until(lambda: text(page, "summary") and not page.find_element(By.ID, "busy").is_displayed())
    corner = "return [...canvas.getContext('2d').getImageData(2, 2, 1, 1).data]"
    assert page.execute_script(corner) == [255, 255, 255, 255]
    overlay = Image.open(io.BytesIO(save(page, "png", "glass_overlay.png"))).convert("RGBA")
    assert overlay.size == size
    assert overlay.getpixel((2, 2)) == (255, 255, 255, 255)


HELD = """
const own = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function () {
  XMLHttpRequest.prototype.send = own;
  window.lose = () => this.dispatchEvent(new ProgressEvent("error"));
};
"""
"""The next picture's connection is lost by `lose()`."""

SENT = "return performance.getEntriesByType('resource').filter((one) => one.name.includes('/v1/analyze')).length"


@pytest.mark.parametrize("then", ["a photo", "the webcam"])
def test_a_download_that_is_tried_again_is_of_its_own_photo(
    browser: Any, photo: Path, photo_jpeg: bytes, tmp_path: Path, then: str
) -> None:
    other, slow = tmp_path / "other.jpg", Slow()
    other.write_bytes(photo_jpeg)
    slow.gate.set()
    for name in ("astronaut.json", "other.json", "webcam.json"):
        (browser.downloads / name).unlink(missing_ok=True)
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, photo)
        until(lambda: text(browser, "summary"))
        browser.execute_script(HELD)
        browser.find_element(By.CSS_SELECTOR, "[data-kind=json]").click()
        until(lambda: browser.execute_script("return Boolean(window.lose)"))
        if then == "a photo":
            upload(browser, other)
            until(lambda: "in all" in text(browser, "figures") and browser.execute_script(SENT) == 2)
        else:
            press(browser)
            until(lambda: "fps" in text(browser, "figures"))
        browser.execute_script("lose()")
        until(lambda: "does not answer" in text(browser, "error"))
        browser.find_element(By.ID, "again").click()
        until(lambda: (browser.downloads / "astronaut.json").exists() or text(browser, "error"))
        assert text(browser, "error") == ""
        if then == "the webcam":
            press(browser)
    assert not (browser.downloads / "other.json").exists()


DROP = """
const transfer = new DataTransfer();
for (const [name, type, data] of arguments[0]) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type }));
}
document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
"""


def test_of_several_files_the_first_photo_is_taken(page: Any, photo_jpeg: bytes) -> None:
    data = base64.b64encode(photo_jpeg).decode()
    note = ["note.txt", "text/plain", base64.b64encode(b"see the photos").decode()]
    page.execute_script(DROP, [note, ["one.jpg", "image/jpeg", data], ["two.jpg", "image/jpeg", data]])
    until(lambda: text(page, "summary"))
    assert text(page, "chosen") == "Only one.jpg was opened; 2 others were left out."
    assert text(page, "error") == ""
    page.execute_script(DROP, [["three.jpg", "image/jpeg", data]])
    until(lambda: not text(page, "chosen") and text(page, "summary"))


def test_who_has_no_mouse_is_not_told_to_drop(page: Any) -> None:
    assert "Drop a photo or a video here" in text(page, "drop")
    assert "Finds everybody in a photo or a video" in text(page, "drop")
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        assert "Drop" not in text(page, "drop")
        assert "Choose a photo" in text(page, "drop")
    finally:
        page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_people_are_hidden_or_cut_out_as_by_the_gateway(page: Any, live: Live, photo: Path, photo_jpeg: bytes) -> None:
    """Of the photo itself, in every way that the page offers, and of everybody whom the slider shows."""
    upload(page, photo)
    until(lambda: text(page, "summary"))

    def direct(accept: str, query: str) -> bytes:
        address = f"http://{live.address}/v1/analyze?confidence=0.50&{query}"
        return httpx.post(address, content=photo_jpeg, headers={"Accept": accept}, timeout=60).content

    seen = set()
    ways = page.find_elements(By.CSS_SELECTOR, "#hiding option")
    for way in ways:
        way.click()
        saved = save(page, "anonymised", "astronaut_anonymised.jpg")
        assert saved == direct("image/jpeg", f"render=anonymise&{way.get_attribute('value')}")
        seen.add(saved)
        until(lambda: not page.find_elements(By.CSS_SELECTOR, "[aria-busy=true]"))
    assert len(seen) == len(ways) == 6
    assert save(page, "cutout", "astronaut_cutout.png") == direct("image/png", "render=cutout&exact=true")
    assert text(page, "error") == ""
