"""What can go wrong around whole runs, tried: ``python -m tests.faults.bed [KILLS] [SEED]``.

It prints one table. One process imports everything and every run is a fork of it, so that a kill
costs no start-up; a run goes through all stages, on little: 64 rollouts, a checkpoint each step.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline.node import Node

from rerec_pipeline.commands.shown import explain_error
from rerec_pipeline.pipelines.stages import stage_of
from rerec_pipeline.storage.checkpoints import Checkpoints
from rerec_pipeline.storage.records import problem_of, read_record
from tests.pipelines.conftest import copy_project, run

RUN = "sample_book/tiny/{variant}/seed-0"
STAGES = ("data_engineering", "graph_modeling", "retrieval", "rft", "evaluation")
SHORT: dict[str, Any] = {
    "rft": {
        "budget": {"rollouts": 64, "prompts": 4, "group_size": 4, "micro_batch": 16},
        "checkpoint_every": 1,
    },
    "lightgcn": {"epochs": 6, "evaluate_every": 2},
    "retrieval": {"ranker": {"rounds": 10, "patience": 10}},
    "evaluation": {"bootstrap_samples": 100},
}
#: They say how long something took, and are compared without that.
TIMED = {"metrics.json", "training_summary.json", "training_log.parquet"}

#: A line of the table: what was tried, how often, how often it held, what happened.
Row = tuple[str, int, int, str]


def import_everything() -> None:
    """What a run would import on its way."""
    for stage in (*STAGES, "data_report"):
        import_module(f"rerec_pipeline.pipelines.{stage}.nodes")
    for module in ("hooks.tracked_run", "models.policy", "storage.engine"):
        import_module(f"rerec_pipeline.{module}")


@dataclass
class Child:
    """A run in a process of its own, which tells of each node that it begins.

    Attributes:
        pid: Its id.
        log: What it has said.
        begun: (node, stage) -> seconds after the start.
    """

    pid: int
    log: Path
    began: float
    begun: dict[tuple[str, str], float] = field(default_factory=dict)
    code: int | None = None

    def wait_for(self, node: str) -> bool:
        """Waits until a node begins; False if the run ends before."""
        while not any(node == name for name, _ in self.begun) and self.alive():
            time.sleep(0.005)
        return self.alive()

    def alive(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = None if pid == 0 else os.waitstatus_to_exitcode(status)
        return self.code is None

    def finish(self) -> int:
        """Waits for the end; gives the exit code, negative for a signal."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.finish()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def ending(self) -> str:
        """How a run ended that failed: what a user is told, or RAW and the error."""
        return self.said.rsplit("ENDED WITH ", 1)[-1].strip() if "ENDED WITH " in self.said else ""


def start(project: Path, log: Path, environment: dict[str, str] | None = None, **changes: Any
          ) -> Child:  # fmt: skip
    """Runs everything in a child process."""
    told, tells = os.pipe()
    log.write_bytes(b"")
    if (pid := os.fork()) == 0:
        os.close(told)
        _run(project, log, tells, environment or {}, changes)
    os.close(tells)
    child = Child(pid, log, time.monotonic())
    threading.Thread(target=_listen, args=(child, told), daemon=True).start()
    return child


def _listen(child: Child, told: int) -> None:
    with os.fdopen(told) as lines:
        for line in lines:
            name, stage = line.split()
            child.begun[name, stage] = time.monotonic() - child.began


def _run(project: Path, log: Path, tells: int, environment: dict[str, str], changes: Any) -> None:
    code, run_node = 1, Node.run

    def told(node: Node, *args: Any, **kwargs: Any) -> Any:
        os.write(tells, f"{node.name} {stage_of(node)}\n".encode())
        return run_node(node, *args, **kwargs)

    with log.open("a") as stream, suppress(BaseException):
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        os.chdir(project)
        os.environ.update(environment)
        Node.run = told  # type: ignore[method-assign]
        try:
            run(project, **{**SHORT, **changes})
            code = 0
        except BaseException as exc:
            said = explain_error(exc)
            print(f"ENDED WITH {said or f'RAW {type(exc).__name__}: {exc}'}", flush=True)
    os._exit(code)


def results(project: Path, variant: str = "rerec") -> dict[str, Any]:
    """What has to be the same whatever happened on the way: metrics, and all that was made."""
    run_of = RUN.format(variant=variant)
    metrics = json.loads((project / "data/08_reporting" / run_of / "metrics.json").read_text())
    for volatile in ("seconds", "peak_memory_bytes"):
        metrics["training"].pop(volatile)
    log = pd.read_parquet(project / "data/07_model_output" / run_of / "training_log.parquet")
    metrics["log"] = log.drop(columns="step_time").to_json()
    made = {}
    for place in ("01_raw", "02_intermediate", "03_primary", "04_feature", "05_model_input",
                  "06_models", "07_model_output"):  # fmt: skip
        for data in (f"data/{place}/sample_book", f"data/{place}/{run_of}"):
            for record in sorted((project / data).glob("**/.records/*.json")):
                output = record.parents[1] / record.name.removesuffix(".json")
                name = output.relative_to(project).as_posix()
                others = "seed-0" in name and f"/{variant}/" not in name
                half = ".partial-" in name  # of a record whose writer was killed: never read
                if output.name in TIMED or others or half or "checkpoint" in name:
                    continue
                assert problem_of(output) == "", output
                found = read_record(output)
                assert found is not None
                made[name] = found.sha256
    return {"metrics": metrics, "made": made}


class Bed:
    """Everything that is tried, around one undisturbed run.

    Args:
        place: A folder for projects.
        seed: Of all that is random.
    """

    def __init__(self, place: Path, seed: int):
        self._place, self._count = place, 0
        self._rng = random.Random(seed)
        whole = self.make()
        child = start(whole, self.log())
        assert child.finish() == 0, child.said[-3000:]
        self.expected = results(whole)
        self.took = time.monotonic() - child.began
        #: (node, stage) -> seconds from the beginning of a node to that of the next.
        begun = [(("", "start-up"), 0.0), *child.begun.items(), (("", ""), self.took)]
        self.nodes = {node: later - at for (node, at), (_, later) in pairwise(begun)}
        shutil.rmtree(whole)

    def make(self, folder: Path | None = None) -> Path:
        """A fresh clone."""
        self._count += 1
        return copy_project(folder or self._place / f"project-{self._count}")

    def log(self) -> Path:
        """Where a run says what it does: not on the disk that is full."""
        self._count += 1
        return self._place / f"{self._count}.log"

    def same(self, project: Path, child: Child) -> bool:
        """Whether a run ended well, with what an undisturbed one leaves."""
        if child.finish() != 0:
            print(child.said[-3000:], file=sys.stderr)
            return False
        found = results(project)
        if found != self.expected:
            names = {*found["made"], *self.expected["made"]}
            other = [n for n in names if found["made"].get(n) != self.expected["made"].get(n)]
            said = {key: (found["metrics"].get(key), value)
                    for key, value in self.expected["metrics"].items()
                    if found["metrics"].get(key) != value}  # fmt: skip
            print(f"differs from an undisturbed run: {other} {said}", file=sys.stderr)
        return bool(found == self.expected)

    # -- kill -9 -----------------------------------------------------------------------------

    def kills(self, kills: int) -> Iterator[Row]:
        """Kills whole runs at random points of every stage; the same command brings each home.

        By turns ``kedro run --only-missing-outputs``, which makes every stage once, and ``kedro
        run``, which makes all of them again.
        """
        stages = ("start-up", *STAGES)
        killed: Counter[str] = Counter()
        runs = same = 0
        while killed.total() < kills:
            project, only_missing = self.make(), runs % 2 == 0
            for stage in stages:
                node, delay = self._point(stage)
                child = start(project, self.log(), only_missing=only_missing)
                if node and not child.wait_for(node):
                    continue
                time.sleep(delay)
                if child.alive():
                    child.kill()
                    killed[stage] += 1
            runs += 1
            same += self.same(project, start(project, self.log(), only_missing=only_missing))
            shutil.rmtree(project)
            print(f"{dict(killed)}: {same} of {runs} the same", file=sys.stderr, flush=True)
        spread = ", ".join(f"{stage} {killed[stage]}" for stage in stages)
        yield (
            "`kill -9` at a random point of a stage, the same command again", killed.total(),
            killed.total() if same == runs else 0,
            f"{spread}; metrics, policy and tables equal in {same} of {runs} runs",
        )  # fmt: skip

    def _point(self, stage: str) -> tuple[str, float]:
        """A node of a stage, by turns any one or by how long it takes, and a time within it."""
        nodes = {name: took for (name, of), took in self.nodes.items() if of == stage}
        weights = [1.0] * len(nodes) if self._rng.random() < 0.5 else [*nodes.values()]
        (node,) = self._rng.choices([*nodes], weights)
        return node, self._rng.uniform(0.0, nodes[node])

    # -- two processes -----------------------------------------------------------------------

    def two_at_once(self) -> Iterator[Row]:
        """Two runs in one clone: the same outputs, and different ones."""
        project = self.make()
        first = start(project, self.log())
        while not list((project / "data/.runs").glob("*.json")):
            time.sleep(0.05)
        second = start(project, self.log())
        refused = second.finish() != 0 and f"process {first.pid} " in second.ending
        held = self.same(project, first) and refused
        yield "two runs with the same outputs at once", 1, int(held), "the second names the first"
        project = self.make()
        both = [start(project, self.log(), variant=v) for v in ("rerec", "grpo")]
        codes = [child.finish() for child in both]
        held = codes == [0, 0] and self.same(project, both[0])
        what = f"exit codes {codes}; `rerec` as it is alone"
        yield "`rerec` and `grpo` at once in a fresh clone", 1, int(held), what

    # -- checkpoints -------------------------------------------------------------------------

    def damaged_checkpoints(self) -> Iterator[Row]:
        """Every range of every part of a checkpoint; then a run that continues beside one."""
        project = self.make()
        folder = project / "data/06_models" / RUN.format(variant="rerec") / "checkpoints"
        child = start(project, self.log())
        while True:
            sealed = sorted(folder.glob("*/.records/checkpoint-*.json"))
            if len(sealed) == 2 and "-1.json" not in sealed[0].name:
                break
            time.sleep(0.02)
        child.kill()
        (inside,) = [path for path in folder.iterdir() if path.is_dir()]
        found = damage_every_range(inside, 32, 0)
        yield ("a bit flipped in, or a cut at, every 32nd of each part of a checkpoint",
               found["damaged"], found["noticed"], "named, the one before is used")  # fmt: skip
        newest = Checkpoints(inside).newest()
        assert newest is not None
        (newest / "optimizer.pt").write_bytes(b"")
        child = start(project, self.log())
        held = self.same(project, child) and "is not what its record says" in child.said
        yield "a run continued beside a damaged checkpoint", 1, int(held), "the same outputs"

    # -- disks -------------------------------------------------------------------------------

    def full_disk(self, tries: int) -> Iterator[Row]:
        """A disk with less room than a run needs, by a random amount; then with enough."""
        what = "a disk that is full at a random point of a run, then space and the same command"
        with small_disk(self._place / "disk", 4000) as disk:
            if disk is None:
                yield what, 0, 0, "needs the right to mount a file system"
                return
            project = self.make(disk / "project")
            empty = shutil.disk_usage(disk).used
            child, peak = start(project, self.log()), 0
            while child.alive():
                peak = max(peak, shutil.disk_usage(disk).used)
                time.sleep(0.02)
        held, ends = 0, []
        for share in [(n + self._rng.random()) / tries for n in range(tries)]:
            with small_disk(self._place / "disk", 4000) as disk:
                assert disk is not None
                project = self.make(disk / "project")
                _mounted("-o", f"remount,size={int(empty + share * (peak - empty))}", str(disk))
                child = start(project, self.log())
                full = child.finish() != 0
                clear = not full or "the disk is full" in child.ending
                at = [*child.begun] or [("", "start-up")]
                ends.append(f"{share:.0%} {at[-1][1] if full else 'not needed'}")
                _mounted("-o", "remount,size=4000m", str(disk))
                held += self.same(project, start(project, self.log())) and clear
                if not clear:
                    print(f"full at {share:.0%}: {child.ending[:600]}", file=sys.stderr)
        grown = f"{(peak - empty) / 1e6:.0f} MB"
        yield what, tries, held, f"of the {grown} needed there were {', '.join(ends)}"

    def read_only(self) -> Iterator[Row]:
        """Folders that can not be written; then they can."""
        held, ends, places = 0, [], ("", "data/06_models", "data/08_reporting")
        for place in places:
            with small_disk(self._place / "disk", 4000) as disk:
                if disk is None:
                    yield "a read-only folder", 0, 0, "needs the right to mount a file system"
                    return
                project = self.make(disk / "project")
                folder = project / place
                folder.mkdir(exist_ok=True)
                _mounted("--bind", str(folder), str(folder))
                _mounted("-o", "remount,bind,ro", str(folder))
                child = start(project, self.log())
                clear = child.finish() != 0 and str(folder) in child.ending and "RAW" not in (
                    child.ending[:3])  # fmt: skip
                subprocess.run(["umount", str(folder)], check=True)
                held += self.same(project, start(project, self.log())) and clear
                ends.append(place or "the clone")
                if not clear:
                    print(f"read-only {place}: {child.ending[:600]}", file=sys.stderr)
        said = f"{', '.join(ends)}: one sentence with the path, then the same command"
        yield "a read-only folder", len(places), held, said

    # -- MLflow ------------------------------------------------------------------------------

    def server_gone(self) -> Iterator[Row]:
        """An MLflow server that is not there, and one that dies in mid-run and comes back."""
        project = self.make()
        uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{_free_port()}"}
        child = start(project, self.log(), uri)
        held = self.same(project, child) and "can not be told" in child.said
        yield "an MLflow server that is not there", 1, int(held), "the run ends as ever and says so"
        project, port = self.make(), _free_port()
        uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
        server = _server(self._place / "server", port)
        child = start(project, self.log(), uri)
        node, delay = self._point("rft")
        child.wait_for(node)
        time.sleep(delay)
        _stop(server)
        held = self.same(project, child) and "They are kept in" in child.said
        server = _server(self._place / "server", port)
        again = start(project, self.log(), uri, seed=1)
        held = again.finish() == 0 and held
        runs = _asked(port, "runs/search", {"experiment_ids": ["1"]})["runs"]
        _stop(server)
        first = next(r for r in runs if "seed 0" in r["info"]["run_name"])
        told = {m["key"]: m["value"] for m in first["data"]["metrics"]}
        held &= first["info"]["status"] == "FINISHED"
        held &= told.get("accuracy") == self.expected["metrics"]["after"]["accuracy"]
        what = "the run ends as ever; the next run tells the rest: status and accuracy are there"
        yield "an MLflow server that dies in mid-run and comes back", 1, int(held), what


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


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """Mounts a small file system; None where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)],
                      capture_output=True, check=False).returncode:  # fmt: skip
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mounted(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Starts an MLflow server over a database of its own and waits until it answers."""
    folder.mkdir(exist_ok=True)
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
             "--artifacts-destination", str(folder / "files")]  # fmt: skip
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen([sys.executable, "-m", "mlflow", *words], stdout=log,
                                  stderr=log, start_new_session=True)  # fmt: skip
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return server
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {folder / 'log'}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _asked(port: int, what: str, body: dict[str, Any]) -> Any:
    address = f"http://127.0.0.1:{port}/api/2.0/mlflow/{what}"
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def damaged_inputs(place: Path) -> Iterator[Row]:
    """A thousand damaged input files of all kinds."""
    from tests.faults import test_inputs

    found: Counter[str] = Counter()
    place.mkdir()
    world = test_inputs.make_world(place / "world")
    for name in test_inputs.KINDS:
        for case in range(test_inputs.ALL):
            try:
                found[test_inputs.outcome(world, name, case, place)] += 1
            except Exception as error:
                print(f"{name} {case}: {type(error).__name__}: {error}", file=sys.stderr)
                found["failed"] += 1
    tried = found.total()
    said = ", ".join(f"{count} {what}" for what, count in sorted(found.items()))
    yield "a damaged input file, of 19 kinds", tried, tried - found["failed"], said


def main() -> None:
    """Prints the table."""
    kills, seed, *only = sys.argv[1:] + ["30", "0"][len(sys.argv) - 1 :]
    import_everything()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        bed = Bed(Path(place), int(seed))
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "kills": lambda: bed.kills(int(kills)),
            "two": bed.two_at_once,
            "checkpoints": bed.damaged_checkpoints,
            "full": lambda: bed.full_disk(6),
            "read_only": bed.read_only,
            "server": bed.server_gone,
            "inputs": lambda: damaged_inputs(Path(place) / "inputs"),
        }
        print("| what | tried | held | what happened |\n|---|---|---|---|", flush=True)
        for name in only or parts:
            for what, tried, held, how in parts[name]():
                print(f"| {what} | {tried} | {held} | {how} |", flush=True)
    took = (time.monotonic() - began) / 60
    print(f"\n{took:.0f} minutes; an undisturbed run took {bed.took:.0f} s")


if __name__ == "__main__":
    main()
