"""Swagger UI at /docs in a real Chromium: "Try it out" and "Execute", with nothing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.server.test_page import By, browser, page, photo, until

Select = pytest.importorskip("selenium.webdriver.support.select").Select
__all__ = ["browser", "page", "photo"]  # fixtures


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("analyze", "multipart/form-data"),
        ("analyze", "application/json"),
        ("analyze_batch", "multipart/form-data"),
        ("v2_infer", "application/json"),
    ],
)
def test_try_it_out(page: Any, photo: Path, operation: str, kind: str) -> None:
    def found(selector: str) -> list[Any]:
        return list(page.find_elements(By.CSS_SELECTOR, f"[id$='-{operation}'] {selector}"))

    page.get(page.current_url + "docs")
    until(lambda: found(".opblock-summary-control"))[0].click()
    until(lambda: found(".try-out__btn"))[0].click()
    types = until(lambda: found(".opblock-section-request-body select"))[0]
    Select(types).select_by_visible_text(kind)
    if kind == "multipart/form-data":
        until(lambda: found("table input[type=file]"))[0].send_keys(str(photo))
    else:
        until(lambda: found("textarea"))
    found(".execute")[0].click()
    status = until(lambda: found(".live-responses-table td.response-col_status"))[-1].text
    answer = found(".live-responses-table td.response-col_description pre")[0].text
    assert status == "200", answer
    assert "problem" not in answer  # of a picture in a batch
