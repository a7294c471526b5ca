"""Runs the code of a notebook cell by cell in this process, where its libraries are loaded."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"


def execute(name: str) -> list[Any]:
    """What each code cell of a notebook shows: the value of its last expression, or None."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    names: dict[str, Any] = {"__name__": name}
    return [_run(cell["source"], names) for cell in notebook.cells if cell["cell_type"] == "code"]


def _run(source: str, names: dict[str, Any]) -> Any:
    tree = ast.parse(source)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if shown is None:
        return None
    return eval(compile(ast.Expression(shown.value), "<cell>", "eval"), names)
