"""The user-item interaction graph in memory: normalised adjacency and negatives."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]


class InteractionGraph:
    """A bipartite graph of who interacted with what.

    Users are nodes 0..U-1 and items nodes U..U+I-1 of one graph.

    Args:
        users: User index of each interaction, int64 (E,).
        items: Item index of each interaction, int64 (E,).
        n_users: U.
        n_items: I.

    Attributes:
        users, items: The interactions, distinct, sorted by user and then item.

    Raises:
        ValueError: If an index is out of range or there is no interaction.
    """

    def __init__(self, users: IntArray, items: IntArray, n_users: int, n_items: int):
        if len(users) == 0:
            raise ValueError("an interaction graph needs at least one interaction")
        if users.min() < 0 or users.max() >= n_users or items.min() < 0 or items.max() >= n_items:
            raise ValueError(f"an interaction is outside {n_users} users and {n_items} items")
        self.n_users = n_users
        self.n_items = n_items
        self.keys = np.unique(users.astype(np.int64) * n_items + items)
        self.users, self.items = np.divmod(self.keys, n_items)

    def __len__(self) -> int:
        return len(self.keys)

    def contains(self, users: IntArray, items: IntArray) -> NDArray[np.bool_]:
        """Which (user, item) pairs are interactions of the graph, bool of their shape."""
        wanted = users * self.n_items + items
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return self.keys[places] == wanted

    def adjacency(self) -> Tensor:
        r"""The symmetrically normalised adjacency :math:`D^{-1/2} A D^{-1/2}` (LightGCN, eq. 8).

        Returns:
            Sparse CSR float32 (U + I, U + I). A node without interactions has an empty row.
            Indices are int32: MKL wants those, and would be given a copy in every product.

        Raises:
            ValueError: If the graph is too large for int32.
        """
        size = self.n_users + self.n_items
        if max(size, 2 * len(self)) > np.iinfo(np.int32).max:
            raise ValueError(f"{size} nodes and {len(self)} interactions are too many for int32")
        rows = np.concatenate([self.users, self.items + self.n_users])
        columns = np.concatenate([self.items + self.n_users, self.users])
        degrees = np.bincount(rows, minlength=size)
        order = np.lexsort((columns, rows))
        values = 1.0 / np.sqrt(degrees[rows].astype(np.float64) * degrees[columns])
        with warnings.catch_warnings():
            # torch calls all sparse CSR tensors beta; products with dense ones are what we use.
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                torch.from_numpy(np.concatenate([[0], np.cumsum(degrees)]).astype(np.int32)),
                torch.from_numpy(columns[order].astype(np.int32)),
                torch.from_numpy(values[order].astype(np.float32)),
                size=(size, size),
                check_invariants=True,
            )

    def sample_negatives(self, users: IntArray, rng: np.random.Generator) -> IntArray:
        """One item for each user that the user has not interacted with, uniformly.

        Args:
            users: User indices, any number of times each.
            rng: Source of randomness.

        Returns:
            Item indices, int64, of the same length.

        Raises:
            ValueError: If a user has interacted with every item.
        """
        full = np.bincount(self.users, minlength=self.n_users) >= self.n_items
        if full[users].any():
            raise ValueError("a user has interacted with every item: no negative exists")
        negatives = rng.integers(self.n_items, size=len(users))
        clash = np.flatnonzero(self.contains(users, negatives))
        while len(clash):
            negatives[clash] = rng.integers(self.n_items, size=len(clash))
            clash = clash[self.contains(users[clash], negatives[clash])]
        return negatives
