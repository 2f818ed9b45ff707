"""Triton's HTTP with binary tensors, for any number of threads.

tritonclient writes the requests and reads the answers; httpx2 carries them. tritonclient's own client is of one thread,
whose connection and event loop (gevent's) stay open when the thread has ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx2

from parsing_rcnn_client.sdk.transport import client_of, exchanged

_KEPT = 32  # idle connections
_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON, behind which the tensors lie
_PLAIN = {"Accept-Encoding": "identity"}  # else Triton would compress the tensors, which takes longer than to send them


class HttpClient:
    """The methods of `tritonclient.http.InferenceServerClient` that `Triton` needs. Thread-safe.

    Args:
        url: of the server, "http://host:8000".
        library: the module `tritonclient.http`.
        failure: makes the error of an answer that is none of success, from its message and HTTP status.
    """

    def __init__(self, url: str, library: Any, failure: Callable[[str, str | None], Exception]) -> None:
        self._url, self._library, self._failure = url, library, failure
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=_KEPT)
        options = {"base_url": url.rstrip("/"), "limits": limits, "trust_env": False, "headers": _PLAIN}
        self._http = client_of(options)

    def get_server_metadata(self, *, client_timeout: float) -> Any:
        """Name and version of the server, JSON."""
        return self._document("/v2", client_timeout)

    def is_model_ready(self, model: str, *, client_timeout: float) -> bool:
        """Whether a model may be asked."""
        return self._exchanged("GET", f"/v2/models/{quote(model)}/ready", client_timeout)[0].status_code == 200

    def get_model_metadata(self, model: str, *, client_timeout: float) -> Any:
        """Versions and tensors of a model, JSON."""
        return self._document(f"/v2/models/{quote(model)}", client_timeout)

    def get_model_config(self, model: str, *, client_timeout: float) -> Any:
        """Configuration of a model, JSON with the names of the protocol buffers."""
        return self._document(f"/v2/models/{quote(model)}/config", client_timeout)

    def infer(self, model: str, *, client_timeout: float, **request: Any) -> Any:
        """An inference.

        Args:
            model: its name.
            client_timeout: seconds for all of it, however slowly the answer comes; each method raises
                `DeadlineExceeded` or httpx2's errors.
            request: of `InferenceServerClient.generate_request_body`.

        Returns:
            `tritonclient.http.InferResult`.
        """
        body, size = self._library.InferenceServerClient.generate_request_body(**request)
        headers = {"Content-Type": "application/octet-stream"} | ({} if size is None else {_LENGTH: str(size)})
        answer, content = self._exchanged("POST", f"/v2/models/{quote(model)}/infer", client_timeout, body, headers)
        self._require_success(answer, content)
        length = answer.headers.get(_LENGTH)

        def read() -> Any:
            result = self._library.InferResult.from_response_body(content, False, length)
            _mapping(result.get_response())  # else it would fail where a tensor is taken from it
            return result

        return self._read(read)

    def close(self) -> None:
        """Close the connections. Safe to call twice."""
        self._http.close()

    def _document(self, path: str, seconds: float) -> Any:
        answer, content = self._exchanged("GET", path, seconds)
        self._require_success(answer, content)
        return self._read(lambda: _mapping(json.loads(content)))

    def _exchanged(
        self,
        method: str,
        path: str,
        seconds: float,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[httpx2.Response, bytes]:
        asked = {"method": method, "url": path, "timeout": seconds, "content": content, "headers": headers or {}}
        return exchanged(self._http, asked, time.monotonic() + seconds, self._url)

    def _require_success(self, answer: httpx2.Response, content: bytes) -> None:
        if answer.status_code == 200:
            return
        try:
            message = str(json.loads(content)["error"])
        except (ValueError, TypeError, LookupError, RecursionError):
            message = f"HTTP {answer.status_code}"
        raise self._failure(message, str(answer.status_code))

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise self._failure(f"an answer that is none of Triton's ({error!r})", None) from None


def _mapping(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ValueError(f"a JSON {type(document).__name__}, no object")
    return document
