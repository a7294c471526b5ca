"""Full-ranking evaluation of LightGCN: all items ranked for every user.

The reference goes as the reference implementation's test procedure does: batches of 100 users,
what each has seen looked up in a sparse matrix and collected in lists, and labels and ideals user
by user. Its propagated embeddings are given, so only the evaluation itself is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from benchmarks import lightgcn_step
from benchmarks.measure import Section, at_least, at_most, in_turns, speed_row
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.ranking import rank_all

K = 20
USERS_AT_ONCE = 100


@dataclass(frozen=True)
class Size:
    """How large the work is.

    Attributes:
        graph: Users, items and interactions.
        dim: Size of an embedding.
        pairs: Pairs that are timed.
    """

    graph: lightgcn_step.Size
    dim: int
    pairs: int


FULL = Size(lightgcn_step.FULL, dim=64, pairs=7)


def as_matrix(graph: InteractionGraph) -> scipy.sparse.csr_matrix:
    """Who has interacted with what, (U, I)."""
    ones = np.ones(len(graph))
    shape = graph.n_users, graph.n_items
    return scipy.sparse.csr_matrix((ones, (graph.users, graph.items)), shape=shape)


def by_user(graph: InteractionGraph) -> dict[int, list[np.int64]]:
    """Items of every user who has some."""
    items: dict[int, list[np.int64]] = {}
    for user, item in zip(graph.users.tolist(), graph.items, strict=True):
        items.setdefault(user, []).append(item)
    return items


@torch.no_grad()
def reference_ranking(
    users: Tensor, items: Tensor, seen: scipy.sparse.csr_matrix, wanted: dict[int, list[np.int64]]
) -> dict[str, float]:
    """Recall and NDCG at 20, means over the users who have something to find."""
    asked = list(wanted)
    recall = ndcg = 0.0
    for start in range(0, len(asked), USERS_AT_ONCE):
        batch = asked[start : start + USERS_AT_ONCE]
        scores = torch.sigmoid(users[torch.tensor(batch)] @ items.t())
        rows: list[int] = []
        columns: list[int] = []
        for row, user in enumerate(batch):
            liked = seen[user].nonzero()[1]
            rows.extend([row] * len(liked))
            columns.extend(liked)
        scores[rows, columns] = -1024.0
        top = torch.topk(scores, k=K).indices.numpy()
        truths = [wanted[user] for user in batch]
        hits = np.array(
            [[item in truth for item in line] for truth, line in zip(truths, top, strict=True)],
            dtype=np.float64,
        )
        recall += float((hits.sum(axis=1) / [len(truth) for truth in truths]).sum())
        ndcg += _ndcg(hits, truths)
    return {"recall": recall / len(asked), "ndcg": ndcg / len(asked)}


def _ndcg(hits: np.ndarray, truths: Sequence[list[np.int64]]) -> float:
    """Sum of the users' NDCG."""
    best = np.zeros_like(hits)
    for row, truth in enumerate(truths):
        best[row, : min(len(truth), K)] = 1.0
    discounts = np.log2(np.arange(2, K + 2))
    return float(((hits / discounts).sum(axis=1) / (best / discounts).sum(axis=1)).sum())


def run(size: Size = FULL) -> Section:
    """Measures the evaluation and reports."""
    graph = lightgcn_step.make_graph(size.graph)
    held = np.random.default_rng(3).random(len(graph)) < 0.2
    shape = graph.n_users, graph.n_items
    seen, wanted = (
        InteractionGraph(graph.users[part], graph.items[part], *shape) for part in (~held, held)
    )
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, size.dim, generator=generator) * 0.1 for n in shape)
    known = as_matrix(seen), by_user(wanted)
    found: dict[str, dict[str, float]] = {}

    def reference(turn: int) -> None:
        found["reference"] = reference_ranking(users, items, *known)

    def ours(turn: int) -> None:
        found["ours"] = rank_all(users, items, seen, wanted, K)

    pairs = in_turns(reference, ours, size.pairs)
    worst = max(abs(found["ours"][name] - found["reference"][name]) for name in ("recall", "ndcg"))
    return Section(
        title="LightGCN, full-ranking evaluation",
        conditions=(
            f"{graph.n_users:,} users, {graph.n_items:,} items, {len(wanted):,} interactions to be "
            f"found; recall and NDCG at {K}; embeddings are given. Reference: batches of "
            f"{USERS_AT_ONCE} users, labels and ideals user by user."
        ),
        header=["", "reference, ms", "ours, ms", "ratio"],
        rows=[speed_row("evaluation", pairs)],
        checks=[
            at_least("evaluation", pairs.ratio, 5.0),
            at_most("largest difference of a metric", worst, 1e-5),
        ],
        ratios={"lightgcn_ranking": pairs.ratio},
    )
