"""Nodes of the data engineering pipeline: from queries to splits, candidates and prompts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from tqdm import tqdm

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.tables import ask_query, retriever_from_tables
from rerec_pipeline.grounding.wording import evidence_gatherer
from rerec_pipeline.parameters import (
    DataParameters,
    FixedParameters,
    HistoryParameters,
    RetrievalParameters,
    SplitConfig,
)
from rerec_pipeline.recbench import reading
from rerec_pipeline.recbench.candidates import (
    CandidateConfig,
    CandidateDrawer,
    Choice,
    truths_by_need,
)
from rerec_pipeline.recbench.fixed import read_fixed_candidates, read_fixed_splits
from rerec_pipeline.recbench.mentions import title_index
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.splits import (
    connected_queries,
    mentioned_items,
    need_of,
    split_queries,
    stratum_of,
)
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    graph_from_table,
    prompt_rows,
    queries_from_table,
)
from rerec_pipeline.recbench.task import Evidence, PromptWording, RecTask
from rerec_pipeline.recbench.titles import ItemIndex

Asked = tuple[Query, frozenset[int]]
"""A query, and the indices of the items it names."""


def find_mentions(queries: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Finds the items that each query names in its text."""
    catalogue = catalogue_from_table(items)
    titles = title_index(catalogue)
    ids = catalogue.item_ids
    rows = [
        {
            "query_id": query.query_id,
            "mentioned_ids": sorted(ids[n] for n in mentioned_items(query, titles)),
        }
        for query in queries_from_table(queries)
    ]
    return pd.DataFrame(rows, columns=["query_id", "mentioned_ids"])


def assign_splits(
    queries: pd.DataFrame,
    mentions: pd.DataFrame,
    items: pd.DataFrame,
    config: SplitConfig,
    fixed: FixedParameters,
) -> pd.DataFrame:
    """Splits by query; a shared text or (need, right item) pair never crosses splits.

    A split that the user gives as a file is used as it is; queries it does not name are left out.
    """
    asked = _asked(queries, mentions, catalogue_from_table(items))
    records = [query for query, _ in asked]
    groups = connected_queries(records, [need_of(query, named) for query, named in asked])
    if fixed.splits is None:
        shares = config.model_dump(include={"train", "validation", "test"})
        splits = split_queries(records, groups, shares, config.seed)
        of_query = dict(zip((q.query_id for q in records), splits, strict=True))
    else:
        of_query = read_fixed_splits(
            _text_of(fixed.splits), fixed.splits, {query.query_id for query in records}
        )
    cluster_of = {n: cluster for cluster, group in enumerate(groups) for n in group}
    rows = [
        {
            "query_id": q.query_id,
            "split": of_query[q.query_id],
            "stratum": stratum_of(q),
            "cluster": cluster_of[n],
        }
        for n, q in enumerate(records)
        if q.query_id in of_query
    ]
    return pd.DataFrame(rows)


def collect_histories(
    queries: pd.DataFrame,
    interactions: ir.Table,
    told: bool,
    wanted: HistoryParameters,
) -> pd.DataFrame:
    """What each user has seen: the record's own list, else the user's latest interactions.

    Right items are left out of it. Empty where prompts do not tell histories, or for a user
    without any.
    """
    records = queries_from_table(queries) if told else []
    users = {query.user_id for query in records if query.user_id and not query.history}
    seen = _items_of(interactions, users) if users else {}
    rows = []
    for query in records:
        known = query.history or seen.get(query.user_id or "", [])
        past = [int(item) for item in known if item not in query.truth_ids]
        rows.append({"query_id": query.query_id, "history_ids": past[-wanted.length :]})
    return pd.DataFrame(rows, columns=["query_id", "history_ids"]).astype({"query_id": "str"})


def _items_of(interactions: ir.Table, users: Collection[str]) -> dict[str, list[int]]:
    """Items of some users, oldest first."""
    asked = ibis.memtable({"user_id": sorted(users)}, schema={"user_id": "string"})
    rows = interactions.semi_join(asked, "user_id").select("user_id", "timestamp", "item_id")
    table = rows.to_pandas().sort_values(["timestamp", "item_id"], na_position="first")
    return table.groupby("user_id")["item_id"].agg(list).to_dict()


def find_pools(
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    items: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    item_popularity: pd.DataFrame,
    group_popularity: pd.DataFrame,
    config: CandidateConfig,
    retrieval: RetrievalParameters,
) -> pd.DataFrame:
    """What the first stage of retrieval finds for each query; empty where candidates are drawn.

    No weight of it is fitted, so the lists of training queries are made as those of test queries
    are; answers to similar requests come from training queries of other clusters.
    """
    if config.source == "drawn":
        return pd.DataFrame(columns=["query_id", "item_ids"]).astype({"query_id": "str"})
    tables = (items, attribute_graph, item_popularity, group_popularity, queries, splits)
    no_embeddings = np.empty((len(items), 0), dtype=np.float32)
    retriever = retriever_from_tables(*tables, no_embeddings, retrieval.pool, retrieval.neighbours)
    cluster = splits.set_index("query_id")["cluster"]
    used = queries_from_table(queries[queries["query_id"].isin(cluster.index)])
    asked = [ask_query(retriever, query, int(cluster[query.query_id])) for query in used]
    ids = np.array(retriever.linker.catalogue.item_ids)
    found = [ids[pool].tolist() for pool in retriever.ranked_pools(asked)]
    return pd.DataFrame({"query_id": [query.query_id for query in used], "item_ids": found})


def draw_candidates(
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    mentions: pd.DataFrame,
    histories: pd.DataFrame,
    items: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    pools: pd.DataFrame,
    config: CandidateConfig,
    fixed: FixedParameters,
) -> pd.DataFrame:
    """Chooses the candidates of each query, in a seeded order (see ``CandidateConfig.source``).

    Candidates that the user gives as a file are used as they are.
    """
    catalogue = catalogue_from_table(items)
    everyone = _asked(queries, mentions, catalogue)
    used = set(splits["query_id"])
    asked = [(query, mentioned) for query, mentioned in everyone if query.query_id in used]
    if fixed.candidates is None:
        past = dict(zip(histories["query_id"], histories["history_ids"], strict=True))
        asked = [(_with_history(query, past), mentioned) for query, mentioned in asked]
        graph = graph_from_table(attribute_graph, catalogue)
        found = dict(zip(pools["query_id"], pools["item_ids"].map(catalogue.indices), strict=True))
        choices = _choose(asked, everyone, catalogue, graph, found, config)
    else:
        right = {query.query_id: catalogue.indices(query.truth_ids) for query, _ in asked}
        text = _text_of(fixed.candidates)
        choices = read_fixed_candidates(text, fixed.candidates, catalogue, right)
    ids = catalogue.item_ids
    chosen = [choices[query.query_id] for query, _ in asked]
    return pd.DataFrame(
        {
            "query_id": [query.query_id for query, _ in asked],
            "truth_id": [ids[choice.truth] for choice in chosen],
            "candidate_ids": [[ids[c] for c in choice.candidates] for choice in chosen],
        }
    )


def _with_history(query: Query, past: Mapping[str, Sequence[int]]) -> Query:
    return replace(query, history=(*query.history, *past.get(query.query_id, ())))


def _choose(
    asked: Sequence[Asked],
    everyone: Sequence[Asked],
    catalogue: ItemIndex,
    graph: AttributeGraph,
    found: Mapping[str, Sequence[int]],
    config: CandidateConfig,
) -> dict[str, Choice]:
    """Candidates of the queries in use; what is right for a need, all queries tell."""
    needs = {query.query_id: need_of(query, mentioned) for query, mentioned in everyone}
    known = truths_by_need([query for query, _ in everyone], list(needs.values()))
    drawer = CandidateDrawer(catalogue, graph, known, config)
    if config.source == "retrieved":
        return {q.query_id: drawer.keep(q, named, found[q.query_id]) for q, named in asked}
    return {
        query.query_id: drawer.draw(query, needs[query.query_id], mentioned)
        for query, mentioned in tqdm(asked, desc="Drawing candidates", unit="query")
    }


def build_prompts(
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    mentions: pd.DataFrame,
    histories: pd.DataFrame,
    candidates: pd.DataFrame,
    items: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    data: DataParameters,
) -> pd.DataFrame:
    """Words each query with its candidates; the table that training and evaluation read.

    Evidence, where prompts have it, is gathered from the text and the attribute graph alone.
    """
    catalogue = catalogue_from_table(items)
    task = RecTask(catalogue, data.prompt)
    index = catalogue.index_of_id
    of_query = dict(_asked_by_id(queries, mentions, catalogue))
    past = dict(zip(histories["query_id"], histories["history_ids"], strict=True))
    rows = splits.merge(candidates, on="query_id").to_dict("records")
    asked = [of_query[row["query_id"]] for row in rows]
    choices = [
        Choice(index[row["truth_id"]], tuple(index[int(c)] for c in row["candidate_ids"]))
        for row in rows
    ]
    evidence = _evidence(task, attribute_graph, data.prompt)
    messages = [
        task.messages(
            q.text,
            c.candidates,
            catalogue.indices(past.get(q.query_id, ())),
            evidence(q.text, c.candidates),
        )
        for (q, _), c in zip(asked, choices, strict=True)
    ]
    return prompt_rows(
        [query for query, _ in asked],
        [row["split"] for row in rows],
        [row["cluster"] for row in rows],
        choices,
        [mentioned for _, mentioned in asked],
        messages,
        catalogue,
    )


def _evidence(
    task: RecTask, attribute_graph: pd.DataFrame, wording: PromptWording
) -> Callable[[str, Sequence[int]], Evidence]:
    """What gathers the evidence of a request about some candidates."""
    if wording.evidence == 0:
        return lambda text, candidates: Evidence()
    linker = Linker(task.catalogue, Facts.of_table(attribute_graph, task.catalogue))
    return evidence_gatherer(linker, wording)


def _asked(queries: pd.DataFrame, mentions: pd.DataFrame, catalogue: ItemIndex) -> list[Asked]:
    return [asked for _, asked in _asked_by_id(queries, mentions, catalogue)]


def _asked_by_id(
    queries: pd.DataFrame, mentions: pd.DataFrame, catalogue: ItemIndex
) -> Iterator[tuple[str, Asked]]:
    named = dict(zip(mentions["query_id"], mentions["mentioned_ids"], strict=True))
    for query in queries_from_table(queries):
        mentioned = frozenset(catalogue.indices(named[query.query_id]))
        yield query.query_id, (query, mentioned)


def _text_of(given: str) -> str:
    path = Path(given)
    if not path.is_file():
        raise BadInputError(path, "there is no such file", remedy="See fixed in the parameters")
    return reading.decode(path.read_bytes(), path)
