"""Users' histories in the order of time: from an engine's table to arrays, and their core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
from ibis import _
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

#: Interactions that come out of the engine at a time.
BLOCK_ROWS = 1 << 20


@dataclass(frozen=True)
class OrderedInteractions:
    """Interactions in order: by user, and each user's from the oldest to the newest.

    Attributes:
        names: The users' ids, U of them.
        users: User index of each interaction, int64 (E,).
        items: Item id of each interaction, int64 (E,).
        undated: Users who were left out because a timestamp of theirs is missing.
    """

    names: list[str]
    users: IntArray
    items: IntArray
    undated: int


def in_order(raw: ir.Table, keys: ir.Table) -> OrderedInteractions:
    """Puts interactions in order of time, in the engine.

    Interactions of the same second keep the order of the file: ids, by which one could sort them
    too, say something about items that a model of sequences would learn.

    Args:
        raw: ``record``, ``user_id``, ``item`` and ``timestamp`` (null where unknown).
        keys: ``key`` (an item's raw id) and ``item_id``.

    Returns:
        The interactions of all users whose timestamps are all known.
    """
    known = raw.group_by("user_id").aggregate(undated=_.timestamp.isnull().sum())
    dated = known.filter(_.undated == 0).select("user_id")
    users = dated.mutate(user=ibis.row_number().over(ibis.window(order_by="user_id")))
    users = users.mutate(user=_.user.cast("int64"))  # some engines count in decimals
    rows = raw.inner_join(users, "user_id").inner_join(keys, _.item == keys.key)
    ordered = rows.order_by("user", "timestamp", "record").select("user", "item_id")
    blocks = list(ordered.to_pyarrow_batches(chunk_size=BLOCK_ROWS))
    first, second = (
        np.concatenate([block.column(name).to_numpy() for block in blocks] or [np.empty(0)])
        for name in ("user", "item_id")
    )
    names = users.order_by("user").to_pyarrow()["user_id"].to_pylist()
    undated = int(known.filter(_.undated > 0).count().to_pyarrow().as_py())
    return OrderedInteractions(names, first.astype(np.int64), second.astype(np.int64), undated)


def k_core(users: IntArray, items: IntArray, k: int) -> NDArray[np.bool_]:
    """The k-core: what is left when users and items with fewer than k interactions go, repeatedly.

    Args:
        users: User of each interaction, int64 (E,), not negative.
        items: Item of each interaction, int64 (E,), not negative.
        k: Interactions that a user and an item must have.

    Returns:
        Which interactions are left, bool (E,).
    """
    kept = np.ones(len(users), dtype=bool)
    while True:
        few = np.zeros(len(users), dtype=bool)
        for nodes in (users, items):
            degrees = np.bincount(nodes[kept], minlength=1 if not len(nodes) else nodes.max() + 1)
            few |= degrees[nodes] < k
        if not (few & kept).any():
            return kept
        kept &= ~few


def by_user(users: IntArray, items: IntArray) -> dict[int, IntArray]:
    """Each user's items in the given order; users as they first occur."""
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    parts = np.split(items, starts[1:])
    return dict(zip(users[starts].tolist(), parts, strict=True)) if len(users) else {}


def numbered(histories: Sequence[IntArray]) -> tuple[IntArray, list[IntArray]]:
    """Numbers the items that occur, from 1 in the order of their ids.

    Returns:
        The ids, sorted, so that item n has ``ids[n - 1]``; and the histories in numbers.
    """
    ids = np.unique(np.concatenate(histories))
    return ids, [np.searchsorted(ids, history) + 1 for history in histories]


def training_part(histories: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """The interactions that may be learned from: all but the last two of every user.

    The last item of a user is the one to test on, the one before it the one to validate on.

    Returns:
        User index and item of each interaction, int64 (E,) each.
    """
    lengths = [max(len(history) - 2, 0) for history in histories]
    items = [history[:-2] for history in histories]
    return np.repeat(np.arange(len(histories)), lengths), np.concatenate(items).astype(np.int64)
