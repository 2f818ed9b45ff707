"""`parsing-rcnn serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command. The web stack is imported when it runs, not before."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8080).")] = None,
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
    model: Annotated[str | None, typer.Option(help="one of the repository's: fast (default) or large.")] = None,
    runtime: Annotated[str | None, typer.Option(help="auto, openvino or onnxruntime.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of one inference (default: all cores).")] = None,
    workers: Annotated[int | None, typer.Option(help="Pictures analysed at the same time (default 1).")] = None,
    queue: Annotated[int | None, typer.Option(help="Pictures that may wait (default 16).")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Bytes of a picture (default 32 MiB).")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Pixels of a picture (default 64 million).")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
) -> None:
    """Start the gateway. Every option is also an environment variable: --max-bytes is PARSING_RCNN_MAX_BYTES."""
    import socket

    import uvicorn
    from pydantic import ValidationError

    from server.app import create_app
    from server.settings import Settings
    from server.telemetry import configure_logging

    given = {k: v for k, v in locals().items() if k in Settings.model_fields and v is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for e in error.errors():
            typer.echo(f"error: {'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}", err=True)
        raise typer.Exit(2) from error
    configure_logging(settings.log_format)
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        typer.echo(f"error: cannot listen on {where}: {error.strerror}; choose another with --port", err=True)
        raise typer.Exit(1) from error
    shown, bound = settings.host, listener.getsockname()[1]
    typer.echo(f"Parsing R-CNN Serving on http://{shown}:{bound}  (page: /, API: /docs, stop: Ctrl-C)", err=True)
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        typer.echo("warning: reachable from other machines, without keys or encryption", err=True)
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.drain_seconds,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])
