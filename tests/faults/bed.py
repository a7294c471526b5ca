"""A test bed for what can go wrong around whole runs; ``python -m tests.faults.bed`` runs it all.

One process imports everything; every run is a fork of it, so that a kill costs no start-up.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from rerec_pipeline.storage.checkpoints import Checkpoints
from rerec_pipeline.storage.records import problem_of, read_record
from tests.pipelines.conftest import copy_project, run

RUN = "sample_book/tiny/{variant}/seed-0"
SHORT: dict[str, Any] = {
    "rft": {"budget": {"rollouts": 256}, "checkpoint_every": 1},
    "lightgcn": {"epochs": 20, "evaluate_every": 5},
}


def start(
    project: Path, log: Path, before: Callable[[], None] = lambda: None, **changes: Any
) -> int:
    """Runs everything in a child process; gives its id."""
    if (pid := os.fork()) != 0:
        return pid
    code = 1
    with log.open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        with suppress(BaseException):
            os.chdir(project)
            try:
                run(project, **{**SHORT, **changes})
                code = 0
            except BaseException as exc:
                print(f"ENDED WITH {type(exc).__name__}: {exc}", flush=True)
    os._exit(code)


def finish(pid: int) -> int:
    """Waits for a child; gives its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def results(project: Path, variant: str = "rerec") -> dict[str, Any]:
    """What has to be the same whatever happened on the way: metrics, policy, log of training."""
    run_of = RUN.format(variant=variant)
    metrics = json.loads((project / "data/08_reporting" / run_of / "metrics.json").read_text())
    for volatile in ("seconds", "peak_memory_bytes"):
        metrics["training"].pop(volatile)
    policy = project / "data/06_models" / run_of / "policy"
    assert problem_of(policy) == ""
    record = read_record(policy)
    assert record is not None
    return {"metrics": metrics, "policy": record.sha256}


def kill_at_random(
    make: Callable[[], Path], expected: dict[str, Any], kills: int, longest: float, seed: int
) -> dict[str, int]:
    """Kills whole runs at random points, each continued by the same command until it is through.

    Args:
        make: Makes a fresh project.
        expected: What a run that nothing happened to leaves.
        kills: How many at least.
        longest: Seconds within which a kill falls after a start.
        seed: Of the points.
    """
    rng = random.Random(seed)
    found = {"kills": 0, "runs": 0, "same": 0, "unusable": 0}
    while found["kills"] < kills:
        project = make()
        log = project / "kills.log"
        for _ in range(20):
            pid = start(project, log)
            deadline = time.monotonic() + rng.uniform(0.0, longest)
            while time.monotonic() < deadline and os.waitpid(pid, os.WNOHANG) == (0, 0):
                time.sleep(0.05)
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                found["kills"] += 1
            except (ProcessLookupError, ChildProcessError):
                break
            if found["kills"] % 6 == 0:  # some runs are killed often, all come to an end
                break
        found["runs"] += 1
        if finish(start(project, log)) != 0:
            found["unusable"] += 1
        elif results(project) == expected:
            found["same"] += 1
            shutil.rmtree(project)
    return found


def damage_every_range(folder: Path, ranges: int, seed: int) -> dict[str, int]:
    """Flips a bit in every range of every part of the newest of two checkpoints, and cuts there.

    Args:
        folder: With two good checkpoints; it is left as it was.
        ranges: In how many ranges each file is divided.
        seed: Of the places within them.
    """
    rng = random.Random(seed)
    checkpoints = Checkpoints(folder)
    newest = checkpoints.newest()
    assert newest is not None
    found = {"damaged": 0, "noticed": 0}
    for part in sorted(path for path in newest.rglob("*") if path.is_file()):
        content = part.read_bytes()
        edges = sorted({len(content) * n // ranges for n in range(ranges + 1)})
        for low, high in pairwise(edges):
            place = rng.randrange(low, high)
            flipped = content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)])
            for damaged in (flipped + content[place + 1 :], content[:place]):
                part.write_bytes(damaged)
                found["damaged"] += 1
                found["noticed"] += problem_of(newest, reread=True) != ""
        part.write_bytes(content)
    assert problem_of(newest, reread=True) == ""
    return found


def small_disk(folder: Path, megabytes: int) -> bool:
    """Mounts a small file system there; False where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Prints the table."""
    import tempfile

    kills, seed = int(sys.argv[1]) if len(sys.argv) > 1 else 30, 0
    with tempfile.TemporaryDirectory() as place:
        count = iter(range(1000))

        def make() -> Path:
            return copy_project(Path(place) / f"project-{next(count)}")

        rows: list[tuple[str, int, int, str]] = []

        def add(what: str, tried: int, held: int, how: str) -> None:
            rows.append((what, tried, held, how))
            print(f"| {what} | {tried} | {held} | {how} |", flush=True)

        print("| what | tried | held | what happened |\n|---|---|---|---|", flush=True)
        whole = make()
        since = time.monotonic()
        assert finish(start(whole, whole / "log")) == 0, (whole / "log").read_text()[-3000:]
        took, expected = time.monotonic() - since, results(whole)
        two_at_once(make, expected, add)
        damaged_checkpoints(make(), expected, add)
        full_disk(make, expected, add)
        found = kill_at_random(make, expected, kills, took, seed)
        add(
            "kill -9 at a random point of a whole run, the same command again",
            found["kills"], found["kills"] if found["same"] == found["runs"] else 0,
            f"{found['runs']} runs of {took:.0f} s, metrics and policy equal in {found['same']}",
        )  # fmt: skip


Add = Callable[[str, int, int, str], None]


def two_at_once(make: Callable[[], Path], expected: dict[str, Any], add: Add) -> None:
    """Two runs in one clone: the same outputs, and different ones."""
    project = make()
    first = start(project, project / "first.log")
    claims = project / "data/.runs"
    while not list(claims.glob("*.json")):
        time.sleep(0.1)
    second = finish(start(project, project / "second.log"))
    refused = second != 0 and f"process {first} " in (project / "second.log").read_text()
    held = finish(first) == 0 and results(project) == expected and refused
    add("two runs with the same outputs at once", 1, int(held), "the second names the first")
    project = make()
    pids = [start(project, project / f"{v}.log", variant=v) for v in ("rerec", "grpo")]
    codes = [finish(pid) for pid in pids]
    held = codes == [0, 0] and results(project) == expected
    add("rerec and grpo at once in a fresh clone", 1, int(held), f"exit codes {codes}")
    said = [(project / f"{v}.log").read_text()[-1500:] for v in ("rerec", "grpo")]
    if not held:
        print("\n".join(said), file=sys.stderr)


def damaged_checkpoints(project: Path, expected: dict[str, Any], add: Add) -> None:
    """Every range of every part of a checkpoint; then a run that continues beside a damaged one."""
    folder = project / "data/06_models" / RUN.format(variant="rerec") / "checkpoints"
    pid = start(project, project / "log")
    while True:
        sealed = sorted(folder.glob("*/.records/checkpoint-*.json"))
        if len(sealed) == 2 and "-1.json" not in sealed[0].name:
            break
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (inside,) = [path for path in folder.iterdir() if path.is_dir()]
    found = damage_every_range(inside, 32, 0)
    add("a bit flipped or a cut in every 32nd of each part of a checkpoint",
        found["damaged"], found["noticed"], "named, the one before is used")  # fmt: skip
    newest = Checkpoints(inside).newest()
    assert newest is not None
    (newest / "optimizer.pt").write_bytes(b"")
    held = finish(start(project, project / "log")) == 0 and results(project) == expected
    said = "is not what its record says" in (project / "log").read_text()
    add("a run continued beside a damaged checkpoint", 1, int(held and said), "the same policy")


def full_disk(make: Callable[[], Path], expected: dict[str, Any], add: Add) -> None:
    """A disk that is full during checkpoints, and then no longer."""
    project = make()
    folder = project / "data/06_models" / RUN.format(variant="rerec") / "checkpoints"
    if not small_disk(folder, 40):
        add("a full disk during a checkpoint", 0, 0, "needs the right to mount a file system")
        return
    stopped = finish(start(project, project / "log"))
    said = "the disk is full at step" in (project / "log").read_text()
    subprocess.run(["mount", "-o", "remount,size=2000m", str(folder)], check=True)
    held = stopped != 0 and said and finish(start(project, project / "log")) == 0
    held = held and results(project) == expected
    subprocess.run(["umount", str(folder)], check=True)
    add("a full disk during a checkpoint, then space again", 1, int(held), "continues, same policy")


if __name__ == "__main__":
    main()
