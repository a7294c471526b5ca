"""One record of what an output is, beside it: ``.records/<name>.json``.

It holds the hash of the output's content and what the output was made from: the parameters on the
way to it, the hashes of its inputs and of the code. It is written last, when the output is on the
disk. An output without a record was not made by this project: it is never replaced and never used;
one that is not what its record says is never used. No path of the machine is in a record.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.storage.writing import (
    flush,
    recover,
    remove,
    swap_in,
    temporary,
    tidy,
    write_bytes,
)

FOLDER = ".records"

#: Size, time of the last change and inode of each file. Who finds them as they were when they were
#: hashed need not read the content again.
Seen = dict[str, list[int]]


@dataclass(frozen=True)
class Origin:
    """Everything that an output, or all outputs of a run, were made from.

    Attributes:
        parameters: Flat parameter -> value, validated, of all that is read on the way.
        inputs: What was read -> hash of its content. Of an output, names are relative to its
            folder.
        code: Source -> hash of its content.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    code: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One name for all of it."""
        plain = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]


def describe_changes(old: Origin, new: Origin, *parts: str) -> str:
    """Says in one line what is no longer as it was; empty if nothing is.

    Args:
        old: What something was made from.
        new: What it would be made from now.
        *parts: Which attributes are compared; all by default.
    """
    reasons = []
    for part in parts or ("parameters", "inputs", "code"):
        was, now = (json.loads(json.dumps(dict(getattr(o, part)))) for o in (old, new))
        keys = sorted({*was, *now})
        changed = [key for key in keys if was.get(key, _UNSET) != now.get(key, _UNSET)]
        if changed:
            said = [_say(key, was, now) if part == "parameters" else key for key in changed]
            more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
            reasons.append(f"{part} changed: {', '.join(said[:_SHOWN])}{more}")
    return "; ".join(reasons)


def outdated(made: Origin, now: Origin, known: Container[str] = ()) -> str:
    """Why an output has to be made again; empty if it has not.

    Not each change of the code is a reason, but that of a version that ``now.code`` names. A
    parameter that is no longer read on the way is none, either.

    Args:
        made: What it was made from.
        now: What it would be made from now.
        known: Names of all parameters that there are now, read on the way or not.
    """
    read = {k: v for k, v in made.parameters.items() if k in now.parameters or k not in known}
    if changed := describe_changes(replace(made, parameters=read), now, "parameters"):
        return f"was made with other {changed.replace(' changed', '', 1)}"
    others = [stage for stage, version in now.code.items() if made.code.get(stage, "1") != version]
    return f"was made by another version of {', '.join(others)}" if others else ""


#: How many names a reason lists, and what is said of a parameter that is not there.
_SHOWN, _UNSET = 3, "(unset)"


def _say(key: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return f"{key} was {was.get(key, _UNSET)!r}, is {now.get(key, _UNSET)!r}"


@dataclass(frozen=True)
class Record:
    """What an output is.

    Attributes:
        sha256: Of its content; None while a writer is at work, or if one was killed.
        folder: Whether it is a folder.
        origin: What it was made from; None if that is not known.
    """

    sha256: str | None
    folder: bool
    origin: Origin | None = None


def record_path(output: Path) -> Path:
    """Where the record of an output is."""
    return output.parent / FOLDER / f"{output.name}.json"


def seen_path(output: Path) -> Path:
    """Where it is kept what an output looked like when it was last found to be good."""
    return output.parent / FOLDER / ".seen" / f"{output.name}.json"


def read_record(output: Path) -> Record | None:
    """The record of an output; None if there is none that can be read."""
    path = record_path(output)
    try:
        stat = path.stat()
        return _parsed(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    except (FileNotFoundError, NotADirectoryError, AttributeError, ValueError, TypeError):
        return None


@lru_cache(maxsize=4096)
def _parsed(path: Path, *_seen: int) -> Record:
    """A record is read once: each write of it makes another file."""
    content = json.loads(path.read_bytes())
    origin = content.get("origin")
    return Record(**{**content, "origin": Origin(**origin) if origin else None})


def check_replaceable(target: Path) -> None:
    """Makes sure that a target is free, or holds an output of this project.

    Raises:
        BadInputError: If it is a symbolic link, or something that this project did not make.
    """
    if target.is_symlink():
        raise BadInputError(
            target, "is a symbolic link and is not replaced", remedy="Give the path it leads to"
        )
    if not target.exists():
        return
    what = "folder" if target.is_dir() else "file"
    if not _is_ours(target):
        raise BadInputError(
            target,
            f"is a {what} that this project did not make, and is not replaced",
            remedy="Move it away, or give another path",
        )


def _is_ours(target: Path) -> bool:
    if (record := read_record(target)) is not None:
        return record.sha256 is None or record.folder == target.is_dir()
    stamp = target.parent / ".stamps" / f"{target.name}.json"  # of a version without records
    return record_path(target).is_file() or stamp.is_file()


@contextmanager
def replacing(target: Path, origin: Origin | None = None) -> Iterator[Path]:
    """Gives a path to write an output to, which takes the target's place when it is complete.

    An output that is the same already stays: another process may be reading it.

    Args:
        target: The file or folder. If the block fails, it stays as it was.
        origin: What it is made from.

    Yields:
        A new name beside it, for a file or a folder.

    Raises:
        BadInputError: If the target is not ours to replace.
    """
    recover(target)
    check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    for path in (target, record_path(target), seen_path(target)):
        tidy(path)
    beside = temporary(target)
    try:
        yield beside
        sha256, seen = hash_content(beside), look_at(beside)
        record_path(target).parent.mkdir(exist_ok=True)
        with FileLock(target.parent / FOLDER / ".lock"):
            check_replaceable(target)
            folder = beside.is_dir()
            record = Record(sha256, folder, origin)
            if not problem_of(target) and hash_of(target) == sha256:
                _write(target, record)
                return
            # A writer that is killed between the two renames leaves an output that is ours, and
            # that is not taken for a good one.
            _write(target, Record(None, target.is_dir() if target.exists() else folder, origin))
            swap_in(beside, target)
            write_bytes(seen_path(target), json.dumps({sha256: seen}).encode())
            _write(target, record)
    finally:
        remove(beside)


def announce(output: Path, origin: Origin) -> None:
    """Notes what an output is being made from. It can not be used before it is complete."""
    _write(output, Record(None, output.is_dir(), origin))


def discard(output: Path) -> None:
    """Removes an output of this project, its record first: what is half removed never counts."""
    remove(record_path(output))
    remove(output)


def seal(output: Path) -> None:
    """Writes the record of an output that something else has written, once it is on the disk."""
    flush(output)
    _write(output, Record(hash_content(output), output.is_dir()))


def problem_of(output: Path, reread: bool = False) -> str:
    """Why an output can not be used, in words; empty if it is there and what its record says.

    Args:
        output: A file or folder.
        reread: Reads the content even if no file has changed since it was last read.
    """
    recover(output)
    if not output.exists():
        return "does not exist"
    record = read_record(output)
    if record is None:
        return "has no record, so it was not made by this project"
    if record.sha256 is None:
        return "was not written completely"
    seen = {record.sha256: look_at(output)}
    with suppress(OSError, ValueError):
        if not reread and json.loads(seen_path(output).read_bytes()) == seen:
            return ""
    if hash_content(output) != record.sha256:
        return "is not what its record says: it was changed or damaged after it was made"
    with suppress(OSError):  # a copy, or a moved clone: it need not be hashed next time
        write_bytes(seen_path(output), json.dumps(seen).encode())
    return ""


def hash_of(path: Path) -> str:
    """Hash of what is at a path; an unchanged output of this project need not be read again."""
    record = read_record(path)
    if record is None or record.sha256 is None or problem_of(path):
        return hash_content(path)
    return record.sha256


def replaced_input(output: Path) -> Path | None:
    """What an output was made from, directly or on the way, and is another one by now.

    Inputs that are no longer there do not count: nothing can be mixed up with them.
    """
    waiting, seen = [output], {output}
    while waiting:
        made = waiting.pop()
        record = read_record(made)
        inputs = record.origin.inputs if record is not None and record.origin else {}
        for name, sha256 in inputs.items():
            path = Path(os.path.normpath(made.parent / name))
            found = read_record(path)
            if path.exists() and found is not None and found.sha256 != sha256:
                return path
            if path not in seen:
                seen.add(path)
                waiting.append(path)
    return None


def hash_content(path: Path) -> str:
    """SHA-256 of a file, or of all files in a folder with their names.

    Files in the folder that are outputs with a record of their own are not counted.
    """
    if not path.is_dir():
        return _hash_file(path)
    names = (f"{name} {_hash_file(path / name)}\n" for name in look_at(path))
    return hashlib.sha256("".join(names).encode()).hexdigest()


def look_at(path: Path) -> Seen:
    """Relative name -> size, time of the last change and inode, of a file or all in a folder."""
    inside = path.rglob("*") if path.is_dir() else [path]
    files = sorted(
        p
        for p in inside
        if p == path
        or (
            p.is_file() and FOLDER not in p.parts[len(path.parts) :] and not record_path(p).exists()
        )
    )
    stats = ((file.relative_to(path).as_posix(), file.stat()) for file in files)
    return {name: [stat.st_size, stat.st_mtime_ns, stat.st_ino] for name, stat in stats}


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(output: Path, record: Record) -> None:
    write_bytes(record_path(output), json.dumps(asdict(record), indent=1).encode())
