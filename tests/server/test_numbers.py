"""Settings that are numbers: what is infinite, no number or out of range ends the start, not the first request."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.settings import Settings


@pytest.mark.parametrize(
    ("name", "most"),
    [("triton_timeout", "600"), ("upload_seconds", "3600"), ("rate", "1000000"), ("max_connections", "1000000")],
)
def test_numbers_have_a_largest(name: str, most: str) -> None:
    assert getattr(Settings(**{name: most}), name) == float(most)
    for wrong in ("inf", "nan", "-inf", "1e15"):
        with pytest.raises(ValidationError, match=name):
            Settings(**{name: wrong})
    with pytest.raises(ValidationError, match=f"less than or equal to {most}"):
        Settings(**{name: str(int(most) + 1)})


def test_a_rate_that_would_ask_for_a_wait_without_end_is_none() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.000001"):
        Settings(rate="1e-300")


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_the_port_of_a_triton_server_is_one(port: str) -> None:
    for addresses in (f"triton:{port}", f"127.0.0.1:8001, [::1]:{port}"):
        with pytest.raises(ValidationError, match=f"ports are 1 to 65535, as in 127.0.0.1:8001; {port} is none"):
            Settings(triton_url=addresses)
    assert Settings(triton_url="127.0.0.1:1,triton:65535").triton_url == "127.0.0.1:1,triton:65535"
