"""The item-attribute graph, as a matrix of bits over items and typed attributes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Attribute = tuple[str, str]
"""A typed attribute: (canonical relation, value)."""


class AttributeGraph:
    """A bipartite graph between items and typed attributes (relation, value).

    Args:
        n_items: Number of items N; edges refer to item indices 0..N-1.
        edges: (item index, relation, value); repeated edges count once.

    Attributes:
        attributes: All A attributes, sorted.
        bits: uint64 array (N, ceil(A / 64)); bit ``a % 64`` of word ``a // 64`` of row ``i`` says
            that item ``i`` has attribute ``a``.

    Raises:
        IndexError: If an edge refers to an item that does not exist.
    """

    def __init__(self, n_items: int, edges: Iterable[tuple[int, str, str]]):
        known = {(int(item), (relation, value)) for item, relation, value in edges}
        self.n_items = n_items
        self.attributes: list[Attribute] = sorted({attribute for _, attribute in known})
        self._number = {attribute: n for n, attribute in enumerate(self.attributes)}
        pairs = np.array(
            sorted((item, self._number[attribute]) for item, attribute in known), dtype=np.int64
        ).reshape(-1, 2)
        if pairs.size and not (pairs[:, 0].min() >= 0 and pairs[:, 0].max() < n_items):
            raise IndexError(f"an edge refers to an item outside 0..{n_items - 1}")
        self.bits = self._pack(pairs)
        self._items_of: dict[int, np.ndarray] = self._group(pairs[:, 1], pairs[:, 0])
        self._attributes_of: dict[int, np.ndarray] = self._group(pairs[:, 0], pairs[:, 1])

    def _pack(self, pairs: np.ndarray) -> np.ndarray:
        bits = np.zeros((self.n_items, -(-len(self.attributes) // 64)), dtype=np.uint64)
        words, shifts = pairs[:, 1] // 64, (pairs[:, 1] % 64).astype(np.uint64)
        np.bitwise_or.at(bits, (pairs[:, 0], words), np.uint64(1) << shifts)
        return bits

    @staticmethod
    def _group(keys: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
        order = np.argsort(keys, kind="stable")
        unique, starts = np.unique(keys[order], return_index=True)
        parts = np.split(values[order], starts[1:])
        return {int(key): np.sort(part) for key, part in zip(unique, parts, strict=False)}

    def has(self, item: int, attribute: Attribute) -> bool:
        """Whether an item (index) has an attribute."""
        return attribute in self._number and self._number[attribute] in self._numbers_of(item)

    def items_with(self, attribute: Attribute) -> np.ndarray:
        """Indices (int64, sorted) of the items that have an attribute."""
        number = self._number.get(attribute, -1)
        return self._items_of.get(number, np.empty(0, dtype=np.int64))

    def attributes_of(self, item: int) -> set[Attribute]:
        """The typed attributes of an item (index)."""
        return {self.attributes[n] for n in self._numbers_of(item)}

    def _numbers_of(self, item: int) -> np.ndarray:
        return self._attributes_of.get(item, np.empty(0, dtype=np.int64))

    def satisfying(self, conditions: Iterable[Attribute]) -> np.ndarray:
        """Indices (int64, sorted) of the items that have every one of the attributes."""
        found: np.ndarray | None = None
        for attribute in conditions:
            items = self.items_with(attribute)
            found = items if found is None else np.intersect1d(found, items, assume_unique=True)
        return np.arange(self.n_items) if found is None else found
