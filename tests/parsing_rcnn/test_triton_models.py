"""Triton's python models without Triton: how processes know of each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parsing_rcnn.triton_models import Presence

OTHER = """
import sys
from pathlib import Path
from parsing_rcnn.triton_models import Presence
presence = Presence(Path(sys.argv[1]))
with presence:
    print(presence.others(), flush=True)
    sys.stdin.readline()
print("left", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "model_card.json").write_text("{}")
    (tmp_path / "model_card.json").chmod(0o444)  # nothing is written
    return tmp_path


def other(repository: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(repository)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_process_sees_others_and_not_itself(repository: Path) -> None:
    presence = Presence(repository)
    with presence:
        assert not presence.others()
        with other(repository) as process:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == "True\n"  # it sees us
            assert presence.others()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "left\n"
            assert not presence.others()
            process.kill()


def test_a_killed_process_holds_nothing(repository: Path) -> None:
    presence = Presence(repository)
    with other(repository) as process:
        assert process.stdout
        assert process.stdout.readline() == "False\n"  # we look, but do not detect
        assert presence.others()
        process.kill()
    assert not presence.others()
