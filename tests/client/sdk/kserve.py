"""A server that speaks Triton's HTTP with binary tensors, over connections that stay open: for tests of the client."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

_LENGTH = "Inference-Header-Content-Length"


class _Somebody(BaseHTTPRequestHandler):
    """Finds one person in any picture, as large as the picture: boxes alone."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(json.dumps({"name": "human_parsing"}).encode())  # its configuration, without a model card

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        width, height = Image.open(io.BytesIO(body[int(self.headers[_LENGTH]) + 4 :])).size
        arrays = {
            "BOXES": np.array([[0, 0, width, height]], np.float32),
            "SCORES": np.array([0.9], np.float32),
            "IMAGE_SIZE": np.array([height, width], np.int32),
        }
        outputs: list[dict[str, Any]] = [
            {
                "name": name,
                "datatype": "INT32" if array.dtype == np.int32 else "FP32",
                "shape": array.shape,
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in arrays.items()
        ]
        document = json.dumps({"model_name": "human_parsing", "model_version": "1", "outputs": outputs}).encode()
        self._answer(document + b"".join(array.tobytes() for array in arrays.values()), {_LENGTH: str(len(document))})

    def _answer(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def somebody() -> Iterator[str]:
    """Its address."""
    server = _Server(("127.0.0.1", 0), _Somebody)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
