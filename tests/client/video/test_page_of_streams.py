"""The page of `stream`: which camera is which, to who sees it and to who has it read aloud."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from http.client import HTTPConnection
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.cli.stream_sources import page_of
from parsing_rcnn_client.video.sinks import MjpegPage

CAMERAS = ("rtsp://admin:s3cret@10.0.0.7/door", 'yard "A" & <b>B</b>.mp4', "0")


class Figures(HTMLParser):
    """Of each figure what its picture is called, and what stands below it."""

    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str | None] = []
        self.captions: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.alts.append(dict(attrs)["alt"])
        if tag == "figcaption":
            self.captions.append("")

    def handle_data(self, data: str) -> None:
        if self.captions:
            self.captions[-1] += data


def test_each_source_is_named_and_no_password_is_shown() -> None:
    page = MjpegPage(0)
    try:
        for camera in CAMERAS:
            page.sink(camera)
        with urlopen(page.url, timeout=30) as answer:
            text = answer.read().decode()
    finally:
        page.close()
    figures = Figures()
    figures.feed(text)
    wanted = ["rtsp://***@10.0.0.7/door", *CAMERAS[1:]]
    assert figures.captions == wanted
    assert figures.alts == wanted
    assert "b" not in figures.tags
    assert "s3cret" not in text
    assert "admin" not in text


def status(url: str, host: str | None) -> int:
    """What a request for a page is answered, with this header `Host`."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=30)
    try:
        connection.putrequest("GET", "/", skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_page_of_another_site_cannot_be_shown_the_pictures() -> None:
    """Its own name may be made to lead here after it is loaded."""
    page = MjpegPage(0)
    try:
        for host in ("evil.example", "evil.example:8090", "localhost.evil.example", "127.0.0.1.evil.example", "["):
            assert status(page.url, host) == 421
        for host in (None, "localhost", "LOCALHOST:8090", "door.localhost", "127.0.0.1:8090", "10.0.0.7", "[::1]:8090"):
            assert status(page.url, host) == 200
    finally:
        page.close()


def test_a_page_may_have_an_address_for_others() -> None:
    page = page_of(["mjpeg:0.0.0.0:0", "mjpeg:0.0.0.0:0"])
    assert page is not None
    try:
        assert status(page.url, "10.0.0.7") == 200
        assert status(page.url, "evil.example") == 421
    finally:
        page.close()


def test_a_page_may_have_a_name_or_an_address_of_the_newer_kind() -> None:
    page = page_of(["mjpeg:localhost:0"])
    assert page is not None
    page.close()
    try:
        page = page_of(["mjpeg:[::1]:0"])
    except InvalidOptions:
        pytest.skip("no IPv6 here")
    assert page is not None
    try:
        assert page.url.startswith("http://[::1]:")
        assert status(page.url, "[::1]") == 200
    finally:
        page.close()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("mjpeg:0.0.0.0:x", "mjpeg:0.0.0.0:x: the port is no number"),
        ("mjpeg:0.0.0.0", "mjpeg:0.0.0.0: the port is no number"),
        ("mjpeg:192.0.2.1:0", "port 0 of 192.0.2.1: "),  # an address that no machine has
        ("mjpeg:no.such.name.invalid:0", "port 0 of no.such.name.invalid: "),
    ],
)
def test_a_wrong_address_is_named(target: str, says: str) -> None:
    with pytest.raises(InvalidOptions, match=re.escape(says)):
        page_of([target])
