"""Nodes of the retrieval pipeline: a retriever from both graphs, its ranker, what it finds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from ibis import _
from scipy import sparse

from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.profiles import Groups
from rerec_pipeline.grounding.ranking import Answered, TreeRanker, draw_lists, fit_ranker
from rerec_pipeline.grounding.retrieval import Asked, Examples, Retriever, best_first
from rerec_pipeline.parameters import EvaluationParameters, RetrievalParameters
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    graph_from_table,
    queries_from_table,
)
from rerec_pipeline.recbench.titles import Catalogue
from rerec_pipeline.reporting import plots
from rerec_pipeline.reporting.retrieval import CUTS, Found, report_systems
from rerec_pipeline.rules import EvaluatedSplit

_CELL = ["gender", "age", "occupation"]


def count_by_groups(interaction_graph: ir.Table, users: pd.DataFrame) -> pd.DataFrame:
    """How many users of each gender, age and occupation interacted with each item.

    One row a group and item; a group's row without an item says how many users it has.
    """
    sizes = users.groupby(_CELL).size().rename("interactions").reset_index()
    if users.empty:
        return sizes.assign(item_id=pd.array([], dtype="Int64")).astype({"interactions": "int64"})
    known = interaction_graph.filter(_.part == "train")
    ids = known.select("user_id", "item_id").to_pandas().merge(users, on="user_id")
    counts = ids.groupby([*_CELL, "item_id"]).size().rename("interactions").reset_index()
    table = pd.concat([sizes, counts], ignore_index=True)
    return table.astype({"item_id": "Int64"})


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
    catalogue = catalogue_from_table(items)
    linker = Linker(catalogue, _facts(attribute_graph, catalogue))
    counts = item_popularity.set_index("item_id").loc[catalogue.item_ids, "interactions"]
    trained = splits.query("split == 'train'")
    clusters = dict(zip(trained["query_id"], trained["cluster"], strict=True))
    answered = [q for q in queries_from_table(queries) if q.query_id in clusters]
    examples = Examples(
        [query.text for query in answered],
        [catalogue.indices(query.truth_ids) for query in answered],
        [clusters[query.query_id] for query in answered],
        len(catalogue),
        retrieval.neighbours,
    )
    embeddings = lightgcn_embeddings["items"].numpy()
    groups = _groups(group_popularity, catalogue)
    popularity = counts.to_numpy("float64")
    return Retriever(linker, popularity, embeddings, groups, examples, pool=retrieval.pool)


def _facts(attribute_graph: pd.DataFrame, catalogue: Catalogue) -> Facts:
    indices = attribute_graph["item_id"].map(catalogue.index_of_id)
    rows = zip(indices, attribute_graph["relation"], attribute_graph["value"], strict=True)
    return Facts(len(catalogue), rows)


def _groups(group_popularity: pd.DataFrame, catalogue: Catalogue) -> Groups | None:
    sizes = group_popularity[group_popularity["item_id"].isna()]
    if sizes.empty:
        return None
    cells = list(sizes[_CELL].itertuples(index=False, name=None))
    number = {cell: n for n, cell in enumerate(cells)}
    counts = group_popularity[group_popularity["item_id"].notna()]
    rows = [number[cell] for cell in counts[_CELL].itertuples(index=False, name=None)]
    columns = catalogue.indices(counts["item_id"])
    values = counts["interactions"].to_numpy("float32")
    matrix = sparse.csr_matrix((values, (rows, columns)), shape=(len(cells), len(catalogue)))
    return Groups(cells, sizes["interactions"].to_numpy("int64"), matrix)


def train_ranker(
    retriever: Retriever,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    retrieval: RetrievalParameters,
) -> str:
    """Fits the ranker to training queries; validation queries end the boosting."""
    catalogue = retriever.linker.catalogue
    needs = NeedReader(catalogue, graph_from_table(attribute_graph, catalogue))
    known = splits.set_index("query_id")
    parts: dict[str, list[Answered]] = {"train": [], "validation": []}
    for query in queries_from_table(queries):
        split = known["split"].get(query.query_id)
        if split in parts:
            cluster = int(known["cluster"][query.query_id]) if split == "train" else None
            asked = ask(retriever, query, cluster)
            unlisted = needs.plausible_truths(query, asked.links.items).tolist()
            truths = frozenset(catalogue.indices(query.truth_ids))
            parts[split].append(Answered(asked, truths, frozenset(unlisted) - truths))
    lists = {name: draw_lists(retriever, some, retrieval.ranker) for name, some in parts.items()}
    return fit_ranker(lists["train"], lists["validation"], retrieval.ranker)


def ask(retriever: Retriever, query: Query, cluster: int | None = None) -> Asked:
    """A query as the retriever takes it: its text and what its record says the user has seen."""
    history = tuple(retriever.linker.catalogue.indices(query.history))
    return Asked(retriever.linker.link(query.text), history, cluster)


def choose_by_graph(
    retriever: Retriever,
    ranker: str,
    queries: Sequence[Query],
    candidates: Sequence[Sequence[int]],
) -> list[int]:
    """What the fitted retriever chooses among the candidates of each query."""
    fitted = retriever.ordered_by(TreeRanker(ranker))
    return fitted.choices([ask(fitted, query) for query in queries], candidates)


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
    asked = [ask(fitted, query) for query in records]
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
    catalogue: Catalogue,
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
        str(name): Found.of_lists(
            table["item_ids"].tolist(),
            truths.loc[table["query_id"]].tolist(),
            (table["chosen_id"].to_numpy() == rows.loc[table["query_id"], "truth_id"].to_numpy()),
        )
        for name, table in retrieved.groupby("system")
    }
    types, clusters = rows["query_type"].tolist(), rows["cluster"].to_numpy()
    report = report_systems(systems, types, clusters, retrieval_times, *evaluation.bootstrap)
    return {"split": split, **report}


def plot_retrieval(retrieval_report: dict[str, Any]) -> go.Figure:
    """How much of what is right is found among the first items."""
    return plots.found_by_cut(retrieval_report)
