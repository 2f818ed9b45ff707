"""Pictures by address: from the open internet only, from the very machine that was checked, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from parsing_rcnn.errors import ImageTooLarge, InvalidImage, InvalidOptions
from server.app import create_app
from server.requests import fetch as module
from server.requests.fetch import fetch
from server.settings import Settings
from tests.server.conftest import Slow, wait_until_ready

PUBLIC = "93.184.215.14"
SIX = "2606:4700:4700::1111"
CLOSED, SILENT = "93.184.215.15", "93.184.215.16"

BROKEN = {
    "empty": b"",
    "other": b"SSH-2.0-server\r\n",
    "half": b"HTTP/1.1 200 OK\r\nContent-Le",
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nxxx",
}
"""What a site may say before it closes the connection."""

Names = dict[str, list[str]]


class Site(BaseHTTPRequestHandler):
    """Serves what its path says; remembers who was asked for."""

    hosts: list[str] = []  # noqa: RUF012  # one for the class: every connection makes an instance
    asked: list[str] = []  # noqa: RUF012  # paths with their queries
    stop = threading.Event()
    left = threading.Event()  # whoever asked for what has no end is gone

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        self.asked.append(self.path)
        path, _, query = self.path.partition("?")
        what, _, rest = path[1:].partition("/")
        if what == "broken":
            self.wfile.write(BROKEN[rest])
            return
        if what == "moved":
            self.send_response(int(query or 302))
            known = {"home": "/photo", "inside": "https://inside/photo", "nowhere": "https://["}
            self.send_header("Location", known.get(rest, f"/moved/{rest}"))
            self.end_headers()
            return
        if what == "slow":
            self.stop.wait(60)
        self.send_response(200 if what in ("photo", "endless") else 404)
        self.end_headers()
        if what == "endless":
            try:
                while True:
                    self.wfile.write(bytes(65536))
            except OSError:
                self.left.set()
            return
        for _ in range(5):
            self.wfile.write(b"x" * 100)

    def log_message(self, *_: object) -> None: ...


def resolver(names: Names) -> Callable[[str, int], Awaitable[list[str]]]:
    async def resolve(host: str, port: int) -> list[str]:
        assert port == 443
        return names[host]

    return resolve


def run(url: str, names: Names, tls: ssl.SSLContext | None = None, most: int = 1000) -> bytes:
    return asyncio.run(fetch(url, most, resolve=resolver(names), tls=tls))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of photos.example and of `SIX`, signed by itself, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, which makes a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=photos.example", "-addext", f"subjectAltName=DNS:photos.example,IP:{SIX}", "-keyout", path,
         "-out", path.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))


@pytest.fixture
def connected(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A real https server where the internet would be; gives the addresses that were connected to."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    Site.hosts.clear()
    Site.asked.clear()
    Site.stop.clear()
    addresses: list[str] = []
    real = asyncio.open_connection

    async def open_connection(address: str, port: int, **rest: Any) -> Any:
        assert port == 443
        addresses.append(address)
        if address == CLOSED:
            raise ConnectionRefusedError
        if address == SILENT:
            await asyncio.sleep(60)
        return await real("127.0.0.1", server.server_port, **rest)

    monkeypatch.setattr(module.asyncio, "open_connection", open_connection)
    yield addresses
    Site.stop.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.example/a.jpg", "ftp://photos.example/a.jpg", "file:///etc/passwd", "//photos.example/a.jpg",
        "https://photos.example:8443/a.jpg", "https://user@photos.example/a.jpg", "https://photos.example/a b.jpg",
        "https://photos.example/\r\nX: y", "https://phötos.example/", "https:///a.jpg", "https://photos.example:x/", "",
    ],
)  # fmt: skip
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidOptions, match="https://host/path"):
        run(url, {"photos.example": [PUBLIC]})


INSIDE = (
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "2002:7f00:1::",
    "64:ff9b::a00:1", "64:ff9b:1::808:808", "2001:0:7f00:1::", "192.0.2.1", "198.18.0.1", "::7f00:1", "::808:808",
    "::ffff:0:7f00:1", "100::1", "fec0::1", "2001:db8::1", "192.0.0.192", "192.0.0.8", "192.0.0.9", "192.88.99.1",
    "198.51.100.1", "203.0.113.1", "240.0.0.1", "2002:808:808::", "2001:20::1", "3fff::1", "5f00::1",
    "64:ff9b::c000:c0", "64:ff9b::7f00:1", "::ffff:8.8.8.8",
)  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_machines_inside_are_not_reached(address: str, connected: list[str]) -> None:
    for addresses in ([address], [PUBLIC, address]):
        with pytest.raises(InvalidOptions, match="not public"):
            run("https://photos.example/photo", {"photos.example": addresses})
    assert connected == []


def test_no_python_is_trusted_to_know_what_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each patch level of Python knows other networks."""
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
    assert [each for each in INSIDE if module._is_public(ipaddress.ip_address(each))] == []
    for network in module._RESERVED:
        assert any(ipaddress.ip_address(each) in network for each in INSIDE), network


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0x7f000001", "127.1"])
def test_ways_to_write_this_machine(host: str) -> None:
    with pytest.raises((InvalidOptions, InvalidImage), match=r"not public|not known"):
        asyncio.run(fetch(f"https://{host}/", 1000))


def test_the_address_that_was_checked_is_connected_to(connected: list[str], trusting: ssl.SSLContext) -> None:
    assert run("https://photos.example/photo", {"photos.example": [PUBLIC, "1.1.1.1"]}, trusting) == b"x" * 500
    assert connected == [PUBLIC]
    assert Site.hosts == ["photos.example"]


def test_an_address_of_numbers_is_asked_for_as_it_is_written(connected: list[str], trusting: ssl.SSLContext) -> None:
    assert run(f"https://[{SIX}]/photo", {SIX: [SIX]}, trusting) == b"x" * 500
    assert connected == [SIX]
    assert Site.hosts == [f"[{SIX}]"]


def test_another_address_is_tried(
    connected: list[str], trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[asyncio.Timeout] = []
    spans: set[float] = set()
    span, connect = asyncio.timeout, asyncio.open_connection

    def timeout(seconds: float) -> asyncio.Timeout:
        """Long for who answers, and over at once for who is silent."""
        spans.add(seconds)
        begun.append(span(120))
        return begun[-1]

    async def open_connection(address: str, port: int, **rest: Any) -> Any:
        if address == SILENT:
            begun[-1].reschedule(0)
        return await connect(address, port, **rest)

    monkeypatch.setattr(module.asyncio, "timeout", timeout)
    monkeypatch.setattr(module.asyncio, "open_connection", open_connection)
    tried = [CLOSED, SILENT, CLOSED, PUBLIC, "1.1.1.1"]
    assert run("https://photos.example/photo", {"photos.example": tried}, trusting) == b"x" * 500
    assert connected == [CLOSED, SILENT, PUBLIC]
    with pytest.raises(InvalidOptions, match="not public"):  # though the first would have answered
        run("https://photos.example/photo", {"photos.example": [PUBLIC, CLOSED, "10.0.0.1"]}, trusting)
    assert len(connected) == 3
    with pytest.raises(InvalidImage, match="ConnectionRefusedError"):
        run("https://photos.example/photo", {"photos.example": [SILENT, CLOSED]}, trusting)
    with pytest.raises(InvalidImage, match=r"did not answer within 10 s"):
        run("https://photos.example/photo", {"photos.example": [SILENT]}, trusting)
    assert spans == {10.0, 3.0}


@pytest.mark.parametrize(
    ("address", "asked"), [("", "/"), ("?a=1", "/?a=1"), ("/photo?id=7&sign=%2F#top", "/photo?id=7&sign=%2F")]
)
def test_all_of_an_address_but_its_fragment_is_asked_for(
    address: str, asked: str, connected: list[str], trusting: ssl.SSLContext
) -> None:
    """Signed addresses of stores have their signature in the query."""
    with contextlib.suppress(InvalidImage):  # 404 but of a photo
        run(f"https://photos.example{address}", {"photos.example": [PUBLIC]}, trusting)
    assert Site.asked == [asked]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed(status: int, connected: list[str], trusting: ssl.SSLContext) -> None:
    assert run(f"https://photos.example/moved/home?{status}", {"photos.example": [PUBLIC]}, trusting) == b"x" * 500
    assert len(connected) == 2


@pytest.mark.parametrize("how", BROKEN)
def test_an_answer_that_is_none_or_ends_early(how: str, connected: list[str], trusting: ssl.SSLContext) -> None:
    with pytest.raises(InvalidImage, match=r"cannot be read \(RemoteProtocolError\)"):
        run(f"https://photos.example/broken/{how}", {"photos.example": [PUBLIC]}, trusting)
    assert len(connected) == 1


def test_a_site_that_does_not_end_is_left(connected: list[str], trusting: ssl.SSLContext) -> None:
    async def too_large() -> None:
        names = resolver({"photos.example": [PUBLIC]})
        with pytest.raises(ImageTooLarge) as refusal:
            await fetch("https://photos.example/endless", 1000, resolve=names, tls=trusting)
        assert await asyncio.to_thread(Site.left.wait, 60)  # while the error is held, and with it all that it came from
        assert "1000 bytes" in str(refusal.value)

    Site.left.clear()
    asyncio.run(too_large())


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "photos..example"])
def test_a_host_that_no_name_server_could_be_asked_for_is_not_known(host: str) -> None:
    with pytest.raises(InvalidImage, match="not known"):
        asyncio.run(fetch(f"https://{host}/photo", 1000))


def test_redirects(connected: list[str], trusting: ssl.SSLContext) -> None:
    names = {"photos.example": [PUBLIC], "inside": ["10.0.0.1"]}
    assert run("https://photos.example/moved/home", names, trusting) == b"x" * 500
    assert len(connected) == 2
    with pytest.raises(InvalidOptions, match="inside is not public"):
        run("https://photos.example/moved/inside", names, trusting)
    assert len(connected) == 3
    with pytest.raises(InvalidImage, match="more than 3 times"):
        run("https://photos.example/moved/round", names, trusting)
    assert len(connected) == 7
    with pytest.raises(InvalidImage, match="what is no address"):
        run("https://photos.example/moved/nowhere", names, trusting)


def test_what_does_not_answer_with_a_picture(
    connected: list[str], trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"photos.example": [PUBLIC], "other.example": [PUBLIC], "none": []}
    with pytest.raises(InvalidImage, match="answers 404"):
        run("https://photos.example/nothing", names, trusting)
    with pytest.raises(ImageTooLarge, match="more than 499 bytes"):
        run("https://photos.example/photo", names, trusting, most=499)
    assert run("https://photos.example/photo", names, trusting, most=500) == b"x" * 500
    with pytest.raises(InvalidImage, match="none is not known"):
        run("https://none/photo", names, trusting)
    for host, context in (("photos.example", None), ("other.example", trusting)):  # unknown signer; another's name
        with pytest.raises(InvalidImage, match="SSLCertVerificationError"):
            run(f"https://{host}/photo", names, context)
    assert len(connected) == 5
    monkeypatch.setattr(module, "_SECONDS", 0.3)
    with pytest.raises(InvalidImage, match=r"did not answer within 0\.3 s"):
        run("https://photos.example/slow", names, trusting)


@pytest.mark.parametrize(("urls", "status", "says"), [(False, 400, "--urls"), (True, 422, "not public")])
def test_through_the_gateway(urls: bool, status: int, says: str) -> None:
    body = {"image": {"type": "url", "value": "https://127.0.0.1/photo.jpg"}}
    with TestClient(create_app(Settings(urls=urls), Slow), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        answer = client.post("/v1/analyze", json=body)
    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_the_internet_is_public() -> None:
    neighbours = [  # of networks that are not
        "11.0.0.1", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "2001:200::1", "2001:4860:4860::8888",
        "3fff:1000::1",
    ]  # fmt: skip
    through_nat = "64:ff9b::101:101"  # what DNS64 makes of 1.1.1.1
    for address in ("1.1.1.1", "2606:4700:4700::1111", through_nat, *neighbours):
        assert module._is_public(ipaddress.ip_address(address)), address


def test_what_is_fetched_counts_as_uploaded(
    connected: list[str], trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 bytes each: a batch may hold `max_batch_bytes`, all requests together `upload_memory`."""
    through = partial(fetch, resolve=resolver({"photos.example": [PUBLIC]}), tls=trusting)
    monkeypatch.setattr("server.requests.inputs.fetch", through)
    image = {"type": "url", "value": "https://photos.example/photo"}

    def details(images: int, **settings: int) -> list[str]:
        with TestClient(create_app(Settings(urls=True, **settings), Slow)) as client:  # type: ignore[arg-type]
            wait_until_ready(client)
            answer = client.post("/v1/analyze/batch", json={"images": [image] * images, "options": {"max_side": 32}})
        return [result["problem"]["detail"] for result in answer.json()["results"]]

    read = "the bytes are of no known image type: JPEG, PNG and WebP are accepted"
    assert details(3) == [read] * 3
    assert details(3, max_batch_bytes=1100)[2].startswith("the picture has more than 100 bytes")
    assert "all uploads together" in details(3, upload_memory=1300)[2]
