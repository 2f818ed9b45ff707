"""The command line as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parsing_rcnn.cli import COMMANDS, build

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parsing_rcnn", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_help_lists_the_commands_of_every_folder() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for command in ("predict", "info", "models", "serve", "train", "evaluate", "export", "verify"):
        assert f"\n  {command} " in shown.stdout


def test_help_cuts_no_sentence_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("--help").stdout
    assert "..." not in shown.partition("Commands:")[2]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "completed"), [("parsing-rcnn predi", "predict"), ("parsing-rcnn predict --overl", "--overlay-format")]
)
def test_a_shell_completes_commands_and_options(monkeypatch: pytest.MonkeyPatch, words: str, completed: str) -> None:
    monkeypatch.setenv("_PARSING_RCNN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    script = "from parsing_rcnn.cli import main; import sys; sys.argv = ['parsing-rcnn']; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [completed]


def test_every_command_of_the_clone_is_known_where_it_is_not_there() -> None:
    app = build()
    assert not any(command.hidden for command in app.registered_commands)  # each is the real one
    names = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert names == set(COMMANDS)


def test_version() -> None:
    assert run("--version").stdout == "parsing-rcnn 0.1.0\n"


def test_it_works_from_any_folder(tmp_path: Path) -> None:
    assert "detector" in run("models", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models", "--repository", "nowhere"], "error: nowhere: no such model repository"),
        (["info", "--precision", "int4"], "error: precision 'int4': choose one of auto, fp32, bf16, int8"),
        (
            ["evaluate", "--data", "nowhere", "--crowd", "nowhere", "--synthetic", "nowhere"],
            "error: nothing to measure: no nowhere/ccp",
        ),
    ],
)
def test_errors_are_one_line_and_no_trace(arguments: list[str], says: str) -> None:
    failed = run(*arguments)
    assert failed.returncode != 0
    assert says in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("torch", ["train", "training/configs/light.yaml"]),
        ("scipy", ["render", "-o", "nowhere"]),
        ("yaml", ["export", "model_repository", "--out", "nowhere"]),
    ],
)
def test_a_command_whose_packages_are_missing_says_what_brings_them(
    module: str, arguments: list[str], tmp_path: Path
) -> None:
    absent = f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')"
    (tmp_path / f"{module}.py").write_text(absent)
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from parsing_rcnn.cli import main; main()",
    ]
    started = [*command, str(tmp_path), *arguments]
    failed = subprocess.run(started, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {module} is not installed, and this command needs it: training and export")
    assert "`make train-env`" in failed.stderr


def test_unknown_options_are_usage_errors() -> None:
    failed = run("predict", "--no-such-option")
    assert failed.returncode == 2
    assert "--no-such-option" in failed.stderr


LOWEST = "import os; print(min(os.pipe()), flush=True)"  # the lowest number that a file gets
OPENS = f"""
import subprocess, sys, typer
from parsing_rcnn import cli

def opens() -> None:
    {LOWEST}
    subprocess.run([sys.executable, "-c", {LOWEST!r}])

cli.build = lambda: (app := typer.Typer(), app.command()(opens))[0]
cli.main()
"""


def test_no_file_gets_the_number_of_a_closed_standard_file() -> None:
    """Nor in the programs that a command starts."""
    command = ["sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", sys.executable, "-c", OPENS]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    assert [int(line) > 2 for line in done.stdout.splitlines()] == [True, True]


@pytest.mark.parametrize(("module", "arguments"), [("typer", ["--help"]), ("uvicorn", ["serve", "--port", "0"])])
def test_ctrl_c_while_modules_are_imported_shows_no_trace(module: str, arguments: list[str], tmp_path: Path) -> None:
    # what some code does with an interrupt in the middle of an import
    swallowed = "try:\n    signal.raise_signal(signal.SIGINT)\n    time.sleep(0.1)\nexcept KeyboardInterrupt: ..."
    (tmp_path / f"{module}.py").write_text(f"import signal, time\n{swallowed}")
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from parsing_rcnn.cli import main; main()"
    command = [sys.executable, "-c", start, str(tmp_path), *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")
