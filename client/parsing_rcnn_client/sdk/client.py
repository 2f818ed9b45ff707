"""`Client`: pictures in, `People` out, whichever engine computes them."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from parsing_rcnn.analyzer import Analyzer, ModelInfo, OptionKeywords, Options
from parsing_rcnn.codecs.picture import Picture, held, load, still
from parsing_rcnn.people import People
from parsing_rcnn.repository import GRAPHS
from parsing_rcnn_client.sdk.arguments import checked, no_gateway, refuse_address, refuse_none, refuse_one
from parsing_rcnn_client.sdk.engines import analyze
from parsing_rcnn_client.sdk.gateway import Gateway
from parsing_rcnn_client.sdk.wire import Streamed

if TYPE_CHECKING:
    from parsing_rcnn.codecs.image import ImageLimits
    from parsing_rcnn.taxonomy import Taxonomy


class Client:
    """Finds people in pictures. Threads may share a client.

    Args:
        engine: any `Analyzer`; the class methods make the usual ones.

    Example:
        >>> import numpy as np
        >>> with Client.embedded(threads=1) as client:
        ...     people = client.analyze(np.zeros((64, 64, 3), np.uint8))
        >>> len(people), people.image_size
        (0, (64, 64))
    """

    def __init__(self, engine: Analyzer) -> None:
        refuse_address("Client", engine)
        self.engine = engine

    @classmethod
    def connect(
        cls,
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
    ) -> Client:
        """A client of a gateway; options as in `Gateway`.

        Example:
            >>> client = Client.connect("http://127.0.0.1:8080")  # doctest: +SKIP
            >>> client.analyze("photo.jpg").boxes  # doctest: +SKIP
        """
        return cls(
            Gateway(
                url,
                timeout,
                api_key=api_key,
                verify=verify,
                headers=headers,
                connections=connections,
                model=model,
                jpeg_quality=jpeg_quality,
                retry=retry,
            )
        )

    @classmethod
    def triton(
        cls,
        url: str,
        timeout: float = 60.0,
        *,
        model: str | None = None,
        taxonomy: Taxonomy | None = None,
        jpeg_quality: int | None = None,
        retry: bool = True,
    ) -> Client:
        """A client of a Triton server, "grpc://host:8001" or "http://host:8000"; options as in `Triton`."""
        from parsing_rcnn_client.sdk.triton import Triton

        return cls(Triton(url, timeout, model=model, taxonomy=taxonomy, jpeg_quality=jpeg_quality, retry=retry))

    @classmethod
    def embedded(
        cls,
        repository: str | Path | None = None,
        *,
        model: str | None = None,
        runtime: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        limits: ImageLimits | None = None,
        graphs: Sequence[str] = GRAPHS,
    ) -> Client:
        """The engine in this process, no server; options as in `parsing_rcnn.pipeline.Pipeline`."""
        from parsing_rcnn.pipeline import Pipeline

        return cls(
            Pipeline(
                repository,
                model=model,
                runtime=runtime,
                precision=precision,
                threads=threads,
                limits=limits,
                graphs=graphs,
            )
        )

    @property
    def info(self) -> ModelInfo:
        """What runs."""
        return self.engine.info

    def analyze(
        self,
        picture: Picture,
        options: Options | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """Find everybody in one picture.

        Args:
            picture: an encoded JPEG, PNG or WebP, the path of one, one as a file opened with mode "rb", an upright
                uint8 [H,W,3] RGB array, or a Pillow picture.
            options: what to compute.
            bgr: the array is in OpenCV's order, blue first.
            keywords: fields of `Options`, instead of `options`: `analyze(picture, tasks="parsing", confidence=0.3)`.
                Without `tasks` those whose head is trained are computed.

        Raises:
            ParsingRCNNError: the picture or an option is not usable (`InvalidImage` also where a path cannot be read),
                or the engine does not answer. Where a gateway refused, `request_id` is the id under which it logs that.
            TypeError: as of `Options.of`.
        """
        options, rest = checked(options, keywords)
        return analyze(self.engine, load(picture, bgr=bgr), options, rest)

    def analyze_many(
        self,
        pictures: Iterable[Picture],
        options: Options | None = None,
        *,
        in_flight: int = 4,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> Iterator[People | Exception]:
        """Results in the order of the pictures, with at most `in_flight` of them taken and not yet answered.

        A picture that fails yields its exception, and the rest goes on. Pictures are taken from the iterable only when
        there is room, so a generator of millions is fine. What is taken is held as it is then: arrays are copied, and
        Pillow pictures decoded, because all frames of an animation are one object. Options and `bgr` are as in
        `analyze`.

        The iterable is used in the caller's thread, as a database may want. So an answer that is finished waits while
        the next picture is made, and not for any further one; of a camera take `stream`.

        Raises:
            InvalidOptions: an option is wrong; like the next two when this is called.
            TypeError: one picture or path instead of several; or as of `Options.of`.
            ValueError: `in_flight` is below 1.
            Exception: what the iterable raises, after the answers of the pictures before.
        """
        options, rest = checked(options, keywords)
        Options.of(options, rest).validate()
        refuse_one("analyze_many", pictures)
        refuse_none(in_flight)
        return self._many(iter(pictures), options, in_flight, bgr, rest)

    def stream(
        self,
        frames: Iterable[Picture],
        options: Options | None = None,
        *,
        track: bool = False,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> Iterator[Streamed]:
        """The people in a live source, over one connection to a gateway: of the newest frame, as often as it can.

        A thread reads frames as fast as they come, and the newest one waits, as it is then: arrays are copied there,
        and Pillow pictures become arrays. At most two frames are on their way, so an answer is late by one other answer
        at most, even if the loop over the answers is slow. Other frames are dropped and counted. For a file use
        `analyze_many`, which answers every frame.
        If frames come by a callback, let it put JPEGs into a queue: `stream(iter(frames.get, None))` ends with a None
        (and takes no arrays, which cannot be compared with None).

        A lost connection is opened again for up to `timeout` seconds, with the newest frame (not with `retry=False`).
        Leave the loop, or close what this returns, to end the stream. Options and `bgr` are as in `analyze`.

        With `track` people have a `tracker_id`: the gateway follows everybody from frame to frame. A number belongs to
        one person only. After a new connection, or a pause of 5 s at the latest, everybody gets a new number. A person
        becomes known with a score of `confidence`, and then is answered down to a score of 0.2.

        Example:
            >>> for answer in client.stream(camera, tasks="parsing", track=True):  # doctest: +SKIP
            ...     print(answer.number, answer.people.tracker_id, answer.dropped)

        Raises:
            EngineUnavailable: the gateway is away or has too many streams (`Busy`) for too long; or the package
                websockets is not installed (`parsing-rcnn-client[stream]`).
            ParsingRCNNError: the gateway refuses the stream, because of the key or an option. An error of one frame is
                in its answer instead, and the stream goes on.
            TypeError: the engine is no gateway; one picture or path instead of frames; or as of `Options.of`.
        """
        if not isinstance(self.engine, Gateway):
            raise no_gateway("Client", self.engine)
        refuse_one("stream", frames)
        return self.engine.stream(still(frames, bgr=bgr), options, track=track, bgr=bgr, **keywords)

    def close(self) -> None:
        """Release the engine. A stream that is open goes on until its loop is left. Safe to call twice."""
        self.engine.close()

    def _many(
        self,
        source: Iterator[Picture],
        options: Options | None,
        in_flight: int,
        bgr: bool,
        keywords: OptionKeywords,
    ) -> Iterator[People | Exception]:
        failure: Exception | None = None
        with ThreadPoolExecutor(in_flight, "analyze") as pool:
            waiting: deque[Future[People]] = deque()
            try:
                while True:
                    try:
                        picture = next(source)
                    except StopIteration:
                        break
                    except Exception as error:
                        failure = error
                        break
                    waiting.append(self._begin(pool, picture, options, bgr, keywords))
                    while waiting and (len(waiting) >= in_flight or waiting[0].done()):
                        yield _outcome(waiting.popleft())
                while waiting:
                    yield _outcome(waiting.popleft())
            finally:
                for future in waiting:
                    future.cancel()
        if failure is not None:
            raise failure

    def _begin(
        self,
        pool: ThreadPoolExecutor,
        picture: Picture,
        options: Options | None,
        bgr: bool,
        keywords: OptionKeywords,
    ) -> Future[People]:
        try:
            picture = held(picture, bgr=bgr)
        except Exception as error:  # of this picture alone, as one that is too large to be copied
            refused: Future[People] = Future()
            refused.set_exception(error)
            return refused
        return pool.submit(self.analyze, picture, options, bgr=bgr, **keywords)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _outcome(future: Future[People]) -> People | Exception:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return error
    raise error
