"""Options of tritonserver that may not follow `--`: those that this command gives, or by which it asks the server."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from parsing_rcnn.errors import InvalidOptions

_ASKED = {"--allow-grpc": "grpc", "--allow-metrics": "metrics"}  # without them no server is ready, or ever idle
_ENCRYPTED = ("--grpc-use-ssl", "--grpc-use-ssl-mutual")
_KEYS = ("--http-restricted-api", "--grpc-restricted-protocol")
_OTHER_NAMES = {"--model-store": "--model-repository", "--strict-model-config": "--disable-auto-complete-config"}
_PROFILE = "--model-config-name"  # --profile gpu is to leave it out
_BACKENDS = "--backend-config"
_MEMORY = "python,shm-region-prefix-name"  # what a killed server leaves is found by it
_HELP = "--help"
_SHORTEST_HELP = "--he"  # others begin with --h, too
_USAGE = "Usage: tritonserver "
_OF_USAGE = ("\t", "  --")  # how its lines begin
_OF_A_SHELL = re.compile(r"""[\s"'\\$`&;|<>(){}*?]""")  # characters that it does not leave as they are


def refuse_own(more: Sequence[str], ours: Sequence[str]) -> None:
    """Refuse options that contradict ours: nobody would ask the server on another port, for example.

    Args:
        more: the caller's options.
        ours: the options that this command gives.

    Raises:
        InvalidOptions: one of the caller's is refused, or is no option.
    """
    own = {_PROFILE, *(part.partition("=")[0] for part in ours)} - {_BACKENDS, *_KEYS}
    refused = {*own, *_OTHER_NAMES, *_ASKED, *_ENCRYPTED, *_KEYS, _BACKENDS}
    for position, option in enumerate(more):
        name, _, value = option.partition("=")
        if not position and not option.startswith("-"):
            raise InvalidOptions(
                f"{option!r} is no option of tritonserver: they begin with hyphens, as --log-verbose=1"
            )
        if meant := _abbreviated(name, refused):
            raise InvalidOptions(
                f"{name} is {' or '.join(meant)} to tritonserver, which this command gives or relies on: write "
                "options in full"
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
        if name in _KEYS:
            raise InvalidOptions(
                f"{name}: this command gives it with a key of its own, so that nobody else loads models; a proxy "
                "before the gateway, or a firewall, keeps callers from more (docs/triton.md)"
            )
        if name == _BACKENDS:
            value = value or "".join(more[position + 1 : position + 2])
            if value.partition("=")[0] == _MEMORY:
                raise InvalidOptions(
                    f"{_BACKENDS}={_MEMORY} is what this command gives to tritonserver: by that name it removes the "
                    "shared memory of a server that died; --grpc-port changes it"
                )
        if name in _OTHER_NAMES:
            raise InvalidOptions(
                f"{name} stands for {_OTHER_NAMES[name]}, which this command gives to tritonserver: its own "
                "options, before `--`, set what may be set"
            )
        if name in own:
            raise InvalidOptions(
                f"{name} is what this command gives to tritonserver: its own options, before `--`, set it"
            )


def refuse_unquoted(place: Path) -> None:
    """Refuse a folder whose path a shell would take apart.

    Triton's python backend starts each model through a shell and does not quote the paths of the model and of itself.
    The model never starts then, and the server waits two minutes for it, each time.

    Raises:
        InvalidOptions: it has such a character in its path.
    """
    found = _OF_A_SHELL.search(str(place))
    if found is not None:
        raise InvalidOptions(
            f"{place}: Triton starts no python model from a path with {found[0]!r} in it; move or rename the folder"
        )


def _abbreviated(name: str, options: Collection[str]) -> list[str]:
    """The options that a name which is none of them may stand for: tritonserver takes their beginnings, too."""
    if name in options or not name.removeprefix("--") or not name.startswith("--"):
        return []
    return sorted(option for option in options if option.startswith(name))


def asks_for_help(more: Sequence[str]) -> bool:
    """Whether one of the caller's options is tritonserver's --help."""
    return any(_HELP.startswith(option) and option.startswith(_SHORTEST_HELP) for option in more)


def complaint(said: str) -> str | None:
    """What a server has against its options; None if it did not end with its usage.

    It complains of an unknown option before the usage, of a value after it.

    Args:
        said: all that it said.
    """
    before, usage, after = said.partition(_USAGE)
    if not usage:
        return None
    lines = after.splitlines()
    end = max((number for number, line in enumerate(lines) if line.startswith(_OF_USAGE)), default=0)
    found = [*(line for line in before.splitlines() if not line.startswith("Warning")), *lines[end + 1 :]]
    return " ".join(line.strip() for line in found if line.strip()) or "it says how it is used"
