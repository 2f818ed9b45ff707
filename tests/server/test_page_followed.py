"""Streams in a real Chromium: people keep number and colour in the page's live view; a script that sends its key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from parsing_rcnn.codecs import jpeg
from server.keys import add_key
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.test_page import By, browser, chromium, text, until

__all__ = ["browser"]  # a fixture

# who is drawn where, in which colour and with which words; only people as large as the portraits
DRAWN = """
window.drawn = [];
const prototype = CanvasRenderingContext2D.prototype;
const [rectangle, words] = [prototype.strokeRect, prototype.fillText];
prototype.strokeRect = function (x, y, width, height) {
  const side = x + width / 2 < this.canvas.width / 2 ? "left" : "right";
  window.box = width > this.canvas.width / 10 ? [side, this.strokeStyle] : null;
  rectangle.call(this, x, y, width, height);
};
prototype.fillText = function (written, ...place) {
  if (window.box) window.drawn.push([...window.box, ...written.split(" · ")]);
  words.call(this, written, ...place);
};
"""


def two_people() -> bytes:
    """A film, MJPEG of 720x240: of two people who sway the left one is half hidden, then the right one, so that each of
    them is the surer one at times."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    portrait = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)[:, 10:146]
    film = b""
    for moment in range(120):
        frame = np.full((240, 720, 3), 120, np.uint8)
        for side, (left, somebody) in enumerate(((60, portrait), (500, portrait[:, ::-1, ::-1]))):
            at = left + round(20 * np.sin(moment / 60 * np.pi))
            hidden = 80 if side == moment // 60 else 0
            frame[40 + hidden :, at : at + 136] = somebody[hidden:]
        film += jpeg.encode_rgb(frame)
    return film


def test_people_keep_their_number_and_colour_in_the_live_view(live: Live, tmp_path: Path) -> None:
    (tmp_path / "webcam.mjpeg").write_bytes(two_people())
    camera = "--use-fake-device-for-media-stream"
    with chromium(tmp_path, camera, f"--use-file-for-fake-video-capture={tmp_path / 'webcam.mjpeg'}") as running:
        running.get(f"http://{live.address}/")
        until(lambda: "·" in text(running, "model"))
        running.execute_script(DRAWN)
        running.find_element(By.CSS_SELECTOR, "[data-action=webcam]").click()

        def both() -> list[Any] | None:
            """What was drawn, once each of the two has come before the other one."""
            drawn = running.execute_script("return window.drawn")
            order = [side for side, *_ in drawn]
            turns = {pair for pair in zip(order[::2], order[1::2], strict=False) if len(set(pair)) == 2}
            return drawn if len(turns) == 2 else None

        drawn = until(both)
        running.find_element(By.CSS_SELECTOR, "[data-action=webcam]").click()
        looks = {
            side: {(colour, number) for where, colour, number, _ in drawn if where == side}
            for side in ("left", "right")
        }
        assert [len(found) for found in looks.values()] == [1, 1]
        assert not looks["left"] & looks["right"]
        assert text(running, "error") == ""


SNIPPET = """
const [KEY, address, done] = arguments;
const console = { log: (predictions) => done(predictions.length) };
const canvas = new OffscreenCanvas(32, 32);
canvas.getContext("2d");
canvas.convertToBlob({ type: "image/jpeg" }).then((jpeg) => {
%s
});
"""
ALONE = """
const [key, address, done] = arguments;
const socket = new WebSocket(`ws://${address}/v1/stream`, [`key.${key}`]);
socket.onopen = () => done("open");
socket.onclose = () => done("refused");
"""


def test_a_script_sends_its_key_as_the_documentation_says(browser: Any, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    (snippet,) = (found for found in re.findall(r"```js\n(.*?)```", page, re.DOTALL) if "key." in found)
    key, engine = add_key(tmp_path / "keys.txt", "alice"), Slow()
    engine.gate.set()
    with Live(Settings(keys=tmp_path / "keys.txt"), lambda: engine) as live:
        browser.get(f"http://{live.address}/")
        script = SNIPPET % snippet.replace("127.0.0.1:8080", live.address)
        assert browser.execute_async_script(script, key, live.address) == 0  # people
        assert browser.execute_async_script(ALONE, key, live.address) == "refused"
        told = [entry["message"] for entry in browser.get_log("browser")]
    assert any("WebSocket" in message and "400" in message for message in told)
