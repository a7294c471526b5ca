"""The kit for machines without a network: parts, sums, and what its script would do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from offline.pack import main, seal, split  # noqa: E402


def script(kit, *options):
    done = subprocess.run(
        ["bash", str(kit / "run.sh"), *options], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def kit(tmp_path):
    """Files of several sizes, sealed in parts of ten bytes."""
    kit = tmp_path / "kit"
    (kit / "wheels").mkdir(parents=True)
    (kit / "wheels" / "a b.whl").write_bytes(bytes(range(25)))
    (kit / "wheels" / "small.whl").write_bytes(b"0123456789")
    (kit / "project.tar.gz").write_bytes(b"no archive, but long enough")
    seal(kit, part=10)
    shutil.copy(PROJECT / "offline" / "run.sh", kit)
    return kit


def test_a_file_is_cut_and_nothing_is_lost(tmp_path):
    file = tmp_path / "weights"
    content = os.urandom(2_500)
    file.write_bytes(content)
    parts = split(file, 1_000)
    assert [p.name for p in parts] == [f"weights.part{n:03d}" for n in range(3)]
    assert [p.stat().st_size for p in parts] == [1_000, 1_000, 500]
    assert b"".join(p.read_bytes() for p in parts) == content and not file.exists()


def test_only_what_is_large_is_cut(kit):
    names = sorted(p.name for p in (kit / "wheels").iterdir())
    assert names == ["a b.whl.part000", "a b.whl.part001", "a b.whl.part002", "small.whl"]


def test_the_script_joins_and_verifies(kit):
    code, out, err = script(kit)  # ends at the archive, which is none
    assert code != 0 and "gzip" in err
    assert (kit / "wheels" / "a b.whl").read_bytes() == bytes(range(25))
    assert not [*kit.rglob("*.part*")]
    assert "WARNING" not in err and "FAILED" not in out


def test_a_damaged_part_is_noticed_before_anything_is_installed(kit):
    (kit / "wheels" / "a b.whl.part001").write_bytes(b"otherbytes")
    code, out, _ = script(kit)
    assert code != 0 and "wheels/a b.whl: FAILED" in out
    assert "tar" not in out and not (kit / "work").exists()


def test_a_dry_run_shows_the_commands_and_changes_nothing(kit):
    before = sorted(kit.rglob("*"))
    code, out, err = script(
        kit,
        "--dry-run",
        "--card",
        "a100-40gb",
        "--params",
        "backbone=tiny",
        "--python",
        "python3.12",
    )
    assert code == 0, err
    commands = [line for line in out.splitlines() if line.startswith("+ ")]
    at = [next(n for n, line in enumerate(commands) if part in line) for part in (
        "sha256sum --check", "make setup PYTHON=python3.12", "make smollm2", "make test-gpu",
        "make bench-gpu CARD=a100-40gb", "kedro run --params backbone=tiny", "results.tar.gz",
    )]  # fmt: skip
    assert at == sorted(at)
    assert sorted(kit.rglob("*")) == before


def test_an_unknown_option_shows_how_it_is_used(kit):
    code, out, _ = script(kit, "--wheels")
    assert code == 2 and "--dry-run shows the commands" in out


def test_the_project_and_the_data_are_packed(tmp_path):
    raw = tmp_path / "raw"
    (raw / "dataset" / "movie").mkdir(parents=True)
    (raw / "dataset" / "movie" / "movies.dat").write_text("1::A (1999)::Drama\n")
    kit = tmp_path / "kit"
    main([str(kit), "--raw", str(raw), "--no-wheels"])
    assert sorted(p.name for p in kit.iterdir()) == [
        "SHA256SUMS", "project.tar.gz", "raw.tar.gz", "run.sh",
    ]  # fmt: skip
    shutil.unpack_archive(kit / "raw.tar.gz", tmp_path / "out")
    assert (tmp_path / "out/dataset/movie/movies.dat").is_file()
    code, out, _ = script(kit, "--dry-run")
    assert code == 0 and f"raw_dir={kit / 'work' / 'raw'}" in out
    with pytest.raises(SystemExit, match="there is no such folder"):
        main([str(kit), "--raw", str(tmp_path / "nowhere"), "--no-wheels"])
