"""`parsing-rcnn quantize`: a command of its own, because it takes a repository and photos, not a checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from export.quantization.quantize import Request


_SENSITIVITY = 8  # photos of each folder, unless asked otherwise


def quantize(
    calibrate: Annotated[
        list[Path], typer.Option(help="Folder of photos with people to measure ranges on; repeatable.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The repository to write: a copy with INT8 graphs added.")],
    repository: Annotated[Path | None, typer.Option(help="The repository (default: the shipped one).")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many photos of each folder.")] = 64,
    graph: Annotated[
        list[str] | None, typer.Option(help="detector, parsing or densepose_head; repeatable (default: all).")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A part that stays in fp32, as 'detector backbone.stem'; repeatable.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="onnx: graphs for CPUs; tensorrt: graphs for TensorRT, Triton's files, engines for this machine's GPU."
        ),
    ] = "onnx",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with ccp/ (labels: mIoU before and after) and groups/; held-out photos do not calibrate."
        ),
    ] = None,
    sensitivity: Annotated[
        int, typer.Option(min=0, help="Photos of each folder for the sensitivity report; 0: no such report.")
    ] = _SENSITIVITY,
    times: Annotated[bool, typer.Option(help="Also measure milliseconds a photo (onnx only).")] = True,
    report: Annotated[Path | None, typer.Option(help="Markdown (and JSON); default: OUT/quantization.md.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one inference (default: all usable cores).")
    ] = None,
    print_trtexec: Annotated[
        bool, typer.Option("--print-trtexec", help="With tensorrt: print the commands that build engines, build none.")
    ] = False,
    plugin: Annotated[
        Path | None, typer.Option(help="libprcnn_plugin.so for TensorRT (default: what `make plugin` built).")
    ] = None,
) -> None:
    """Write a repository with INT8 graphs, and report what INT8 costs, part by part, and whether to ship it."""
    from export.files import claim_report
    from export.plugin.node import PluginNodeError
    from export.quantization.calibration import CalibrationError
    from export.quantization.quantize import Request
    from export.targets import write_engines, write_triton
    from export.tensorrt.graph import TensorRTGraphError
    from parsing_rcnn.errors import ParsingRCNNError
    from parsing_rcnn.repository import GRAPHS, ModelRepository
    from training.errors import TrainingError
    from training.evaluation.evaluate import refuse_other_classes

    if target not in ("onnx", "tensorrt"):
        raise typer.BadParameter(f"--target {target!r}: choose onnx or tensorrt")
    try:
        source = ModelRepository.open(repository)
        if data is not None:
            refuse_other_classes(source.taxonomy)
        excluded = _held_out(data)
        request = Request(
            source=source,
            out=out,
            photos=tuple(calibrate),
            count=count,
            excluded=excluded,
            twins=_twins(excluded),
            graphs=tuple(graph or GRAPHS),
            keep=tuple(keep or ()),
            activations="int8" if target == "tensorrt" else "uint8",
            threads=threads,
        )
        page = report or out / "quantization.md"
        claim_report(page, "--report" if report else "--out")
        repeat = _command(request, data, page, repository, sensitivity, times=times)
        _run(request, data, sensitivity, times, page, repeat)
        if target == "tensorrt":
            write_triton(out)
            write_engines(out, plugin, print_trtexec, precision="int8")
    except (CalibrationError, TrainingError, ParsingRCNNError, PluginNodeError, TensorRTGraphError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _held_out(data: Path | None) -> tuple[str, ...]:
    """Names of the photos in `data` that models are measured on: they must not calibrate.

    Raises:
        DatasetError: no labelled photo is held out, or what is there is broken.
    """
    from training.data.groups import GroupPhotos
    from training.data.sources import LabelledPhotos
    from training.errors import EmptySplitError

    if data is None:
        return ()
    images = [*LabelledPhotos.open(data / "ccp", validation=True).images]
    if (data / "groups").is_dir():
        with suppress(EmptySplitError):
            images += GroupPhotos.open(data / "groups", validation=True).images
    return tuple(path.name for path in images)


def _twins(held_out: Sequence[str]) -> tuple[str, ...]:
    """Names under which clothing-co-parsing holds photos of `held_out` a second time."""
    from training.data.splits import CCP_TWINS

    return tuple(f"{twin}.jpg" for twin, measured in CCP_TWINS.items() if f"{measured}.jpg" in held_out)


def _command(
    request: Request, data: Path | None, report: Path, repository: Path | None, sensitivity: int, *, times: bool
) -> str:
    """The command line that makes the same files and page again; `data` is written as DATA, which is no one's path."""
    from parsing_rcnn.repository import GRAPHS

    def shown(folder: Path) -> str:
        return f"DATA/{folder.relative_to(data)}" if data is not None and folder.is_relative_to(data) else str(folder)

    options = [("--calibrate", shown(folder)) for folder in request.photos]
    options += [("--count", str(request.count)), *([("--data", "DATA")] if data is not None else [])]
    options += [("--graph", name) for name in request.graphs if request.graphs != GRAPHS]
    options += [("--keep", part) for part in request.keep]
    options += [("--target", "tensorrt")] if request.activations == "int8" else []
    options += [("--repository", shown(repository))] if repository is not None else []
    options += [("--sensitivity", str(sensitivity))] if sensitivity != _SENSITIVITY else []
    options += [("--threads", str(request.threads))] if request.threads is not None else []
    end = [("--out", str(request.out)), ("--report", str(report))]
    words = [word for option in (*options, *end) for word in option]
    return shlex.join(["parsing-rcnn", "quantize", *words, *(["--no-times"] if not times else [])])


def _run(request: Request, data: Path | None, sensitivity: int, times: bool, path: Path, repeat: str) -> None:
    """Quantise, measure, print the report and write it to `path`; `repeat` is the command line for it."""
    import onnx

    from export.files import write_report
    from export.quantization.calibration import other_photos
    from export.quantization.quantize import quantise_repository, threads_of
    from export.quantization.report import analyzers, measure_accuracy, measure_times, to_markdown
    from export.quantization.report import report as describe
    from export.quantization.sensitivity import measure_sensitivity
    from parsing_rcnn.codecs.image import decode
    from parsing_rcnn.geometry import fit
    from parsing_rcnn.repository import GRAPHS
    from training.progress import progress_bar

    threads, source = threads_of(request), request.source
    with progress_bar() as progress:
        done = quantise_repository(request, progress)
        errors = []
        if sensitivity:
            used = {p.name for p in done.calibration.photos}
            left = (*request.excluded, *used)
            others = [path for folder in request.photos for path in other_photos(folder, sensitivity, left)]
            if others:
                canvases = [fit(decode(p.read_bytes()), source.canvases)[0] for p in others]
                plain = {name: onnx.load(source.graph(name)) for name in GRAPHS}
                errors = measure_sensitivity(done.ranged, plain, canvases, threads, progress, request.activations)
            else:
                typer.echo("note: every photo calibrates: no sensitivity report; ask for fewer with --count", err=True)
        accuracy = None
        if data is not None:
            accuracy = measure_accuracy(analyzers(source, done, threads), data, progress)
        # no CPU runtime takes the graphs for TensorRT
        spent = measure_times(done, threads, progress) if times and done.repository.quantised_for == "cpu" else None
    document = describe(source, done, accuracy, errors, spent, repeat)
    text = to_markdown(document)
    typer.echo(text)  # first: it is there even where the file cannot be written
    write_report(path, text, document)
