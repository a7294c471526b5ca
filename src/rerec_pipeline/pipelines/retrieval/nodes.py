"""Nodes of the retrieval pipeline: a retriever from both graphs, its ranker, what it finds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from tqdm import tqdm

from rerec_pipeline.configs import EvaluatedSplit
from rerec_pipeline.grounding.ranking import (
    Answered,
    TreeRanker,
    draw_lists,
    fit_ranker,
    join_lists,
)
from rerec_pipeline.grounding.retrieval import Retriever, best_first
from rerec_pipeline.grounding.signals import Asked
from rerec_pipeline.grounding.tables import ask_query, retriever_from_tables
from rerec_pipeline.parameters import DataParameters, EvaluationParameters, RetrievalParameters
from rerec_pipeline.pipelines.data_engineering.prompts import build_prompts
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.tables import (
    graph_from_table,
    queries_from_table,
)
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.reporting import plots
from rerec_pipeline.reporting.retrieval import CUTS, RetrievalResult, report_systems

#: Parts that training queries are cut into where each is ranked by what the others teach.
FOLDS = 4


def build_retriever(
    items: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    item_popularity: pd.DataFrame,
    lightgcn_embeddings: dict[str, torch.Tensor],
    group_popularity: pd.DataFrame,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    retrieval: RetrievalParameters,
) -> Retriever:
    """Links and retrieves by both graphs; knows of queries what those of training were answered."""
    tables = (items, attribute_graph, item_popularity, group_popularity, queries, splits)
    embeddings = lightgcn_embeddings["items"].numpy()
    return retriever_from_tables(*tables, embeddings, retrieval.pool, retrieval.neighbours)


def train_ranker(
    retriever: Retriever,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    retrieval: RetrievalParameters,
) -> str:
    """Fits the ranker to training queries; validation queries end the boosting."""
    parts = _answered(retriever, queries, splits, attribute_graph)
    lists = {name: draw_lists(retriever, some, retrieval.ranker) for name, some in parts.items()}
    return fit_ranker(lists["train"], lists["validation"], retrieval.ranker)


def arrange_candidates(
    candidates: pd.DataFrame,
    retriever: Retriever,
    ranker: str,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    data: DataParameters,
    retrieval: RetrievalParameters,
) -> pd.DataFrame:
    """The candidates in the order that prompts list them: as drawn, or as the graph ranks them.

    A training query is ranked by trees that were fitted to other clusters, one of ``FOLDS`` sets
    of them left out in turn: otherwise the first candidate would be right nearly always in
    training, and less often where it matters.
    """
    if data.prompt.order == "drawn":
        return candidates
    fold = (splits.set_index("query_id")["cluster"] % FOLDS).where(
        splits.set_index("query_id")["split"] == "train", FOLDS
    )
    parts = _answered(retriever, queries, splits, attribute_graph)
    held = draw_lists(retriever, parts["validation"], retrieval.ranker)
    rankers = {FOLDS: ranker}
    drawn = {
        n: draw_lists(
            retriever,
            [a for a in parts["train"] if (a.asked.cluster or 0) % FOLDS == n],
            retrieval.ranker,
        )
        for n in range(FOLDS)
    }
    for left_out in tqdm(range(FOLDS), desc="Fitting rankers to other queries", unit="ranker"):
        others = join_lists([drawn[n] for n in range(FOLDS) if n != left_out])
        rankers[left_out] = fit_ranker(others, held, retrieval.ranker)
    of_query = {query.query_id: query for query in queries_from_table(queries)}
    cluster = splits.set_index("query_id")["cluster"]
    tables = []
    for number, rows in candidates.groupby(fold.loc[candidates["query_id"]].to_numpy()):
        fitted = retriever.ordered_by(TreeRanker(rankers[int(number)]))
        ids = rows["query_id"]
        own = [int(cluster[i]) if number != FOLDS else None for i in ids]
        asked = [ask_query(fitted, of_query[i], c) for i, c in zip(ids, own, strict=True)]
        listed = [np.array(retriever.linker.catalogue.indices(c)) for c in rows["candidate_ids"]]
        order = [np.argsort(-s, kind="stable") for s in fitted.rank(asked, listed)]
        ordered = zip(rows["candidate_ids"], order, strict=True)
        tables.append(rows.assign(candidate_ids=[[c[n] for n in o] for c, o in ordered]))
    return pd.concat(tables).sort_index()


def arrange_prompts(
    prompts: pd.DataFrame,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    mentions: pd.DataFrame,
    histories: pd.DataFrame,
    arranged_candidates: pd.DataFrame,
    items: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    data: DataParameters,
) -> pd.DataFrame:
    """The prompts with their candidates in that order."""
    if data.prompt.order == "drawn":
        return prompts
    known = (queries, splits, mentions, histories, arranged_candidates, items, attribute_graph)
    return build_prompts(*known, data)


def _answered(
    retriever: Retriever,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    attribute_graph: pd.DataFrame,
) -> dict[str, list[Answered]]:
    """Training and validation queries with what answers them."""
    catalogue = retriever.linker.catalogue
    needs = NeedReader(catalogue, graph_from_table(attribute_graph, catalogue))
    known = splits.set_index("query_id")
    parts: dict[str, list[Answered]] = {"train": [], "validation": []}
    for query in queries_from_table(queries):
        split = known["split"].get(query.query_id)
        if split in parts:
            cluster = int(known["cluster"][query.query_id]) if split == "train" else None
            asked = ask_query(retriever, query, cluster)
            unlisted = needs.plausible_truths(query, asked.links.items).tolist()
            truths = frozenset(catalogue.indices(query.truth_ids))
            parts[split].append(Answered(asked, truths, frozenset(unlisted) - truths))
    return parts


def choose_by_graph(
    retriever: Retriever,
    ranker: str,
    queries: Sequence[Query],
    candidates: Sequence[Sequence[int]],
) -> list[int]:
    """What the fitted retriever chooses among the candidates of each query."""
    fitted = retriever.ordered_by(TreeRanker(ranker))
    return fitted.choices([ask_query(fitted, query) for query in queries], candidates)


def plot_ranker(ranker: str) -> go.Figure:
    """What each feature is worth to the ranker."""
    return plots.ranker_features(TreeRanker(ranker).importances())


def retrieve_items(
    retriever: Retriever,
    ranker: str,
    queries: pd.DataFrame,
    prompts: pd.DataFrame,
    split: EvaluatedSplit,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Items for each request of a split, and the choice among its candidates, by three systems.

    ``graph`` is the fitted retriever, ``bm25`` text alone, ``popularity`` interactions alone.
    Also tells the milliseconds that each took for a request.
    """
    rows = prompts[prompts["split"] == split]
    catalogue = retriever.linker.catalogue
    of_query = {query.query_id: query for query in queries_from_table(queries)}
    records = [of_query[name] for name in rows["query_id"]]
    listed = [catalogue.indices(ids) for ids in rows["candidate_ids"]]
    fitted = retriever.ordered_by(TreeRanker(ranker))
    start = time.perf_counter()
    asked = [ask_query(fitted, query) for query in records]
    linked = time.perf_counter() - start
    tables, times = [], {}
    for name, system in (("graph", fitted), *((n, retriever) for n in ("bm25", "popularity"))):
        start = time.perf_counter()
        if name == "graph":
            found, chosen = system.retrieve(asked, max(CUTS)), None
        else:
            found, chosen = _by_one(system, asked, listed, name)
        spent = time.perf_counter() - start + linked
        chosen = system.choices(asked, listed) if chosen is None else chosen
        times[name] = 1000 * spent / max(len(records), 1)
        tables.append(_found_table(rows["query_id"], name, found, chosen, catalogue))
    return pd.concat(tables, ignore_index=True), times


def _by_one(
    retriever: Retriever, asked: Sequence[Asked], listed: Sequence[Sequence[int]], name: str
) -> tuple[list[np.ndarray], list[int]]:
    """Items and choices by a single score of all items."""
    found, chosen = [], []
    for request, candidates in zip(asked, listed, strict=True):
        scores = retriever.popularity if name == "popularity" else retriever.by_text(request)
        found.append(best_first(scores, max(CUTS), request.links.items))
        chosen.append(candidates[int(np.argmax(scores[list(candidates)]))])
    return found, chosen


def _found_table(
    query_ids: pd.Series,
    system: str,
    found: Sequence[np.ndarray],
    chosen: Sequence[int],
    catalogue: ItemIndex,
) -> pd.DataFrame:
    ids = catalogue.item_ids
    return pd.DataFrame(
        {
            "query_id": query_ids.to_numpy(),
            "system": system,
            "item_ids": [[ids[n] for n in items] for items in found],
            "chosen_id": [ids[n] for n in chosen],
        }
    )


def report_retrieval(
    retrieved: pd.DataFrame,
    retrieval_times: dict[str, float],
    prompts: pd.DataFrame,
    queries: pd.DataFrame,
    split: EvaluatedSplit,
    evaluation: EvaluationParameters,
) -> dict[str, Any]:
    """How much of what is right each system finds, overall and by query type, with intervals."""
    rows = prompts[prompts["split"] == split].set_index("query_id")
    truths = queries.set_index("query_id").loc[rows.index, "truth_ids"]
    systems = {
        str(name): RetrievalResult.of_lists(
            table["item_ids"].tolist(),
            truths.loc[table["query_id"]].tolist(),
            (table["chosen_id"].to_numpy() == rows.loc[table["query_id"], "truth_id"].to_numpy()),
        )
        for name, table in retrieved.groupby("system")
    }
    types, clusters = rows["query_type"].tolist(), rows["cluster"].to_numpy()
    report = report_systems(systems, types, clusters, retrieval_times, evaluation.bootstrap)
    return {"split": split, **report}


def plot_retrieval(retrieval_report: dict[str, Any]) -> go.Figure:
    """How much of what is right is found among the first items."""
    return plots.found_by_cut(retrieval_report)
