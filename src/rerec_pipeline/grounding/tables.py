"""A retriever from saved tables, without torch: what an assistant loads when it starts."""

from __future__ import annotations

import pandas as pd
from scipy import sparse

from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.profiles import Groups
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.grounding.signals import Asked, Examples, FloatArray
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.tables import catalogue_from_table, queries_from_table
from rerec_pipeline.recbench.titles import ItemIndex

#: Columns that tell a group of users from others.
GROUP = ["gender", "age", "occupation"]


def retriever_from_tables(
    items: pd.DataFrame,
    attribute_graph: pd.DataFrame,
    item_popularity: pd.DataFrame,
    group_popularity: pd.DataFrame,
    queries: pd.DataFrame,
    splits: pd.DataFrame,
    embeddings: FloatArray,
    pool: int,
    neighbours: int,
) -> Retriever:
    """A retriever without its ranker, from the tables of the catalog that have these names.

    Args:
        items: The catalogue.
        attribute_graph: Edges of the attribute graph.
        item_popularity: Interactions of each item.
        group_popularity: Interactions of groups of users; empty without profiles.
        queries: All queries; of these, only those of the training split are looked at.
        splits: Split and cluster of each query.
        embeddings: LightGCN's embeddings in the order of ``items``, (I, D).
        pool: Items that the first stage keeps.
        neighbours: Answered requests that are asked for a similar one.
    """
    catalogue = catalogue_from_table(items)
    linker = Linker(catalogue, Facts.of_table(attribute_graph, catalogue))
    counts = item_popularity.set_index("item_id").loc[catalogue.item_ids, "interactions"]
    trained = splits[splits["split"] == "train"]
    answered = queries_from_table(queries[queries["query_id"].isin(trained["query_id"])])
    cluster = dict(zip(trained["query_id"], trained["cluster"], strict=True))
    examples = Examples(
        [query.text for query in answered],
        [catalogue.indices(query.truth_ids) for query in answered],
        [cluster[query.query_id] for query in answered],
        len(catalogue),
        neighbours,
    )
    groups = groups_from_table(group_popularity, catalogue)
    return Retriever(linker, counts.to_numpy("float64"), embeddings, groups, examples, pool=pool)


def groups_from_table(group_popularity: pd.DataFrame, catalogue: ItemIndex) -> Groups | None:
    """The groups of users of a table (see ``recbench.schemas``); None where there are none."""
    sizes = group_popularity[group_popularity["item_id"].isna()]
    if sizes.empty:
        return None
    cells = list(sizes[GROUP].itertuples(index=False, name=None))
    number = {cell: n for n, cell in enumerate(cells)}
    counts = group_popularity[group_popularity["item_id"].notna()]
    rows = [number[cell] for cell in counts[GROUP].itertuples(index=False, name=None)]
    columns = catalogue.indices(counts["item_id"])
    values = counts["interactions"].to_numpy("float32")
    matrix = sparse.csr_matrix((values, (rows, columns)), shape=(len(cells), len(catalogue)))
    return Groups(cells, sizes["interactions"].to_numpy("int64"), matrix)


def ask_query(retriever: Retriever, query: Query, cluster: int | None = None) -> Asked:
    """A query as the retriever takes it: its text and what its record says the user has seen."""
    history = tuple(retriever.linker.catalogue.indices(query.history))
    return Asked(retriever.linker.link(query.text), history, cluster)
