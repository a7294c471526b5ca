"""Item attributes from more than an edge list: a GEXF graph, and what training queries state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.reading import has_visible
from rerec_pipeline.recbench.records import Exclusions, Fact, Query
from rerec_pipeline.recbench.relations import canonical_relation, spellings
from rerec_pipeline.recbench.titles import ItemIndex, tidy

#: Where a GEXF edge or attribute node may name the relation, the first one counts.
RELATION_KEYS = ("relation", "type", "kind", "label")
#: Where a GEXF node may say that it is an item, and how.
NODE_KEYS = ("type", "kind", "node_type", "bipartite")
ITEM_KINDS = frozenset({"item", "movie", "film", "book"})
#: What networkx and the XML parser raise on a file that is not what they expect.
_NOT_GEXF = (
    ParseError, nx.NetworkXException, LookupError, ValueError, TypeError, AttributeError,
    OverflowError, RecursionError,
)  # fmt: skip
#: The relation of an edge that names none.
UNTYPED = "Related_to"


def read_gexf(
    data: bytes,
    source: object,
    catalogue: ItemIndex,
    left_out: Exclusions,
    added: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Reads an item-attribute graph in GEXF, the format of the authors' release.

    A node is an item if its type says so or, where nodes have no type, if its label is the title
    of an item, year included. The relation of an edge is what the edge names (``relation``,
    ``type``, ``kind`` or ``label``), else the type of its attribute node, else ``Related_to``.

    Args:
        data: Content of the file.
        source: Its name, for errors.
        catalogue: The items.
        left_out: Where edges that join no item and attribute are counted.
        added: Relations beside the built-in ones, see ``relations.spellings``.

    Returns:
        Facts as rows (item_id, relation, value).

    Raises:
        BadInputError: If it is no GEXF, has no edges, or an edge names an unknown relation.
    """
    try:
        graph = nx.read_gexf(io.BytesIO(data))
    except _NOT_GEXF as exc:
        raise BadInputError(source, f"not a GEXF graph ({exc})") from exc
    if not graph.number_of_edges():
        raise BadInputError(source, "the graph has no edges")
    items = {node: _item_of(str(node), kept, catalogue) for node, kept in graph.nodes(data=True)}
    rows, known = [], spellings(added)
    for first, second, edge in graph.edges(data=True):
        ends = [n for n in (first, second) if items[n] is not None]
        if len(ends) != 1:
            what = "no end is an item of the catalogue" if not ends else "both ends are items"
            left_out.add(f"GEXF edge: {what}")
            continue
        attribute = second if ends[0] == first else first
        relation = _relation_of(edge, graph.nodes[attribute])
        where = f"edge {first} - {second}"
        named = canonical_relation(relation, source=source, record=where, known=known)
        label = tidy(str(graph.nodes[attribute].get("label", attribute)))
        if not has_visible(label):
            left_out.add("GEXF edge: the attribute has no name")
            continue
        rows.append({"item_id": items[ends[0]], "relation": named, "value": label})
    return rows


def _item_of(node: str, kept: Mapping[str, Any], catalogue: ItemIndex) -> int | None:
    """The item id of a node, or None for an attribute (or an item that is not ours)."""
    kind = next((str(kept[key]).casefold() for key in NODE_KEYS if key in kept), None)
    if kind is not None and kind not in ITEM_KINDS:
        return None
    names = dict.fromkeys((str(kept.get("label", node)), node))
    for name in names:
        found = catalogue.resolve(name) if kind is not None else catalogue.find_whole(name)
        if found is not None:
            return catalogue.item_ids[found]
        if kind is not None and name in catalogue.id_of_raw:
            return catalogue.id_of_raw[name]
    return None


def _relation_of(edge: Mapping[str, Any], attribute: Mapping[str, Any]) -> str:
    told = [edge.get(key) for key in RELATION_KEYS]
    told += [attribute.get(key) for key in NODE_KEYS if key != "bipartite"]
    return next((str(name) for name in told if name), UNTYPED)


def stated_facts(
    queries: Iterable[Query], catalogue: ItemIndex, left_out: Exclusions
) -> list[dict[str, Any]]:
    """What queries state about items: their conditions hold for their truths, their hops are true.

    Only training queries may be given: the facts behind a validation or test query are its answer.

    Args:
        queries: The queries.
        catalogue: The items.
        left_out: Where statements about titles outside the catalogue are counted.

    Returns:
        Facts as rows (item_id, relation, value, source).
    """
    rows = []
    for query in queries:
        source = f"training queries: {query.query_type}"
        for item, (relation, value) in _stated(query, catalogue, left_out):
            rows.append({"item_id": item, "relation": relation, "value": value, "source": source})
    return rows


def _stated(
    query: Query, catalogue: ItemIndex, left_out: Exclusions
) -> Iterator[tuple[int, tuple[str, str]]]:
    for condition in query.conditions:
        for truth in query.truth_ids:
            yield truth, condition
    for fact in query.multihop:
        index = catalogue.resolve(fact.title)
        if index is None:
            left_out.add(
                f"{query.query_type}: a stated fact is about a title outside the catalogue"
            )
        elif not _is_denied(fact, query.claims):
            yield catalogue.item_ids[index], (fact.relation, fact.value)


def _is_denied(fact: Fact, claims: Iterable[Fact]) -> bool:
    """Whether a record lists a hop among its false claims, too."""
    return fact in set(claims)
