"""A Triton server as an `Analyzer`: the ensembles of the model repository, over gRPC or HTTP with binary tensors."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, Unpack

import numpy as np

from parsing_rcnn import ensembles
from parsing_rcnn.analyzer import TASKS, ModelInfo, OptionKeywords, Options
from parsing_rcnn.card import trained_in
from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable, ParsingRCNNError
from parsing_rcnn.heads import trained_of, untrained_of
from parsing_rcnn.models import name_of
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, Taxonomy
from parsing_rcnn.tensors import from_tensors
from parsing_rcnn_client.names import hidden
from parsing_rcnn_client.sdk.arguments import tasks_named, with_model
from parsing_rcnn_client.sdk.per_process import PerProcess
from parsing_rcnn_client.sdk.retries import Outage, client_closed, retrying, seconds_left, too_late
from parsing_rcnn_client.sdk.transport import address_of
from parsing_rcnn_client.sdk.triton_answers import tensors_of
from parsing_rcnn_client.sdk.triton_card import card_of, lacks, require_model, taxonomy_with
from parsing_rcnn_client.sdk.triton_errors import BROKEN, meaning_of
from parsing_rcnn_client.sdk.triton_http import HttpClient
from parsing_rcnn_client.sdk.triton_views import people_of
from parsing_rcnn_client.sdk.wire import Busy, GatewayError, ModelMissing, encode_image, refuse_probabilities

_log = logging.getLogger("parsing_rcnn_client")

_LEFT_ALONE = 120.0  # seconds after which a late answer is given up for good
_CLOSING = 30.0  # seconds for which `close` waits for late answers
_BESIDE = 32  # the most requests for a second size at once
_ODD = (ValueError, TypeError, LookupError, AttributeError)  # reading an answer that is none of Triton's


class Triton:
    """Sends pictures to the ensembles `human_analysis`, `human_parsing` and `densepose`. Thread-safe: over gRPC all
    threads share a connection, over HTTP a pool of them. A forked process has connections of its own.

    Args:
        url: "grpc://host:8001" or "http://host:8000".
        timeout: seconds for one picture, or for `info`, with all retries and requests that it takes.
        model: for pictures whose options name none, one of the models of the server's card: "fast", "large" or
            "accurate" of the shipped one; None leaves it to the server. For a model of two sizes, as "accurate" is,
            two requests are sent side by side, and their answers are put together here.
        taxonomy: of the part maps; None takes that of the server's model card, or where the server does not say it
            CIHP or MHP, whichever has as many classes as the answer.
        jpeg_quality: of arrays on the wire; None sends PNG, which loses nothing.
        retry: False asks once for each picture.

    Raises:
        InvalidOptions: `url` is no address, or has another scheme.
        EngineUnavailable: nobody answers there, or the client library is not installed.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 60.0,
        *,
        model: str | None = None,
        taxonomy: Taxonomy | None = None,
        jpeg_quality: int | None = None,
        retry: bool = True,
    ) -> None:
        address = address_of(url, "grpc", "http", example="grpc://host:8001 or http://host:8000 of a Triton")
        self.url, self.timeout, self.taxonomy, self.jpeg_quality = hidden(url), timeout, taxonomy, jpeg_quality
        self.model, self._retry, self._outage = model, retry, Outage()
        self._card: dict[str, Any] | None = None  # what the server says of its model card, once it was asked
        self._told = ""  # why it did not say it, as the log has it
        self._beside = PerProcess(lambda: ThreadPoolExecutor(_BESIDE, "triton"))
        self._left: PerProcess[set[Future[Any]]] = PerProcess(set)  # late answers, which the server still computes
        self._grpc, self._closed = address.scheme == "grpc", False
        try:
            self._library = import_module(f"tritonclient.{address.scheme}")
            self._failure: type[Exception] = import_module("tritonclient.utils").InferenceServerException
        except (ImportError, RuntimeError) as error:  # the second where what carries its HTTP is not there
            raise EngineUnavailable(
                f"{self.url}: the Triton client for {address.scheme} is not installed here: pip install "
                "'parsing-rcnn-client[triton]'" + ("" if self._grpc else ", or use grpc://host:8001")
            ) from error
        if self._grpc:
            connect = partial(
                self._library.InferenceServerClient, address.netloc.decode(), channel_args=ensembles.CHANNEL
            )
        else:
            connect = partial(HttpClient, url, self._library, self._failure)
        self._clients: PerProcess[Any] = PerProcess(connect)

    @property
    def _client(self) -> Any:
        if self._closed:
            raise client_closed(self.url)
        return self._clients.get()

    @property
    def info(self) -> ModelInfo:
        """What runs there, as far as the server says: no canvases, and of the card only what its ensembles'
        configuration has of it.

        Where that does not say which heads are trained (`tasks` is not in `card`), a task is True when it can be asked
        for, name and version are those of the ensembles, and there are no classes unless the parts can be asked for.

        Raises:
            EngineUnavailable: nobody answers, or not in time (`DeadlineExceeded`).
            InvalidOptions: the server says its models, and `model` is none of them.
            GatewayError: its parts are neither CIHP's nor MHP's, nor those of `taxonomy`; or it is no Triton.
        """
        end = time.monotonic() + self.timeout

        def ask(method: str, *given: Any, **keywords: Any) -> Any:
            return self._call(seconds_left(end, self.url, None), method, *given, **keywords)

        try:
            server = ask("get_server_metadata", **self._as_json)
            present = {task: ask("is_model_ready", ensembles.ensemble_of({task})) for task in TASKS}
            ready = [ensembles.ensemble_of({task}) for task in TASKS if present[task]]
            model = ask("get_model_metadata", ready[0], **self._as_json) if ready else {}
        except (self._failure, *BROKEN) as error:
            raise meaning_of(error, self.url) from None
        card = self._card_with(self.model, ready[0], end) if ready else {}
        with self._fits("its metadata", *_ODD):
            runtime = f"{server['name']} {server['version']} at {self.url}"
            versions = ", ".join(model.get("versions", ()))
            shapes = {output["name"]: output["shape"] for output in model.get("outputs", ())}
            classes = int(shapes["PART_SCORES"][-1]) if "PART_SCORES" in shapes else None
        try:
            card, taxonomy = self._fitting(classes, card, "".join(ready[:1]), end)
        except ValueError as error:
            raise self._misfit(str(error)) from None
        return ModelInfo(
            name=name_of({"name": "human_analysis"} | card, self.model),
            version=card.get("version") or versions,
            runtime=runtime,
            tasks={**present, **trained_in(card)},  # a head that is loaded again is trained, though not ready
            classes=() if taxonomy is None else taxonomy.classes,
            canvases=(),
            card=card,
            models=tuple(card.get("models", ())),
        )

    def analyze(
        self,
        image: Picture,
        options: Options | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """Find everybody in one picture, with options as in `Client.analyze`.

        Without `tasks` those whose head is trained are computed, or all where the server does not say which they are;
        it is asked once.

        Raises:
            InvalidImage, ImageTooLarge, UnsupportedImage: the picture is refused.
            InvalidOptions: an option is refused, the model, or class probabilities.
            EngineUnavailable: nobody answers, its queue is full (`Busy`), not in time (`DeadlineExceeded`), or this
                client was closed.
            GatewayError: what it answers is no `People`, or something is wrong there.
            TypeError: as of `Options.of`.
        """
        if self._closed:
            raise client_closed(self.url)
        named = tasks_named(options, keywords)
        options = Options.of(options, keywords)
        refuse_probabilities(options)
        options = with_model(options, self.model)
        options.validate()  # tiles are cut here, and the server may be one that does not check the rest
        data, end = encode_image(image, self.jpeg_quality, bgr=bgr), time.monotonic() + self.timeout
        card = self._card_with(options.model, ensembles.ensemble_of(options.tasks), end)
        if not named:
            options = replace(options, tasks=trained_of(trained_in(card)))

        def ask(own: Options) -> People:
            return self._at_one_size(data, own, end, card)

        try:
            return people_of(ask, self._beside.get(), data, options, card, end)
        except TimeoutError:
            raise too_late(self.url) from None

    def _card_with(self, model: str | None, ensemble: str, end: float) -> dict[str, Any]:
        """What the server says of its model card: see `card_of`. It is kept, and asked for again after an outage, and
        where it has no such model, for the server may have got others since.

        Args:
            model: the name that has to be there; None for any.
            ensemble: whose configuration is asked for.
            end: of time.monotonic(), when the time is up.

        Raises:
            EngineUnavailable: nobody answers, or not in time.
            InvalidOptions: the server says its models, and this is none of them.
        """
        card = self._card
        if card is None or lacks(card, model):
            card = self._asked(ensemble, end)
        require_model(card, model, self.url)
        return card

    def _fitting(
        self, classes: int | None, card: dict[str, Any], ensemble: str, end: float
    ) -> tuple[dict[str, Any], Taxonomy | None]:
        """The card and the taxonomy of part maps of so many classes: see `taxonomy_with`. Where these do not fit the
        card, it is asked for again, once: the server may have got another since."""
        try:
            return card, taxonomy_with(classes, card, self.taxonomy)
        except ValueError:
            if self.taxonomy is not None:
                raise
            card = self._asked(ensemble, end)
            return card, taxonomy_with(classes, card, None)

    def _asked(self, ensemble: str, end: float) -> dict[str, Any]:
        """What the configuration of an ensemble says of the card, asked for now. Nothing where the server keeps that to
        itself, or cannot say it at the moment: that is kept only when it says the same twice.

        Raises:
            EngineUnavailable: nobody answers, or not in time.
        """

        def ask(left: float) -> Any:
            return self._call(left, "get_model_config", ensemble, **self._as_json)

        try:
            answer = self._until(end, ask)
        except EngineUnavailable:
            raise
        except ParsingRCNNError as error:
            if error.detail == self._told:
                self._card = {}  # so it stays
                return {}
            _log.warning("%s does not tell the configuration of %s, so its model card is unknown: %s",
                         hidden(self.url), ensemble, error.detail)  # fmt: skip
            self._told, self._card = error.detail, None
            return {}
        configuration = answer.get("config", answer)  # over gRPC it is a field of the answer
        card = card_of(configuration if isinstance(configuration, dict) else {})
        self._told, self._card = "", card
        return card

    @property
    def _as_json(self) -> dict[str, Any]:
        return {"as_json": True} if self._grpc else {}  # HTTP answers in JSON anyway; gRPC writes its numbers as text

    def _call(self, left: float, method: str, *given: Any, **keywords: Any) -> Any:
        """One request.

        Args:
            left: seconds for it, over HTTP for all of it.
            method: of the library's client or of `HttpClient`, which takes the other arguments.
        """
        return getattr(self._client, method)(*given, **keywords, client_timeout=left)

    def _at_one_size(self, data: bytes, options: Options, end: float, card: dict[str, Any]) -> People:
        """One request, until `end` of time.monotonic(); `card`: what is known of the server's."""
        model = ensembles.ensemble_of(options.tasks)
        source = self._library.InferInput("IMAGE", [1], "BYTES")
        source.set_data_from_numpy(np.array([data], dtype=np.object_))
        names = ensembles.names(options.tasks)
        wanted = [self._library.InferRequestedOutput(name) for name in names]
        parameters = ensembles.parameters_of(options)
        answer = self._infer(model, end, inputs=[source], outputs=wanted, parameters=parameters)
        with self._fits(model, *_ODD):
            arrays, size = tensors_of(answer, names)
            classes = arrays["PART_SCORES"].shape[-1] if "PART_SCORES" in arrays else None
        with self._fits(model, ValueError):
            card, taxonomy = self._fitting(classes, card, model, end)
        with self._fits(model, ValueError, TypeError):
            return from_tensors(arrays, size, taxonomy=taxonomy or CIHP, untrained=untrained_of(trained_in(card)))

    @contextmanager
    def _fits(self, what: str, *errors: type[Exception]) -> Iterator[None]:
        """Turn these errors of a block, which reads `what`, into that of a server which is not this project's."""
        try:
            yield
        except errors as error:
            said = f"no {error}" if isinstance(error, KeyError) else error
            raise self._misfit(f"{what}: {said}") from None

    def _infer(self, model: str, end: float, **request: Any) -> Any:
        def infer(left: float) -> Any:
            # Triton drops what still waits when nobody waits for it any more
            request["timeout"] = math.ceil(1e6 * left)
            return self._awaited(model, **request) if self._grpc else self._call(left, "infer", model, **request)

        return self._until(end, infer)

    def _until(self, end: float, ask: Callable[[float], Any]) -> Any:
        """Ask until there is an answer, a refusal, or no time left.

        Args:
            end: value of time.monotonic() at which the time is up.
            ask: makes one try, given the seconds that are left.
        """
        last = None
        for attempt in retrying(end, self._retry, self._outage):
            with attempt:
                left = seconds_left(end, self.url, last)
                try:
                    answer = ask(left)
                except (self._failure, *BROKEN) as error:
                    meaning = meaning_of(error, self.url)
                    last = meaning if isinstance(meaning, EngineUnavailable) else None
                    if last is not None and not isinstance(last, Busy | DeadlineExceeded):
                        self._card = None  # what comes back may have another
                    if last is None or isinstance(last, ModelMissing):  # a refusal is an answer
                        self._outage.over()
                    raise meaning from None
        self._outage.over()
        return answer

    def _awaited(self, model: str, *, timeout: int, **request: Any) -> Any:
        """Send a request over gRPC and wait for its answer.

        A request that is late is not cancelled: that kills Triton 2.51 and some later versions while they compute it
        (triton-inference-server/server, issues 7368 and 8034).

        Args:
            model: name of the ensemble.
            timeout: microseconds to wait.
            request: further arguments of `async_infer`.

        Raises:
            DeadlineExceeded: there is no answer in time.
        """
        seconds = timeout / 1e6
        answer: Future[Any] = Future()

        def settle(result: Any, error: Exception | None) -> None:
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        given_up = seconds + _LEFT_ALONE
        self._client.async_infer(model, callback=settle, **request, timeout=timeout, client_timeout=given_up)
        try:
            return answer.result(seconds)
        except TimeoutError:
            left = self._left.get()
            left.add(answer)
            answer.add_done_callback(left.discard)
            raise too_late(self.url) from None

    def _misfit(self, said: str) -> GatewayError:
        return GatewayError(502, "bad-answer", f"{self.url} answers with {said}; is it this project's repository?")

    def close(self) -> None:
        """Close the connections. Safe to call twice.

        Over gRPC this cancels requests, so late answers are waited for first, half a minute at the most.
        """
        if self._closed:
            return
        self._closed = True
        self._beside.get().shutdown(cancel_futures=True)
        wait(tuple(self._left.get()), timeout=_CLOSING)
        self._clients.get().close()
