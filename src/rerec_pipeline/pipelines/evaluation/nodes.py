"""Nodes of the evaluation pipeline: the policy before and after, on held-out queries."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from rerec_pipeline.configs import EvaluatedSplit
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.models.backbone import Backbone, load_backbone, load_tokenizer
from rerec_pipeline.models.generation import stop_ids
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.parameters import (
    BackboneParameters,
    EvaluationParameters,
    GenerationParameters,
    LaunchParameters,
    RFTParameters,
    run_choices,
    say_run,
)
from rerec_pipeline.pipelines.retrieval.nodes import choose_by_graph
from rerec_pipeline.pipelines.rft.nodes import select_prompts
from rerec_pipeline.pipelines.rft.traces import in_form
from rerec_pipeline.recbench.baselines import choose_near, choose_popular, profile_of
from rerec_pipeline.recbench.tables import (
    examples_from_table,
    graph_from_table,
    lists_right_item,
    queries_from_table,
)
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.reporting import pages, plots, transcripts
from rerec_pipeline.reporting.faithfulness import StatementReader
from rerec_pipeline.reporting.outcomes import outcome_table
from rerec_pipeline.reporting.report import report_baselines, report_policy
from rerec_pipeline.rerec.reward import Reward
from rerec_pipeline.training.jobs import Answering
from rerec_pipeline.training.launching import answer_all
from rerec_pipeline.training.rollouts import RolloutScorer, ScoredRollouts

#: Of answers that are written freely.
NO_FORMS: Mapping[str, str] = MappingProxyType({})

#: Columns of a table of answers.
ANSWERS = {"query_id": "str", "completion": "str", "token_ids": "object", "truncated": "bool"}


def select_evaluation_prompts(
    prompts: pd.DataFrame,
    task: RecTask,
    backbone_record: dict[str, Any],
    backbone: BackboneParameters,
    generation: GenerationParameters,
    dataset: str,
    split: EvaluatedSplit,
    evaluation: EvaluationParameters,
) -> pd.DataFrame:
    """Prompts of the split that is asked; on those of test nothing was trained or selected."""
    name_or_path = backbone_record["name_or_path"]
    asked = select_prompts(prompts, split, task, name_or_path, backbone, generation, dataset)
    if evaluation.limit is None or evaluation.limit >= len(asked):
        return asked
    return asked.sample(evaluation.limit, random_state=evaluation.seed).sort_index(
        ignore_index=True
    )


def choose_by_baselines(
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    queries: pd.DataFrame,
    retriever: Retriever,
    ranker: str,
    interaction_graph: ir.Table,
    item_popularity: pd.DataFrame,
    lightgcn_embeddings: dict[str, torch.Tensor],
) -> pd.DataFrame:
    """Choices of the baselines among the same candidates; null where one cannot choose."""
    catalogue = task.catalogue
    examples = examples_from_table(evaluation_prompts, catalogue)
    of_query = {query.query_id: query for query in queries_from_table(queries)}
    items = lightgcn_embeddings["items"].numpy()
    names = interaction_graph.select("user_id").distinct().order_by("user_id").to_pyarrow()
    rows = lightgcn_embeddings["users"].numpy()
    users = dict(zip(names["user_id"].to_pylist(), rows, strict=True))
    asked = [of_query[example.query_id] for example in examples]
    profiles = [
        profile_of(query, e.mentioned, users, items, catalogue.index_of_id)
        for query, e in zip(asked, examples, strict=True)
    ]
    counts = item_popularity.set_index("item_id").loc[catalogue.item_ids, "interactions"]
    ids = np.array([*catalogue.item_ids, -1])
    chosen = {
        "popularity": ids[choose_popular(examples, counts.to_numpy("float64"))],
        "lightgcn": ids[choose_near(examples, profiles, items)],
        "graph": ids[choose_by_graph(retriever, ranker, asked, [e.candidates for e in examples])],
    }
    table = pd.DataFrame({"query_id": evaluation_prompts["query_id"], **chosen})
    return table.astype(dict.fromkeys(chosen, "Int64")).replace(-1, pd.NA)


def answer_before(
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    backbone_record: dict[str, Any],
    backbone: BackboneParameters,
    generation: GenerationParameters,
    evaluation: EvaluationParameters,
    launch: LaunchParameters,
    forms: Mapping[str, str] = NO_FORMS,
) -> pd.DataFrame:
    """Answers of the backbone as it is before fine-tuning."""
    untrained = load_backbone(
        backbone_record["name_or_path"], backbone.dtype, backbone.template_values
    )
    limits = (backbone, generation, evaluation, launch, forms)
    return _answer(untrained, evaluation_prompts, task, *limits, "Answering, before")


def answer_cold_started(
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    start_record: dict[str, Any],
    backbone: BackboneParameters,
    generation: GenerationParameters,
    evaluation: EvaluationParameters,
    launch: LaunchParameters,
    forms: Mapping[str, str] = NO_FORMS,
) -> pd.DataFrame:
    """Answers of the cold-started policy before reinforcement; none without a cold start."""
    asked = evaluation_prompts if start_record["cold_start"] else evaluation_prompts.iloc[:0]
    if asked.empty:
        return pd.DataFrame({name: [] for name in ANSWERS}).astype(ANSWERS)
    started = load_backbone(start_record["name_or_path"], backbone.dtype, backbone.template_values)
    limits = (backbone, generation, evaluation, launch, forms)
    return _answer(started, asked, task, *limits, "Answering, cold-started")


def answer_after(
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    policy: Backbone,
    rft: RFTParameters,
    evaluation: EvaluationParameters,
    launch: LaunchParameters,
    forms: Mapping[str, str] = NO_FORMS,
) -> pd.DataFrame:
    """Answers of the fine-tuned policy."""
    limits = (rft.backbone, rft.generation, evaluation, launch, forms)
    return _answer(policy, evaluation_prompts, task, *limits, "Answering, after")


def _answer(
    policy: Backbone,
    prompts: pd.DataFrame,
    task: RecTask,
    backbone: BackboneParameters,
    generation: GenerationParameters,
    evaluation: EvaluationParameters,
    launch: LaunchParameters,
    forms: Mapping[str, str],
    label: str,
) -> pd.DataFrame:
    examples = in_form(examples_from_table(prompts, task.catalogue), forms)
    work = Answering(
        policy,
        examples,
        generation.max_completion_tokens,
        evaluation.batch_size,
        backbone.dtype,  # before and after in the same precision
        label,
    )
    token_ids = answer_all(work, launch)
    table = TokenBytes(policy.tokenizer)
    ends = set(stop_ids(policy))
    return pd.DataFrame(
        {
            "query_id": prompts["query_id"],
            "completion": [table.read(ids).text for ids in token_ids],
            "token_ids": token_ids,
            "truncated": [ids[-1] not in ends for ids in token_ids],
        }
    )


def score_answers(
    answers_before: pd.DataFrame,
    answers_cold_started: pd.DataFrame,
    answers_after: pd.DataFrame,
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    reward: Reward,
    rft: RFTParameters,
) -> dict[str, ScoredRollouts]:
    """Scores all sets of answers with the very object that scored the rollouts."""
    examples = examples_from_table(evaluation_prompts, task.catalogue)
    backbone = rft.backbone
    table = TokenBytes(load_tokenizer(backbone.name_or_path, backbone.template_values))
    scorer = RolloutScorer(task, reward, table)
    stages = {"before": answers_before, "cold_start": answers_cold_started, "after": answers_after}
    return {
        name: scorer.score([[int(i) for i in ids] for ids in answers["token_ids"]], examples)
        for name, answers in stages.items()
        if name != "cold_start" or len(answers)
    }


def tabulate_outcomes(
    scored: dict[str, ScoredRollouts],
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    attribute_graph: pd.DataFrame,
) -> pd.DataFrame:
    """What came of every query, before and after: what runs are compared by."""
    examples = examples_from_table(evaluation_prompts, task.catalogue)
    statements = StatementReader(task, graph_from_table(attribute_graph, task.catalogue))
    clusters = evaluation_prompts["cluster"].tolist()
    stages = [
        outcome_table(answers, examples, statements, clusters).assign(stage=stage)
        for stage, answers in scored.items()
    ]
    return pd.concat(stages, ignore_index=True)


def report_metrics(
    scored: dict[str, ScoredRollouts],
    baseline_choices: pd.DataFrame,
    answers_before: pd.DataFrame,
    answers_after: pd.DataFrame,
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    attribute_graph: pd.DataFrame,
    training_summary: dict[str, Any],
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """The machine-readable report.

    ``truncated`` is the share of answers that ended at the limit and not by themselves,
    ``right_item_listed`` the share of prompts that can be answered rightly.
    """
    examples = examples_from_table(evaluation_prompts, task.catalogue)
    statements = StatementReader(task, graph_from_table(attribute_graph, task.catalogue))
    clusters = evaluation_prompts["cluster"].to_numpy()
    report: dict[str, Any] = {
        name: report_policy(answers, examples, statements, clusters, evaluation.bootstrap)
        for name, answers in scored.items()
    }
    truths = evaluation_prompts["truth_id"].to_numpy()
    started = report.pop("cold_start", {})
    names = ("popularity", "lightgcn", "graph")
    right: dict[str, pd.Series] = {name: baseline_choices[name] == truths for name in names}
    if started:
        right["cold_start"] = pd.Series(scored["cold_start"].graded.correct)
    report["baselines"] = report_baselines(
        examples,
        right,
        scored["after"].graded.correct,
        clusters,
        evaluation.bootstrap,
    )
    if started:
        report["baselines"]["cold_start"] |= started
    for name, answers in (("before", answers_before), ("after", answers_after)):
        report[name]["truncated"] = float(answers["truncated"].mean())
    report["right_item_listed"] = float(lists_right_item(evaluation_prompts).mean())
    report["gain"] = report["after"]["accuracy"] - report["before"]["accuracy"]
    report["training"] = training_summary
    report["run"] = {**run_choices(parameters), "split": parameters["split"]}
    if parameters["target"] is not None:  # what was tested on, where it is not the data set
        report["run"]["target"] = parameters["target"]
    return report


def keep_latest(metrics: dict[str, Any]) -> dict[str, Any]:
    """Writes the report to a fixed path, too: that of the latest run, whatever its choices."""
    return metrics


def plot_accuracy(metrics: dict[str, Any]) -> go.Figure:
    """Accuracy by query type, before and after."""
    return plots.accuracy_by_type(metrics)


def plot_baselines(metrics: dict[str, Any]) -> go.Figure:
    """The policy before and after beside answers that need no language model."""
    return plots.beside_baselines(metrics)


def plot_learning(training_log: pd.DataFrame, training_summary: dict[str, Any]) -> go.Figure:
    """Accuracy over the budget of training."""
    steps = training_summary["steps"]
    # A mean over more steps than a short run has would be no moving mean.
    window = min(20, max(1, steps // 4))
    return plots.learning_curve(training_log, training_summary["samples"] // steps, window)


def plot_curriculum(curriculum_log: pd.DataFrame) -> go.Figure:
    """Size and difficulty of the curriculum in each epoch."""
    return plots.curriculum_by_epoch(curriculum_log)


def write_transcripts(
    scored: dict[str, ScoredRollouts],
    evaluation_prompts: pd.DataFrame,
    task: RecTask,
    metrics: dict[str, Any],
    run_pages: dict[str, str],
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> tuple[pd.DataFrame, str]:
    """Sample transcripts as a table, and as a page that begins with the accuracy."""
    examples = examples_from_table(evaluation_prompts, task.catalogue)
    shown = transcripts.transcribe(
        examples,
        evaluation_prompts["text"].tolist(),
        scored["before"],
        scored["after"],
        task.catalogue,
        transcripts.pick(examples, evaluation.transcripts_per_type, evaluation.seed),
    )
    links = pages.links_within(run_pages, own="Transcripts")
    title = f"Transcripts: {say_run(parameters)}"
    page = pages.transcripts_page(title, links, metrics, evaluation.confidence, shown)
    return transcripts.transcript_table(shown), page
