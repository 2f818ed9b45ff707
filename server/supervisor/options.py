"""Options of tritonserver that may not follow `--`: those that this command gives, or by which it asks the server."""

from __future__ import annotations

from collections.abc import Sequence

from parsing_rcnn.errors import InvalidOptions

_ASKED = {"--allow-grpc": "grpc", "--allow-metrics": "metrics"}  # without them no server is ready, or ever idle
_ENCRYPTED = ("--grpc-use-ssl", "--grpc-use-ssl-mutual")
_BACKENDS = "--backend-config"
_MEMORY = "python,shm-region-prefix-name"  # what a killed server leaves is found by it


def refuse_own(more: Sequence[str], ours: Sequence[str]) -> None:
    """Refuse options that contradict ours: nobody would ask the server on another port, for example.

    Args:
        more: the caller's options.
        ours: the options that this command gives.

    Raises:
        InvalidOptions: one of the caller's is refused, or is no option.
    """
    own = {part.partition("=")[0] for part in ours} - {_BACKENDS}
    for position, option in enumerate(more):
        name, _, value = option.partition("=")
        if not position and not option.startswith("-"):
            raise InvalidOptions(
                f"{option!r} is no option of tritonserver: they begin with hyphens, as --log-verbose=1"
            )
        if name in _ASKED:
            raise InvalidOptions(
                f"{name}: this command asks the server by it, so it stays on; --{_ASKED[name]}-port is where"
            )
        if name in _ENCRYPTED:
            raise InvalidOptions(
                f"{name}: this command asks the server without encryption; a proxy before the gateway encrypts for "
                "other machines (deploy/README.md)"
            )
        if name == _BACKENDS:
            value = value or "".join(more[position + 1 : position + 2])
            if value.partition("=")[0] == _MEMORY:
                raise InvalidOptions(
                    f"{_BACKENDS}={_MEMORY} is what this command gives to tritonserver: by that name it removes the "
                    "shared memory of a server that died; --grpc-port changes it"
                )
        if name in own:
            raise InvalidOptions(
                f"{name} is what this command gives to tritonserver: its own options, before `--`, set it"
            )
