"""Nodes of open_ended: queries asked without a list, scored the benchmark authors' way."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.backbone import check_pretraining
from rerec_pipeline.parameters import (
    DataParameters,
    EvaluationParameters,
    OpenEndedParameters,
    RFTParameters,
    run_choices,
)
from rerec_pipeline.pipelines.data_engineering.prompts import build_prompts
from rerec_pipeline.pipelines.rft.nodes import within_limit
from rerec_pipeline.recbench import reading
from rerec_pipeline.recbench.candidates import random_numbers
from rerec_pipeline.recbench.heldout import split_fingerprint
from rerec_pipeline.recbench.open_ended import (
    join_titles,
    known_answers,
    published_labels,
    score_rows,
)
from rerec_pipeline.recbench.raw import data_folder
from rerec_pipeline.recbench.records import QUERY_FILES
from rerec_pipeline.recbench.tables import catalogue_from_table, examples_from_table
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.reporting import plots
from rerec_pipeline.reporting.open_ended import report_open_ended

#: How the authors name a file of answers: <domain>-<type>Query_<model>-<how it was asked>.
_ANSWER_FILE = re.compile(r"^\w+-\w+Query_(?P<model>.+?)(-history(True|False)\b.*|-prediction)?$")

# -- labels, and answers of other models ----------------------------------------------------


def read_published_labels(domain: str, raw_dir: str) -> pd.DataFrame:
    """Right titles of all queries, as they are published: what the authors' measures compare."""
    rows: list[dict[str, Any]] = []
    for query_type, name in QUERY_FILES.items():
        path = data_folder(raw_dir, domain) / name
        if path.is_file():
            records = reading.read_json(reading.decode(path.read_bytes(), path), path)
            rows += published_labels(records, query_type, path)
    return pd.DataFrame(rows)


def read_recorded(config: OpenEndedParameters, labels: pd.DataFrame) -> pd.DataFrame:
    """Recorded answers of other models, each file one model: query_id, system, response."""
    columns = ["query_id", "system", "response"]
    if config.recorded is None:
        return pd.DataFrame(columns=columns).astype("str")
    folder = Path(config.recorded)
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not files:
        problem = "there is no *.jsonl file in it" if folder.is_dir() else "there is no such folder"
        raise BadInputError(folder, problem, remedy="See open_ended.recorded in the parameters")
    asked = labels[labels["query_type"] == config.recorded_type]
    query_of = dict(zip(asked["answer_id"], asked["query_id"], strict=True))
    rows = []
    for file in files:
        records = reading.read_json_lines(reading.decode(file.read_bytes(), file), file)
        match = _ANSWER_FILE.match(file.stem)
        system = match["model"] if match else file.stem
        answers = known_answers(records, query_of, file)
        rows += [(query_of[query], system, response) for query, response in answers]
    return pd.DataFrame(rows, columns=columns)


# -- retrieval alone ------------------------------------------------------------------------


def answer_by_retrieval(
    retrieved: pd.DataFrame, items: pd.DataFrame, config: OpenEndedParameters
) -> pd.DataFrame:
    """The first items that each system of retrieval finds, as an answer."""
    catalogue = catalogue_from_table(items)
    listed = retrieved["item_ids"].map(catalogue.indices)
    responses = [join_titles(found[: config.length], catalogue) for found in listed]
    return retrieved[["query_id", "system"]].assign(response=responses)


def score_retrieval(
    retrieval_answers: pd.DataFrame,
    recorded: pd.DataFrame,
    labels: pd.DataFrame,
    score_cuts: list[int],
) -> pd.DataFrame:
    """Scores retrieval, and the recorded answers to the same queries."""
    same = _to_same_queries(recorded, retrieval_answers)
    return _score(pd.concat([retrieval_answers, same]), labels, score_cuts)


def _to_same_queries(rows: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """The rows of queries that have answers.

    Raises:
        BadInputError: If a system has none of them, so that nothing could be compared.
    """
    kept = rows[rows["query_id"].isin(answers["query_id"])]
    if lost := sorted({*rows["system"]} - {*kept["system"]}):
        raise BadInputError(
            "open_ended.recorded",
            f"{', '.join(lost)}: none of these answers is to a query that is asked here",
            remedy="Ask another split by --params split=..., or take the file out of the folder",
        )
    return kept


def _score(answers: pd.DataFrame, labels: pd.DataFrame, score_cuts: list[int]) -> pd.DataFrame:
    """Scores of each answer, as a whole (cut 0) and of its first titles."""
    titles = dict(zip(labels["query_id"], labels["titles"], strict=True))
    rows = [
        {"query_id": row.query_id, "system": row.system, **scores}
        for row in answers.itertuples()
        for scores in score_rows(row.response, list(titles[row.query_id]), score_cuts)
    ]
    return pd.DataFrame(rows)


# -- retrieval and the policy -----------------------------------------------------------------


def word_lists(
    retrieved: pd.DataFrame,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    mentions: pd.DataFrame,
    histories: pd.DataFrame,
    items: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    prompts: pd.DataFrame,
    task: RecTask,
    backbone_record: dict[str, Any],
    data: DataParameters,
    rft: RFTParameters,
    dataset: str,
) -> pd.DataFrame:
    """Asks each query with what the graph finds for it as candidates; labels choose none of them.

    A backbone that was pretrained on our data must have held out the queries of this data set.
    """
    name = backbone_record["name_or_path"]
    check_pretraining(name, dataset, split_fingerprint(prompts))
    found = retrieved[retrieved["system"] == "graph"]
    lists = [
        _listed(row.query_id, task.catalogue.indices(row.item_ids), task.catalogue, data)
        for row in found.itertuples()
    ]
    truth = prompts.set_index("query_id")["truth_id"]
    candidates = pd.DataFrame(
        {
            "query_id": found["query_id"],
            "truth_id": truth.loc[found["query_id"]].to_numpy(),
            "candidate_ids": [[task.catalogue.item_ids[n] for n in listed] for listed in lists],
        }
    )
    known = (queries, splits, mentions, histories, candidates, items, attribute_graph)
    worded = build_prompts(*known, data)
    return within_limit(worded, task, name, rft.backbone, rft.generation)


def _listed(query_id: str, found: list[int], catalogue: ItemIndex, data: DataParameters) -> Any:
    """The first items that can be answered, in the order that prompts of this kind list them."""
    able = [item for item in found if catalogue.is_answerable(item)][: data.candidates.size]
    if data.prompt.order == "graph":
        return able
    return random_numbers(data.candidates.seed, query_id).permutation(able)


def answer_by_policy(
    open_ended_prompts: pd.DataFrame,
    answers_before: pd.DataFrame,
    answers_after: pd.DataFrame,
    retrieved: pd.DataFrame,
    task: RecTask,
    config: OpenEndedParameters,
) -> pd.DataFrame:
    """What the policy answers, and behind it what else retrieval found, in its order."""
    examples = examples_from_table(open_ended_prompts, task.catalogue)
    order = retrieved[retrieved["system"] == "graph"].set_index("query_id")["item_ids"]
    tables = []
    for system, answers in (("graph + before", answers_before), ("graph + after", answers_after)):
        graded = task.grade(answers["completion"].tolist(), examples)
        responses = []
        for ranked, example in zip(graded.ranked, examples, strict=True):
            first = [int(item) for item in ranked if item >= 0]
            every = dict.fromkeys([*first, *task.catalogue.indices(order[example.query_id])])
            responses.append(join_titles(list(every)[: config.length], task.catalogue))
        tables.append(
            pd.DataFrame(
                {
                    "query_id": open_ended_prompts["query_id"],
                    "system": system,
                    "response": responses,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def score_policy(
    policy_answers: pd.DataFrame,
    open_ended_scores: pd.DataFrame,
    labels: pd.DataFrame,
    score_cuts: list[int],
) -> pd.DataFrame:
    """Scores the policy; retrieval and recorded answers stand beside it on the same queries."""
    same = _to_same_queries(open_ended_scores, policy_answers)
    scored = _score(policy_answers, labels, score_cuts)
    return pd.concat([same, scored], ignore_index=True)


# -- reports --------------------------------------------------------------------------------


def report_retrieval_alone(
    scores: pd.DataFrame,
    labels: pd.DataFrame,
    splits: pd.DataFrame,
    config: OpenEndedParameters,
    evaluation: EvaluationParameters,
    split: str,
) -> dict[str, Any]:
    """Recall, precision and NDCG of every system by query type, with intervals."""
    clusters = splits.set_index("query_id")["cluster"]
    report = report_open_ended(scores, labels, clusters, evaluation.bootstrap)
    return {"split": split, "length": config.length, **report}


def report_with_policy(
    scores: pd.DataFrame,
    labels: pd.DataFrame,
    splits: pd.DataFrame,
    config: OpenEndedParameters,
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """The same with the policy, and which run it is of."""
    split = parameters["split"]
    report = report_retrieval_alone(scores, labels, splits, config, evaluation, split)
    return {**report, "run": run_choices(parameters)}


def plot_open_ended(report: dict[str, Any]) -> go.Figure:
    """NDCG of all systems by query type."""
    return plots.open_ended_by_type(report)
