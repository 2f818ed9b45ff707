"""Where live pictures go: a file or a stream, a window, or a page in the browser."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import jpeg
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.backoff import Backoff
from parsing_rcnn_client.video.encoding import Encoding
from parsing_rcnn_client.video.ffmpeg import FFmpegWriter
from parsing_rcnn_client.video.media import Sink, SinkClosed, VideoError, VideoInfo
from parsing_rcnn_client.video.programs import encoders, hidden_source, start, tool

_GOODBYE = 2.0  # seconds that a window gets to close itself
HERE = "127.0.0.1"
"""The address that a page listens on, unless another one is named: only browsers of this machine reach it."""
_STYLE = "body{margin:0;background:#111;color:#ddd;font:16px sans-serif}figure{margin:1em}img{max-width:100%}"
_FOREIGN = "This page is reached by localhost, by an address, or by the name in --out mjpeg:NAME:PORT"


class FileSink:
    """A file, or an rtsp:// or rtmp:// address, written by ffmpeg."""

    def __init__(self, target: str, info: VideoInfo) -> None:
        hurry = Encoding(crf=23, preset="ultrafast").fitting(Path(target), encoders())
        at_once = () if hurry.instead else ("-tune", "zerolatency")  # which the other encoder is anyway
        self._writer = FFmpegWriter(target, info, encoding=hurry, extra=(*at_once, "-g", "50"))

    def show(self, image: NDArray[np.uint8], seconds: float) -> None:
        """Add a picture."""
        self._writer.write(image, seconds)

    def close(self) -> None:
        """Finish the file or the stream."""
        self._writer.close()

    def abort(self) -> None:
        """Finish the file without the picture that is being written, or leave the address."""
        self._writer.interrupt()


class LastingSink:
    """An address that may go away and come back. It is tried again after growing pauses; pictures meanwhile are lost.

    Args:
        open_sink: opens the address; called again after every loss.
        lasted: seconds after which an opened address counts as having worked. If the first try fails sooner, the
            address is taken to be wrong, and is not tried again.
    """

    def __init__(self, open_sink: Callable[[], Sink], lasted: float = 3.0) -> None:
        self._open, self._lasted = open_sink, lasted
        self._pauses, self._worked = Backoff(), False
        self._sink: Sink | None = open_sink()
        self._opened, self._again = time.monotonic(), 0.0
        self._problem: str | None = None

    def show(self, image: NDArray[np.uint8], seconds: float) -> str | None:
        """Send a picture, or drop it while the address is away.

        Returns:
            None, or why the picture was dropped.

        Raises:
            VideoError: the address never worked.
        """
        now = time.monotonic()
        try:
            if self._sink is None:
                if now < self._again:
                    return self._problem
                self._sink, self._opened = self._open(), now
            self._sink.show(image, seconds)
            if now - self._opened > self._lasted:
                self._worked = True
                self._pauses.reset()
        except VideoError as error:
            if not self._worked:
                raise
            self._problem = error.detail
            self._sink, self._again = None, time.monotonic() + self._pauses.next()
            return self._problem
        return None

    def close(self) -> None:
        """Finish the stream. Safe to call twice."""
        if self._sink is not None:
            with contextlib.suppress(VideoError) if self._worked else contextlib.nullcontext():
                self._sink.close()

    def abort(self) -> None:
        """Leave the address, from any thread."""
        if (sink := self._sink) is not None:
            with contextlib.suppress(VideoError):
                sink.abort()


class WindowSink:
    """A window of ffplay. Closing it ends the work.

    Raises:
        InvalidOptions: there is no screen.
        VideoToolMissing: ffplay is not installed.
    """

    def __init__(self, title: str, info: VideoInfo) -> None:
        self.require_screen()
        command = [tool("ffplay"), "-loglevel", "error", "-fflags", "nobuffer", "-flags", "low_delay", "-f", "rawvideo"]
        command += ["-pixel_format", "rgb24", "-video_size", f"{info.width}x{info.height}", "-framerate", "120"]
        command += ["-window_title", title, "-i", "-"]
        # without a buffer: its lock would be held while a paused window takes no picture, and `close` needs that lock
        self._process = start(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)

    @staticmethod
    def require_screen() -> None:
        """Refuse early if there is no screen: ffplay itself would then draw nothing and report nothing.

        Raises:
            InvalidOptions: there is no screen.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise InvalidOptions("there is no screen here (DISPLAY is not set): try --out mjpeg:8090")

    def show(self, image: NDArray[np.uint8], seconds: float) -> None:
        """Show a picture. This waits while the window is paused (p, or the space bar).

        Raises:
            SinkClosed: the window was closed.
            VideoError: the window could not be opened.
        """
        assert self._process.stdin is not None
        left = np.ascontiguousarray(image).data.cast("B")
        try:
            while left:
                left = left[self._process.stdin.write(left) :]
        except OSError:
            if self._process.wait() == 0:
                raise SinkClosed from None
            raise VideoError("ffplay cannot open a window on this screen: try --out mjpeg:8090") from None

    def close(self) -> None:
        """Close the window. Safe to call twice, from any thread."""
        self._process.terminate()
        try:
            self._process.wait(_GOODBYE)
        except subprocess.TimeoutExpired:  # the process is stopped, or the screen hangs
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # last: `show` in another thread must fail before the descriptor is reused

    def abort(self) -> None:
        """As `close`."""
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class MjpegPage:
    """A web page with all sources, each as motion JPEG at /N.mjpg. A slow browser misses pictures and holds up nobody.

    Args:
        port: to listen on; 0 chooses a free one.
        host: address to listen on, or a name of this machine.
        quality: of the JPEGs.

    Attributes:
        url: address of the page.
        sinks: the sources on the page, in order.
        closed: whether `close` was called.

    Raises:
        InvalidOptions: the port is taken, or the address is not of this machine.
    """

    def __init__(self, port: int, host: str = HERE, quality: int = 85) -> None:
        self.quality, self.host = quality, host
        self.sinks: list[MjpegSink] = []
        try:
            self._server = (_Server6 if ":" in host else _Server)((host, port), _handler(self))
        except OSError as error:
            raise InvalidOptions(f"port {port} of {host}: {error.strerror}; choose another one") from None
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_address[1]}"
        self.closed = False
        threading.Thread(target=self._server.serve_forever, name="mjpeg", daemon=True).start()

    def sink(self, name: str) -> MjpegSink:
        """Add a source to the page."""
        self.sinks.append(MjpegSink(name, self))
        return self.sinks[-1]

    def close(self) -> None:
        """Stop serving. Safe to call twice."""
        if not self.closed:
            self.closed = True
            self._server.shutdown()
            self._server.server_close()


class MjpegSink:
    """One source on a `MjpegPage`."""

    def __init__(self, name: str, page: MjpegPage) -> None:
        self.name, self._page = name, page
        self._changed = threading.Condition()
        self._image: NDArray[np.uint8] | None = None
        self._count, self._jpeg = 0, (0, b"")
        self._closed = False

    def show(self, image: NDArray[np.uint8], seconds: float) -> None:
        """Set the newest picture."""
        with self._changed:
            self._image, self._count = image, self._count + 1
            self._changed.notify_all()

    def close(self) -> None:
        """End the streams of this source."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """As `close`, which never waits for a browser."""
        self.close()

    def newest(self, after: int) -> tuple[int, bytes] | None:
        """Wait for a picture with a number above `after`. It is encoded once for all browsers.

        Returns:
            (number, JPEG); None at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._count > after)
            if self._closed or self._image is None:
                return None
            if self._jpeg[0] != self._count:
                self._jpeg = self._count, jpeg.encode_rgb(self._image, self._page.quality, "420")
            return self._jpeg


def _figure(index: int, sink: MjpegSink) -> str:
    name = escape(hidden_source(sink.name))
    return f'<figure><img src=/{index}.mjpg alt="{name}"><figcaption>{name}</figcaption></figure>'


def _is_ours(host: str, own: str) -> bool:
    """Whether a request may be for this page. The page of another site can make its own name lead here after it is
    loaded (DNS rebinding) and would then be shown the pictures; it cannot do that with an address, or with localhost.

    Args:
        host: the header `Host`; "" where there is none, as browsers always send one.
        own: the address that is listened on, or the name.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if not host or name == "localhost" or name.endswith(".localhost") or name == own.lower():
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _handler(page: MjpegPage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            host = self.headers.get("Host", "")
            if not _is_ours(host, page.host):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST, explain=_FOREIGN)
                return
            if self.path == "/":
                figures = "".join(map(_figure, range(len(page.sinks)), page.sinks))
                head = f"<!doctype html><meta charset=utf-8><title>Parsing R-CNN</title><style>{_STYLE}</style>"
                self._answer("text/html; charset=utf-8", (head + figures).encode())
                return
            name = self.path.removeprefix("/").removesuffix(".mjpg")
            if name.isdecimal() and self.path.endswith(".mjpg") and int(name) < len(page.sinks):
                with contextlib.suppress(OSError):  # the browser went away
                    self._stream(page.sinks[int(name)])
                return
            self.send_error(HTTPStatus.NOT_FOUND)

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, sink: MjpegSink) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            number = 0
            while (newest := sink.newest(number)) is not None:
                number, jpeg = newest
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")

        def log_message(self, *_: Any) -> None:
            """Log nothing: the command itself shows what happens."""

    return Handler
