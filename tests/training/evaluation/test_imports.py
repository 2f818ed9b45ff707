"""Modules of the evaluation import one way."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "training" / "evaluation"
PACKAGE = "training.evaluation."


def test_no_module_is_imported_by_one_that_it_imports() -> None:
    """Imports within functions count: they hide a circle."""
    imports = {
        path.stem: {
            node.module.removeprefix(PACKAGE)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
        }
        for path in FOLDER.glob("*.py")
    }
    assert "evaluate" in imports["run"]
    TopologicalSorter(imports).prepare()  # raises CycleError
