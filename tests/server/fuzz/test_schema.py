"""openapi.json, believed by schemathesis: what it says of every route, body, answer and error is so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.server.conftest import Live

ROOT = Path(__file__).resolve().parents[3]
# random bytes of the right type are still no picture, and are refused
NOT_SO = "positive_data_acceptance"
EXAMPLES = os.environ.get("PRCNN_TEST_FUZZ_EXAMPLES", "4")


def test_the_schema_tells_the_truth(live: Live, tmp_path: Path) -> None:
    default = ROOT / ".venv-schemathesis" / "bin" / "schemathesis"
    program = Path(os.environ.get("PRCNN_TEST_SCHEMATHESIS", default))
    if not program.exists():
        pytest.skip("needs schemathesis in an environment of its own: make .venv-schemathesis/.ready")
    config = Path(__file__).with_name("schemathesis.toml")
    command = [program, "--config-file", config, "run", f"http://{live.address}/openapi.json", "--checks", "all"]
    more = ["--exclude-checks", NOT_SO, "--max-examples", EXAMPLES, "--seed", "1"]
    look = ["--continue-on-failure", "--no-color", "--request-timeout", "60"]
    seconds = 3500 if int(EXAMPLES) > 10 else 280
    done = subprocess.run(
        [*command, *more, *look], check=False, capture_output=True, text=True, cwd=tmp_path, timeout=seconds
    )
    assert done.returncode == 0, done.stdout[-6000:]
