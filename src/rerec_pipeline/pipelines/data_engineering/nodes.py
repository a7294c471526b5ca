"""Nodes of the data engineering pipeline: from raw files to prompts and the two graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rerec_pipeline.graphs.interactions import hold_out
from rerec_pipeline.parameters import DataParameters, InteractionParameters, SplitRule
from rerec_pipeline.recbench import reading
from rerec_pipeline.recbench.candidates import (
    CandidateDrawer,
    CandidateRule,
    Choice,
    truths_by_need,
)
from rerec_pipeline.recbench.mentions import title_index
from rerec_pipeline.recbench.raw import Manifest, data_folder, find_raw_files, write_raw_files
from rerec_pipeline.recbench.records import QUERY_FILES, Exclusions, Query, RecordReader
from rerec_pipeline.recbench.sample.layout import fabricate_files
from rerec_pipeline.recbench.sample.world import DOMAINS
from rerec_pipeline.recbench.splits import (
    Need,
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
    queries_to_table,
)
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.recbench.titles import Catalogue

# -- raw files -> tables ------------------------------------------------------------------


def prepare_raw_files(data: DataParameters, raw_dir: str) -> Manifest:
    """Writes the fabricated sample, or finds the published files; fingerprints either."""
    folder = data_folder(raw_dir, data.domain)
    if data.source == "fabricated" and data.world is not None:
        write_raw_files(folder, fabricate_files(data.domain, data.world))
    return find_raw_files(folder, data.domain)


def _read(manifest: Manifest, name: str) -> tuple[str, Path]:
    path = Path(str(manifest[name]["path"]))
    return reading.decode(path.read_bytes()), path


def ingest_items(manifest: Manifest, data: DataParameters) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the items file into items and their kinds (genres, categories) as attributes."""
    name = f"{data.domain}s.dat"
    items, kinds = reading.read_items(*_read(manifest, name))
    relation = DOMAINS[data.domain].kind_relation
    facts = [
        {"item_id": k["item_id"], "relation": relation, "value": k["kind"], "source": name}
        for k in kinds
    ]
    table = pd.DataFrame(items).astype({"year": "Int64"})
    return table, pd.DataFrame(facts, columns=["item_id", "relation", "value", "source"])


def ingest_users(manifest: Manifest) -> pd.DataFrame:
    """Reads users.dat; empty where a data set has no profiles."""
    rows = reading.read_users(*_read(manifest, "users.dat")) if "users.dat" in manifest else []
    table = pd.DataFrame(rows, columns=["user_id", "gender", "age", "occupation"])
    return table.astype({"user_id": "str", "gender": "str", "age": "int64", "occupation": "int64"})


def ingest_interactions(manifest: Manifest, items: pd.DataFrame) -> pd.DataFrame:
    """Reads interactions.parquet or ratings.dat; every rating is an interaction."""
    known = set(items["item_id"])
    if (name := "interactions.parquet") in manifest:
        path = Path(str(manifest[name]["path"]))
        return reading.check_interactions(pd.read_parquet(path), path, known)
    rows = reading.read_ratings(*_read(manifest, "ratings.dat"), known)
    return pd.DataFrame(rows).astype({"rating": "Int64", "timestamp": "Int64"})


def ingest_attributes(
    manifest: Manifest, items: pd.DataFrame, item_kinds: pd.DataFrame
) -> pd.DataFrame:
    """Unites the kinds of the items file with the edge list, each fact with its source."""
    name = "item_attributes.csv"
    if name not in manifest:
        return item_kinds
    rows = reading.read_attributes(*_read(manifest, name), set(items["item_id"]))
    edges = pd.DataFrame(rows, columns=["item_id", "relation", "value"]).assign(source=name)
    return pd.concat([item_kinds, edges], ignore_index=True)


def ingest_queries(
    manifest: Manifest, items: pd.DataFrame, data: DataParameters
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Reads the query files; also counts the records left out, by reason."""
    published = data.source == "published"
    catalogue = catalogue_from_table(items)
    exclusions = Exclusions()
    queries: list[Query] = []
    for query_type, name in QUERY_FILES.items():
        if name in manifest:
            text, path = _read(manifest, name)
            reader = RecordReader(query_type, catalogue, path, exclusions, published)
            queries += reader.read(reading.read_json(text, path))
    return queries_to_table(queries), exclusions.counts


# -- queries -> prompts -------------------------------------------------------------------


def _mentions_and_needs(
    queries: list[Query], catalogue: Catalogue
) -> tuple[list[frozenset[int]], list[Need]]:
    titles = title_index(catalogue)
    mentioned = [mentioned_items(query, titles) for query in queries]
    return mentioned, [need_of(q, m) for q, m in zip(queries, mentioned, strict=True)]


def assign_splits(queries: pd.DataFrame, items: pd.DataFrame, rule: SplitRule) -> pd.DataFrame:
    """Splits by query; a shared text or (need, right item) pair never crosses splits."""
    records = queries_from_table(queries)
    _, needs = _mentions_and_needs(records, catalogue_from_table(items))
    shares = rule.model_dump(include={"train", "validation", "test"})
    splits = split_queries(records, needs, shares, rule.seed)
    return pd.DataFrame(
        {
            "query_id": [q.query_id for q in records],
            "split": splits,
            "stratum": [stratum_of(q) for q in records],
        }
    )


def draw_candidates(
    queries: pd.DataFrame, items: pd.DataFrame, attribute_graph: pd.DataFrame, rule: CandidateRule
) -> pd.DataFrame:
    """Draws for each query the right item and its negatives, in a seeded order."""
    records = queries_from_table(queries)
    catalogue = catalogue_from_table(items)
    mentioned, needs = _mentions_and_needs(records, catalogue)
    graph = graph_from_table(attribute_graph, catalogue)
    drawer = CandidateDrawer(catalogue, graph, truths_by_need(records, needs), rule)
    ids = catalogue.item_ids
    rows = []
    for query, need, names in zip(records, needs, mentioned, strict=True):
        choice = drawer.draw(query, need, names)
        rows.append(
            {
                "query_id": query.query_id,
                "truth_id": ids[choice.truth],
                "candidate_ids": [ids[c] for c in choice.candidates],
            }
        )
    return pd.DataFrame(rows)


def build_prompts(
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    candidates: pd.DataFrame,
    items: pd.DataFrame,
    data: DataParameters,
) -> pd.DataFrame:
    """Words each query with its candidates; the table that training and evaluation read."""
    records = queries_from_table(queries)
    catalogue = catalogue_from_table(items)
    task = RecTask(catalogue, data.prompt)
    mentioned, _ = _mentions_and_needs(records, catalogue)
    index = catalogue.index_of_id
    choices = [
        Choice(index[row["truth_id"]], tuple(index[int(c)] for c in row["candidate_ids"]))
        for row in candidates.to_dict("records")
    ]
    messages = [
        task.messages(q.text, c.candidates, catalogue.indices(q.history) if data.history else ())
        for q, c in zip(records, choices, strict=True)
    ]
    return prompt_rows(records, splits["split"].tolist(), choices, mentioned, messages, catalogue)


# -- the two graphs -----------------------------------------------------------------------


def build_attribute_graph(attributes: pd.DataFrame) -> pd.DataFrame:
    """Unites facts from all sources into one edge each. No query contributes to it."""
    edges = attributes.groupby(["item_id", "relation", "value"], sort=True)["source"].nunique()
    return edges.rename("sources").reset_index()


def build_interaction_graph(
    interactions: pd.DataFrame,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    rule: InteractionParameters,
) -> pd.DataFrame:
    """Interactions LightGCN may learn from, and those it is validated on.

    A query is made from a user's history. The (user, right item) pairs behind validation and
    test queries are left out, so that no embedding is shaped by an answer that is asked for.
    """
    hidden = queries.merge(splits, on="query_id").query("split != 'train' and user_id.notna()")
    pairs = hidden[["user_id", "truth_ids"]].explode("truth_ids").astype({"truth_ids": "int64"})
    asked = set(zip(pairs["user_id"], pairs["truth_ids"], strict=True))
    edges = interactions[["user_id", "item_id"]]
    keep = [pair not in asked for pair in zip(edges["user_id"], edges["item_id"], strict=True)]
    edges = edges[keep].sort_values(["user_id", "item_id"], ignore_index=True)
    users = pd.factorize(edges["user_id"], sort=True)[0]
    held = hold_out(users, rule.validation_share, np.random.default_rng(rule.seed))
    return edges.assign(part=np.where(held, "validation", "train"))


def report_data(
    manifest: Manifest,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    interaction_graph: pd.DataFrame,
    exclusions: dict[str, int],
) -> dict[str, Any]:
    """Counts what went in and what came out."""
    counted = queries.merge(splits, on="query_id")
    by_split = counted.groupby(["query_type", "split"]).size().unstack(fill_value=0)
    return {
        "files": {name: entry["bytes"] for name, entry in manifest.items()},
        "queries": {kind: row.to_dict() for kind, row in by_split.iterrows()},
        "excluded": exclusions,
        "right_items_per_query": float(counted["truth_ids"].map(len).mean()),
        "attribute_edges": attribute_graph["relation"].value_counts().sort_index().to_dict(),
        "interaction_edges": interaction_graph["part"].value_counts().sort_index().to_dict(),
    }
