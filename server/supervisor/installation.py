"""Where a tritonserver is, and what it needs around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from parsing_rcnn.errors import EngineUnavailable

UNPACKED = Path(__file__).resolve().parents[2] / ".triton"


@dataclass(frozen=True)
class Installation:
    """A tritonserver: its program, its folder of backends, the environment and options that it needs."""

    program: Path
    backends: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    @classmethod
    def find(cls, unpacked: Path = UNPACKED) -> Installation:
        """The server on PATH (as in NVIDIA's images), else the one that scripts/install_triton.sh unpacked.

        Raises:
            EngineUnavailable: there is neither.
        """
        found = shutil.which("tritonserver")
        if found is not None:
            program = Path(found).resolve()
            return cls(program, program.parent.parent / "backends")
        server = unpacked / "server" / "pytriton" / "tritonserver"
        if not (server / "bin" / "tritonserver").is_file():
            raise EngineUnavailable(
                f"no tritonserver on PATH and none in {unpacked}: run scripts/install_triton.sh (Linux x86-64), or use "
                "an image of tritonserver"
            )
        libraries = [unpacked / "server" / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR") or "/")]
        environment = {
            "LD_LIBRARY_PATH": os.pathsep.join([*map(str, libraries), os.environ.get("LD_LIBRARY_PATH", "")]),
            # the python3 found first is the one whose packages the models see
            "PATH": os.pathsep.join([str(unpacked / "python" / "bin"), os.environ.get("PATH", "")]),
        }
        arguments = (f"--cache-directory={server / 'caches'}",)
        return cls(server / "bin" / "tritonserver", unpacked / "backends", environment, arguments)

    def usage(self) -> str:
        """What the server says of its options.

        Raises:
            EngineUnavailable: it cannot be started.
        """
        try:
            asked = subprocess.run(
                [self.program, "--help"],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except OSError as error:
            raise EngineUnavailable(f"cannot start {self.program}: {error.strerror}") from error
        return asked.stdout.decode(errors="backslashreplace").strip()

    def has(self, backend: str) -> bool:
        """Whether it has a backend, "tensorrt" for example."""
        return (self.backends / backend).is_dir()
