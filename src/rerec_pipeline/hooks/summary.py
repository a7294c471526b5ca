"""What a finished run says of its results."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
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
            ("policy_card", "Card"),
            ("open_ended_baselines", "Report"),
            ("open_ended_report", "Report"),
            ("judged_answers", "Report"),
            ("conversations_baselines", "Report"),
            ("conversations_report", "Report"),
            ("likelihood_report", "Report"),
            ("next_item_likelihood_report", "Report"),
        ):
            if name in made:
                path = Path(getattr(catalog.get(name), "_filepath"))  # noqa: B009
                within = path.is_relative_to(root)  # else it is where the user asked for it
                lines.append(f"{label:<12} {path.relative_to(root) if within else path}")
        from rerec_pipeline.tracking.tracker import Tracker

        if lines and Tracker.last is not None and (address := Tracker.last.address):
            lines.append(f"{'MLflow run':<12} {address}")
        for line in lines:
            logger.info(line)

    @staticmethod
    def _accuracies(made: set[str], catalog: DataCatalog) -> Iterator[str]:
        for name, say in _SAID.items():
            if name in made:
                yield from say(catalog.load(name))


def _before_and_after(metrics: dict[str, Any]) -> Iterator[str]:
    before, after = metrics["before"], metrics["after"]
    low, high = after["interval"]
    where = f" on {metrics['run']['target']}" if "target" in metrics["run"] else ""
    split = metrics["run"]["split"].capitalize()
    yield (
        f"{split} accuracy{where} {before['accuracy']:.3f} before, {after['accuracy']:.3f} after "
        f"(95% interval {low:.3f} to {high:.3f}, {after['n']} queries)"
    )


def _next_item(report: dict[str, Any]) -> Iterator[str]:
    found = [f"{name} {row['hit@1']['mean']:.3f}" for name, row in report["models"].items()]
    yield f"Next item, Hit@1 of {report['users']} users: {', '.join(found)}"


def _open_ended(report: dict[str, Any]) -> Iterator[str]:
    for kind, row in report["by_type"].items():
        found = [f"{name} {of['ndcg']:.3f}" for name, of in row["systems"].items()]
        yield f"Without a list, NDCG of {row['n']} {kind} queries: {', '.join(found)}"


def _retrieval(report: dict[str, Any]) -> Iterator[str]:
    found = report["overall"]
    yield (
        f"{report['split'].capitalize()} queries by the graph alone: accuracy "
        f"{found['choice_accuracy']:.3f} among the candidates, recall@20 "
        f"{found['recall@20']:.3f} in the whole catalogue ({found['n']} queries)"
    )


def _conversations(report: dict[str, Any]) -> Iterator[str]:
    for system, row in report["systems"].items():
        found = [f"{name} {value['mean']:.3f}" for name, value in row.items()]
        yield f"Conversations, {system}: {', '.join(found)}"


def _likelihood(report: dict[str, Any]) -> Iterator[str]:
    free, held = report["free"]["mean"], report["constrained"]["mean"]
    low, high = report["change"]["interval"]
    yield (
        f"Answers as written {free:.3f}, candidates alone {held:.3f} (change "
        f"{report['change']['mean']:+.3f}, interval {low:+.3f} to {high:+.3f}), Hit@5 "
        f"{report['hit@5']['mean']:.3f}, NDCG@10 {report['ndcg@10']['mean']:.3f} "
        f"({report['n']} queries)"
    )


def _choices(report: dict[str, Any]) -> Iterator[str]:
    yield (
        f"Test accuracy of the recorded answers {report['accuracy']:.3f} "
        f"({report['n']} queries; {report['unanswered']['n']} without an answer)"
    )


def _abilities(report: dict[str, Any]) -> Iterator[str]:
    for task, metrics in report["tasks"].items():
        for metric, row in metrics.items():
            low, high = row["interval"]
            yield (
                f"{task} {metric} {row['before']:.3f} before, {row['after']:.3f} after (change "
                f"{row['change']:+.3f}, interval {low:+.3f} to {high:+.3f}, {row['n']} questions)"
            )


#: What the end of a run says of a report.
_SAID: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "metrics": _before_and_after,
    "transfer.metrics": _before_and_after,
    "next_item_baselines": _next_item,
    "next_item_report": _next_item,
    "open_ended_baselines": _open_ended,
    "open_ended_report": _open_ended,
    "retrieval_report": _retrieval,
    "conversations_baselines": _conversations,
    "conversations_report": _conversations,
    "likelihood_report": _likelihood,
    "next_item_likelihood_report": _likelihood,
    "choice_report": _choices,
    "abilities_report": _abilities,
}
