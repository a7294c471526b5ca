"""What a finished run says of its results."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rerec_pipeline.pipelines.stages import stage_of

logger = logging.getLogger(__name__)


class SummaryHooks:
    """Says what each stage took, and at the end of a run where its results are."""

    def __init__(self) -> None:
        self._left: Counter[str] = Counter()
        self._nodes: Counter[str] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)
        self._began = 0.0

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Counts the nodes of each stage."""
        self._nodes = Counter(map(stage_of, pipeline.nodes))
        self._left = self._nodes.copy()
        self._seconds = defaultdict(float)

    @hook_impl(tryfirst=True)
    def before_node_run(self) -> None:
        """Takes the time."""
        self._began = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Says that a stage is done when its last node is."""
        stage = stage_of(node)
        self._seconds[stage] += time.monotonic() - self._began
        self._left[stage] -= 1
        if not self._left[stage]:
            minutes, seconds = divmod(round(self._seconds[stage]), 60)
            steps = f"{self._nodes[stage]} steps" if self._nodes[stage] > 1 else "1 step"
            logger.info("%-18s %8s %3d:%02d", stage, steps, minutes, seconds)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Prints accuracy and paths, as far as this run made them."""
        made = pipeline.all_outputs()
        lines = list(self._accuracies(made, catalog))
        root = Path(run_params["project_path"])
        for name, label in (
            ("metrics", "Report"),
            ("transcripts_page", "Transcripts"),
            ("diagnosis_page", "Diagnosis"),
            ("policy", "Policy"),
            ("prompts_export", "Prompts"),
            ("choice_report", "Report"),
            ("comparison_page", "Comparison"),
            ("abilities_report", "Report"),
            ("abilities_table", "Table"),
            ("transfer.metrics", "Report"),
            ("transfer.transcripts_page", "Transcripts"),
            ("next_item_baselines", "Report"),
            ("next_item_report", "Report"),
            ("retrieval_report", "Retrieval"),
            ("recommendations", "Answers"),
            ("open_ended_baselines", "Report"),
            ("open_ended_report", "Report"),
        ):
            if name in made:
                path = Path(getattr(catalog.get(name), "_filepath"))  # noqa: B009
                within = path.is_relative_to(root)  # else it is where the user asked for it
                lines.append(f"{label:<12} {path.relative_to(root) if within else path}")
        from rerec_pipeline.tracking.tracker import Tracker

        if lines and Tracker.last is not None and (address := Tracker.last.address):
            served = " (after: make ui)" if address.startswith("http://127.0.0.1:5000/") else ""
            lines.append(f"{'MLflow run':<12} {address}{served}")
        for line in lines:
            logger.info(line)

    @staticmethod
    def _accuracies(made: set[str], catalog: DataCatalog) -> Iterator[str]:
        for name in ("metrics", "transfer.metrics"):
            if name in made:
                yield _before_and_after(catalog.load(name))
        for name in ("next_item_baselines", "next_item_report"):
            if name in made:
                yield _next_item(catalog.load(name))
        for name in ("open_ended_baselines", "open_ended_report"):
            if name in made:
                yield from _open_ended(catalog.load(name))
        if "retrieval_report" in made:
            report = catalog.load("retrieval_report")
            found = report["overall"]
            yield (
                f"{report['split'].capitalize()} queries by the graph alone: accuracy "
                f"{found['choice_accuracy']:.3f} among the candidates, recall@20 "
                f"{found['recall@20']:.3f} in the whole catalogue ({found['n']} queries)"
            )
        if "choice_report" in made:
            report = catalog.load("choice_report")
            yield (
                f"Test accuracy of the recorded answers {report['accuracy']:.3f} "
                f"({report['n']} queries; {report['unanswered']['n']} without an answer)"
            )
        if "abilities_report" in made:
            for task, metrics in catalog.load("abilities_report")["tasks"].items():
                yield from (_ability(task, metric, row) for metric, row in metrics.items())


def _ability(task: str, metric: str, row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{task} {metric} {row['before']:.3f} before, {row['after']:.3f} after "
        f"(change {row['change']:+.3f}, interval {low:+.3f} to {high:+.3f}, {row['n']} questions)"
    )


def _before_and_after(metrics: dict[str, Any]) -> str:
    before, after = metrics["before"], metrics["after"]
    low, high = after["interval"]
    where = f" on {metrics['run']['target']}" if "target" in metrics["run"] else ""
    split = metrics["run"]["split"].capitalize()
    return (
        f"{split} accuracy{where} {before['accuracy']:.3f} before, {after['accuracy']:.3f} after "
        f"(95% interval {low:.3f} to {high:.3f}, {after['n']} queries)"
    )


def _open_ended(report: dict[str, Any]) -> Iterator[str]:
    for kind, row in report["by_type"].items():
        found = [f"{name} {of['ndcg']:.3f}" for name, of in row["systems"].items()]
        yield f"Without a list, NDCG of {row['n']} {kind} queries: {', '.join(found)}"


def _next_item(report: dict[str, Any]) -> str:
    found = [f"{name} {row['hit@1']['mean']:.3f}" for name, row in report["models"].items()]
    return f"Next item, Hit@1 of {report['users']} users: {', '.join(found)}"
