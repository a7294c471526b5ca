"""Nodes of likelihood: what the policy answers if its box can hold only a candidate.

The reasoning of each answer is kept. After it, every candidate is put in a box, and the candidates
are ranked by the probability that the policy gives to each (``models/choosing.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from rerec_pipeline.models.backbone import Backbone, cast_weights, prompt_ids
from rerec_pipeline.models.choosing import title_scores, until_box
from rerec_pipeline.models.devices import device
from rerec_pipeline.models.generation import stop_ids
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.parameters import EvaluationParameters, RFTParameters, run_choices
from rerec_pipeline.recbench.tables import examples_from_table
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.reporting.likelihood import report_ranks
from rerec_pipeline.sequences.choices import ranks


def rank_candidates(
    prompts: pd.DataFrame,
    answers: pd.DataFrame,
    policy: Backbone,
    task: RecTask,
    rft: RFTParameters,
) -> pd.DataFrame:
    """Ranks the candidates of every prompt by likelihood after the reasoning of its answer.

    Args:
        prompts: N prompts.
        answers: The policy's answers to them, in the same order.
        policy: The policy that answered.
        task: Reads answers and knows titles.
        rft: Gives the precision of the weights.

    Returns:
        A row for each prompt: ``query_id``; ``place`` of the right candidate, from 1 (0 if it is
        not listed because retrieval did not find it); ``correct``: whether the answer as it was
        written is right.
    """
    policy.model.to(device())  # type: ignore[arg-type]
    cast_weights(policy.model, rft.backbone.dtype)  # as when it answered
    examples = examples_from_table(prompts, task.catalogue)
    table, stops = TokenBytes(policy.tokenizer), set(stop_ids(policy))
    titles, places = task.catalogue.titles, []
    rows = zip(examples, prompt_ids(policy.tokenizer, examples), answers["token_ids"], strict=True)
    for example, prompt, token_ids in tqdm([*rows], desc="Ranking candidates", unit="query"):
        if example.truth not in example.candidates:
            places.append(0)
            continue
        written = [int(token) for token in token_ids if token not in stops]
        reasoning, _ = until_box(written, table)
        listed = [titles[item] for item in example.candidates]
        scores = title_scores(policy, [*prompt, *reasoning], listed)
        right = np.array([example.candidates.index(example.truth)])
        places.append(int(ranks(scores[None], right)[0]))
    graded = task.grade(answers["completion"].tolist(), examples)
    return pd.DataFrame(
        {"query_id": prompts["query_id"], "place": places, "correct": graded.correct}
    )


def report_likelihood(
    candidate_ranks: pd.DataFrame,
    prompts: pd.DataFrame,
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Accuracy as written and by likelihood, Hit@5 and NDCG@10, with intervals."""
    clusters = prompts["cluster"] if "cluster" in prompts else pd.Series(range(len(prompts)))
    report = report_ranks(
        candidate_ranks["place"].to_numpy(),
        candidate_ranks["correct"].to_numpy(),
        clusters.to_numpy(),
        evaluation.bootstrap,
    )
    return {**report, "run": run_choices(parameters)}
