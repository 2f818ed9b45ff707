"""What `export` and `quantize` add to a repository for a target, once its graphs and its card are written."""

from __future__ import annotations

from pathlib import Path

import typer


def write_openvino(out: Path) -> None:
    """Write model.xml beside each graph."""
    from export.openvino import write_models

    for path in write_models(out):
        typer.echo(f"openvino: {path} ({path.with_suffix('.bin').stat().st_size / 1e6:.1f} MB)")


def write_triton(out: Path) -> None:
    """Write Triton's configurations and python models."""
    from export.triton_repository import write_models

    typer.echo(f"triton: {len(write_models(out))} configurations and models in {out}")


def write_engines(out: Path, plugin: Path | None, print_only: bool, precision: str = "fp32") -> None:
    """Write graphs for TensorRT and build their engines for this machine's GPU.

    Args:
        plugin: libprcnn_plugin.so; None: what `make plugin` built.
        print_only: print the commands that build the engines, and build none.
        precision: see `ModelRepository.graph`.

    Raises:
        TensorRTGraphError, PluginNodeError: see `export.tensorrt.graph.for_tensorrt`.
        typer.Exit: no engine can be built here; the reason has been printed.
    """
    from export.tensorrt.builder import PLUGIN, TensorRTError, TensorRTMissing, build_engines, trtexec
    from export.tensorrt.plans import write_plans
    from parsing_rcnn.runtime import cache_folder

    plans, library, cache = write_plans(out, precision), plugin or PLUGIN, cache_folder()
    for plan in plans:
        typer.echo(f"tensorrt: {plan.onnx} ({plan.onnx.stat().st_size / 1e6:.1f} MB)")
    commands = [trtexec(plan, library, cache) for plan in plans]
    if print_only:
        typer.echo("\n".join(commands))
        return
    try:
        for path in build_engines(plans, library, cache):
            typer.echo(f"tensorrt: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    except TensorRTError as error:
        typer.echo(f"error: {error}", err=True)
        if isinstance(error, TensorRTMissing):
            typer.echo("\n".join(commands))
        raise typer.Exit(1) from error
