"""The page as a visitor sees it, as a PNG file: needs selenium, Chromium and a gateway that runs.

    python scripts/screenshot_page.py PHOTO desk.png --url http://127.0.0.1:8080 [--dark] [--phone]

docs/pictures/page.jpg shows two of them side by side, one of a desk and one of a phone.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--show", default="parts,boxes", help="of parts, iuv, contours, boxes")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--phone", action="store_true")
    given = parser.parse_args()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    width, height = (390, 1140) if given.phone else (1180, 900)
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if given.dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        if given.phone:
            metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(given.url)
        time.sleep(5)  # a browser that has just started takes the cores that the picture's milliseconds are measured on
        browser.find_element(By.ID, "file").send_keys(str(given.photo.resolve()))
        WebDriverWait(browser, 60).until(lambda b: b.find_element(By.ID, "summary").text)
        for name in ("parts", "iuv", "contours", "boxes"):
            box = browser.find_element(By.ID, name)
            if box.is_selected() != (name in given.show.split(",")):
                box.click()
        canvas = browser.find_element(By.ID, "canvas")
        ActionChains(browser).move_to_element(canvas).perform()  # names the part in the middle
        given.out.parent.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(given.out))
        browser.quit()


if __name__ == "__main__":
    main()
