"""The item-attribute graph as sparse matrices, which also hold a million items."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.recbench.mentions import words
from rerec_pipeline.recbench.relations import is_kind, plain_name
from rerec_pipeline.recbench.titles import ItemIndex


class Facts:
    """Which items have which attributes (relation, value).

    Args:
        n_items: Number of items I; facts refer to item indices 0..I-1.
        facts: (item index, relation, value); repeated facts count once.

    Attributes:
        attributes: All A attributes, in order of first appearance.
        items: float32 CSR (A, I): 1 where an item has an attribute.
        held: float32 CSR (I, A), its transpose.
        rarity: float32 (A,): ln(1 + I / holders), what sharing an attribute is worth.
        relations: Name of each relation; ``relation`` (A,) gives its number.
        is_kind: bool (A,): whether an attribute is a kind (a genre) and not a name.
        name: int64 (A,): attributes whose values are said alike share a number, whatever their
            relation; a name said in a request means all of them.

    Raises:
        IndexError: If a fact refers to an item that does not exist.
    """

    def __init__(self, n_items: int, facts: Iterable[tuple[int, str, str]]):
        number: dict[Attribute, int] = {}
        flat = np.fromiter(
            (
                value
                for item, relation, name in facts
                for value in (number.setdefault((relation, name), len(number)), item)
            ),
            dtype=np.int64,
        )
        attribute, item = flat[::2], flat[1::2]
        if len(item) and not (item.min() >= 0 and item.max() < n_items):
            raise IndexError(f"a fact refers to an item outside 0..{n_items - 1}")
        attribute, item = np.divmod(np.unique(attribute * n_items + item), n_items)
        self.n_items = n_items
        self.attributes: list[Attribute] = list(number)
        self.number = number
        ones = np.ones(len(item), dtype=np.float32)
        shape = (len(number), n_items)
        self.items = sparse.csr_matrix((ones, (attribute, item)), shape=shape)
        self.held = self.items.T.tocsr()
        holders = np.maximum(np.diff(self.items.indptr), 1)
        self.rarity = np.log(1 + n_items / holders).astype(np.float32)
        self.relations = sorted({relation for relation, _ in number})
        code = {relation: n for n, relation in enumerate(self.relations)}
        self.relation = np.array([code[r] for r, _ in number], dtype=np.int64)
        self.is_kind = np.array([is_kind(r) for r, _ in number], dtype=bool)
        self.name = self._names()

    @classmethod
    def of_table(cls, edges: pd.DataFrame, catalogue: ItemIndex) -> Facts:
        """The facts of a table of edges (item_id, relation, value)."""
        indices = edges["item_id"].map(catalogue.index_of_id)
        return cls(len(catalogue), zip(indices, edges["relation"], edges["value"], strict=True))

    def _names(self) -> NDArray[np.int64]:
        number: dict[str, int] = {}
        said = (" ".join(words(plain_name(value))) for _, value in self.attributes)
        return np.array([number.setdefault(name, len(number)) for name in said], dtype=np.int64)

    def of_item(self, item: int) -> NDArray[np.int32]:
        """Numbers of the attributes that an item has."""
        return self.held.indices[self.held.indptr[item] : self.held.indptr[item + 1]]

    def with_attribute(self, attribute: int) -> NDArray[np.int32]:
        """Indices of the items that have an attribute (by number)."""
        return self.items.indices[self.items.indptr[attribute] : self.items.indptr[attribute + 1]]

    def in_relation(self, item: int, relation: str) -> list[int]:
        """Numbers of the attributes that an item has in one relation."""
        return [int(a) for a in self.of_item(item) if self.attributes[a][0] == relation]
