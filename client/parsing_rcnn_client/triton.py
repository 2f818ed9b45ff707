"""A Triton server as an `Analyzer`: the ensembles of the model repository, over gRPC or HTTP with binary tensors."""

from __future__ import annotations

import http.client
import math
import threading
import time
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import ensembles
from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.ensembles import Trouble
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable, InvalidOptions
from parsing_rcnn.people import TASKS, ModelInfo, Options, People
from parsing_rcnn.taxonomy import CIHP, Taxonomy
from parsing_rcnn_client.retries import retrying, seconds_left
from parsing_rcnn_client.wire import Busy, GatewayError, ModelMissing, encode_image

# of the connection: what tritonclient's HTTP raises when an answer is cut is no OSError
_BROKEN = (OSError, http.client.HTTPException)


class Triton:
    """Sends pictures to the ensembles `human_analysis`, `human_parsing` and `densepose`. Thread-safe: over gRPC all
    threads share a connection, over HTTP each has its own.

    Args:
        url: "grpc://host:8001" or "http://host:8000".
        timeout: seconds for one picture, retries included; over HTTP the last one may take as long again.
        taxonomy: of the part maps, which Triton does not say.
        jpeg_quality: of arrays on the wire; None sends PNG, which loses nothing.
        retry: False asks once for each picture.

    Raises:
        InvalidOptions: the address has another scheme.
        EngineUnavailable: nobody answers there, or the client library is not installed.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 60.0,
        *,
        taxonomy: Taxonomy = CIHP,
        jpeg_quality: int | None = None,
        retry: bool = True,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("grpc", "http") or not parts.netloc:
            raise InvalidOptions(f"{url}: a Triton address is grpc://host:8001 or http://host:8000")
        self.url, self.timeout, self.taxonomy, self.jpeg_quality = url, timeout, taxonomy, jpeg_quality
        self._retry = retry
        self._grpc = parts.scheme == "grpc"
        try:
            self._library = import_module(f"tritonclient.{parts.scheme}")
            self._failure: type[Exception] = import_module("tritonclient.utils").InferenceServerException
        except ImportError as error:
            raise EngineUnavailable(
                f"{url}: the Triton client for {parts.scheme} is not installed here: pip install "
                f"'tritonclient[{parts.scheme}]'" + ("" if self._grpc else ", or use grpc://host:8001")
            ) from error
        self._address = parts.netloc
        self._local = threading.local()
        self._shared = (
            self._library.InferenceServerClient(parts.netloc, channel_args=ensembles.CHANNEL) if self._grpc else None
        )

    @property
    def _client(self) -> Any:
        if self._shared is not None:
            return self._shared
        # tritonclient's HTTP runs on greenlets, which belong to the thread that made them
        if not hasattr(self._local, "client"):
            self._local.client = self._library.InferenceServerClient(self._address, network_timeout=self.timeout)
        return self._local.client

    @property
    def info(self) -> ModelInfo:
        """What runs there, as far as Triton says."""
        try:
            metadata = self._client.get_server_metadata()
            present = {task: self._client.is_model_ready(ensembles.ensemble_of({task})) for task in TASKS}
        except (self._failure, *_BROKEN) as error:
            raise self._lost(error) from None
        name, version = (metadata.name, metadata.version) if self._grpc else (metadata["name"], metadata["version"])
        return ModelInfo(
            "human_analysis", "1", f"{name} {version} at {self.url}", present, self.taxonomy.classes, (), {}
        )

    def analyze(self, image: Picture, options: Options | None = None, **keywords: Any) -> People:
        """Find everybody in one picture: encoded, a path or an array, with options as in `Client.analyze`.

        Raises:
            InvalidImage, ImageTooLarge, UnsupportedImage: the picture is refused.
            InvalidOptions: an option is refused, or class probabilities.
            EngineUnavailable: nobody answers, its queue is full (`Busy`), or not in time (`DeadlineExceeded`).
            TypeError: as of `Options.of`.
        """
        options = Options.of(options, keywords)
        if options.part_probs:
            raise InvalidOptions(
                "class probabilities (the exact paste) do not travel: use the embedded engine for them"
            )
        model = ensembles.ensemble_of(options.tasks)
        data = encode_image(image, self.jpeg_quality)
        source = self._library.InferInput("IMAGE", [1], "BYTES")
        source.set_data_from_numpy(np.array([data], dtype=np.object_))
        names = ensembles.names(options.tasks)
        wanted = [self._library.InferRequestedOutput(name) for name in names]
        parameters = ensembles.parameters_of(options)
        answer = self._infer(model, inputs=[source], outputs=wanted, parameters=parameters)
        return self._people({name: answer.as_numpy(name) for name in names})

    def _infer(self, model: str, **request: Any) -> Any:
        """Ask until there is an answer, a refusal, or no time left."""
        end, last = time.monotonic() + self.timeout, None
        for attempt in retrying(end, self._retry):
            with attempt:
                left = seconds_left(end, self.url, last)
                # Triton drops what still waits when nobody waits for it any more
                limit: dict[str, Any] = {"timeout": math.ceil(1e6 * left)}
                if self._grpc:
                    limit["client_timeout"] = left
                try:
                    return self._client.infer(model, **request, **limit)
                except (self._failure, *_BROKEN) as error:
                    found = self._lost(error)
                    last = found if isinstance(found, EngineUnavailable) else None
                    raise found from None
        raise AssertionError("retrying ends with an answer or an error")

    def _people(self, arrays: dict[str, NDArray[Any]]) -> People:
        size = arrays["IMAGE_SIZE"].reshape(-1).tolist()
        iuv, parts, scores = arrays.get("IUV"), arrays.get("PARTS"), arrays.get("PART_SCORES")
        return People(
            arrays["BOXES"].astype(np.float32).reshape(-1, 4),
            arrays["SCORES"].astype(np.float32).reshape(-1),
            (int(size[0]), int(size[1])),
            parts=parts,
            part_scores=scores,
            iuv=iuv,
            taxonomy=self.taxonomy,
        )

    def close(self) -> None:
        """Close the connections (over HTTP: of this thread; others go with theirs). Safe to call twice."""
        self._client.close()

    def _lost(self, error: Exception) -> Exception:
        status = str(getattr(error, "status", lambda: None)() or "")
        message = str(getattr(error, "message", lambda: None)() or error or type(error).__name__)
        refusal = ensembles.refusal_of(message)
        if refusal is not None:
            return refusal
        trouble = ensembles.trouble_of(status, message)
        if trouble is Trouble.LATE:
            return DeadlineExceeded(f"{self.url}: no answer in time; allow more with `timeout`")
        if trouble is Trouble.FULL:
            return Busy(f"the queue of {self.url} is full ({message}): come back later", 1.0)
        if trouble is Trouble.MISSING:
            return ModelMissing(f"{self.url} has no such model ({message}): is it this project's repository?")
        if trouble is Trouble.AWAY or isinstance(error, _BROKEN):
            return EngineUnavailable(f"{self.url}: no answer ({message}); is Triton running? `parsing-rcnn triton`")
        return GatewayError(502, "triton", f"{self.url}: {message}")
