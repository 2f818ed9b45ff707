"""Starts a tritonserver on the repository, watches it, and starts it again.

Triton 2.51 does not notice when the process of a python model dies: the model stays "ready" and every request fails. So
every two seconds each model that nobody asks gets a tiny inference. A model that fails it is unloaded and loaded again.
A server that does not answer, or lacks a model, is started again, after a pause that doubles up to half a minute.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from parsing_rcnn.inference.contention import children_busy
from parsing_rcnn.repository import ModelRepository
from server.engines.shared_memory import FOLDER, sweep
from server.settings import address
from server.supervisor.child import Child, spawn
from server.supervisor.installation import UNPACKED, Installation
from server.supervisor.memory import clear, hide
from server.supervisor.options import complaint, refuse_own, refuse_unquoted
from server.supervisor.ports import claimed, is_held_by, numbered, refuse_taken
from server.supervisor.probes import KEY, RESTRICTED, Prober
from server.supervisor.profiles import Profile, choose_profile, refuse_missing_backend
from server.supervisor.stubs import OldStubs

BUILT = UNPACKED.with_name("build") / "plugin"  # where `make plugin` writes
_PLUGIN = "libprcnn_triton.so"
_LONGEST_PAUSE = 30.0
_START = 600.0  # seconds that a server may take to load its models, large engines included
_POLL = 0.2
_ROUNDS = 3  # so many in a row without an answer, or without a model, and the server is started again
_IDLE = 3.0  # seconds; an idle server that has not ended by then never will

log = structlog.get_logger("triton")


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        repository: models with configurations (`parsing-rcnn export --target triton` writes them).
        host: address of all three ports; a `Supervisor` makes a number of a name.
        profile: which of the models' configurations.
        drain_seconds: how long accepted requests may take after a stop.
        built: folder of Triton's plugin where that is not beside the repository.
        muted: levels of tritonserver's log that are off, "info" for example.
        more: the caller's own options of tritonserver, added to ours.
        key: whoever has it may load models; pages of a browser, other machines and other users have not.
    """

    repository: Path
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    profile: Profile = "auto"
    drain_seconds: int = 20
    built: Path = BUILT
    muted: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def prefix(self) -> str:
        """Prefix of the names of this server's shared memory."""
        return f"prcnn_{self.grpc_port}_"

    @property
    def ports(self) -> dict[str, int]:
        """Service -> port."""
        return {"http": self.http_port, "grpc": self.grpc_port, "metrics": self.metrics_port}

    @property
    def plugin(self) -> Path:
        """The library that registers PyramidRoiAlign when Triton opens it, beside the repository, as in the images."""
        return self.repository.parent / "build" / "plugin" / _PLUGIN

    def find_plugin(self) -> Path | None:
        """`plugin` where it exists, else the one that `make plugin` built here, else None."""
        return next((place for place in (self.plugin, self.built / _PLUGIN) if place.is_file()), None)

    def address(self, port: int) -> str:
        """See `server.settings.address`."""
        return address(self.host, port)

    def command(self, installation: Installation, profile: Profile) -> list[str]:
        """The command line."""
        named = [] if profile == "gpu" else [f"--model-config-name={profile}"]
        # Triton's HTTP library and gRPC have each their own way to write an IPv6 address
        hosts = dict.fromkeys(self.ports, f"ipv6:{self.host}") | {"grpc": f"[{self.host}]"} if ":" in self.host else {}
        plugin = self.find_plugin() if profile == "gpu" else None
        return [
            str(installation.program),
            f"--model-repository={self.repository}",
            f"--backend-directory={installation.backends}",
            *installation.arguments,
            *named,
            *(f"--{name}-port={port}" for name, port in self.ports.items()),
            *(f"--{name}-address={hosts.get(name, self.host)}" for name in self.ports),
            f"--allow-gpu-metrics={'false' if profile == 'cpu' else 'true'}",
            "--model-control-mode=explicit",
            "--load-model=*",
            "--disable-auto-complete-config",
            # any page that is open in a browser here may send HTTP requests; clients register memory over gRPC
            f"--http-restricted-api=shared-memory,{RESTRICTED}:{KEY}={self.key}",
            f"--grpc-restricted-protocol={RESTRICTED}:{KEY}={self.key}",
            f"--exit-timeout-secs={self.drain_seconds}",
            f"--backend-config=python,shm-region-prefix-name={self.prefix}",
            "--backend-config=python,shm-default-byte-size=16777216",
            "--backend-config=python,stub-timeout-seconds=120",
            *([] if plugin is None else [f"--backend-config=tensorrt,plugins={plugin}"]),
            *(f"--log-{kind}=false" for kind in self.muted),
            *self.more,
        ]


class Supervisor:
    """Keeps one tritonserver running and healthy until `stop`.

    Args:
        launch: what to start.
        installation: the server to start.
        interval: seconds between two rounds of probes.
        wrapped: whether the server's lines go through our log; if not, they go to standard error as they are.
    """

    def __init__(
        self, launch: Launch, installation: Installation, interval: float = 2.0, *, wrapped: bool = False
    ) -> None:
        self.installation, self.interval, self.wrapped = installation, interval, wrapped
        ModelRepository.open(launch.repository)
        for place in (launch.repository, installation.backends):
            refuse_unquoted(place)
        missing = launch.repository / "human_analysis" / "config.pbtxt"
        if not missing.is_file():
            raise InvalidOptions(f"{missing} is missing: `parsing-rcnn export --target triton` writes it")
        self.launch = launch = replace(launch, host=numbered(launch.host, launch.http_port))
        refuse_taken(launch.host, launch.ports)
        self.profile, why = (
            (launch.profile, "as asked")
            if launch.profile != "auto"
            else choose_profile(launch.repository, installation)
        )
        log.info("profile", profile=self.profile, reason=why)
        refuse_missing_backend(self.profile, installation)
        if self.profile == "gpu":
            _refuse_missing_plugin(launch)
        refuse_own(launch.more, replace(launch, muted=(), more=()).command(installation, self.profile)[1:])
        self._child: Child | None = None
        self._ended: list[Child] = []  # their orphans may be our children
        self._healed = self._idle = self._silent = self._said = False
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs now."""
        return None if self._child is None else self._child.process.pid

    def stop(self) -> None:
        """Let the server finish what it has accepted, then end. Safe from signal handlers and threads."""
        # no threading.Event: a second signal while its lock is held for the first would wait for ever
        self._stopping = True

    def _stopped_within(self, seconds: float) -> bool:
        """Whether we are told to stop; waits so long for it."""
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _POLL))
        return self._stopping

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Start, watch and start again until `stop`.

        Args:
            ready: called whenever the server has become ready.

        Raises:
            EngineUnavailable: another supervisor is on its way to one of the ports, or no process can be started.
            InvalidOptions: the server does not take its options.
        """
        with claimed(self.launch.ports):
            self._run(ready)

    def _run(self, ready: Callable[[], None]) -> None:
        pause = 0.5
        while not self._stopping:
            begin = time.monotonic()
            try:
                self._start()
            except EngineUnavailable as error:
                if self._child is None:
                    raise
                log.error(error.detail)  # there are too many processes, or there is too little memory, for now
            else:
                try:
                    self._watch(ready)
                finally:
                    self._end()
                if self._stopping:
                    return
                self._refuse_usage()
            pause = 0.5 if time.monotonic() - begin > 2 * _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            log.warning("the server is started again", after_seconds=pause, instead_of=self.pid)
            self._stopped_within(pause)

    def _start(self) -> None:
        self._healed = self._idle = self._silent = self._said = False
        self._reap()
        clear(self.launch.prefix)
        sweep()
        command, memory = self.launch.command(self.installation, self.profile), FOLDER / f"{self.launch.prefix}*"
        log.info("starting", command=" ".join(command).replace(self.launch.key, "***"))
        try:
            self._child = spawn(command, self.installation.environment, memory, wrapped=self.wrapped)
        except OSError as error:
            raise EngineUnavailable(f"no tritonserver can be started: {error}") from error

    def _refuse_usage(self) -> None:
        """Raise the reason of a server that ended, if it is one that would end it each time: an option."""
        assert self._child is not None
        reason = complaint("\n".join(self._child.first))
        if reason is not None:
            raise InvalidOptions(f"tritonserver does not take the options that it got: {reason}")

    def _watch(self, ready: Callable[[], None]) -> None:
        """Watch until the server ends, stops answering, lacks a model, or we are stopped."""
        assert self._child is not None
        launch, process = self.launch, self._child.process
        metrics = f"http://{launch.address(launch.metrics_port)}/metrics"
        with Prober.connect(launch.address(launch.grpc_port), metrics, launch.repository, launch.key) as prober:
            begin = time.monotonic()
            # another may answer there, and ours ends when it finds the port taken
            while not (prober.server_ready() and self._holds_port(process)):
                hide(launch.prefix)
                if self._stopped_within(_POLL) or process.poll() is not None:
                    return self._say_why(process)
                if time.monotonic() - begin > _START:
                    log.error("the server does not become ready", seconds=_START)
                    return None
            hide(launch.prefix)
            log.info("ready", pid=self.pid, grpc=self.launch.grpc_port, http=self.launch.http_port)
            ready()
            unanswered = lacking = 0
            while not self._stopped_within(self.interval):
                self._reap()
                hide(launch.prefix)
                if process.poll() is not None:
                    return self._say_why(process)
                lost = prober.lost()
                unanswered = unanswered + 1 if lost is None else 0
                lacking = 0 if lost == [] else lacking + bool(lost)
                if unanswered >= _ROUNDS:
                    log.error("the server does not answer")
                    self._silent = True
                    return None
                if lacking >= _ROUNDS:
                    log.error("the server lacks models", models=lost)
                    break  # the others answer: what they have accepted is not lost
                if lost == []:
                    self._heal(prober)
            self._drain(prober, process)
        return None

    def _drain(self, prober: Prober, process: subprocess.Popen[bytes]) -> None:
        """Let our server answer what it has accepted."""
        seconds = self.launch.drain_seconds
        if self._holds_port(process):
            left = prober.drain(seconds, process.pid, lambda: process.poll() is not None)
            self._idle = left == "idle"
            if process.poll() is None and left == "busy":
                log.warning("the server was busy to the end", seconds=seconds)
            elif process.poll() is None and left == "unknown":
                log.warning("it is not known whether the server has requests left", seconds=seconds)
        self._say_why(process)

    def _holds_port(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it is our server that answers."""
        return process.poll() is None and is_held_by(self.launch.grpc_port, process.pid)

    def _heal(self, prober: Prober) -> None:
        """Reload the models that do not answer. A stop does not wait for that: a server ends while it loads, too."""
        for model, reason in prober.sick():
            if self._stopping:
                return
            log.error("a model is loaded again", model=model, reason=reason)
            self._healed = True
            loading = threading.Thread(target=self._reload, args=(prober, model), daemon=True)
            loading.start()
            while loading.is_alive() and not self._stopping:
                loading.join(_POLL)
                hide(self.launch.prefix)

    def _reload(self, prober: Prober, model: str) -> None:
        old = None if self.pid is None else OldStubs(self.pid, model, self.launch.prefix)
        failed = prober.reload(model)
        if failed is None and old is not None and (killed := old.end()):
            log.warning("processes of the model from before were killed", model=model, pids=killed)
        if failed is not None and not self._stopping:
            log.error("a model cannot be loaded", model=model, reason=failed)

    def _say_why(self, process: subprocess.Popen[bytes]) -> None:
        if process.returncode is not None and not self._said:
            self._said = True
            further = {"further_options": " ".join(self.launch.more)} if self.launch.more else {}
            log.error("the server ended", pid=process.pid, status=process.returncode, **further)

    def _end(self) -> None:
        assert self._child is not None
        process = self._child.process
        if process.poll() is not None:
            self._say_why(process)  # it was dying when it was last looked at
        else:
            process.send_signal(signal.SIGTERM)
            if not self._ends(process):
                say = log.warning if self._idle else log.error  # idle: nothing is lost
                say("the server does not end and is killed", pid=process.pid, idle=self._idle)
                process.kill()
                process.wait()
            elif process.returncode < 0 and process.returncode != -signal.SIGTERM:
                self._say_why(process)  # not by us: it crashed on its way out
        self._child.clear_up()
        self._ended.append(self._child)
        clear(self.launch.prefix)

    def _ends(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a server that was told to end does so, in the time that is worth waiting.

        Triton 2.51 waits for a model whose process died, even if it was loaded again, until its whole exit time is
        over. There is no point in waiting along where everything is answered and no model computes, nor for a server
        that answers nobody.
        """
        begin = busy = time.monotonic()
        while time.monotonic() - begin < (_IDLE if self._silent else self.launch.drain_seconds + 10):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
                return True
            if not (self._healed and self._idle) or children_busy(process.pid):
                busy = time.monotonic()
            elif time.monotonic() - busy >= _IDLE:
                return False
        return False

    def _reap(self) -> None:
        """Reap the orphans of ended servers, which end a moment after these."""
        self._ended = [child for child in self._ended if not child.reap()]


def _refuse_missing_plugin(launch: Launch) -> None:
    """Refuse engines whose plugin is missing: Triton could not load them, and would be restarted for ever."""
    graph = launch.repository / "detector" / "1" / "model.tensorrt.onnx"
    if launch.find_plugin() is None and graph.is_file() and b"PyramidRoiAlign" in graph.read_bytes():
        places = " or ".join(dict.fromkeys(map(str, (launch.plugin.parent, launch.built))))
        raise EngineUnavailable(
            f"{_PLUGIN}: no such file in {places}, and the engine of {graph.parent} needs it; `make plugin "
            f"TENSORRT_INCLUDE_DIR=folder of NvInfer.h` builds it in {launch.built}, --profile ort_gpu does without"
        )


def forward_signals(supervisor: Supervisor) -> None:
    """Stop the supervisor on SIGTERM, SIGINT and, unless that is ignored (`nohup`), SIGHUP."""

    def handle(*_: Any) -> None:
        supervisor.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)
