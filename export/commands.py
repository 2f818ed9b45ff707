"""`parsing-rcnn export`, `verify` and `quantize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from export.quantize_command import quantize


def register(app: typer.Typer) -> None:
    """Add the commands. Torch is imported when a command runs, not before."""
    app.command("export")(export)
    app.command("verify")(verify)
    app.command("quantize")(quantize)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="weights.safetensors of a run with its JSON, or a repository.")],
    out: Annotated[Path, typer.Option(help="The model repository to write.")] = Path("model_repository"),
    version: Annotated[str, typer.Option(help="Version of the weights, for the card.")] = "1",
    card: Annotated[Path | None, typer.Option(help="JSON that the card takes over: tasks, data, limits.")] = None,
    target: Annotated[
        str, typer.Option(help="onnx; openvino: model.xml beside each graph; triton: configurations and models, too.")
    ] = "onnx",
) -> None:
    """Write the ONNX graphs and the model card of a checkpoint, and what Triton needs around them."""
    from export.onnx import export_repository
    from training.checkpoint import CheckpointError, load_model

    if target not in ("onnx", "openvino", "triton"):
        typer.echo(f"error: --target {target!r}: choose onnx, openvino or triton", err=True)
        raise typer.Exit(2)
    try:
        model, recipe = load_model(checkpoint)
        described = json.loads(card.read_text()) if card is not None else _untold()
    except (CheckpointError, OSError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for name, path in export_repository(model, recipe, out, version=version, card=described).items():
        typer.echo(f"{name}: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if target == "openvino":
        from export.openvino import write_models as write_openvino

        for path in write_openvino(out):
            typer.echo(f"openvino: {path} ({path.with_suffix('.bin').stat().st_size / 1e6:.1f} MB)")
    if target == "triton":
        from export.repository import write_models

        typer.echo(f"triton: {len(write_models(out))} configurations and models in {out}")


def _untold() -> dict[str, object]:
    """A card for weights about which nothing is known but that their parsing head was trained."""
    return {"tasks": {"parsing": {"trained": True}, "densepose": {"trained": False}}}


def verify(
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
    photos: Annotated[Path | None, typer.Option(help="A folder of JPEGs to add to the rendered scenes.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of these photos.")] = 24,
    checkpoint: Annotated[Path | None, typer.Option(help="Compare with these weights, rounded as exported.")] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="A repository of the same weights in another precision; several.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds ccp/ with labels: the change of mIoU.")] = None,
    situation: Annotated[
        list[str] | None, typer.Option(help="Only this rendered situation, as '20 people'; several (default: all).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the report here (Markdown; JSON and pictures beside it).")
    ] = None,
) -> None:
    """Hold torch and every runtime against each other in every situation; exit 1 beyond the stated limits."""
    from export.parity_report import to_markdown, write_report
    from export.situations import chosen_situations
    from export.verify import verify as run
    from parsing_rcnn.errors import ParsingRCNNError
    from parsing_rcnn.repository import ModelRepository
    from training.checkpoint import CheckpointError
    from training.data.sources import DatasetError
    from training.evaluation_report import progress_bar

    try:
        chosen = chosen_situations(situation or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        taxonomy = ModelRepository.open(repository).taxonomy
        with progress_bar() as progress:
            report, found, situations = run(
                repository,
                photos,
                count,
                checkpoint,
                also=also or (),
                data=data,
                situations=chosen,
                progress=progress,
            )
    except (CheckpointError, DatasetError, FileNotFoundError, ParsingRCNNError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(to_markdown(report))
    if out is not None:
        write_report(report, out, found, situations, taxonomy)
    if not report["passed"]:
        raise typer.Exit(1)
