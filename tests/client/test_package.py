"""What client/README.md names can be imported from where it says, and every name that the package promises is there."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import parsing_rcnn_client
from parsing_rcnn.errors import EngineUnavailable, ParsingRCNNError
from parsing_rcnn_client import Options

README = (Path(__file__).resolve().parents[2] / "client" / "README.md").read_text()


def test_every_promised_name_is_there() -> None:
    assert dir(parsing_rcnn_client) == sorted(parsing_rcnn_client.__all__)
    assert {"Options", "People", "ModelMissing", "Triton", "GatewayError"} <= set(parsing_rcnn_client.__all__)
    for name in parsing_rcnn_client.__all__:
        assert getattr(parsing_rcnn_client, name).__name__ == name


def test_errors_are_where_the_readme_says() -> None:
    rows = re.findall(r"^\| `(parsing_rcnn(?:_client|\.errors))` \| (.*) \|$", README, re.MULTILINE)
    named = {
        name: getattr(import_module(home), name) for home, row in rows for name in re.findall(r"`([A-Z]\w+)`", row)
    }
    assert {"Busy", "DeadlineExceeded", "ModelMissing", "GatewayError", "InvalidImage"} <= set(named)
    assert all(issubclass(kind, ParsingRCNNError) for kind in named.values())
    assert all(issubclass(named[name], EngineUnavailable) for name in ("Busy", "DeadlineExceeded", "ModelMissing"))


def test_the_readme_has_every_option() -> None:
    table = README.partition("| option | |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {own.name for own in fields(Options)}
