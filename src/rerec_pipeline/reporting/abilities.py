"""Changes in abilities that fine-tuning did not train: paired, question by question."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.reporting.accuracy import bootstrap_interval

logger = logging.getLogger(__name__)

_QUESTION = ["name", "metric", "task", "doc_id"]


def changes(
    before: pd.DataFrame, after: pd.DataFrame, bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Means before and after, and the interval of their difference.

    The same questions are asked before and after, so questions are resampled, each with both of
    its scores (paired bootstrap, percentiles): how hard a question is cancels out. Members of a
    group are pooled, each question counting the same.

    Args:
        before: The untrained model's ``score`` in each ``name``, ``metric``, ``task``, ``doc_id``.
        after: The tuned one's.
        bootstrap: Of the intervals.

    Returns:
        name -> metric -> ``n``, ``before``, ``after``, ``change`` and its ``interval``, in the
        order of ``before``.

    Raises:
        BadInputError: If they were not asked the same questions.
    """
    both = before.merge(after, on=_QUESTION, how="outer", suffixes=("_before", "_after"))
    if both[["score_before", "score_after"]].isna().any(axis=None):
        raise BadInputError("abilities_after", "not the questions of abilities_before were asked")
    report: dict[str, dict[str, Any]] = {}
    for name, metric in before[["name", "metric"]].drop_duplicates().itertuples(index=False):
        rows = both[(both["name"] == name) & (both["metric"] == metric)]
        was, now = rows["score_before"].to_numpy(float), rows["score_after"].to_numpy(float)
        report.setdefault(name, {})[metric] = {
            "n": len(rows),
            "before": float(was.mean()),
            "after": float(now.mean()),
            "change": float((now - was).mean()),
            "interval": bootstrap_interval(now - was, bootstrap),
        }
    return report


def side_by_side(
    reports: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]
) -> pd.DataFrame:
    """The changes of several runs in one table.

    Args:
        reports: Where each report lies -> the report.
        asked: What must have been asked; a report of other questions is left out, with a warning.

    Returns:
        One row for each task, metric and run: ``task``, ``metric``, ``variant``, ``run``, ``n``,
        ``before``, ``after``, ``change``, ``low``, ``high``.
    """
    rows: list[dict[str, Any]] = []
    for run, report in reports.items():
        if report["asked"] != asked:
            logger.warning("%s was asked other questions and is left out", run)
            continue
        for task, metrics in report["tasks"].items():
            for metric, row in metrics.items():
                low, high = row["interval"]
                what = {"task": task, "metric": metric, "variant": report["run"]["variant"]}
                numbers = {key: row[key] for key in ("n", "before", "after", "change")}
                rows.append({**what, "run": run, **numbers, "low": low, "high": high})
    order = {key: n for n, key in enumerate(dict.fromkeys(map(_shown, rows)))}
    return pd.DataFrame(sorted(rows, key=lambda row: order[_shown(row)]))


def _shown(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["task"], row["metric"]
