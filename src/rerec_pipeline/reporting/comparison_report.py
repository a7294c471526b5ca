"""Results of a comparison as plain values, from which its page and plots are made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rerec_pipeline.parameters import ComparisonParameters, PublishedParameters
from rerec_pipeline.reporting.comparison import (
    ALL,
    BETTER,
    REFERENCE,
    SAME,
    SEEDS,
    UNTRAINED,
    WORSE,
    arm_name,
)

#: Columns of a training summary that are reported as means over seeds.
COSTS = ("steps", "rollouts", "samples", "tokens", "token_passes", "seconds")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values, with None for what is missing."""
    return [{name: _plain(v) for name, v in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value


def costs(summaries: pd.DataFrame, cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Cost of training, one entry per arm: means over its seeds, and the peak memory.

    Args:
        summaries: One row a finished run, the columns of its training summary.
        cells: The experiment's cells; their ``seconds`` are those of the whole cell.
    """
    whole = {(c["variant"], c["label"], c["seed"]): c["seconds"] for c in cells}
    entries = []
    for (variant, label), rows in summaries.groupby(["variant", "label"], sort=False):
        entry: dict[str, Any] = {"variant": variant, "label": label, "seeds": len(rows)}
        entry |= {name: _mean(rows[name]) for name in COSTS if name in rows}
        known = [whole[variant, label, seed] for seed in rows["seed"]]
        entry["cell_seconds"] = _mean(pd.Series(known, dtype="float64"))
        memory = rows["peak_memory_bytes"].max() if "peak_memory_bytes" in rows else float("nan")
        entry["peak_memory_bytes"] = None if math.isnan(memory) else int(memory)
        entries.append(entry)
    return entries


def _mean(values: pd.Series) -> float | None:
    return None if values.isna().any() else float(values.mean())


def baselines(metrics: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Accuracy of answers that need no language model, by query type, from the first cell."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.iloc[0].items():
        match str(name).split("."):
            case ["baselines", system, "accuracy"] if pd.notna(value):
                found.setdefault(system, {})[ALL] = float(value)
            case ["baselines", system, "by_type", kind, "accuracy"] if pd.notna(value):
                found.setdefault(system, {})[kind] = float(value)
    return found


def published(config: PublishedParameters, experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's figures: those of this data set where the setting is the same, else all.

    Args:
        config: The figures, and of which backbone they are.
        experiment: ``dataset``, ``backbone`` and ``split`` of ours.
    """
    dataset = experiment["dataset"]
    alike = experiment["backbone"] == config.backbone and experiment["split"] == "test"
    same = dataset in config.accuracy and alike
    figures = {dataset: config.accuracy[dataset]} if same else config.accuracy
    return {
        "source": config.source,
        "address": config.address,
        "backbone": config.backbone,
        "same_setting": same,
        "accuracy": figures,
    }


def sensitivity(table: pd.DataFrame, cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy against each swept parameter.

    Args:
        table: The comparison.
        cells: The experiment's cells. A parameter is swept where it does not have the same value
            in all finished runs.

    Returns:
        One entry a parameter: ``parameter``, ``points`` (value, accuracy and interval, and under
        ``line`` the variant with the other swept values) and ``unchanged`` (the arms of the same
        variants that were run without a change to it).
    """
    changes = _common_changes(cells)
    overall = {(r["variant"], r["label"]): r for r in records(table[table["query_type"] == ALL])}
    overall = {arm: row for arm, row in overall.items() if row["variant"] != UNTRAINED}
    swept = [
        name
        for name in dict.fromkeys(name for changed in changes.values() for name in changed)
        if len({repr(changed.get(name)) for changed in changes.values()}) > 1
    ]
    entries = []
    for name in swept:
        points = [
            _point(overall[arm], changed, name, _independent(name, swept, changes.values()))
            for arm, changed in changes.items()
            if name in changed
        ]
        variants = {point["variant"] for point in points}
        unchanged = [
            row
            for (variant, label), row in overall.items()
            if variant in variants and not label and name not in changes[variant, label]
        ]
        entries.append({"parameter": name, "points": points, "unchanged": unchanged})
    return entries


def _common_changes(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Arm -> the parameters that all its finished runs changed to the same value."""
    changes: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        if cell["state"] != "finished":
            continue
        arm, own = (cell["variant"], cell["label"]), cell["changes"]
        earlier = changes.get(arm, own)
        changes[arm] = {k: v for k, v in earlier.items() if k in own and own[k] == v}
    return changes


def _independent(
    name: str, swept: Sequence[str], changes: Iterable[Mapping[str, Any]]
) -> list[str]:
    """The other swept parameters, less those whose value follows from that of this one."""
    pairs = [(repr(c.get(name)), c) for c in changes if name in c]
    return [
        key
        for key in swept
        if key != name
        and len({(value, repr(c.get(key))) for value, c in pairs}) > len({v for v, _ in pairs})
    ]


def _point(
    row: Mapping[str, Any], changed: Mapping[str, Any], name: str, others: Sequence[str]
) -> dict[str, Any]:
    named = [f"{key}={changed[key]}" for key in others if key in changed]
    return {
        "value": changed[name],
        "variant": row["variant"],
        "line": ", ".join([row["variant"], *named]),
        **{key: row[key] for key in ("accuracy", "accuracy_low", "accuracy_high")},
    }


def headline(table: pd.DataFrame) -> list[dict[str, str]]:
    """Sentences about which differences are significant; the reference comes first.

    Returns:
        ``finding`` (see ``comparison``) and ``text`` of each sentence.
    """
    rows = records(table[table["query_type"] == ALL])
    (reference,) = [row for row in rows if row["finding"] == REFERENCE]
    name = arm_name(reference["variant"], reference["label"])
    seeds = "1 seed" if reference["seeds"] == 1 else f"{reference['seeds']} seeds"
    sentences = [
        {
            "finding": REFERENCE,
            "text": f"{name} has an accuracy of {reference['accuracy']:.3f} "
            f"({_interval(reference, 'accuracy')}), over {reference['queries']} queries and "
            f"{seeds}.",
        }
    ]
    for finding, words in (
        (BETTER, f"Significantly better than {name}"),
        (WORSE, f"Significantly worse than {name}"),
        (SEEDS, f"Different from {name} for these policies, but perhaps not for other seeds"),
        (SAME, f"No significant difference to {name}"),
    ):
        named = [_difference(row) for row in rows if row["finding"] == finding]
        if named:
            sentences.append({"finding": finding, "text": f"{words}: {'; '.join(named)}."})
    return sentences


def _difference(row: Mapping[str, Any]) -> str:
    name = arm_name(row["variant"], row["label"])
    interval = _interval(row, "difference", "+")
    return f"{name} ({row['difference']:+.3f}, {interval}, p {p_text(row['p_corrected'])})"


def _interval(row: Mapping[str, Any], name: str, sign: str = "") -> str:
    return f"{row[f'{name}_low']:{sign}.3f} to {row[f'{name}_high']:{sign}.3f}"


def p_text(value: float) -> str:
    """A p value with its relation: three decimals, or that it is below a thousandth."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def notes(table: pd.DataFrame, outcomes: pd.DataFrame, config: ComparisonParameters) -> list[str]:
    """Caveats that a reader must know."""
    overall = table[table["query_type"] == ALL]
    first = overall.iloc[0]
    said = []
    if (first["variant"], first["label"]) != (config.reference, ""):
        name = arm_name(first["variant"], first["label"])
        said.append(
            f"There is no finished run of {config.reference} without a label: differences are to "
            f"{name}, the first that is finished."
        )
    tuned = overall[overall["variant"] != UNTRAINED]
    if (single := tuned[tuned["seeds"] == 1]).size:
        names = [arm_name(v, x) for v, x in zip(single["variant"], single["label"], strict=True)]
        said.append(
            f"One seed only: {', '.join(names)}. Intervals there cover the choice of queries, "
            "not the choice of seeds."
        )
    if len(set(tuned["seeds"])) > 1:
        said.append("Not all variants have the same number of finished seeds.")
    said += _before_differs(outcomes)
    return said


def _before_differs(outcomes: pd.DataFrame) -> list[str]:
    before = outcomes[outcomes["stage"] == "before"]
    answered = {
        (variant, label, seed): tuple(rows.sort_values("query_id")["correct"])
        for (variant, label, seed), rows in before.groupby(["variant", "label", "seed"], sort=False)
    }
    first, expected = next(iter(answered.items()))
    other = [key for key, value in answered.items() if value != expected]
    if not other:
        return []
    names = ", ".join(f"{arm_name(v, label)} seed {seed}" for v, label, seed in other)
    return [
        f"The untrained backbone answered differently in {names} than in "
        f"{arm_name(*first[:2])} seed {first[2]}: the runs did not start from the same state."
    ]
