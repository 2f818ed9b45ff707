"""The page of `stream`: which camera is which, to who sees it and to who has it read aloud."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.request import urlopen

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
