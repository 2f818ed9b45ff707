"""Problem documents, and the headers that go with them."""

from __future__ import annotations

import pytest

from server.errors import Busy, RateLimited, Unauthorized
from server.responses.problems import document, headers_of


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1, "1"), (1.4, "2"), (59.5, "60")])
def test_who_comes_back_after_the_seconds_of_the_header_is_not_too_early(seconds: float, header: str) -> None:
    assert headers_of(Busy("all places are taken", seconds)) == headers_of(RateLimited("slower", seconds))
    assert headers_of(Busy("all places are taken", seconds)) == {"Retry-After": header}


def test_an_error_that_no_time_heals_names_none() -> None:
    assert headers_of(Busy("never", None)) == headers_of(RateLimited("never")) == {}
    assert headers_of(Unauthorized("a key is needed")) == {"WWW-Authenticate": "Bearer"}


def test_a_document_has_what_is_known_and_nothing_else() -> None:
    error = Busy("all places are taken")
    known = {
        "type": "urn:parsing-rcnn:busy",
        "title": error.title,
        "status": 503,
        "detail": "all places are taken",
        "instance": "",
        "request_id": "7f",
    }
    assert document(error, "", "7f") == known
    wrong = [{"option": "confidence", "reason": "too high"}]
    assert document(error, "", "7f", wrong) == known | {"errors": wrong}
