"""What a query plausibly asks for, where its record does not say: read from text, truths, graph.

Part of the published labels is incomplete: a record may list some right items and state no
condition. An attribute is then *plausibly* asked for if all listed right items share it and the
query gives a sign of it: its value stands in the text, or an item that the text names has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from rerec_pipeline.graphs.attributes import Attribute, AttributeGraph
from rerec_pipeline.recbench.mentions import PhraseIndex
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.relations import is_kind, is_maker, plain_name
from rerec_pipeline.recbench.titles import ItemIndex


class NeedReader:
    """Infers plausible conditions and the items that plausibly satisfy them.

    Args:
        catalogue: All items.
        graph: The attribute graph over the same items.
    """

    def __init__(self, catalogue: ItemIndex, graph: AttributeGraph):
        self.catalogue = catalogue
        self.graph = graph
        self._values = PhraseIndex(
            (plain_name(value), (relation, value), False) for relation, value in graph.attributes
        )

    def shared(self, query: Query) -> set[Attribute]:
        """Attributes that all listed right items have."""
        truths = self.catalogue.indices(query.truth_ids)
        return set.intersection(*(self.graph.attributes_of(truth) for truth in truths))

    def signs(self, query: Query, mentioned: Iterable[int]) -> set[Attribute]:
        """Attributes that the text names, or that an item has which the text names.

        Of a named item only who made it counts: naming a drama is no wish for dramas.
        """
        named = {key for mention in self._values.find(query.text) for key in mention.keys}
        for item in mentioned:
            named |= {a for a in self.graph.attributes_of(item) if not is_kind(a[0])}
        return named | {(fact.relation, fact.value) for fact in query.multihop}

    def plausible_conditions(self, query: Query, mentioned: Iterable[int]) -> frozenset[Attribute]:
        """The stated conditions, and every attribute with a sign that all right items share."""
        return frozenset(query.conditions) | (self.shared(query) & self.signs(query, mentioned))

    def plausible_truths(self, query: Query, mentioned: Collection[int]) -> np.ndarray:
        """Items that may be right although no record says so; nothing for complete labels.

        They have any non-kind attribute that is plausibly asked for. Without one, they have all
        plausible kinds, or a maker whom all listed right items share.

        Returns:
            Item indices, int64, sorted.
        """
        if query.label_complete:
            return np.empty(0, dtype=np.int64)
        conditions = self.plausible_conditions(query, mentioned)
        defining = {a for a in conditions if not is_kind(a[0])}
        if defining:
            return self._with_any(defining)
        makers = self._with_any(a for a in self.shared(query) if is_maker(a[0]))
        kinds = self.graph.satisfying(conditions) if conditions else makers
        return np.union1d(makers, kinds)

    def _with_any(self, attributes: Iterable[Attribute]) -> np.ndarray:
        found = [self.graph.items_with(a) for a in attributes]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
