"""The interaction graph as a table of an engine: what is held out, its degrees, its arrays.

A table here is an Ibis expression. It stays in the engine that holds it until a result is asked
for, so it may be larger than memory. Only operations that the engines share are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis import _
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

#: Edges that come out of the engine at a time.
BLOCK_ROWS = 1 << 20

#: 48 bits of a digest put a user's interactions in order; ties fall to the item's id.
_DIGITS = 12


@ibis.udf.scalar.builtin(name="md5")
def _md5(text: str) -> str:
    """The engine's own MD5. Ibis's ``hexdigest`` compiles for fewer engines than have it."""
    raise NotImplementedError("computed by the engine")


def hold_out(edges: ir.Table, share: float, seed: int) -> ir.Table:
    """Marks a share of every user's interactions, to validate on.

    Which ones are held out follows from seed, user and item alone: those with the smallest
    MD5 of ``seed|user|item``. So neither the order of the rows nor the number of threads nor the
    engine changes it, and one user's interactions do not change another's.

    Args:
        edges: Distinct ``user_id`` (text), ``item_id`` (int64).
        share: Share of each user's interactions, rounded down; at least one is kept.
        seed: Which ones.

    Returns:
        ``user_id``, ``item_id`` and ``part`` (``train`` or ``validation``), sorted by user and
        item.
    """
    # Integers, because engines differ in how they multiply by a decimal fraction.
    exact = Fraction(str(share))
    text = ibis.literal(f"{seed}|").concat(edges.user_id, "|", edges.item_id.cast("string"))
    drawn = edges.select("user_id", "item_id", draw=_md5(text).substr(0, _DIGITS))
    order = {"group_by": "user_id", "order_by": ["draw", "item_id"]}
    ranked = drawn.mutate(
        place=ibis.row_number().over(ibis.window(**order)),
        # The same order for both, so that the engine sorts once.
        degree=_.count().over(ibis.window(**order, rows=(None, None))),
    )
    quota = ranked.degree * exact.numerator // exact.denominator
    held = ranked.place < ibis.least(quota, ranked.degree - 1)
    part = ibis.ifelse(held, "validation", "train")
    return ranked.select("user_id", "item_id", part=part).order_by("user_id", "item_id")


def degree_histogram(edges: ir.Table) -> ir.Table:
    """How many users and items have how many interactions.

    Args:
        edges: Distinct ``user_id``, ``item_id``.

    Returns:
        ``side`` (``user`` or ``item``), ``degree`` and ``nodes`` (how many have it), sorted.
        Nodes without an interaction are not in it.
    """
    sides = [
        edges.group_by(node=edges[f"{side}_id"])
        .aggregate(degree=_.count())
        .group_by("degree")
        .aggregate(nodes=_.count())
        .select(side=ibis.literal(side), degree=_.degree, nodes=_.nodes)
        for side in ("user", "item")
    ]
    return ibis.union(*sides).order_by("side", "degree")


def edge_arrays(
    edges: ir.Table, item_ids: Sequence[int]
) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
    """Numbers users and items in the engine, and takes the edges out block by block.

    Args:
        edges: ``user_id``, ``item_id`` and ``part``.
        item_ids: Item ids in the order of their indices.

    Returns:
        User index int64 (E,), where users are numbered in sorted order; item index int64 (E,);
        and bool (E,), True for what LightGCN is validated on. Edges are in any order.

    Raises:
        ValueError: If there is no edge, or an item is not among ``item_ids``.
    """
    users = edges.select("user_id").distinct()
    users = users.mutate(user=ibis.row_number().over(ibis.window(order_by="user_id")))
    index = {"item_id": list(item_ids), "item": list(range(len(item_ids)))}
    items = ibis.memtable(index, schema={"item_id": "int64", "item": "int64"})
    coded = edges.inner_join(users, "user_id").left_join(items, "item_id")
    wanted = coded.select("user", "item", held=_.part == "validation")
    blocks = [
        (_numpy(batch, "user"), _numpy(batch, "item"), _numpy(batch, "held"))
        for batch in wanted.to_pyarrow_batches(chunk_size=BLOCK_ROWS)
        if batch.num_rows
    ]
    if not blocks:
        raise ValueError("the interaction graph has no edge")
    first, second, third = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return first.astype(np.int64, copy=False), second.astype(np.int64, copy=False), third


def _numpy(batch: pa.RecordBatch, name: str) -> NDArray[np.generic]:
    column = batch.column(name)
    if column.null_count:
        raise ValueError("the interaction graph has an item that is not in the items table")
    return column.to_numpy(zero_copy_only=False)
