"""`parsing-rcnn export`, `verify` and `quantize`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.quantization.command import quantize

if TYPE_CHECKING:
    from export.options import ExportOptions

TARGETS = ("onnx", "openvino", "triton", "tensorrt")


def register(app: typer.Typer) -> None:
    """Add the commands. Torch is imported when a command runs, not before."""
    app.command("export")(export)
    app.command("verify")(verify)
    app.command("quantize")(quantize)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="weights.safetensors of a run with its JSON, or a repository.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model repository to write.")] = Path("model_repository"),
    version: Annotated[
        str | None, typer.Option(help="Version of the weights (default: from --card or the repository, else 1).")
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="JSON with fields for the model card: tasks, data, limits (default: a repository's card)."),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="onnx; openvino: also model.xml beside each graph; triton: also Triton's configurations and models; "
            "tensorrt: those and engines for this machine's GPU."
        ),
    ] = "onnx",
    precision: Annotated[
        str, typer.Option(help="The type that the graphs compute in: fp32, fp16 or bf16 (INT8: `quantize`).")
    ] = "fp32",
    size: Annotated[
        list[str] | None, typer.Option(help="Input size, HEIGHTxWIDTH in steps of 32; repeat it for several.")
    ] = None,
    proposals: Annotated[int | None, typer.Option(help="Most proposals of a picture (default: the recipe's).")] = None,
    max_people: Annotated[int, typer.Option(help="Most people of a picture.")] = 64,
    static_people: Annotated[
        int | None, typer.Option(help="The detector always gives this many rows; the first COUNT are people.")
    ] = None,
    people_buckets: Annotated[
        str | None, typer.Option(help="Numbers of people that the heads are made for, as in 1,4,16,64.")
    ] = None,
    pooling: Annotated[
        str, typer.Option(help="How the heads' RoIs are pooled: roi_align, or matmul (matrix products).")
    ] = "roi_align",
    print_trtexec: Annotated[
        bool, typer.Option("--print-trtexec", help="With tensorrt: print the commands that build engines, build none.")
    ] = False,
    plugin: Annotated[
        Path | None, typer.Option(help="libprcnn_plugin.so for TensorRT (default: what `make plugin` built).")
    ] = None,
) -> None:
    """Write the ONNX graphs and the model card of a checkpoint, and what else the target needs."""
    from export.options import ExportOptions, OptionError
    from export.targets import write_engines, write_openvino, write_triton

    if target not in TARGETS:
        typer.echo(f"error: --target {target!r}: choose one of {', '.join(TARGETS)}", err=True)
        raise typer.Exit(2)
    try:
        options = ExportOptions.read(
            size or (),
            people_buckets,
            precision=precision,
            proposals=proposals,
            max_people=max_people,
            static_people=static_people,
            pooling=pooling,
        )
    except OptionError as error:
        other = "; INT8 is made of an exported repository by `parsing-rcnn quantize`" if precision == "int8" else ""
        typer.echo(f"error: {error}{other}", err=True)
        raise typer.Exit(2) from error
    try:
        _write_graphs(checkpoint, out, version, card, options)
        if target == "openvino":
            write_openvino(out)
        if target in ("triton", "tensorrt"):
            write_triton(out)
        if target == "tensorrt":
            write_engines(out, plugin, print_trtexec)
    except (OSError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _write_graphs(checkpoint: Path, out: Path, version: str | None, card: Path | None, options: ExportOptions) -> None:
    from export.card import completed, read_card, unfounded
    from export.cost import gigaflops
    from export.onnx import export_repository, taken_over
    from parsing_rcnn.repository import CARD
    from training.checkpoint import load_model

    given = read_card(card) if card is not None else None
    known = taken_over(checkpoint, options) if (checkpoint / CARD).is_file() else {}
    model, recipe = load_model(checkpoint)
    # without a card, only the recipe says which tasks are trained
    trained = {"parsing": {"trained": recipe.train.parsing}, "densepose": {"trained": recipe.train.densepose}}
    tasks = {**trained, **known.get("tasks", {})}
    if card is not None and given is not None:
        described = completed(card, given, recipe, options, tasks)
        for task in unfounded(described, tasks):
            typer.echo(
                f"note: {card} calls {task} trained, and the recipe of the weights did not train it (train.{task} is "
                "false): true only where they began from weights that have it",
                err=True,
            )
    else:
        described = completed(checkpoint / CARD, known, recipe, options, tasks)
    version = version or str(described.get("version", known.get("version", "1")))
    with warnings.catch_warnings():
        # raised by torchvision's own code
        warnings.filterwarnings("ignore", "`create_unbacked_symint` is deprecated", FutureWarning)
        files = export_repository(model, recipe, out, version=version, card=described, options=options)
    canvases = [(height, width) for height, width in described.get("canvases", options.canvases(recipe))]
    costs = gigaflops(model, canvases, options.proposals)
    for name, path in files.items():
        cost = ", ".join(f"{what} {number:.3g} GFLOP" for what, number in costs[name].items())
        typer.echo(f"{name}: {path} ({path.stat().st_size / 1e6:.1f} MB; {cost})")


def verify(
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
    photos: Annotated[Path | None, typer.Option(help="A folder of JPEGs to run beside the rendered scenes.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of these photos at most.")] = 24,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights for torch, rounded as the export rounds them (default: those of the repository)."),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="A repository of the same weights in another precision; repeatable.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder that holds ccp/ with labels: also compare mIoU on its validation photos."),
    ] = None,
    situation: Annotated[
        list[str] | None, typer.Option(help="Run only this rendered scene, as '20 people'; repeatable (default: all).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the report here (Markdown; JSON and pictures beside it).")
    ] = None,
) -> None:
    """Compare torch and every installed runtime with each other on rendered scenes; exit 1 beyond the stated limits."""
    from export.files import claim_report
    from export.parity.report import to_markdown, write_report
    from export.parity.situations import UnknownSituation, chosen_situations
    from export.parity.verify import verify as run
    from parsing_rcnn.errors import ParsingRCNNError
    from parsing_rcnn.repository import ModelRepository
    from training.errors import TrainingError
    from training.progress import progress_bar

    try:
        opened = ModelRepository.open(repository)
        chosen = chosen_situations(opened.canvases, situation or ())
        if out is not None:
            claim_report(out)
        with progress_bar() as progress:
            report, answers, situations = run(
                repository,
                photos,
                count,
                checkpoint,
                also=also or (),
                data=data,
                situations=chosen,
                progress=progress,
            )
        typer.echo(to_markdown(report, repository=repository))
        if out is not None:
            write_report(report, out, answers, situations, opened.taxonomy, repository)
    except UnknownSituation as error:
        raise typer.BadParameter(str(error)) from error
    except (TrainingError, FileNotFoundError, ParsingRCNNError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if not report["passed"]:
        raise typer.Exit(1)
