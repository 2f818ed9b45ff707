"""scripts/check_serve_triton.py: what it says when something is wrong. That nothing is, it finds out itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# stands for `make serve-triton`: it answers as a gateway does, and runs no process of the project
MAKE = """#!{python}
import http.server, os
class Gateway(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{{"predictions": [1]}}')
    do_POST = do_GET
print("this is the log", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PARSING_RCNN_PORT"])), Gateway).serve_forever()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs procps' pgrep, and Triton's wheel is for Linux")
def test_a_process_that_is_not_there_is_said_after_the_log(tmp_path: Path) -> None:
    (tmp_path / "make").write_text(MAKE.format(python=sys.executable))
    (tmp_path / "make").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    script = [sys.executable, str(ROOT / "scripts" / "check_serve_triton.py")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "this is the log" in done.stderr
    assert done.stderr.endswith("error: processes of `-m parsing_rcnn triton `: none; one should run\n")
