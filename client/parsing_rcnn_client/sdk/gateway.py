"""A running gateway as an `Analyzer`, for threads and for asyncio: pooled connections, deadlines, safe retries."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from typing import Unpack

import httpx2

from parsing_rcnn.analyzer import ModelInfo, OptionKeywords, Options
from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import Taxonomy
from parsing_rcnn_client.names import hidden
from parsing_rcnn_client.sdk.arguments import tasks_named, with_model
from parsing_rcnn_client.sdk.per_loop import PerLoop
from parsing_rcnn_client.sdk.per_process import PerProcess
from parsing_rcnn_client.sdk.retries import Outage, client_closed, retrying, retrying_async
from parsing_rcnn_client.sdk.stream_target import target_of
from parsing_rcnn_client.sdk.transport import Tries, client_of, transport
from parsing_rcnn_client.sdk.wire import (
    MODELS,
    Call,
    OtherClasses,
    Streamed,
    analyze_call,
    read_info,
    read_people,
    taxonomy_of,
)


class Gateway:
    """Sends pictures to `POST /v1/analyze` of a gateway. Thread-safe: threads share the pool of connections. A forked
    process has connections of its own.

    Args:
        url: of the gateway, for example "http://127.0.0.1:8080".
        timeout: seconds for one picture, waiting and retries included.
        api_key: where the gateway asks for one; None takes the environment's PARSING_RCNN_API_KEY, "" sends none.
        verify: of https://, which certificates are good; with an authority of your own
            `ssl.create_default_context(cafile="ca.pem")`. None takes the authorities of the environment's SSL_CERT_FILE
            or SSL_CERT_DIR, or else those of this machine.
        headers: further ones for every request, as a proxy before the gateway may want.
        connections: the most at once; more callers wait their turn.
        model: for pictures whose options name none, one of the gateway's `info.models`; None leaves it to the gateway.
        jpeg_quality: of arrays on the wire; None sends PNG, which loses nothing.
        retry: False asks once for each picture: for callers who have a newer picture by the time of a second try.

    Raises:
        EngineUnavailable: nobody answers at this address, or not in time (`DeadlineExceeded`); or its certificate is
            refused.
        GatewayError: what answers there is no gateway, or it refuses the key (`status` is 401).
        InvalidOptions: `url` is no address, no header can carry the key, or SSL_CERT_FILE cannot be read.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 60.0,
        *,
        api_key: str | None = None,
        verify: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        connections: int = 16,
        model: str | None = None,
        jpeg_quality: int | None = None,
        retry: bool = True,
    ) -> None:
        options = self._transport = transport(url, connections, api_key, verify, headers)
        self._clients, self._closed = PerProcess(lambda: client_of(options)), False
        self.url, self.timeout, self.jpeg_quality, self._retry = hidden(url.rstrip("/")), timeout, jpeg_quality, retry
        self.model = model
        self._info: ModelInfo | None = None
        self._outage = Outage()

    @property
    def _http(self) -> httpx2.Client:
        if self._closed:
            raise client_closed(self.url)
        return self._clients.get()

    @property
    def info(self) -> ModelInfo:
        """What runs there where options name no model. It is asked for once, and again when an answer has other part
        classes.

        Raises:
            InvalidOptions: the gateway lacks the model of this client.
        """
        return self._known(time.monotonic() + self.timeout).of(self.model)

    @property
    def taxonomy(self) -> Taxonomy:
        """Names of the part classes there."""
        return taxonomy_of(self.info, self.url)

    def analyze(
        self,
        image: Picture,
        options: Options | None = None,
        timeout: float | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """Find everybody in one picture.

        Args:
            image: as of `Client.analyze`, and so is `bgr`.
            options: what to compute; class probabilities do not travel.
            timeout: seconds, instead of the client's; for the first picture this includes asking what runs there.
            keywords: fields of `Options`, instead of `options`. Without `tasks` the gateway computes those whose
                head is trained.

        Raises:
            ParsingRCNNError: as the gateway says: `InvalidImage`, `ImageTooLarge`, `InvalidOptions`, ...
            EngineUnavailable: nobody answers, or not in time (`DeadlineExceeded`), or this client was closed.
            GatewayError: what answers is no gateway, or several of different part classes.
            TypeError: as of `Options.of`.
        """
        named = tasks_named(options, keywords)
        options = with_model(Options.of(options, keywords), self.model)
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        taxonomy = taxonomy_of(self._known(end), self.url)
        body, headers = self._send(analyze_call(image, options, self.jpeg_quality, bgr=bgr, tasks_named=named), end)
        try:
            return read_people(body, headers, taxonomy)
        except OtherClasses:
            return read_people(body, headers, self._renewed(end))

    def stream(
        self,
        frames: Iterable[Picture],
        options: Options | None = None,
        *,
        track: bool = False,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> Iterator[Streamed]:
        """As `Client.stream`."""
        request = with_model(Options.of(options, keywords), self.model)
        target = target_of(self, request, track, bgr, tasks_named=tasks_named(options, keywords))
        from parsing_rcnn_client.sdk.streaming import blocking

        async def renewed() -> Taxonomy:
            return await asyncio.to_thread(self._renewed, time.monotonic() + self.timeout)

        return blocking(target, self.taxonomy, renewed, frames)

    def close(self) -> None:
        """Close the connections. A stream that is open goes on until its loop is left. Safe to call twice."""
        self._closed = True
        self._clients.get().close()

    def _known(self, end: float) -> ModelInfo:
        # threads that begin together each ask, so that none waits for another one's deadline
        if self._info is None:
            self._info = read_info(self._send(MODELS, end)[0], self.url)
        return self._info

    def _renewed(self, end: float) -> Taxonomy:
        """Ask again what runs there, for a gateway may have been restarted with another model; the part classes."""
        self._info = read_info(self._send(MODELS, end)[0], self.url)
        return taxonomy_of(self._info, self.url)

    def _send(self, call: Call, end: float) -> tuple[bytes, httpx2.Headers]:
        tries = Tries(call, end, self.url)
        for attempt in retrying(end, self._retry, self._outage):
            with attempt:
                try:
                    answer, body = tries.exchanged(self._http)
                except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                    raise tries.lost(error) from None
                except RuntimeError:
                    if not self._closed:
                        raise
                    raise client_closed(self.url) from None
                self._outage.answered(answer.status_code)
                tries.judge(answer, body)
        return body, answer.headers


class AsyncGateway:
    """`Gateway` for asyncio: the same arguments, the same errors. Each event loop has connections of its own."""

    def __init__(
        self,
        url: str,
        timeout: float = 60.0,
        *,
        api_key: str | None = None,
        verify: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        connections: int = 16,
        model: str | None = None,
        jpeg_quality: int | None = None,
        retry: bool = True,
    ) -> None:
        options = self._transport = transport(url, connections, api_key, verify, headers)
        self._clients = PerLoop(lambda: httpx2.AsyncClient(**options), httpx2.AsyncClient.aclose)
        self._closed = False
        self.url, self.timeout, self.jpeg_quality, self._retry = hidden(url.rstrip("/")), timeout, jpeg_quality, retry
        self.model = model
        self._info: ModelInfo | None = None
        self._outage = Outage()

    @property
    def _http(self) -> httpx2.AsyncClient:
        if self._closed:
            raise client_closed(self.url)
        return self._clients.get()

    async def info(self) -> ModelInfo:
        """As `Gateway.info`.

        Raises:
            EngineUnavailable: this client was closed, too.
        """
        if self._closed:
            raise client_closed(self.url)
        return (await self._known(time.monotonic() + self.timeout)).of(self.model)

    async def analyze(
        self,
        image: Picture,
        options: Options | None = None,
        timeout: float | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """As `Gateway.analyze`."""
        named = tasks_named(options, keywords)
        options = with_model(Options.of(options, keywords), self.model)
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        taxonomy = taxonomy_of((await self._known(end)), self.url)
        call = partial(analyze_call, image, options, self.jpeg_quality, bgr=bgr, tasks_named=named)
        # an array of some megapixels is seconds of PNG, and a path is read
        body, headers = await self._send(call() if isinstance(image, bytes) else await asyncio.to_thread(call), end)
        try:
            return read_people(body, headers, taxonomy)
        except OtherClasses:
            return read_people(body, headers, await self._renewed(end))

    async def stream(
        self,
        frames: Iterable[Picture] | AsyncIterable[Picture],
        options: Options | None = None,
        *,
        track: bool = False,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> AsyncIterator[Streamed]:
        """As `AsyncClient.stream`."""
        request = with_model(Options.of(options, keywords), self.model)
        target = target_of(self, request, track, bgr, tasks_named=tasks_named(options, keywords))
        from parsing_rcnn_client.sdk.streaming import Stream

        async def renewed() -> Taxonomy:
            return await self._renewed(time.monotonic() + self.timeout)

        stream = Stream(target, taxonomy_of((await self.info()), self.url), renewed, frames)
        try:
            while (answer := await stream.answer()) is not None:
                yield answer
        finally:
            await stream.close()

    async def close(self) -> None:
        """Close the connections of this event loop; those of others end with theirs. A stream that is open goes on
        until its loop is left. Safe to call twice.
        """
        self._closed = True
        await self._clients.close()

    async def _known(self, end: float) -> ModelInfo:
        if self._info is None:
            self._info = read_info((await self._send(MODELS, end))[0], self.url)
        return self._info

    async def _renewed(self, end: float) -> Taxonomy:
        self._info = read_info((await self._send(MODELS, end))[0], self.url)
        return taxonomy_of(self._info, self.url)

    async def _send(self, call: Call, end: float) -> tuple[bytes, httpx2.Headers]:
        tries = Tries(call, end, self.url)
        async for attempt in retrying_async(end, self._retry, self._outage):
            with attempt:
                try:
                    async with asyncio.timeout(tries.patience):  # the transport's is for each reading and writing
                        answer = await self._http.request(**tries.request())
                except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
                    raise tries.lost(error) from None
                except RuntimeError:
                    if not self._closed:
                        raise
                    raise client_closed(self.url) from None
                self._outage.answered(answer.status_code)
                tries.judge(answer, answer.content)
        return answer.content, answer.headers
