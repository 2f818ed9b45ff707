"""HEAD: as GET, without the body."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.keys import add_key
from server.settings import Settings
from tests.server.conftest import Live, Slow

UNLIKE = {"x-request-id", "date", "content-length"}  # metrics and ids differ from one answer to the next


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/healthz", "/livez", "/readyz", "/metrics", "/openapi.json", "/assets/page.js", "/v1/models"],
)
def test_head_is_get_without_a_body(client: TestClient, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert {k: v for k, v in head.headers.items() if k not in UNLIKE} == {
        k: v for k, v in get.headers.items() if k not in UNLIKE
    }
    if path != "/metrics":
        assert head.headers["content-length"] == str(len(get.content))


def test_what_get_may_not_head_may_not(client: TestClient, tmp_path: Path) -> None:
    wrong = client.head("/v1/analyze")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert client.head("/v1/nothing").status_code == 404
    assert client.head("/v2/health/live").status_code == 405
    add_key(tmp_path / "keys.txt", "alice")
    with TestClient(create_app(Settings(keys=tmp_path / "keys.txt"), Slow)) as locked:
        assert locked.head("/v1/models").status_code == 401
        assert locked.head("/healthz").status_code == 200


def test_the_connection_goes_on_after_head(live: Live) -> None:
    connection = http.client.HTTPConnection(live.address, timeout=60)
    for method, path in (("HEAD", "/docs"), ("HEAD", "/assets/page.js"), ("HEAD", "/v1/analyze"), ("GET", "/healthz")):
        connection.request(method, path)
        answer = connection.getresponse()
        assert int(answer.headers["Content-Length"]) > 0
        assert (method == "GET") == bool(answer.read())
    connection.close()
