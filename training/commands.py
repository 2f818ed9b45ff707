"""`parsing-rcnn train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HERE = Path(__file__).parent


def register(app: typer.Typer) -> None:
    """Add the commands. Torch is imported when a command runs, not before."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)


def train(
    config: Annotated[Path, typer.Argument(help="A recipe of training/configs.")] = _HERE / "configs" / "light.yaml",
    data: Annotated[Path, typer.Option(help="Folder that holds ccp/, groups/ and backgrounds/.")] = Path("data"),
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, curves.")] = Path("runs/light"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override: section.key=value.")] = None,
    warm_start: Annotated[Path | None, typer.Option(help="Weights (safetensors) to start from.")] = None,
    fresh: Annotated[bool, typer.Option(help="Do not resume what lies in --out.")] = False,
) -> None:
    """Train a recipe; resumes by itself when --out holds a run."""
    from training.checkpoint import CheckpointError
    from training.config import ConfigError, load_config
    from training.data.sources import DatasetError
    from training.report import write_report
    from training.train import Trainer, TrainingDiverged

    try:
        recipe = load_config(config, tuple(set_ or ()))
        trainer = Trainer(recipe, data, out, warm_start)
        if not fresh and trainer.resume():
            typer.echo(f"resuming {out} at step {trainer.step}", err=True)
        trainer.run()
    except (ConfigError, DatasetError, CheckpointError, TrainingDiverged, FileNotFoundError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    write_report(out, data)


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder that holds ccp/, groups/ and backgrounds/.")] = Path("data"),
    repository: Annotated[Path | None, typer.Option(help="Model repository (default: the shipped one).")] = None,
    crowd: Annotated[Path, typer.Option(help="What benchmarks/make_eval.py wrote.")] = Path("data/eval/crowd"),
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("out/evaluation"),
) -> None:
    """Measure the full pipeline on the held-out pictures."""
    from training.data.sources import DatasetError
    from training.evaluate import run_evaluate

    try:
        run_evaluate(data=data, repository=repository, crowd=crowd, out=out)
    except DatasetError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
