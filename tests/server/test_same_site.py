"""Pages from elsewhere, whose scripts run in the browser of somebody who reaches the gateway."""

from __future__ import annotations

import socket

import httpx
import pytest
from starlette.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live, Slow, wait_until_ready
from tests.server.helpers import open_gate, refused

FOREIGN = "https://elsewhere.example"
PICTURES = ("/v1/analyze", "/v1/analyze/batch", "/v2/models/densepose/infer")


def post(live: Live, picture: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"http://{live.address}/v1/analyze", content=picture, headers=headers, timeout=60)


def test_a_foreign_page_has_nothing_computed(photo_jpeg: bytes) -> None:
    """A body of text/plain is sent without asking first."""
    slow = Slow()  # nobody opens its gate: what came to it would not be answered
    with TestClient(create_app(Settings(), lambda: slow)) as client:
        wait_until_ready(client)
        for origin in (FOREIGN, "null", "http://["):
            headers = {"Origin": origin, "Content-Type": "text/plain"}
            refused(client.post("/v1/analyze", content=photo_jpeg, headers=headers), 403, "--cors")
            for path in PICTURES[1:]:
                assert client.post(path, content=photo_jpeg, headers=headers).status_code == 403
        assert not slow.begun.acquire(blocking=False)
        assert client.get("/healthz", headers={"Origin": FOREIGN}).status_code == 200


@pytest.mark.parametrize("cors", [FOREIGN, "*"])
def test_a_page_that_has_leave_asks(photo_jpeg: bytes, cors: str) -> None:
    with TestClient(create_app(Settings(cors=cors), open_gate)) as client:
        wait_until_ready(client)
        answer = client.post("/v1/analyze", content=photo_jpeg, headers={"Origin": FOREIGN})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] in (FOREIGN, "*")


def test_the_own_page_asks(photo_jpeg: bytes) -> None:
    with Live(Settings(), open_gate) as live:
        for name in (live.address, f"localhost:{live.port}", f"app.localhost:{live.port}", f"[::1]:{live.port}"):
            assert post(live, photo_jpeg, Host=name, Origin=f"http://{name}").status_code == 200, name


def test_the_own_page_asks_through_a_proxy_that_calls_us_otherwise(photo_jpeg: bytes) -> None:
    """As nginx does by default; the browser still says whether the page is of the origin that it asks."""
    with Live(Settings(), open_gate) as live:
        headers = {"Host": live.address, "Origin": "https://photos.example"}
        for site, status in (("same-origin", 200), ("same-site", 403), ("cross-site", 403)):
            answer = post(live, photo_jpeg, **headers, **{"Sec-Fetch-Site": site})
            assert answer.status_code == status, site


def test_a_name_that_was_made_to_lead_here_is_refused(photo_jpeg: bytes) -> None:
    with Live(Settings(), open_gate) as live:
        name = f"elsewhere.example:{live.port}"
        refused(post(live, photo_jpeg, Host=name, Origin=f"http://{name}"), 421, "--hosts")
        assert post(live, photo_jpeg, Host="[").status_code == 421
        answer = httpx.get(f"http://{live.address}/v1/models", headers={"Host": name}, timeout=60)
        assert answer.status_code == 421
        to = socket.create_connection(("127.0.0.1", live.port), timeout=60)
        with to, pytest.raises(InvalidStatus) as refusal:
            connect(f"ws://{name}/v1/stream", sock=to)
        assert refusal.value.response.status_code == 421


@pytest.mark.parametrize(
    "settings",
    [{"hosts": "photos.example, Other.example"}, {"hosts": "*"}, {"trusted_proxies": "127.0.0.1"}, {"host": "0.0.0.0"}],
)
def test_a_proxy_may_have_another_name(photo_jpeg: bytes, settings: dict[str, str]) -> None:
    with Live(Settings(**settings), open_gate) as live:  # type: ignore[arg-type]
        for name in ("photos.example", "OTHER.example:8443"):
            answer = post(live, photo_jpeg, Host=name, Origin=f"https://{name}")
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("more", [{"host": "0.0.0.0"}, {"host": "gateway"}, {"trusted_proxies": "127.0.0.1"}])
def test_names_that_were_given_hold_wherever_it_listens(photo_jpeg: bytes, more: dict[str, str]) -> None:
    """As in a container, which listens on all of its addresses and may be reached on its machine's 127.0.0.1."""
    with Live(Settings(hosts="gateway", **more), open_gate) as live:  # type: ignore[arg-type]
        for name in ("evil.example", f"evil.example:{live.port}", "gateway.evil.example"):
            refused(post(live, photo_jpeg, Host=name, Origin=f"http://{name}"), 421, "--hosts", "localhost, gateway")
        for name in ("gateway:8080", f"localhost:{live.port}", "10.1.2.3:8080", live.address, "[fd00::1]:8080"):
            assert post(live, photo_jpeg, Host=name, Origin=f"http://{name}").status_code == 200, name
        answer = httpx.get(f"http://{live.address}/readyz", headers={"Host": "evil.example"}, timeout=60)
        assert answer.status_code == 421


@pytest.mark.parametrize("wrong", ["http://photos.example", "photos.example:8080", "a b", "photos.example/"])
def test_hosts_are_names(wrong: str) -> None:
    with pytest.raises(ValueError, match="a name without scheme, port and path"):
        Settings(hosts=wrong)
