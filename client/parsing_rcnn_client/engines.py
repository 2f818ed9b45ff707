"""From the options of a command to the engine that answers it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from parsing_rcnn.people import Analyzer

Repository = Annotated[
    Path | None,
    typer.Option(help="Model repository (default: PARSING_RCNN_REPOSITORY, the clone, the installed files)."),
]
Model = Annotated[str | None, typer.Option(help="one of the repository's: fast (default) or large.")]
RuntimeName = Annotated[str, typer.Option("--runtime", help="auto, openvino or onnxruntime.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of one inference (default: all cores).")]
Server = Annotated[str | None, typer.Option(help="Ask this gateway, for example http://127.0.0.1:8080.")]
TritonServer = Annotated[
    str | None, typer.Option("--triton", help="Ask this Triton, grpc://host:8001 or http://host:8000.")
]
Embedded = Annotated[bool, typer.Option("--embedded", help="Compute in this process (the default).")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that a server may take for one picture.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def open_engine(
    server: str | None,
    triton: str | None,
    embedded: bool,
    *,
    repository: Path | None = None,
    model: str | None = None,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    timeout: float = 60.0,
    jpeg_quality: int | None = None,
) -> Analyzer:
    """The engine that the options name.

    Raises:
        InvalidOptions: two engines at once, or an option of the embedded engine beside a server.
        ParsingRCNNError: it is not there.
    """
    from parsing_rcnn.errors import InvalidOptions

    if sum((server is not None, triton is not None, embedded)) > 1:
        raise InvalidOptions("--server, --triton and --embedded exclude each other: name one")
    address = server or triton
    if address is None:
        from parsing_rcnn.pipeline import Pipeline

        return Pipeline(repository, model=model, runtime=runtime, precision=precision, threads=threads)
    own = {"--repository": repository, "--model": model, "--threads": threads}
    chosen = [name for name, value in own.items() if value is not None]
    chosen += [n for n, v in (("--runtime", runtime), ("--precision", precision)) if v != "auto"]
    if chosen:
        raise InvalidOptions(f"{', '.join(chosen)}: only for the embedded engine; {address} has its own")
    _quiet_retries()
    if server is not None:
        from parsing_rcnn_client.gateway import Gateway

        return Gateway(server, timeout, jpeg_quality=jpeg_quality)
    from parsing_rcnn_client.triton import Triton

    return Triton(address, timeout, jpeg_quality=jpeg_quality)


def _quiet_retries() -> None:
    # a command shows one line when it gives up; each try on the way there belongs into no terminal
    from stamina.instrumentation import set_on_retry_hooks

    set_on_retry_hooks([])
