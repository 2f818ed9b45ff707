"""Whether each model of a Triton server works: a tiny inference tells; Triton's own "ready" does not (up to 2.51)."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from parsing_rcnn.ensembles import ENSEMBLES, OWN_CHANNEL, PROBE, ROWS
from parsing_rcnn.geometry import PAD_VALUE
from parsing_rcnn.inference.contention import children_busy
from server.engines.tiny import tiny_picture

_DEADLINE = 5.0  # seconds that one probe, or one question to the server, may take
_LOADING = 120.0  # seconds that a model may take to load
_TOO_OFTEN = 6  # late probes of a model in a row: half a minute without an answer
_MUCH_TOO_OFTEN = 10 * _TOO_OFTEN  # the same of a model that answers others: one of its instances may hang
_QUIET = 1.0  # seconds without an end of any request, after which a server may be idle
_PENDING = re.compile(r"^nv_inference_pending_request_count\{[^}]*\} (\S+)$", re.MULTILINE)
_KINDS = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32}
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy: the metrics are on this machine
PROBED = ("preprocess", "detector", "parsing", "densepose_head", "postprocess")
"""The models that compute; an ensemble is as well as these, where it is loaded."""

KEY = "parsing-rcnn-key"
"""The header with the supervisor's key, which requests to `RESTRICTED` need over HTTP."""

RESTRICTED = "model-repository,trace,logging"
"""What only the supervisor may ask of its server: whoever loads a model brings its code along."""

Drained = Literal["idle", "busy", "unknown"]
"""What is known of a server that was told to accept nothing more."""


class _Finished(NamedTuple):
    """Requests that have ended, of each model, and the mean seconds of a request to the slowest model."""

    counts: tuple[int, ...]
    slowest: float


class Prober:
    """Probes a server over one connection, which it closes.

    Args:
        client: a `tritonclient.grpc.InferenceServerClient`, or a stand-in.
        metrics: URL of the server's metrics.
        repository: folder of the models; those of `PROBED` that it has are probed, and its ensembles stay loaded.
        key: opens what is `RESTRICTED`; None where nothing is.
    """

    def __init__(self, client: Any, metrics: str, repository: Path, key: str | None = None) -> None:
        self._metrics = metrics
        self._client = client
        self._headers = None if key is None else {f"triton-grpc-protocol-{KEY}": key}
        self._models = [name for name in PROBED if (repository / name).is_dir()]
        self._ensembles = [name for name in ENSEMBLES if (repository / name).is_dir()]
        self._inputs: dict[str, list[triton.InferInput]] = {}
        self._configs: dict[str, Any] = {}
        self._ends: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self._late = dict.fromkeys(self._models, 0)
        self._late_probes: dict[str, Future[Any]] = {}

    @classmethod
    def connect(cls, address: str, metrics: str, repository: Path, key: str | None = None) -> Prober:
        """A prober of the server whose gRPC service is at `address`, host:port."""
        return cls(triton.InferenceServerClient(address, channel_args=OWN_CHANNEL), metrics, repository, key)

    def __enter__(self) -> Prober:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def server_ready(self) -> bool:
        """Whether the server answers and has all models."""
        return self.lost() == []

    def lost(self) -> list[str] | None:
        """The models that a server which answers does not have; None of one that does not answer."""
        try:
            if not self._client.is_server_live(client_timeout=_DEADLINE):
                return None
            return [name for name in self._models if not self._client.is_model_ready(name, client_timeout=_DEADLINE)]
        except InferenceServerException:
            return None

    def sick(self) -> Iterator[tuple[str, str]]:
        """(model, its error) of every model that does not compute; if all do, of every ensemble that is not loaded.

        A model that has answered somebody since the last round works, and is not probed: a request that comes while its
        only instance computes a probe may wait half a second until Triton 2.51 sees that the instance is free.
        """
        well = True
        for found in self._sick_steps():
            well = False
            yield found
        if well:  # else they may come back with the model
            yield from ((name, "it is not loaded") for name in self._ensembles if not self._is_loaded(name))

    def _is_loaded(self, ensemble: str) -> bool:
        """Whether the server has an ensemble; also where it does not say: the next round asks again."""
        with suppress(InferenceServerException):
            return bool(self._client.is_model_ready(ensemble, client_timeout=_DEADLINE))
        return True

    def _sick_steps(self) -> Iterator[tuple[str, str]]:
        for name in self._models:
            try:
                if self._works(name):
                    self._late[name] = 0
                    continue
                for _ in range(self._instances_of(name)):  # they take turns
                    self._ask(name)
                    self._answered[name] += 1
            except InferenceServerException as error:
                # UNAVAILABLE: the queue is full, or the server drains. Behind a queue a probe may be late
                late = error.status() == "StatusCode.DEADLINE_EXCEEDED"
                self._late[name] = self._late[name] + 1 if late else 0
                if error.status() == "StatusCode.UNAVAILABLE" or 0 < self._late[name] < self._patience(name):
                    continue
                yield name, str(error.message())
            self._late[name] = 0

    def _ask(self, name: str) -> None:
        """Send a probe, or wait again for the one that is still out: cancelling it could kill the server (see
        `server.engines.upstream`).

        Raises:
            InferenceServerException: the model answered with an error, or has not answered yet.
        """
        if name not in self._late_probes:
            answer: Future[Any] = Future()
            asked = {PROBE: True} if name == "detector" else None
            self._client.async_infer(name, self._probe(name), partial(_settle, answer), parameters=asked)
            self._late_probes[name] = answer
        try:
            self._late_probes[name].result(_DEADLINE)
        except TimeoutError:
            raise InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED") from None
        finally:
            if self._late_probes[name].done():
                del self._late_probes[name]

    def _works(self, name: str) -> bool:
        """Whether a model has a single instance, which has answered others since the last round."""
        before, self._answered[name] = self._answered.get(name), self._successes(name)
        return before is not None and before < self._answered[name] and self._instances_of(name) == 1

    def _patience(self, name: str) -> int:
        """Late probes in a row after which a model is sick: few if it answered nobody since the last one, else many."""
        try:
            before, self._ends[name] = self._ends.get(name), self._successes(name)
        except InferenceServerException:
            return _TOO_OFTEN
        return _TOO_OFTEN if before == self._ends[name] else _MUCH_TOO_OFTEN

    def _successes(self, name: str) -> int:
        """Requests that a model has answered since it was loaded."""
        (model,) = self._client.get_inference_statistics(name, client_timeout=_DEADLINE).model_stats
        return int(model.inference_stats.success.count)

    def reload(self, name: str) -> str | None:
        """Unload and load a model: loading alone does nothing where its process is dead. Returns why it failed."""
        reason = None
        self._late_probes.pop(name, None)
        for step in (self._client.unload_model, self._client.load_model):
            try:
                step(name, headers=self._headers, client_timeout=_LOADING)
            except InferenceServerException as error:
                reason = str(error.message())
            except ValueError:  # the connection was closed meanwhile: we were told to stop
                return "stopped"
        return reason

    def drain(self, seconds: float, server: int | None, ended: Callable[[], bool] = lambda: False) -> Drained:
        """Let the server accept nothing more, and wait until it has answered what it accepted.

        Triton fails the steps of an ensemble that have not begun as soon as it is told to stop, and waits for the model
        of the step that had until all its time is over. So the ensembles are unloaded first: new requests are refused,
        and those that are there go on. Some callers ask the steps themselves, one after the other; these are through
        when nothing waits, no model works and nothing has ended for thrice as long as a request takes. Triton counts
        what waits for a model and what has ended; its python models say whether they compute.

        Args:
            seconds: how long to wait at most.
            server: number of its process.
            ended: whether that process has ended, after which there is nothing to wait for.

        Returns:
            "idle": everything is answered. After `seconds`: "busy" where a request waited, was computed or had just
            ended, "unknown" where it last gave no numbers, or nothing had happened for less than half of the time.
        """
        end = time.monotonic() + seconds
        self._unload_ensembles(end)
        state: Drained = "unknown"
        known, since = None, time.monotonic()
        while time.monotonic() < end and not ended():
            finished, waiting = self._finished(), self._waiting()
            busy = bool(waiting) or (server is not None and children_busy(server))
            if finished is None or waiting is None:
                state, known = "unknown", None
            elif busy or finished.counts != known:
                state = "busy" if busy or known is not None else "unknown"  # at the first look nothing has ended
                known, since = finished.counts, time.monotonic()
            else:
                quiet = time.monotonic() - since
                if quiet >= max(_QUIET, 3 * finished.slowest):
                    return "idle"
                state = "idle" if quiet >= seconds / 2 else "unknown"  # the time may not suffice for more
            time.sleep(_QUIET / 10)
        return state

    def _unload_ensembles(self, end: float) -> None:
        """Unload the ensembles, and wait until they have answered everybody, or until `end`."""
        with suppress(InferenceServerException):  # the server ends, or hangs
            for name in self._loaded_ensembles():
                self._client.unload_model(name, headers=self._headers, client_timeout=_DEADLINE)
            while self._loaded_ensembles() and time.monotonic() < end:
                time.sleep(_QUIET / 10)

    def _loaded_ensembles(self) -> list[str]:
        """Ensembles that are loaded, or still have requests."""
        found = self._client.get_model_repository_index(headers=self._headers, client_timeout=_DEADLINE).models
        return [model.name for model in found if model.name not in PROBED and model.state in ("READY", "UNLOADING")]

    def _waiting(self) -> int | None:
        """Requests that wait for a model; None where the metrics cannot be read."""
        try:
            with _DIRECT.open(self._metrics, timeout=_DEADLINE) as answer:
                text = answer.read().decode()
        except (OSError, HTTPException):
            return None
        return sum(int(float(count)) for count in _PENDING.findall(text))

    def _finished(self) -> _Finished | None:
        """What has come to an end so far; None where the server does not say."""
        try:
            models = self._client.get_inference_statistics(client_timeout=_DEADLINE).model_stats
        except InferenceServerException:
            return None
        answers = [model.inference_stats for model in models]
        slowest = max((own.success.ns / own.success.count for own in answers if own.success.count), default=0.0)
        return _Finished(tuple(own.success.count + own.fail.count for own in answers), slowest / 1e9)

    def _instances_of(self, name: str) -> int:
        """How many processes, or copies of an engine, compute a model."""
        return sum(group.count for group in self._config_of(name).instance_group)

    def _config_of(self, name: str) -> Any:
        if name not in self._configs:
            self._configs[name] = self._client.get_model_config(name, client_timeout=_DEADLINE).config
        return self._configs[name]

    def _probe(self, name: str) -> list[triton.InferInput]:
        if name not in self._inputs:
            metadata = self._client.get_model_metadata(name, as_json=True, client_timeout=_DEADLINE)
            entries = [(entry, self._warm_shape(name, entry["name"])) for entry in metadata["inputs"]]
            self._inputs[name] = [tensor for own in entries if (tensor := _tiny(*own)) is not None]
        return self._inputs[name]

    def _warm_shape(self, model: str, tensor: str) -> list[int]:
        """Shape of an input in the model's warm-up, without the batch: an engine takes only those of its profiles."""
        for warmed in self._config_of(model).model_warmup:
            if tensor in warmed.inputs:
                return list(warmed.inputs[tensor].dims)
        return []


def _settle(answer: Future[Any], result: Any, error: InferenceServerException | None) -> None:
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def _tiny(entry: Mapping[str, Any], warmed: Sequence[int]) -> triton.InferInput | None:
    """The smallest input that the model accepts for a tensor; None for tensors of `ROWS`, which it does not need."""
    name, kind = entry["name"], entry["datatype"]
    if name in ROWS:
        return None
    shape = [int(size) for size in entry["shape"]]
    values = _values(name, [*shape[: len(shape) - len(warmed)], *warmed], kind)
    tensor = triton.InferInput(name, list(values.shape), kind)
    tensor.set_data_from_numpy(values)
    return tensor


def _values(name: str, shape: list[int], kind: str) -> NDArray[Any]:
    if kind == "BYTES":
        return np.array([tiny_picture()], dtype=np.object_)
    if name == "CANVAS":
        height, width, _ = shape
        return np.full((64 if height < 0 else height, 64 if width < 0 else width, 3), PAD_VALUE, np.uint8)
    if name == "WINDOW":
        return np.array([1, 1, 0, 0, 64, 64], np.float32)
    return np.zeros([1 if size < 0 else size for size in shape], _KINDS[kind])
