"""Full-ranking metrics of recommendation: recall@k and NDCG@k over all items."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rerec_pipeline.graphs.interactions import InteractionGraph


@torch.no_grad()
def rank_all(
    user_embeddings: Tensor,
    item_embeddings: Tensor,
    seen: InteractionGraph,
    wanted: InteractionGraph,
    k: int,
    users_at_once: int = 1024,
) -> dict[str, float]:
    """Ranks all items for every user who has something to find.

    Items a user has already interacted with in ``seen`` are not ranked.

    Args:
        user_embeddings: float (U, D).
        item_embeddings: float (I, D).
        seen: Interactions the model was trained on.
        wanted: Interactions to be found.
        k: Length of the list.
        users_at_once: Rows of scores held in memory.

    Returns:
        ``recall`` and ``ndcg`` at k, means over the users who occur in ``wanted``.
    """
    n_wanted = np.bincount(wanted.users, minlength=wanted.n_users)
    users = np.flatnonzero(n_wanted)
    recalls, ndcgs = [], []
    for start in range(0, len(users), users_at_once):
        block = users[start : start + users_at_once]
        scores = user_embeddings[torch.from_numpy(block)] @ item_embeddings.T
        rows, columns = _rows_of(seen, block)
        scores[rows, columns] = -torch.inf
        top = scores.topk(min(k, scores.shape[1]), dim=1).indices.numpy()
        hits = wanted.contains(np.repeat(block[:, None], top.shape[1], axis=1), top)
        counts = n_wanted[block]
        gains = 1.0 / np.log2(np.arange(top.shape[1]) + 2.0)
        ideal = np.cumsum(gains)[np.minimum(counts, len(gains)) - 1]
        recalls.append(hits.sum(axis=1) / counts)
        ndcgs.append((hits * gains).sum(axis=1) / ideal)
    return {
        "recall": float(np.concatenate(recalls).mean()),
        "ndcg": float(np.concatenate(ndcgs).mean()),
    }


def _rows_of(graph: InteractionGraph, users: np.ndarray) -> tuple[Tensor, Tensor]:
    """(row, item) of all interactions of a block of users."""
    first = np.searchsorted(graph.users, users, side="left")
    last = np.searchsorted(graph.users, users, side="right")
    rows = np.repeat(np.arange(len(users)), last - first)
    offsets = np.arange(len(rows)) - np.repeat(
        np.cumsum(last - first) - (last - first), last - first
    )
    return torch.from_numpy(rows), torch.from_numpy(
        graph.items[np.repeat(first, last - first) + offsets]
    )
