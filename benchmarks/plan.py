"""What ``kedro plan`` says, held against what a few steps of training take: ``make bench-plan``.

Each training is a process of its own in a copy of the project. On a CPU its time is processor time
shared out to the threads, which is what the machine would take with nothing else to do; on a GPU it
is the clock's. The plan is told the lengths that the run had: what is checked is its arithmetic.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
import transformers
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from benchmarks.measure import PROJECT, Section, at_most, finish, surroundings
from rerec_pipeline.experiments.grid import read_params
from rerec_pipeline.models import cost
from rerec_pipeline.runner.planning import architecture, card_of, work_of
from rerec_pipeline.runner.project import Project

_SMOLLM2 = "dataset=sample_book,rft.budget.rollouts=16,rft.budget.prompts=1,lightgcn.epochs=10,"
_SHORT = ",rft.generation.max_completion_tokens=48"
#: Trainings of a few steps.
RUNS = {
    "sample": "dataset=sample_movie,rft.budget.rollouts=640,lightgcn.epochs=10",
    "smollm2": f"{_SMOLLM2}backbone=smollm2-135m{_SHORT}",
    "smollm2-lora": f"{_SMOLLM2}backbone=smollm2-135m-lora{_SHORT}",
}
#: How far the plan may be off.
MEMORY, TIME = 0.3, 2.0


@dataclass(frozen=True)
class Measured:
    """What a training took: seconds, most bytes, and tokens of prompts and completions."""

    seconds: float
    peak: float
    prompt: float
    longest: int
    completion: float


def main(arguments: list[str] | None = None) -> None:
    """Runs the trainings and the plan, and ends with 1 if it is too far off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--card", default="cpu", help="an entry of conf/base/plan.yml")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside is not None:
        print(json.dumps(asdict(train(Path(chosen.inside), RUNS[chosen.runs[0]]))))
        return
    if chosen.card != "cpu" and not torch.cuda.is_available():
        sys.exit(f"There is no CUDA device to measure as {chosen.card}: use make bench-plan")
    command = "make bench-plan" + ("" if chosen.card == "cpu" else f" CARD={chosen.card}")
    section = run(chosen.runs or list(RUNS), chosen.card)
    finish(surroundings(command, ("torch", "transformers", "trl")), [section])


def run(names: list[str], card: str) -> Section:
    """The trainings beside their plans."""
    rows, checks = [], []
    for name in names:
        found = measure(name)
        memory, best, worst = planned(RUNS[name], card, found)
        middle = sqrt(worst * best)
        off = max(found.seconds / middle, middle / found.seconds)
        rows.append(
            [
                name, f"{found.prompt:.0f} + {found.completion:.0f}",
                f"{memory / 1e9:.2f}", f"{found.peak / 1e9:.2f}",
                f"{best:.0f} to {worst:.0f}", f"{found.seconds:.0f}",
            ]
        )  # fmt: skip
        checks += [
            at_most(f"{name}, memory off by", abs(memory / found.peak - 1), MEMORY),
            at_most(f"{name}, the middle of the range off by", off, TIME, "x"),
        ]
    return Section(
        f"kedro plan against measured, {card}",
        "; ".join(f"{name}: {RUNS[name]}" for name in names),
        ["training", "tokens", "GB, plan", "measured", "seconds, plan", "measured"],
        rows,
        checks,
    )


def planned(params: str, card_name: str, found: Measured) -> tuple[float, float, float]:
    """What the plan says of such a training: bytes, and seconds at best and at worst."""
    bootstrap_project(PROJECT)
    project = Project(PROJECT)
    conf, rft = project.read("plan")["plan"], project.parameters(params)["rft"]
    card, model = (
        card_of(conf["cards"], card_name),
        architecture(rft.backbone, conf["architectures"]),
    )
    gpu = card_name != "cpu"
    work = work_of(rft, model, gpu, 1, found.prompt, found.longest, found.completion)
    held = cost.memory(work, card)
    total = sum(held.values()) - (held["program"] if gpu else 0)  # torch tells its own alone
    worst, best = (
        sum(cost.seconds(work, speed).values()) * work.generations for speed in card.worst_and_best
    )
    return total, best, worst


def measure(name: str) -> Measured:
    """Trains in a process of its own, in a copy of the project."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "project"
        for part in ("conf", "src", "data/06_models"):
            if (PROJECT / part).is_dir():
                shutil.copytree(PROJECT / part, copy / part, dirs_exist_ok=True)
        for part in ("pyproject.toml", ".telemetry", "requirements.lock"):
            shutil.copy(PROJECT / part, copy)
        command = [sys.executable, "-m", "benchmarks.plan", name, "--inside", str(copy)]
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True)
    return Measured(**json.loads(done.stdout.decode().strip().splitlines()[-1]))


def train(project: Path, params: str) -> Measured:
    """Runs fine-tuning with its upstream in this process, its training under a watch."""
    spent: list[float] = []
    trained = transformers.Trainer.train

    def watched(self: Any, *given: Any, **named: Any) -> Any:
        clock = time.perf_counter if torch.cuda.is_available() else time.process_time
        start = clock()
        result = trained(self, *given, **named)
        spent.append(clock() - start)
        return result

    bootstrap_project(project)
    session: Any
    with (
        patch.object(transformers.Trainer, "train", watched),
        KedroSession.create(project, runtime_params=read_params(params)) as session,
    ):
        session.run(pipeline_names=["rft"])
    files = Project(project).files(params)
    train_lengths = json.loads(files["prompt_lengths"].read_text())["train"]
    threads = 1 if torch.cuda.is_available() else torch.get_num_threads()
    return Measured(
        seconds=spent[-1] / threads,
        peak=json.loads(files["training_summary"].read_text())["peak_memory_bytes"],
        prompt=train_lengths["mean_tokens"],
        longest=train_lengths["max_tokens"],
        completion=pd.read_parquet(files["training_log"])["completions/mean_length"].mean(),
    )


if __name__ == "__main__":
    main()
