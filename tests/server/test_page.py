"""The page at / in a real Chromium, by what a visitor does and sees."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image
from starlette.testclient import TestClient

from server.keys import add_key
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.helpers import metric

webdriver = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1280,900", "--use-fake-ui-for-media-stream",
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse
)  # fmt: skip


@contextmanager
def chromium(folder: Path, *flags: str) -> Iterator[Any]:
    """A browser that saves what it downloads in `downloads`."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver: scripts/install_chromium.sh installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, *flags, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    several = "profile.default_content_setting_values.automatic_downloads"
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads"), several: 1})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    running.downloads = folder / "downloads"
    running.set_script_timeout(120)
    try:
        yield running
    finally:
        running.quit()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, photo_jpeg: bytes) -> Iterator[Any]:
    """Chromium whose webcam shows the test photo."""
    folder = tmp_path_factory.mktemp("chromium")
    (folder / "webcam.mjpeg").write_bytes(photo_jpeg * 3)
    camera = "--use-fake-device-for-media-stream"
    with chromium(folder, camera, f"--use-file-for-fake-video-capture={folder / 'webcam.mjpeg'}") as running:
        yield running


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory, photo_jpeg: bytes) -> Path:
    """The test photo as a file that a browser can upload."""
    path = tmp_path_factory.mktemp("photos") / "astronaut.jpg"
    path.write_bytes(photo_jpeg)
    return path


@pytest.fixture
def page(browser: Any, live: Live) -> Iterator[Any]:
    """The page, freshly opened. Afterwards the console must have nothing to complain of."""
    browser.get(f"http://{live.address}/")
    browser.get_log("browser")
    yield browser
    browser.execute_script("localStorage.clear()")  # what is chosen in one test is no other's
    complaints = [e for e in browser.get_log("browser") if e["level"] == "SEVERE" and "status of 4" not in e["message"]]
    assert complaints == []


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """What `condition` returns, as soon as that is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def is_saved(path: Path) -> bool:
    """Whether a download is there; at first its file is empty."""
    return path.exists() and path.stat().st_size > 0


def text(page: Any, name: str) -> str:
    return str(page.find_element(By.ID, name).text)


def upload(page: Any, path: Path) -> None:
    page.find_element(By.ID, "file").send_keys(str(path))


def analysed(page: Any, path: Path) -> None:
    upload(page, path)
    until(lambda: text(page, "summary"))
    set_score(page, 5)  # whatever the weights think of the photo
    until(lambda: not page.find_element(By.ID, "busy").is_displayed())


def set_score(page: Any, value: int) -> None:
    page.execute_script(
        "const s = document.getElementById('score'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", value
    )


def pixels(page: Any) -> str:
    return str(page.execute_script("return document.getElementById('canvas').toDataURL()"))


def test_layers_are_drawn_and_taken_away(page: Any, photo: Path) -> None:
    analysed(page, photo)
    assert text(page, "summary").endswith(("person", "people"))
    assert "ms on the server" in text(page, "figures")
    for name in ("parts", "iuv", "contours", "boxes"):
        box = page.find_element(By.ID, name)
        if box.is_selected():
            box.click()
    seen = {pixels(page)}  # the photo alone
    for name in ("parts", "iuv", "contours", "boxes"):
        page.find_element(By.ID, name).click()
        seen.add(pixels(page))
    assert len(seen) == 5
    set_score(page, 95)
    assert pixels(page) not in seen or text(page, "summary") == "Nobody found"


def test_faint_people_are_asked_for_when_the_slider_shows_them(page: Any, photo: Path) -> None:
    def asked() -> list[str]:
        names = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        return [dict(parse_qsl(urlsplit(n).query))["confidence"] for n in names if urlsplit(n).path == "/v1/analyze"]

    upload(page, photo)
    until(lambda: text(page, "summary"))
    assert asked() == ["0.50"]
    certain = text(page, "summary")
    for value in (80, 50):  # who is known already costs nothing
        set_score(page, value)
    for value in (20, 5, 60, 30):
        set_score(page, value)
        until(lambda: not page.find_element(By.ID, "busy").is_displayed())
    assert asked() == ["0.50", "0.05"]
    set_score(page, 5)
    people = [int(number) for number in re.findall(r"\d+", certain + text(page, "summary"))]
    assert people[-1] >= people[0] >= 1
    assert text(page, "error") == ""


def test_pointing_names_the_part(page: Any, photo: Path, client: TestClient, photo_jpeg: bytes) -> None:
    analysed(page, photo)
    answer = client.post("/v1/analyze?confidence=0.05&exact=true", content=photo_jpeg).json()
    person = answer["predictions"][0]
    hair = next(part for part in person["parts"] if part["class"] == "Hair")
    assert hair["area"] > 500
    legend = page.find_element(By.CSS_SELECTOR, f"#legend li[data-id='{hair['class_id']}']")
    assert legend.text == "Hair"
    from selenium.webdriver import ActionChains

    canvas = page.find_element(By.ID, "canvas")
    scale = canvas.size["width"] / 512
    names, whole = set(), set()
    for x, y in ((x, y) for x in range(140, 300, 20) for y in range(30, 200, 20)):
        offset = (round((x - 256) * scale), round((y - 256) * scale))
        ActionChains(page, duration=0).move_to_element_with_offset(canvas, *offset).perform()
        whole.add(text(page, "hint"))
        names.add(text(page, "hint").split(" · ")[0])
    assert {"Hair", "Face"} <= names
    for said in whole - {""}:
        found = re.search(r"· person (\d+) \((.*)\)$", said)
        one = answer["predictions"][int(found[1]) - 1 if found else 0]
        scores = {part["class"].replace("-", "").lower(): f"score {part['score']:.2f}" for part in one["parts"]}
        label, *others = said.split(" · ")
        if label.replace(" ", "").lower() in scores:  # else IUV alone is there
            assert others[0] == scores[label.replace(" ", "").lower()]
        assert not found or found[2] == f"{one['confidence']:.2f}"
    assert any(said.startswith("Hair · score 0.") for said in whole)
    assert any("U 0." in text for text in _hints(page, canvas, scale))


def _hints(page: Any, canvas: Any, scale: float) -> list[str]:
    """What the ring says on its way down the middle of the picture, by keys alone."""
    canvas.send_keys(Keys.NULL)
    said = []
    for _ in range(12):
        canvas.send_keys(Keys.SHIFT, Keys.ARROW_DOWN)
        said.append(text(page, "hint"))
    return said


def test_downloads(page: Any, photo: Path, client: TestClient, photo_jpeg: bytes) -> None:
    analysed(page, photo)
    for button in page.find_elements(By.CSS_SELECTOR, "#downloads button"):
        button.click()
    endings = ("_overlay.png", "_parts.png", "_IUV.png", ".json", ".npz")
    until(lambda: all(is_saved(page.downloads / f"astronaut{ending}") for ending in endings))
    for name, task in (("parts", "parsing"), ("IUV", "densepose")):
        query = f"?tasks={task}&confidence=0.05&render={name.lower()}&exact=true"  # as the page shows it
        direct = client.post(f"/v1/analyze{query}", content=photo_jpeg, headers={"Accept": "image/png"}).content
        assert (page.downloads / f"astronaut_{name}.png").read_bytes() == direct
    assert Image.open(io.BytesIO((page.downloads / "astronaut_overlay.png").read_bytes())).size == (512, 512)
    assert json.loads((page.downloads / "astronaut.json").read_bytes())["image"] == {"width": 512, "height": 512}


def test_a_picture_that_only_the_gateway_reads_is_seen_to_be_waited_for(
    browser: Any, photo: Path, tmp_path: Path
) -> None:
    slow = Slow()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photo.read_bytes()[:2000])
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        upload(browser, cut)
        assert slow.begun.acquire(timeout=60)
        assert "looking for people" in text(browser, "busy")
        slow.gate.set()
        until(lambda: not text(browser, "busy"))


def test_a_slow_gateway_is_asked_for_nothing_twice(browser: Any, photo: Path) -> None:
    """A photo that another one replaces is given up, and a download that is on its way is not begun again."""
    slow = Slow()
    with Live(Settings(), lambda: slow) as live:
        browser.get(f"http://{live.address}/")
        given_up = 'parsing_rcnn_requests_total{outcome="cancelled",route="analyze"}'
        for number in range(3):
            upload(browser, photo)  # the one before has been sent
            until(lambda number=number: metric(live, given_up) == number and metric(live, "parsing_rcnn_held") == 1)
        slow.gate.set()
        assert until(lambda: text(browser, "summary")) == "Nobody found"
        assert text(browser, "error") == ""
        while slow.begun.acquire(blocking=False):
            pass
        slow.gate.clear()
        for _ in range(3):
            browser.find_element(By.CSS_SELECTOR, "[data-kind=npz]").click()
        slow.gate.set()
        until(lambda: not browser.find_elements(By.CSS_SELECTOR, "[aria-busy=true]"))
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
    assert slow.begun.acquire(blocking=False)
    assert not slow.begun.acquire(blocking=False)


RINGS = """
return [...document.querySelectorAll("a, label, canvas, button, input, li")]
  .filter((e) => e.offsetWidth > 1 && getComputedStyle(e).outlineStyle === "solid")
  .map((e) => e.id || e.textContent.trim());
"""


def test_keys_alone_show_where_they_are(page: Any, photo: Path) -> None:
    """What the tabulator comes to has a ring; the input of files, which is not to be seen, around its label."""

    def walk(steps: int) -> list[list[str]]:
        page.execute_script("document.querySelector('a').focus()")
        ringed = []
        for _ in range(steps):
            webdriver.ActionChains(page, duration=0).send_keys(Keys.TAB).perform()
            ringed.append(page.execute_script(RINGS))
        return ringed

    assert walk(3) == [["Metrics"], ["drop"], ["Open the webcam"]]
    analysed(page, photo)
    assert walk(5) == [["Metrics"], ["another"], ["canvas"], ["Open the webcam"], ["parts"]]


def test_what_is_wrong_with_a_file_is_said(page: Any, tmp_path: Path, photo: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a picture")
    upload(page, notes)
    message = until(lambda: text(page, "error"))
    assert "JPEG" in message
    assert "Traceback" not in message
    upload(page, photo)  # and the next file is none the worse for it
    until(lambda: text(page, "summary"))
    assert text(page, "error") == ""


HAND = """
const [kind, data] = arguments;
const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], "handed.jpg", { type: "image/jpeg" }));
const event = kind === "drop"
  ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
  : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
document.body.dispatchEvent(event);
"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_photos_come_by_other_ways(page: Any, photo_jpeg: bytes, kind: str) -> None:
    page.execute_script(HAND, kind, base64.b64encode(photo_jpeg).decode())
    until(lambda: text(page, "summary"))
    assert page.execute_script("return document.getElementById('canvas').width") == 512
    assert text(page, "error") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_by_day_and_by_night(page: Any, photo: Path, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for every text of the page that shows; and nothing is loaded from elsewhere."""
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    try:
        analysed(page, photo)
        assert page.execute_script(CONTRASTS) == []
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((r) => new URL(r.name).origin)")
    assert set(loaded) == {page.current_url.rstrip("/")}


CONTRASTS = """
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map((v) => linear(Number(v) / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  const own = getComputedStyle(element).backgroundColor;
  return own === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : own;
};
return [...document.querySelectorAll("body *")]
  .filter((e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && e.id !== "hint")
  .map((e) => [e.textContent.trim(), getComputedStyle(e).color, ground(e)])
  .filter(([, ink, paper]) => {
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 4.5;
  });
"""


def enabled(page: Any) -> list[str]:
    """The downloads that can be pressed."""
    buttons = page.find_elements(By.CSS_SELECTOR, "#downloads button")
    return [str(one.get_attribute("data-kind")) for one in buttons if one.is_enabled()]


STREAMS = "return window.streams.map((address) => new URL(address).searchParams.get('confidence'))"


def test_webcam(page: Any) -> None:
    until(lambda: "·" in text(page, "model"))  # else the slider is read later
    page.execute_script(
        "window.streams = []; const Own = WebSocket;"
        "window.WebSocket = class extends Own {"
        " constructor(to, ...rest) { super(to, ...rest); streams.push(String(to)); } }"
    )
    page.find_element(By.CSS_SELECTOR, "[data-action=webcam]").click()
    set_score(page, 5)
    figures = until(lambda: "fps" in text(page, "figures") and "– fps" not in text(page, "figures"))
    assert figures
    assert "frames left out" in text(page, "figures")
    assert text(page, "error") == ""
    assert page.execute_script(STREAMS) == ["0.50", "0.05"]  # the slider's, then everybody whom it can show
    assert page.execute_script("return streams.every((address) => address.includes('inds'))")  # who is in front
    assert enabled(page) == ["png"]
    page.find_element(By.CSS_SELECTOR, "[data-action=webcam]").click()
    assert text(page, "summary").endswith(("person", "people"))
    assert enabled(page) == ["png", "parts", "iuv", "cutout", "json", "npz", "anonymised"]
    still = pixels(page)
    time.sleep(0.5)
    assert pixels(page) == still
    page.find_element(By.CSS_SELECTOR, "[data-kind=iuv]").click()
    until((page.downloads / "webcam_IUV.png").exists)


def test_a_phone_shows_everything(page: Any, photo: Path) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        analysed(page, photo)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        for name in ("canvas", "parts", "legend", "downloads"):
            assert page.find_element(By.ID, name).is_displayed()
        page.find_element(By.ID, "canvas").send_keys(Keys.ARROW_DOWN)
        assert " V 0." in text(page, "hint")
        widths = page.execute_script("return [hint, canvas].map((e) => e.offsetWidth)")
        assert widths[0] > 0.6 * widths[1]  # room for all of it beside each other
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_key_is_asked_for(browser: Any, photo: Path, tmp_path: Path, pipeline) -> None:  # type: ignore[no-untyped-def]
    keys = tmp_path / "keys.json"
    secret = add_key(keys, "visitor")
    with Live(Settings(keys=keys), lambda: pipeline) as live:
        browser.get(f"http://{live.address}/")
        until(lambda: "can give you one" in text(browser, "key-detail"))
        assert "Bearer" not in text(browser, "key-dialog")  # that is for programs
        browser.find_element(By.ID, "key").send_keys("wrong", Keys.ENTER)
        until(lambda: "not known" in text(browser, "key-detail"))
        browser.find_element(By.ID, "key").send_keys("\u0441\u0435\u043a\u0440\u0435\u0442", Keys.ENTER)
        assert browser.find_element(By.ID, "key").is_displayed()  # no header can carry it
        browser.find_element(By.ID, "key").clear()
        browser.find_element(By.ID, "key").send_keys(secret, Keys.ENTER)
        upload(browser, photo)
        until(lambda: text(browser, "summary"))
        browser.find_element(By.CSS_SELECTOR, "[data-action=webcam]").click()
        until(lambda: "fps" in text(browser, "figures"))
        browser.find_element(By.CSS_SELECTOR, "[data-action=webcam]").click()
        browser.execute_script("sessionStorage.clear()")
