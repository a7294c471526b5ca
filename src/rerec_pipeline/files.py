"""Putting finished files and folders in place: a reader sees the old one or the new one."""

from __future__ import annotations

import shutil
from pathlib import Path


def swap_in(beside: Path, target: Path) -> None:
    """Renames a finished file or folder to its place; what was there gives way."""
    if beside.is_file() and not target.is_dir():
        beside.replace(target)
        return
    # A folder cannot be renamed onto another: the old one steps aside first.
    replaced = target.with_name(f".{target.name}.replaced")
    remove(replaced)
    if target.exists():
        target.rename(replaced)
    beside.rename(target)
    remove(replaced)


def write_beside(target: Path, content: bytes) -> None:
    """Writes a small file beside its place and renames it, in a folder that is made if need be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.partial")
    beside.write_bytes(content)
    beside.replace(target)


def remove(path: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
