"""Cells in processes: order, failure, what is not run again, interruption. A script plays Kedro."""

import json
import os
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.experiments.grid import Cell
from rerec_pipeline.experiments.schedule import match_compute
from rerec_pipeline.processes import read_tail, thread_settings
from rerec_pipeline.runner.grid_run import GridRun
from rerec_pipeline.runner.launch import hold_lock, interruptible
from rerec_pipeline.runner.records import CellFolder, read_json
from rerec_pipeline.storage.records import Origin

#: Stands in for ``kedro run``: trains four steps with a checkpoint after each, then reports.
SCRIPT = """
import json, os, sys, time
from multiprocessing import get_context
from pathlib import Path
run, passes, sleep, fails = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "1"
checkpoint, out = Path("ckpt") / run / "step.json", Path("out") / run / "metrics.json"
note = json.loads(os.environ["REREC_CELL"])
done = json.loads(checkpoint.read_text()) if checkpoint.exists() else []
for step in range(len(done), 4):
    print("step", step, flush=True)
    time.sleep(sleep if step else 0)
    done.append(passes + step)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    beside = checkpoint.with_suffix(".new")
    beside.write_text(json.dumps(done))
    beside.replace(checkpoint)
if fails:
    print("no such thing"); sys.exit(3)
id_file = Path(note["id_file"])
if not id_file.exists():
    id_file.write_text(f"{note['group']}: {note['cell']} after {note['replaces']}")
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(json.dumps({"before": {"accuracy": 0.25}, "after": {"accuracy": sum(done) / 1000},
    "training": {"token_passes": 10 * passes + 1, "seconds": 1.0}}))
checkpoint.unlink()
"""


class FakeProject:
    """A project whose cells take a moment."""

    def __init__(self, root: Path):
        self.root = root
        self.sleep, self.fails, self.silent = 0.0, set[str](), set[str]()
        self.code, self.joined = "1", []

    def fingerprint(self, cell, further):
        return Origin({"variant": cell.variant, **further}, {}, {"a.py": self.code})

    def outputs(self, cell):
        return [self.root / "out" / cell.run / "metrics.json"]

    def checkpoints(self, cell):
        return self.root / "ckpt" / cell.run

    def command(self, pipeline, text, *options):
        given = dict(part.split("=", 1) for part in text.split(","))
        run = "{dataset}/{backbone}/{variant}/seed-{seed}".format(**given)
        if given["variant"] in self.silent:
            return [sys.executable, "-c", "print('done nothing')"]
        fails = str(int(given["variant"] in self.fails))
        passes = given.get("rft.sft.token_passes", "5")
        return [sys.executable, "-S", "-c", SCRIPT, run, passes, str(self.sleep), fails]

    def results(self, cell):
        return json.loads(self.outputs(cell)[0].read_text())

    def add_to_group(self, run_id, group):
        self.joined.append((run_id, group))


def cells(*variants, seeds=(0,)):
    return [Cell("d", "b", variant, seed) for seed in seeds for variant in variants]


@pytest.fixture
def project(tmp_path):
    return FakeProject(tmp_path)


def run(project, grid, jobs=1, fresh=False, name="e"):
    said = []
    with hold_lock(project.root / "lock") as lock:
        needs = match_compute(grid, {"sft"})
        one = GridRun(
            name, grid, needs, project, project.root / name, jobs, lock, fresh, said.append
        )
        outcomes = one.run()
    return outcomes, said


def states(outcomes):
    return {cell.variant: outcome.state for cell, outcome in outcomes.items()}


class TestRunning:
    def test_every_cell_is_recorded_and_listed(self, project):
        outcomes, said = run(project, cells("rerec", "grpo"))
        assert states(outcomes) == {"rerec": "finished", "grpo": "finished"}
        assert said[0] == "rerec, seed 0: started"
        assert said[1].startswith("[1/2] rerec, seed 0: 0.250 -> 0.026 (") and "left" in said[1]
        assert said[-1].startswith("[2/2] grpo") and "left" not in said[-1]
        listed = read_json(project.root / "e/cells.json")
        assert (listed["name"], listed["dataset"], listed["backbone"]) == ("e", "d", "b")
        first = listed["cells"][0]
        assert {k: first[k] for k in ("variant", "seed", "label", "changes", "run", "state")} == {
            "variant": "rerec", "seed": 0, "label": "", "changes": {}, "run": "d/b/rerec/seed-0",
            "state": "finished",
        }  # fmt: skip
        assert first["mlflow_run_id"] == "e: rerec, seed 0 after None"
        assert first["seconds"] > 0 and first["error"] is None

    def test_the_supervised_control_comes_after_and_gets_what_was_spent(self, project):
        outcomes, said = run(project, cells("sft", "rerec"), jobs=2)
        assert [line for line in said if "started" in line] == [
            "rerec, seed 0: started", "sft, seed 0: started",
        ]  # fmt: skip
        [sft, _] = outcomes.values()
        assert sft.report["training"]["token_passes"] == 10 * 51 + 1
        assert sft.record.origin.parameters["rft.sft.token_passes"] == 51

    def test_several_at_once(self, project):
        project.sleep = 0.1
        _, said = run(project, cells("a", "b", "c"), jobs=3)
        assert [line.split(": ")[1] for line in said[:3]] == ["started"] * 3


class TestFailure:
    def test_others_go_on_and_the_end_of_the_log_is_told(self, project):
        project.fails = {"rerec"}
        outcomes, _ = run(project, cells("rerec", "sft", "grpo"))
        assert states(outcomes) == {"rerec": "failed", "sft": "failed", "grpo": "finished"}
        rerec, sft, _ = outcomes.values()
        assert "ended with status 3" in rerec.error and rerec.error.endswith("no such thing")
        assert "e/logs/d-b-rerec-seed-0.log" in rerec.error
        assert sft.error == "not run: rerec, seed 0, whose compute it is given, has failed"
        assert read_json(project.root / "e/cells.json")["cells"][1]["error"] == sft.error

    def test_a_failed_cell_is_tried_again_from_its_checkpoint(self, project):
        project.fails = {"a"}
        run(project, cells("a"))
        project.fails = set()
        outcomes, said = run(project, cells("a"))
        assert said[0] == "a, seed 0: started, goes on"
        assert states(outcomes) == {"a": "finished"}
        log = (project.root / "e/logs/d-b-a-seed-0.log").read_text()
        assert log.count("step 0") == 1

    def test_outputs_have_to_be_there(self, project):
        project.silent = {"a"}
        outcomes, _ = run(project, cells("a"))
        [outcome] = outcomes.values()
        assert outcome.state == "failed" and "without leaving" in outcome.error


class TestAgain:
    def test_a_finished_cell_is_not_run_again(self, project):
        before, _ = run(project, cells("rerec", "sft"))
        after, said = run(project, cells("rerec", "sft"), name="other")
        assert [line.split("(")[1] for line in said] == ["finished before)"] * 2
        assert [o.report for o in before.values()] == [o.report for o in after.values()]
        assert project.joined[0] == ("e: rerec, seed 0 after None", "other")

    def test_it_is_if_its_code_has_changed_and_nothing_old_is_taken_for_new(self, project):
        run(project, cells("a"))
        project.code = "2"
        stale = project.root / "ckpt/d/b/a/seed-0/step.json"
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.write_text("[900, 900, 900]")  # of an attempt with the old code
        outcomes, said = run(project, cells("a"))
        assert said[0] == "a, seed 0: started, run again: code changed: a.py"
        [outcome] = outcomes.values()
        assert outcome.report["after"]["accuracy"] == 0.026
        assert outcome.run_id == "e: a, seed 0 after e: a, seed 0 after None"

    def test_it_is_if_its_outputs_are_no_longer_its_own(self, project):
        [cell] = cells("a")
        run(project, [cell])
        project.outputs(cell)[0].write_text('{"of": "another run"}')
        assert "written by another run" in run(project, [cell])[1][0]
        project.outputs(cell)[0].unlink()
        assert "out/d/b/a/seed-0/metrics.json is gone" in run(project, [cell])[1][0]

    def test_fresh_runs_all_again(self, project):
        run(project, cells("a"))
        assert run(project, cells("a"), fresh=True)[1][0] == "a, seed 0: started"


def _in_a_process(root):
    """An experiment to be interrupted."""
    project = FakeProject(root)
    project.sleep = 600.0
    with interruptible():
        run(project, cells("rerec", "sft", seeds=(0, 1)))


class TestInterruption:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_going_on_gives_what_an_uninterrupted_experiment_gives(self, tmp_path, number):
        project, whole = FakeProject(tmp_path / "cut"), FakeProject(tmp_path / "whole")
        for each in (project, whole):
            each.root.mkdir()
        process = get_context("fork").Process(target=_in_a_process, args=(project.root,))
        process.start()
        checkpoint = project.root / "ckpt/d/b/rerec/seed-0/step.json"
        _wait(checkpoint.exists)
        os.kill(process.pid, number)
        process.join(60)
        _wait(lambda: _is_free(project.root / "lock"))  # which a cell that goes on alone would hold
        assert json.loads(checkpoint.read_text()) == [5]
        outcomes, said = run(project, cells("rerec", "sft", seeds=(0, 1)))
        assert said[0] == "rerec, seed 0: started, goes on"
        expected, _ = run(whole, cells("rerec", "sft", seeds=(0, 1)))
        for part in ("report", "fingerprint"):
            assert [getattr(o, part) for o in outcomes.values()] == [
                getattr(o, part) for o in expected.values()
            ]


def _wait(what):
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def _is_free(lock):
    try:
        with hold_lock(lock):
            return True
    except ReRecError:
        return False


class TestProcesses:
    def test_two_experiments_at_once_are_refused(self, tmp_path):
        with hold_lock(tmp_path / "data/.lock"):
            said = f"another experiment is running on this project \\(process {os.getpid()}\\)"
            with pytest.raises(ReRecError, match=said), hold_lock(tmp_path / "data/.lock"):
                pass
        with hold_lock(tmp_path / "data/.lock"):
            pass

    def test_a_request_to_end_is_an_interruption(self):
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    def test_cores_are_shared_out_unless_the_user_has_said_how(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        cores = len(os.sched_getaffinity(0))
        assert thread_settings(1)["OMP_NUM_THREADS"] == str(cores)
        assert thread_settings(2 * cores)["OMP_NUM_THREADS"] == "1"
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert "OMP_NUM_THREADS" not in thread_settings(1)

    def test_the_end_of_a_log_has_a_bars_last_state(self, tmp_path):
        log = tmp_path / "log"
        log.write_bytes(b"first\n\n 1%\r 50%\r100%\nlast\n")
        assert read_tail(log, 2) == "100%\nlast"
        assert read_tail(tmp_path / "none") == ""

    def test_a_record_is_what_was_recorded(self, tmp_path):
        folder = CellFolder(tmp_path, "d/b/v/seed-0")
        out = tmp_path / "x.json"
        out.write_text("1")
        print_of = Origin({"a": [1]}, {}, {"c": "d"})
        folder.begin(print_of, [], tmp_path / "ckpt")
        made = folder.finish(print_of, [out, tmp_path], 2.5)
        assert folder.read() == made and len(made.outputs["."]) == 64
        assert not folder.begin(print_of, [], tmp_path / "ckpt")  # finished: nothing to go on with
