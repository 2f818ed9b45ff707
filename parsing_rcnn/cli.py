"""`parsing-rcnn`: the command line, assembled from the commands that each folder brings.

Distributions register a function `register(app: typer.Typer) -> None` in the entry-point group
`parsing_rcnn.commands`. In a clone the applications that are in no wheel (server, training, export) are found
beside this package by their commands.py, so nothing here imports upwards.
"""

from __future__ import annotations

import sys

from parsing_rcnn.interrupt import ends_at_once

with ends_at_once():  # these imports take half a second
    import importlib
    import os
    from collections.abc import Callable
    from importlib.metadata import entry_points
    from pathlib import Path
    from typing import Annotated, Any

    import typer
    from typer.core import TyperGroup

    from parsing_rcnn import __version__
    from parsing_rcnn.errors import ParsingRCNNError
    from parsing_rcnn.terminal import open_standard_files, say

GROUP = "parsing_rcnn.commands"
_SENTENCE = 200  # characters of a command's help in the list
APPLICATIONS = ("server", "training", "export")

# missing module -> how to install it
_REMEDIES = {
    "openvino": "pip install 'parsing-rcnn[cpu]'",
    "onnxruntime": "pip install 'parsing-rcnn[cpu]'",
    "tritonclient": "pip install 'parsing-rcnn-client[triton]'",
}

_SERVES = "fastapi fastapi_offline grpc multipart opentelemetry prometheus_client pydantic_settings structlog uvicorn"
_REMEDIES |= dict.fromkeys(_SERVES.split(), "pip install 'parsing-rcnn[serve,cpu]', or `make serve` in the clone")
_TRAINS = (
    "joblib matplotlib numba onnx onnx_ir onnxscript pydantic safetensors scipy tensorboard torch torchvision yaml"
)
_REMEDIES |= dict.fromkeys(
    _TRAINS.split(),
    "training and export run in an environment of their own: `make train-env` in the clone, then "
    ".venv-torch/bin/parsing-rcnn (or pip install -r requirements/train.txt)",
)

_CLIENT = "pip install parsing-rcnn-client"
_TRAINING = "no wheel has it; it runs from a clone of the repository, where `make train-env` installs what it needs"
_SERVING = _TRAINING.replace("train-env", "serve") + ", or from an image"

# command that may be absent -> how to install it
COMMANDS = {
    **dict.fromkeys(["predict", "annotate", "stream", "info", "models"], _CLIENT),
    **dict.fromkeys(["serve", "key", "triton"], _SERVING),
    **dict.fromkeys(["train", "evaluate", "render", "pseudo-label", "import", "datasets"], _TRAINING),
    **dict.fromkeys(["export", "verify", "quantize"], _TRAINING),
}


class _Commands(TyperGroup):
    """Lists commands with their whole first sentence, which click would cut at the end of the line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of the commands."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: command for name, command in commands.items() if command is not None and not command.hidden}
        if not shown:
            return
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(_SENTENCE)) for name, command in shown.items()])


def build() -> typer.Typer:
    """The application with every command that can be found."""
    app = typer.Typer(
        name="parsing-rcnn",
        help="Every person in a photo, with a box, body parts and DensePose IUV.",
        no_args_is_help=True,
        cls=_Commands,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    for register in (*_installed(), *_beside()):
        register(app)
    there = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    for name in COMMANDS.keys() - there:
        _explain(app, name)
    if "predict" not in there:
        app.info.epilog = f"predict, annotate, stream, info and models: {_CLIENT}"
    return app


def _explain(app: typer.Typer, name: str) -> None:
    """Add a command that says how to install the real one, whatever its arguments are."""

    def absent() -> None:
        _fail(f"{name} is not installed here: {COMMANDS[name]}")

    taken = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, hidden=True, add_help_option=False, context_settings=taken)(absent)


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"parsing-rcnn {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _installed() -> list[Callable[[typer.Typer], None]]:
    return [entry.load() for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)]


def _beside() -> list[Callable[[typer.Typer], None]]:
    """The applications of the clone around this package; none when it was installed from a wheel."""
    clone = Path(__file__).resolve().parent.parent
    if not (clone / "pyproject.toml").is_file():
        return []
    if str(clone) not in sys.path:
        sys.path.insert(0, str(clone))
    present = [name for name in APPLICATIONS if (clone / name / "commands.py").is_file()]
    modules: list[Any] = [importlib.import_module(f"{name}.commands") for name in present]
    return [module.register for module in modules]


def main() -> None:
    """Entry point of the console script. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    open_standard_files()
    try:
        with ends_at_once():
            command = typer.main.get_command(build())
        command()
    except ParsingRCNNError as error:
        _fail(error.detail)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        _fail(
            f"{missing} is not installed, and this command needs it: {_REMEDIES.get(missing, f'pip install {missing}')}"
        )
    except BrokenPipeError:
        # the reader of our output (head, less) has gone: not an error, and nothing more can be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(message: str) -> None:
    say(f"error: {message}")
    sys.exit(1)
