"""Which source files a computation depends on: the modules it imports, and theirs."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path


def imported_files(package: Path, starts: Iterable[str]) -> list[Path]:
    """Files of a package that are imported on the way from some of its modules.

    What a page is made of does not count for a training that never imports it, so a report can be
    changed without training again.

    Args:
        package: Folder of the package.
        starts: Modules to begin with, e.g. ``rerec_pipeline.pipelines.rft.nodes``.

    Returns:
        Sorted paths, the ``__init__`` files that are run on the way included.
    """
    found: set[Path] = set()
    waiting = list(starts)
    while waiting:
        for file in _files_of(package, waiting.pop()):
            if file not in found:
                found.add(file)
                waiting += _imports(file)
    return sorted(found)


def _files_of(package: Path, module: str) -> list[Path]:
    """Files that importing a module runs; those of other packages are none of ours."""
    name, *parts = module.split(".")
    if name != package.name:
        return []
    folders = [package.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
    candidates = [*(folder / "__init__.py" for folder in folders), folders[-1].with_suffix(".py")]
    return [file for file in candidates if file.is_file()]


@cache
def _imports(file: Path) -> list[str]:
    """Modules that a file names; of ``from a import b`` both ``a`` and ``a.b``, if b is one."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
