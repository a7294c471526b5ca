"""Nodes of model_card: what a policy is, how well it does, and how it is asked."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rerec_pipeline.experiments.grid import LABELS, write
from rerec_pipeline.parameters import EvaluationParameters, RFTParameters, policy_name


def write_card(
    metrics: dict[str, Any],
    backbone_record: dict[str, Any],
    rft: RFTParameters,
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> str:
    """A model card in Hugging Face's form: data, base model, figures with intervals, limits."""
    base = Path(str(backbone_record["name_or_path"]))
    # A folder of this machine is no name on the Hub.
    base_model = "" if base.is_absolute() or base.exists() else f"base_model: {base.as_posix()}\n"
    tags = [parameters["variant"], parameters["dataset"], "recommendation"]
    rows = [("before fine-tuning", metrics["before"]), ("after", metrics["after"])]
    rows += [(name, row) for name, row in metrics["baselines"].items() if "interval" in row]
    table = "\n".join(_row(name, row) for name, row in rows)
    faithful = metrics["after"]["faithfulness"]["verdicts_confirmed"]
    said = "states no verdicts" if faithful is None else f"{faithful:.3f} are true"
    split = metrics["run"]["split"]
    # Settings are chosen on the validation split.
    unseen = "trained or selected" if split == "test" else "trained"
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [{", ".join(tags)}]
{base_model}---

# {policy_name(parameters)}

A recommendation policy, fine-tuned with {rft.algorithm} (variant `{parameters["variant"]}`, seed
{parameters["seed"]}) from `{base.name}` on the training queries of `{parameters["dataset"]}`. It
is given a request and a list of candidates, reasons about them, and boxes one title.

## Figures

{split.capitalize()} queries, greedy answers, {evaluation.confidence:.0%}
intervals (bootstrap over queries that hang together); nothing was {unseen} on them.
Chance is {metrics["baselines"]["random"]["accuracy"]:.3f}.

| | accuracy | interval | queries |
|---|---|---|---|
{table}

Of the verdicts in its reasoning that the attribute graph can decide: {said}.

## How to ask

```bash
kedro ask "..." --params {shlex.quote(_choices(parameters))}  # finds candidates, too
transformers serve PATH_OF_THIS_FOLDER  # after: pip install "transformers[serving]"
# the same, with the policy on that server; the path is written as above
kedro ask "..." --policy-url http://localhost:8000/v1 --policy-model PATH_OF_THIS_FOLDER
```
{_further(parameters)}
The prompt is that of training (`data.prompt` in the project's configuration): the candidates, then
the request. A policy that is asked in another form answers worse.

## Limits

It knows the items of `{parameters["dataset"]}` and no others. What its reasoning states may be
wrong: the assistant checks it against the attribute graph. Published figures of recommenders do
not compare with these unless queries, candidates and splits are the same.
"""


def _row(name: str, row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"| {name} | {row['accuracy']:.3f} | {low:.3f} to {high:.3f} | {row['n']} |"


def _choices(parameters: dict[str, Any]) -> str:
    labels = [key for key in LABELS if parameters[key]]
    keys = ("dataset", "backbone", "variant", "seed", *labels)
    return write({key: parameters[key] for key in keys})


def _further(parameters: dict[str, Any]) -> str:
    """A label names the folder of what was given, and not all of it can be read off its name."""
    if not any(parameters[key] for key in LABELS):
        return ""
    return "\nBehind `--params`, add what else its training was given: the label names it.\n"
