"""The only place that writes: a reader meets the old file or the new one, whole, and never none.

A file or folder is written under a name of its own beside its target, flushed to the disk and
renamed. Two processes never share a temporary name, and what one leaves when it is killed is
removed by a later writer of the same target.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import socket
import sys
import time
import zlib
from pathlib import Path
from typing import BinaryIO

import psutil

from rerec_pipeline.errors import BadInputError

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_WEEK = 7 * 24 * 3600.0


def temporary(target: Path, kind: str = "partial") -> Path:
    """A new name beside a target; it keeps the ending, by which engines know a format."""
    unique = f"{kind}-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f"{target.stem}.{unique}{target.suffix}")


def write_bytes(target: Path, content: bytes) -> None:
    """Writes one of our own small files (a record, a list of cells), whole or not at all.

    Raises:
        BadInputError: If a folder or a symbolic link has its name.
    """
    if target.is_symlink() or target.is_dir():
        raise BadInputError(target, "is not a file of ours and is not replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(target)
    try:
        beside.write_bytes(content)
        swap_in(beside, target)
    finally:
        remove(beside)


def open_to_append(path: Path) -> BinaryIO:
    """Opens a file that grows (a log, a transfer) at its end; its folder is made if need be.

    Raises:
        BadInputError: If it is a link, through which another file would be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return open(path, "ab", opener=_opened_as_itself)
    except OSError as exc:
        if not path.is_symlink():
            raise
        raise BadInputError(
            path, "it is a link, and nothing is written through one", remedy="Delete it"
        ) from exc


def _opened_as_itself(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file and waits until it is on the disk."""
    with open_to_append(path) as stream:
        stream.write(f"{line}\n".encode())
        stream.flush()
        os.fsync(stream.fileno())


def link(path: Path, target: Path) -> None:
    """A second name for a file, or for all files of a folder; a copy where there can be none.

    It stays what it is when an output is replaced, and takes no space.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, copy_function=_link_file)
    else:
        _link_file(str(path), str(target))


def _link_file(path: str, target: str) -> None:
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


def swap_in(beside: Path, target: Path) -> None:
    """Puts a finished file or folder in place of the target, in one step, once it is on the disk.

    The caller has checked that the target may be replaced.
    """
    flush(beside)
    if not (beside.is_dir() or target.is_dir()):
        beside.replace(target)
    elif not target.exists():
        beside.rename(target)
    else:
        if not _exchange(beside, target):
            aside = temporary(target, "replaced")
            target.rename(aside)  # killed here: see recover
            beside.rename(target)
            remove(aside)
        remove(beside)
    _sync(target.parent)


def recover(target: Path) -> None:
    """Puts back what a writer had set aside when it was killed between two renames."""
    if not target.exists() and (aside := _left_behind(target, "replaced")):
        aside[-1].rename(target)


def tidy(target: Path) -> None:
    """Removes what killed writers of a target have left beside it."""
    for path in _left_behind(target, "partial") + _left_behind(target, "replaced"):
        remove(path)


def flush(path: Path) -> None:
    """Waits until a file, or a folder with all that is in it, is on the disk."""
    for inner in [*path.rglob("*"), path] if path.is_dir() else [path]:
        _sync(inner)


def remove(path: Path) -> None:
    """Removes a file or a folder that this project made, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space, which each library words in its own way."""
    words = ("No space left", "disk is full", "inline_container.cc", "PytorchStreamWriter failed")
    return any(said in str(error) for said in words)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step; False where the system or the file system can not."""
    if _LIBC is None or not hasattr(_LIBC, "renameat2"):
        return False
    first, second = (os.fsencode(path) for path in (one, other))
    return bool(_LIBC.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) == 0)


def _left_behind(target: Path, kind: str) -> list[Path]:
    """Temporary files of writers that are no more, the oldest first."""
    name = f"{target.stem}.{kind}-"
    pattern = re.compile(rf"{re.escape(name)}(\w+)-(\d+)-\w+{re.escape(target.suffix)}")
    found = []
    for path in target.parent.iterdir() if target.parent.is_dir() else ():
        if (match := pattern.fullmatch(path.name)) and _is_dead(path, match[1], int(match[2])):
            found.append(path)
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _is_dead(path: Path, host: str, pid: int) -> bool:
    if host == _HOST:
        return pid != os.getpid() and not psutil.pid_exists(pid)
    return time.time() - path.stat().st_mtime > _WEEK
