"""Is each model of a Triton server alive? A tiny inference tells; its own word for "ready" does not (up to 2.51)."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from parsing_rcnn.ensembles import OWN_CHANNEL, PROBE, ROWS
from parsing_rcnn.geometry import PAD_VALUE
from parsing_rcnn.inference.contention import works

_DEADLINE = 5.0  # seconds for one probe
_LOADING = 120.0
_TOO_OFTEN = 6  # probes of a model that are late one after another: half a minute of nothing
_MUCH_TOO_OFTEN = 10 * _TOO_OFTEN  # of one that answers others: an instance of it may hang
_QUIET = 1.0  # seconds
_PENDING = re.compile(r"^nv_inference_pending_request_count\{[^}]*\} (\S+)$", re.MULTILINE)
_KINDS = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32}
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # metrics are of this machine
PROBED = ("preprocess", "detector", "parsing", "densepose_head", "postprocess")
"""The models that compute; ensembles are as well as these."""


class Prober:
    """Probes over one connection, which it closes.

    Args:
        client: a `tritonclient.grpc.InferenceServerClient`, or what answers like one.
        metrics: address of its metrics.
        repository: the models; those of `PROBED` that lie there are probed.
    """

    def __init__(self, client: Any, metrics: str, repository: Path) -> None:
        self._metrics = metrics
        self._client = client
        self._models = [name for name in PROBED if (repository / name).is_dir()]
        self._inputs: dict[str, list[triton.InferInput]] = {}
        self._configs: dict[str, Any] = {}
        self._ends: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self._late = dict.fromkeys(self._models, 0)
        self._late_probes: dict[str, Future[Any]] = {}

    @classmethod
    def connect(cls, address: str, metrics: str, repository: Path) -> Prober:
        """Probes of the server whose gRPC service is at host:port."""
        return cls(triton.InferenceServerClient(address, channel_args=OWN_CHANNEL), metrics, repository)

    def __enter__(self) -> Prober:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def server_ready(self) -> bool:
        """Whether the server answers and says that it is ready."""
        try:
            return bool(self._client.is_server_live(client_timeout=_DEADLINE)) and self._all_listed()
        except InferenceServerException:
            return False

    def _all_listed(self) -> bool:
        return all(self._client.is_model_ready(name, client_timeout=_DEADLINE) for name in self._models)

    def sick(self) -> Iterator[tuple[str, str]]:
        """(model, what it answered) of every model that does not compute.

        A model that has answered somebody since the last round computes. It is not probed: a request that comes while
        its only instance computes a probe may wait half a second for Triton 2.51 to see that the instance is free.
        """
        for name in self._models:
            try:
                if self._works(name):
                    self._late[name] = 0
                    continue
                for _ in range(self._instances_of(name)):  # they take turns
                    self._ask(name)
                    self._answered[name] += 1
            except InferenceServerException as error:
                # a full queue is no illness, a drained server is on its way out, and behind a queue a probe is late
                late = error.status() == "StatusCode.DEADLINE_EXCEEDED"
                self._late[name] = self._late[name] + 1 if late else 0
                if error.status() == "StatusCode.UNAVAILABLE" or 0 < self._late[name] < self._patience(name):
                    continue
                yield name, str(error.message())
            self._late[name] = 0

    def _ask(self, name: str) -> None:
        """A probe, or the one that is late since the last round: to cancel it could end the server (as in
        `server.engines.upstream`).

        Raises:
            InferenceServerException: what the model answered, or that it has not yet.
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
        """Whether a model has answered others since the last round, by the only instance that it has."""
        before, self._answered[name] = self._answered.get(name), self._successes(name)
        return before is not None and before < self._answered[name] and self._instances_of(name) == 1

    def _patience(self, name: str) -> int:
        """Late probes after which a model is sick: few when nothing of it ended since the last, many when it works."""
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
        """Unload and load: loading alone does nothing to a model whose process is dead. Returns why it failed."""
        reason = None
        self._late_probes.pop(name, None)
        for step in (self._client.unload_model, self._client.load_model):
            try:
                step(name, client_timeout=_LOADING)
            except InferenceServerException as error:
                reason = str(error.message())
            except ValueError:  # the connection was closed meanwhile: we were told to stop
                return "stopped"
        return reason

    def drain(self, seconds: float, server: int | None) -> bool:
        """Let the server take nothing more and wait until what it has is through; False if that is never.

        Triton lets the steps of an ensemble that have not begun fail as soon as it is told to stop, and waits for the
        model of the step that had until all its time is over. So the ensembles are unloaded first: that refuses
        requests that come, and lets those go on that are there. Some ask the steps by themselves, one after the other;
        these are through when nothing waits, no model works and nothing has ended for thrice as long as a request
        takes. Triton counts what waits for a model and what has ended; what is being computed, its python models say.

        Args:
            server: its process.
        """
        end = time.monotonic() + seconds
        self._unload_ensembles(end)
        known, since = self._ended()[0], time.monotonic()
        while time.monotonic() < end:
            time.sleep(_QUIET / 10)
            now, latency = self._ended()
            if now != known or self._waiting() or (server is not None and works(server)):
                known, since = now, time.monotonic()
            elif time.monotonic() - since >= max(_QUIET, 3 * latency):
                return True
        return False

    def _unload_ensembles(self, end: float) -> None:
        """Unload what is no step, and wait until it has answered everybody, or until `end`."""
        with suppress(InferenceServerException):  # it ends, or hangs
            for name in self._loaded_ensembles():
                self._client.unload_model(name, client_timeout=_DEADLINE)
            while self._loaded_ensembles() and time.monotonic() < end:
                time.sleep(_QUIET / 10)

    def _loaded_ensembles(self) -> list[str]:
        """Models beside the steps that are loaded, or have requests yet."""
        found = self._client.get_model_repository_index(client_timeout=_DEADLINE).models
        return [model.name for model in found if model.name not in PROBED and model.state in ("READY", "UNLOADING")]

    def _waiting(self) -> int:
        """Requests that wait for a model."""
        try:
            with _DIRECT.open(self._metrics, timeout=_DEADLINE) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        return sum(int(float(count)) for count in _PENDING.findall(text))

    def _ended(self) -> tuple[tuple[int, ...], float]:
        """Requests of each model that have come to an end, and the seconds that one of the slowest model took."""
        try:
            found = self._client.get_inference_statistics(client_timeout=_DEADLINE).model_stats
        except InferenceServerException:
            return (), 0.0
        answers = [model.inference_stats for model in found]
        slowest = max((own.success.ns / own.success.count for own in answers if own.success.count), default=0.0)
        return tuple(own.success.count + own.fail.count for own in answers), slowest / 1e9

    def _instances_of(self, name: str) -> int:
        """Processes, or copies of an engine, that compute a model."""
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
        """What a model was warmed with, without the batch: an engine takes the shapes of its profiles alone."""
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
    """The smallest input of a tensor that its model accepts; None for those of other people's maps."""
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


def tiny_picture() -> bytes:
    """A grey PNG of 32x32 pixels."""
    encoded, data = cv2.imencode(".png", np.full((32, 32, 3), PAD_VALUE, np.uint8))
    assert encoded
    return data.tobytes()
