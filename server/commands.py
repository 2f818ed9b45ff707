"""`parsing-rcnn serve`, `key` and `triton`."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    import uvicorn

    from server.settings import Settings

_OTHER_FILES = 200  # beside connections: models, pictures on their way, the connections to Triton
_FEWEST_CONNECTIONS = 16  # the least that --max-connections takes


def register(app: typer.Typer) -> None:
    """Add the commands. The web stack and Triton's clients are imported when they run, not before."""
    app.command("serve")(serve)
    app.command("key")(key)
    app.command("triton")(triton)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8080).")] = None,
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="For requests that name none: a name that /v1/models lists (the shipped model: fast, large, accurate)."
        ),
    ] = None,
    only_model: Annotated[
        bool | None, typer.Option("--only-model", help="Requests may not name another model than that.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="embedded (default), or triton.")] = None,
    triton_url: Annotated[
        str | None, typer.Option(help="gRPC addresses of Triton servers, by commas (default 127.0.0.1:8001).")
    ] = None,
    triton_shared_memory: Annotated[
        bool | None, typer.Option("--triton-shared-memory", help="Talk through /dev/shm to Triton on this machine.")
    ] = None,
    triton_timeout: Annotated[
        float | None, typer.Option(help="Seconds that Triton may take for one picture (default 30).")
    ] = None,
    triton_in_flight: Annotated[
        int | None, typer.Option(help="Pictures on their way to Triton; one more is refused (default 32).")
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or int8.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of one inference (default: all usable cores).")] = None,
    workers: Annotated[int | None, typer.Option(help="Pictures analysed at the same time (default 4).")] = None,
    queue: Annotated[int | None, typer.Option(help="Pictures that may wait (default 16).")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Bytes of a picture (default 32 MiB).")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Pixels of a picture (default 64 million).")] = None,
    max_side: Annotated[int | None, typer.Option(help="Longest side of a picture (default 16384).")] = None,
    max_tiles: Annotated[int | None, typer.Option(help="Tiles along a picture's longer side (default 4).")] = None,
    max_batch: Annotated[int | None, typer.Option(help="Pictures of a batch (default 16).")] = None,
    max_batch_bytes: Annotated[int | None, typer.Option(help="Bytes of a batch's body (default 128 MiB).")] = None,
    max_connections: Annotated[int | None, typer.Option(help="Connections at the same time (default 1000).")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys (default: nobody needs one).")] = None,
    rate: Annotated[float | None, typer.Option(help="Pictures a second for each caller.")] = None,
    burst: Annotated[int | None, typer.Option(help="Pictures at once for each caller (default 20).")] = None,
    trusted_proxies: Annotated[
        str | None,
        typer.Option(help="Addresses and networks whose X-Forwarded-For is believed, by commas (default none)."),
    ] = None,
    cors: Annotated[str | None, typer.Option(help="Origins whose pages may send requests, by commas.")] = None,
    hosts: Annotated[
        str | None,
        typer.Option(
            help="Names that `Host` may have beside localhost and addresses, by commas; * for all. Without it none "
            "while listening on 127.0.0.1 without --trusted-proxies, else all."
        ),
    ] = None,
    urls: Annotated[bool | None, typer.Option("--urls", help="Take pictures from https addresses, too.")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Streams open at the same time (default 8).")] = None,
    upload_seconds: Annotated[float | None, typer.Option(help="Seconds for a slow body (default 30).")] = None,
    upload_memory: Annotated[int | None, typer.Option(help="Bytes of all bodies together (default 512 MiB).")] = None,
    drain_seconds: Annotated[
        int | None, typer.Option(help="Seconds for requests in work after SIGTERM (default 20).")
    ] = None,
    otlp: Annotated[str | None, typer.Option(help="OpenTelemetry collector for traces: http://127.0.0.1:4318.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[
        str | None, typer.Option(help="The least that is logged: debug, info (default), warning or error.")
    ] = None,
) -> None:
    """Start the gateway. Every option is also an environment variable: --max-bytes is PARSING_RCNN_MAX_BYTES."""
    given = dict(locals())
    from parsing_rcnn.interrupt import INTERRUPTED, ends_at_once

    with ends_at_once():
        from server.threads import at_work

        server, listener = _opened(given)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` ignores it
        # the terminal was closed: answer what was accepted, then stop
        signal.signal(signal.SIGHUP, lambda _, frame: server.handle_exit(signal.SIGTERM, frame))
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        if at_work():  # Python would wait for these threads; SIGTERM has ended the process already
            os._exit(INTERRUPTED)
        raise


def _opened(given: Mapping[str, Any]) -> tuple[uvicorn.Server, socket.socket]:
    """The gateway with these options, and the socket on which it listens. Ends the command if that fails."""
    import structlog
    import uvicorn

    from parsing_rcnn.errors import ParsingRCNNError
    from parsing_rcnn.repository import ModelRepository
    from server.app import create_app
    from server.connection import configuration
    from server.settings import address, injected_port, is_loopback
    from server.telemetry import configure_logging

    style = _style(given)
    configure_logging(style)
    settings = _settings(given, style)
    configure_logging(style, settings.log_level)
    if injected := injected_port(os.environ):
        structlog.get_logger("server").warning("PARSING_RCNN_PORT is not used: it is of Kubernetes", value=injected)
    try:
        ModelRepository.open(settings.repository, settings.model)  # what is missing now will stay missing
        application = create_app(settings)
    except ParsingRCNNError as error:
        _say(style, "error", error.detail)
        raise typer.Exit(1) from error
    listener = _listen(settings.host, settings.port, style)
    url = f"http://{address(settings.host, listener.getsockname()[1])}"
    _say(style, "info", f"Parsing R-CNN Serving on {url}", "  (page: /, API: /docs, stop: Ctrl-C)")
    if not is_loopback(settings.host):
        lacks = "encryption" if settings.keys else "keys or encryption"
        _say(style, "warning", f"reachable from other machines, without {lacks}")
    connections = _allow_connections(settings.max_connections, style)
    limited = settings.model_copy(update={"max_connections": connections})
    return uvicorn.Server(configuration(application, limited)), listener


def _say(style: str, level: Literal["info", "warning", "error"], what: str, hint: str = "") -> None:
    """Print a line with a hint; if the log is JSON, log the line without the hint."""
    import structlog

    if style == "json":
        getattr(structlog.get_logger("server"), level)(what)
        return
    _tell(f"{'' if level == 'info' else f'{level}: '}{what}{hint}")


def _tell(line: str) -> None:
    with suppress(OSError):  # full disk, or the reader of the log has gone: serve all the same
        typer.echo(line, err=True)


def _style(options: Mapping[str, Any]) -> str:
    """The format of the log, which is needed even if other settings are wrong."""
    from server.settings import PREFIX

    variables = {name.upper(): value for name, value in os.environ.items()}
    style = options["log_format"] or variables.get(f"{PREFIX}LOG_FORMAT")
    return "json" if style == "json" else "console"


def _settings(options: Mapping[str, Any], style: str) -> Settings:
    """Settings from the options and the environment; ends the command with the error if one is wrong."""
    from pydantic import ValidationError

    from server.settings import Settings, unknown_variables

    if unknown := unknown_variables(os.environ):
        for reason in unknown:
            _say(style, "error", reason)
        raise typer.Exit(2)
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        for e in error.errors():
            reason = e["msg"].removeprefix("Value error, ")
            _say(style, "error", f"{'.'.join(map(str, e['loc']))}: {reason}, got {e['input']!r}")
        raise typer.Exit(2) from error


def _listen(host: str, port: int, style: str) -> socket.socket:
    """A socket that listens; ends the command with the reason if it cannot."""
    from server.settings import address

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason, remedy = str(error.strerror).partition(" (")[0], "another with --port (`make serve PORT=...`) or --host"
        _say(style, "error", f"cannot listen on {address(host, port)}: {reason}; choose {remedy}")
        raise typer.Exit(1) from error


def _allow_connections(wanted: int, style: str) -> int:
    """Raise this process's limit of open files if it is too low for so many connections, each of which is a file.

    Returns:
        The number of connections that leaves enough files for models and for Triton.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == needed:
        return wanted
    fewer = max(allowed - _OTHER_FILES, _FEWEST_CONNECTIONS)
    _say(
        style,
        "warning",
        f"{allowed} files may be open here (`ulimit -Hn`), so at most {fewer} connections at the same time instead of "
        f"--max-connections {wanted}, which needs {needed}",
    )
    return fewer


def key(
    name: Annotated[
        str | None, typer.Argument(help="Whose key: letters, digits, dots, underscores, hyphens.", show_default=False)
    ] = None,
    file: Annotated[Path, typer.Option(help="The file that `serve --keys` reads.")] = Path("keys.txt"),
    another: Annotated[bool, typer.Option("--another", help="Give a name that has a key one more.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List the names and how many keys each has.")] = False,
    revoke: Annotated[str | None, typer.Option(metavar="NAME", help="Remove all keys of this name.")] = None,
) -> None:
    """Make an API key. The file gets its hash; the key is shown this once. A running gateway accepts it at once."""
    from server.keys import add_key, count_keys, revoke_keys

    if [name is not None, show, revoke is not None].count(True) != 1 or (another and name is None):
        _tell(
            "error: give one of NAME (a key for whom; with --another beside one that is there), --list, --revoke NAME"
        )
        raise typer.Exit(2)
    if name is not None:
        typer.echo(add_key(file, name, another=another))
    elif revoke is not None:
        count = revoke_keys(file, revoke)
        typer.echo(f"{revoke}: {_keys(count)} revoked" + ("" if count_keys(file) else f"; {file} lets nobody in now"))
    else:
        for whose, count in count_keys(file).items():
            typer.echo(f"{whose}  {_keys(count)}")


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count} keys"


def triton(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="-- OPTIONS", help="Options of tritonserver itself, behind `--`.")
    ] = None,
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535)] = 8001,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535)] = 8002,
    profile: Annotated[str, typer.Option(help="auto, gpu (TensorRT), ort_gpu or cpu.")] = "auto",
    drain_seconds: Annotated[int, typer.Option(min=1, max=3600, help="For accepted requests after SIGTERM.")] = 20,
    log_format: Annotated[str, typer.Option(help="console or json: Triton's own lines, too.")] = "console",
    log_level: Annotated[str, typer.Option(help="The least that is logged: debug, info, warning or error.")] = "info",
) -> None:
    """Start a Triton server on the model repository and keep it healthy."""
    from typing import cast, get_args

    from parsing_rcnn.errors import ParsingRCNNError
    from parsing_rcnn.repository import ModelRepository
    from server.settings import Settings, bare, is_loopback
    from server.supervisor.installation import Installation
    from server.supervisor.launch import Launch, Supervisor, forward_signals
    from server.supervisor.options import asks_for_help
    from server.supervisor.profiles import Profile
    from server.telemetry import configure_logging

    allowed = {"--profile": (profile, get_args(Profile))}
    for flag, value in (("log_format", log_format), ("log_level", log_level)):
        allowed[f"--{flag.replace('_', '-')}"] = value, get_args(Settings.model_fields[flag].annotation)
    wrong = [
        f"{flag} {value!r}: choose one of {', '.join(some)}"
        for flag, (value, some) in allowed.items()
        if value not in some
    ]
    configure_logging(log_format, "info" if wrong else log_level)
    for reason in wrong:
        _say(log_format, "error", reason)
    if wrong:
        raise typer.Exit(2)
    try:
        if asks_for_help(more or ()):
            typer.echo(Installation.find().usage())
            return
        found = ModelRepository.open(repository).path.resolve()
        ports = (http_port, grpc_port, metrics_port)
        launch = Launch(
            found,
            bare(host),
            *ports,
            cast(Profile, profile),
            drain_seconds,
            muted={"warning": ("info",), "error": ("info", "warning")}.get(log_level, ()),
            more=tuple(more or ()),
        )
        supervisor = Supervisor(launch, Installation.find(), wrapped=log_format == "json")
    except ParsingRCNNError as error:
        _say(log_format, "error", error.detail)
        raise typer.Exit(1) from error
    launch = supervisor.launch  # its host is a number now
    if not is_loopback(launch.host):
        _say(log_format, "warning", "Triton is reachable from other machines, without keys or encryption")
    forward_signals(supervisor)
    http, grpc, metrics = (launch.address(port) for port in ports)
    where = f"http://{http}, grpc://{grpc}, metrics http://{metrics}/metrics"
    try:
        supervisor.run(lambda: _say(log_format, "info", f"Triton is ready: {where}", "  (stop: Ctrl-C)"))
    except ParsingRCNNError as error:
        _say(log_format, "error", error.detail)
        raise typer.Exit(1) from error
