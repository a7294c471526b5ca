"""Variants compared: how each did over its seeds, and how sure one can be that they differ.

Cells of an experiment with the same variant and label are the seeds of one *arm*. All arms answer
the same queries, so they are compared query by query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.parameters import ComparisonParameters
from rerec_pipeline.recbench.records import QUERY_TYPES
from rerec_pipeline.reporting.statistics import (
    Array,
    Share,
    holm,
    percentile_interval,
    permutation_test,
    resample,
)

#: All query types together.
ALL = "all"

#: The backbone before fine-tuning: the ``before`` part of any cell.
UNTRAINED = "untrained"

#: What is the same of a query in all cells.
_QUERY = ["query_id", "query_type", "cluster"]

#: What is measured -> the columns of outcomes it is a share of; None: one a query.
MEASURES: dict[str, tuple[str, str | None]] = {
    "accuracy": ("correct", None),
    "facts_confirmed": ("facts_confirmed", "facts_stated"),
    "verdicts_true": ("verdicts_true", "verdicts_stated"),
}

#: What a comparison with the reference comes to.
REFERENCE, BETTER, WORSE, SEEDS, SAME = (
    "reference",
    "better",
    "worse",
    "depends on seeds",
    "not significant",
)


@dataclass(frozen=True)
class Arm:
    """The seeds of one variant and label.

    Attributes:
        variant, label: What was run; the label is empty unless parameters were swept.
        seeds: Which seeds are finished.
        columns: Column of outcomes -> its values, (S seeds, N queries).
    """

    variant: str
    label: str
    seeds: tuple[int, ...]
    columns: dict[str, Array]

    @property
    def name(self) -> str:
        """What a reader knows it by."""
        return arm_name(self.variant, self.label)

    def share(self, measure: str, chosen: NDArray[np.bool_], clusters: NDArray[np.int64]) -> Share:
        """A measure over some of the queries, one unit for each of their clusters."""
        hits, total = MEASURES[measure]
        of = None if total is None else self.columns[total][:, chosen]
        return Share(self.columns[hits][:, chosen], of).of_clusters(clusters[chosen])


def arm_name(variant: str, label: str) -> str:
    """A variant, and the label in parentheses where there is one."""
    return f"{variant} ({label})" if label else variant


def check_queries(outcomes: pd.DataFrame, source: object) -> None:
    """Refuses cells that were not evaluated on the same queries.

    Args:
        outcomes: Rows of all cells, with the cell in variant, label and seed.
        source: What a message calls the experiment.

    Raises:
        BadInputError: Naming the cells that differ from the first one.
    """
    asked = {
        _cell_name(*key[:3]): frozenset(rows[_QUERY].itertuples(index=False, name=None))
        for key, rows in outcomes.groupby(["variant", "label", "seed", "stage"], sort=False)
    }
    first, expected = next(iter(asked.items()))
    other = [name for name, queries in asked.items() if queries != expected]
    if other:
        raise BadInputError(
            source,
            f"not all cells were evaluated on the same queries: {', '.join(other)} on others "
            f"than {first}",
            remedy="Run these cells again with one data set, split and limit of prompts",
        )


def _cell_name(variant: str, label: str, seed: int) -> str:
    return f"{arm_name(variant, label)} seed {seed}"


def arms_of(outcomes: pd.DataFrame, reference: str) -> tuple[list[Arm], pd.DataFrame]:
    """The arms of an experiment, the reference first and the untrained backbone second.

    Args:
        outcomes: Rows of all finished runs, checked.
        reference: Variant that the others are compared with. The first arm takes its place
            where it has no finished run without a label.

    Returns:
        The arms, and ``query_type`` and ``cluster`` of each query by its id, in the order of the
        columns of their arrays.
    """
    queries = outcomes[_QUERY].drop_duplicates().set_index("query_id")
    after = outcomes[outcomes["stage"] == "after"]
    arms = [
        _arm(str(variant), str(label), rows, queries.index)
        for (variant, label), rows in after.groupby(["variant", "label"], sort=False)
    ]
    chosen = next((n for n, a in enumerate(arms) if (a.variant, a.label) == (reference, "")), 0)
    first = arms.pop(chosen)
    before = outcomes[
        (outcomes["stage"] == "before")
        & (outcomes["variant"] == first.variant)
        & (outcomes["label"] == first.label)
        & (outcomes["seed"] == first.seeds[0])
    ]
    return [first, _arm(UNTRAINED, "", before, queries.index), *arms], queries


def _arm(variant: str, label: str, rows: pd.DataFrame, queries: pd.Index) -> Arm:
    names = ["correct", "boxed"]
    names += [n for pair in MEASURES.values() for n in pair if n is not None and n not in names]
    tables = {
        name: rows.pivot(index="seed", columns="query_id", values=name)[queries] for name in names
    }
    seeds = tuple(int(seed) for seed in tables["correct"].index)
    columns = {name: table.to_numpy(np.float64) for name, table in tables.items()}
    return Arm(variant, label, seeds, columns)


def compare(
    arms: Sequence[Arm], queries: pd.DataFrame, config: ComparisonParameters
) -> pd.DataFrame:
    """How every arm did, overall and by query type, and beside the first one.

    Args:
        arms: The arms; differences are to the first.
        queries: ``query_type`` and ``cluster`` of each query, N rows.
        config: Resamples, permutations, confidence and seed.

    Returns:
        One row for each arm and query type (``all`` first); see ``schemas.Comparison``. P values
        are corrected over the arms of the same query type.
    """
    types, clusters = queries["query_type"].to_numpy(), queries["cluster"].to_numpy()
    kinds = [ALL, *(kind for kind in QUERY_TYPES if (types == kind).any())]
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        chosen = np.ones(len(types), dtype=bool) if kind == ALL else types == kind
        measured = _measure(arms, chosen, clusters, config)
        for arm, row in zip(arms, measured, strict=True):
            of_arm = {"variant": arm.variant, "label": arm.label, "query_type": kind}
            size = {"queries": int(chosen.sum()), "clusters": len(set(clusters[chosen]))}
            rows.append({**of_arm, "seeds": len(arm.seeds), **size, **row})
    return pd.DataFrame(rows)


def _measure(
    arms: Sequence[Arm],
    chosen: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    config: ComparisonParameters,
) -> list[dict[str, Any]]:
    shares = {name: [arm.share(name, chosen, clusters) for arm in arms] for name in MEASURES}
    every = [share for of_measure in shares.values() for share in of_measure]
    drawn = dict(
        zip(
            MEASURES,
            np.hsplit(resample(every, config.bootstrap_samples, config.seed), len(MEASURES)),
            strict=True,
        )
    )
    rows = [
        {"well_formed": float(arm.columns["boxed"][:, chosen].mean())}
        | _with_intervals({name: (shares[name][n], drawn[name][:, n]) for name in MEASURES}, config)
        for n, arm in enumerate(arms)
    ]
    return [
        row | difference
        for row, difference in zip(
            rows, _differences(shares["accuracy"], drawn["accuracy"], config), strict=True
        )
    ]


def _with_intervals(
    measured: Mapping[str, tuple[Share, Array]], config: ComparisonParameters
) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, (share, drawn) in measured.items():
        low, high = percentile_interval(drawn, config.confidence)
        row |= {name: share.value, f"{name}_low": low, f"{name}_high": high}
    return row


def _differences(
    shares: Sequence[Share], drawn: Array, config: ComparisonParameters
) -> list[dict[str, Any]]:
    """Paired differences in accuracy to the first share, with interval, test and finding."""
    means = [share.hits.mean(axis=0) for share in shares]
    p_values = [permutation_test(m - means[0], config.permutations, config.seed) for m in means[1:]]
    nan = float("nan")
    rows: list[dict[str, Any]] = [
        dict.fromkeys(("difference", "difference_low", "difference_high"), nan)
        | {"p_value": nan, "p_corrected": nan, "finding": REFERENCE}
    ]
    for n, (p, corrected) in enumerate(zip(p_values, holm(p_values), strict=True), start=1):
        low, high = percentile_interval(drawn[:, n] - drawn[:, 0], config.confidence)
        difference = shares[n].value - shares[0].value
        rows.append(
            {"difference": difference, "difference_low": low, "difference_high": high}
            | {"p_value": p, "p_corrected": corrected}
            | {"finding": _finding(difference, (low, high), corrected <= 1 - config.confidence)}
        )
    return rows


def _finding(difference: float, interval: tuple[float, float], significant: bool) -> str:
    """What test and interval say together.

    The test takes the trained policies as given, the interval also draws seeds: where only the
    test is sure, other seeds might differ.
    """
    if not significant:
        return SAME
    if interval[0] <= 0 <= interval[1]:
        return SEEDS
    return BETTER if difference > 0 else WORSE
