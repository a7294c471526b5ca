"""Nodes of the data engineering pipeline: raw files to tables, and the two graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
from ibis import _

from rerec_pipeline.configs import WorldSize
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.edges import hold_out
from rerec_pipeline.grounding.tables import GROUP
from rerec_pipeline.parameters import (
    AttributeParameters,
    InteractionParameters,
)
from rerec_pipeline.recbench import ratings, reading
from rerec_pipeline.recbench.attribute_sources import read_gexf, stated_facts
from rerec_pipeline.recbench.raw import (
    Manifest,
    data_folder,
    find_raw_files,
    interactions_file,
    items_file,
    write_raw_files,
)
from rerec_pipeline.recbench.records import (
    QUERY_FILES,
    Exclusions,
    Query,
    RecordReader,
    count_unanswerable,
)
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    queries_from_table,
    queries_to_table,
)

_FACT = {"item_id": "int64", "relation": "str", "value": "str", "source": "str"}

# -- raw files -> tables ------------------------------------------------------------------


def prepare_raw_files(source: str, domain: str, world: WorldSize | None, raw_dir: str) -> Manifest:
    """Writes the fabricated sample, or finds the published files; fingerprints either."""
    folder = data_folder(raw_dir, domain)
    if source == "fabricated" and world is not None:
        from rerec_pipeline.sample.layout import fabricate_files

        write_raw_files(folder, fabricate_files(domain, world))
    return find_raw_files(folder, domain)


def _read(manifest: Manifest, name: str) -> tuple[str, Path]:
    path = Path(str(manifest[name]["path"]))
    latin1 = path.suffix in (".dat", ".csv")
    return reading.decode(path.read_bytes(), path, latin1=latin1), path


def ingest_items(
    manifest: Manifest, domain: str, wanted: AttributeParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the items file into items and their kinds (genres, categories) as attributes.

    Without one, the items are what the interactions name.
    """
    name = items_file(manifest, domain)
    if name is not None:
        items, kinds = reading.read_items(*_read(manifest, name))
    else:
        items, kinds = ratings.items_named(interactions_file(manifest)), []
    relation = wanted.kind_relation(domain)
    facts = [
        {"item_id": k["item_id"], "relation": relation, "value": k["kind"], "source": name}
        for k in kinds
    ]
    table = pd.DataFrame(items).astype({"year": "Int64"})
    return table, _facts_table(facts)


def ingest_users(manifest: Manifest) -> pd.DataFrame:
    """Reads users.dat; empty where a data set has no profiles."""
    rows = reading.read_users(*_read(manifest, "users.dat")) if "users.dat" in manifest else []
    table = pd.DataFrame(rows, columns=["user_id", "gender", "age", "occupation"])
    return table.astype({"user_id": "str", "gender": "str", "age": "int64", "occupation": "int64"})


def read_interactions(manifest: Manifest) -> pa.RecordBatchReader:
    """Reads interactions.parquet or ratings.dat as a stream that the catalog writes down."""
    return ratings.read_interactions(interactions_file(manifest))


def ingest_interactions(
    raw_interactions: ir.Table, items: pd.DataFrame, manifest: Manifest
) -> ir.Table:
    """Puts item ids for raw ids; every rating is an interaction. Checked in the engine."""
    keys = ratings.item_keys(items)
    return ratings.known_interactions(raw_interactions, keys, interactions_file(manifest))


def ingest_attributes(
    manifest: Manifest, items: pd.DataFrame, item_kinds: pd.DataFrame, wanted: AttributeParameters
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Unites the kinds of the items file, the edge list and the GEXF graph, each with its source.

    Also counts the edges of the graph that are left out, by reason.
    """
    catalogue = catalogue_from_table(items)
    left_out = Exclusions()
    tables = [item_kinds if "items" in wanted.sources else item_kinds.iloc[:0]]
    name = "item_attributes.csv"
    if "edge_list" in wanted.sources and name in manifest:
        rows = reading.read_attributes(
            *_read(manifest, name), catalogue.id_of_raw, wanted.relations
        )
        tables.append(_facts_table(rows, name))
    for name in manifest:
        if "gexf" in wanted.sources and name.endswith(".gexf"):
            path = Path(str(manifest[name]["path"]))
            found = read_gexf(path.read_bytes(), path, catalogue, left_out, wanted.relations)
            tables.append(_facts_table(found, name))
    return pd.concat(tables, ignore_index=True), left_out.counts


def _facts_table(rows: list[dict[str, Any]], source: str | None = None) -> pd.DataFrame:
    """Facts as a table of the right types, even when there is none."""
    table = pd.DataFrame(rows, columns=list(_FACT))
    return (table if source is None else table.assign(source=source)).astype(_FACT)


def ingest_queries(
    manifest: Manifest, items: pd.DataFrame, source: str, wanted: AttributeParameters
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Reads the query files; also counts the records left out, by reason."""
    published = source == "published"
    catalogue = catalogue_from_table(items)
    exclusions = Exclusions()
    count_unanswerable(catalogue, exclusions)
    queries: list[Query] = []
    for query_type, name in QUERY_FILES.items():
        if name in manifest:
            text, path = _read(manifest, name)
            reader = RecordReader(
                query_type, catalogue, path, exclusions, published, wanted.relations
            )
            queries += reader.read(reading.read_json(text, path))
    if not queries:
        raise BadInputError(
            Path(str(manifest[next(iter(manifest))]["path"])).parent,
            f"no query can be used: {exclusions.counts}",
            remedy="Its right items must be titles of the items file, or ids in it",
        )
    return queries_to_table(queries), exclusions.counts


# -- the two graphs -----------------------------------------------------------------------


def state_facts(
    queries: pd.DataFrame, splits: pd.DataFrame, items: pd.DataFrame, wanted: AttributeParameters
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Facts that training queries state; those of validation and test queries are answers."""
    trained = set(splits.query("split == 'train'")["query_id"])
    records = queries_from_table(queries) if "training_queries" in wanted.sources else []
    left_out = Exclusions()
    rows = stated_facts(
        [query for query in records if query.query_id in trained],
        catalogue_from_table(items),
        left_out,
    )
    return _facts_table(rows), left_out.counts


def build_attribute_graph(attributes: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Unites facts from all sources into one edge each, and says which sources state it."""
    united = pd.concat([attributes, facts], ignore_index=True).drop_duplicates()
    united = united.sort_values(["item_id", "relation", "value", "source"])
    edges = united.groupby(["item_id", "relation", "value"], sort=True)["source"]
    return edges.agg("; ".join).rename("sources").reset_index()


def build_interaction_graph(
    interactions: ir.Table,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    config: InteractionParameters,
) -> ir.Table:
    """Interactions LightGCN may learn from, and those it is validated on.

    A query is made from a user's history. The (user, right item) pairs behind validation and
    test queries are left out, so that no embedding is shaped by an answer that is asked for.
    """
    hidden = queries.merge(splits, on="query_id").query("split != 'train' and user_id.notna()")
    pairs = hidden[["user_id", "truth_ids"]].explode("truth_ids").astype({"truth_ids": "int64"})
    asked = ibis.memtable(
        pairs.rename(columns={"truth_ids": "item_id"}),
        schema={"user_id": "string", "item_id": "int64"},
    )
    edges = interactions.anti_join(asked, ["user_id", "item_id"])
    return hold_out(edges, config.validation_share, config.seed)


def count_popularity(interaction_graph: ir.Table, items: pd.DataFrame) -> pd.DataFrame:
    """Interactions of every item that may be learned from; those held out do not count."""
    train = interaction_graph.filter(_.part == "train")
    counts = train.group_by("item_id").aggregate(interactions=_.count()).to_pandas()
    counts = counts.set_index("item_id")["interactions"]
    return counts.reindex(items["item_id"], fill_value=0).reset_index()


def count_by_groups(interaction_graph: ir.Table, users: pd.DataFrame) -> pd.DataFrame:
    """How many users of each gender, age and occupation interacted with each item.

    One row a group and item; a group's row without an item says how many users it has.
    """
    sizes = users.groupby(GROUP).size().rename("interactions").reset_index()
    if users.empty:
        return sizes.assign(item_id=pd.array([], dtype="Int64")).astype({"interactions": "int64"})
    known = interaction_graph.filter(_.part == "train")
    ids = known.select("user_id", "item_id").to_pandas().merge(users, on="user_id")
    counts = ids.groupby([*GROUP, "item_id"]).size().rename("interactions").reset_index()
    table = pd.concat([sizes, counts], ignore_index=True)
    return table.astype({"item_id": "Int64"})
