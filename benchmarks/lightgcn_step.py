"""One training step of LightGCN at MovieLens-1M size, and drawing negatives.

The reference step is that of gusye1234/LightGCN-PyTorch in our own words: the normalised
adjacency as a coalesced COO tensor, one sparse product a layer, layers stacked and averaged, the
gradient by autograd, and plain Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import (
    Check,
    Pairs,
    Section,
    at_least,
    at_most,
    in_turns,
    peak_extra_mb,
    speed_row,
)
from rerec_pipeline.configs import LightGCNConfig
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.lightgcn import LightGCNTrainer


@dataclass(frozen=True)
class Size:
    """How large the work is.

    Attributes:
        users: U.
        items: I.
        interactions: E.
        batch: Interactions in a step.
        pairs: Pairs of steps that are timed.
    """

    users: int
    items: int
    interactions: int
    batch: int
    pairs: int


#: MovieLens-1M.
FULL = Size(6040, 3706, 1_000_000, batch=2048, pairs=25)


def make_graph(size: Size, seed: int = 0) -> InteractionGraph:
    """Fabricated interactions: how active users and how popular items are follows Zipf's law."""
    rng = np.random.default_rng(seed)
    activity = 1.0 / np.arange(1, size.users + 1) ** 0.5
    popularity = 1.0 / np.arange(1, size.items + 1) ** 0.8
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < size.interactions:
        users = rng.choice(size.users, size.interactions // 2, p=activity / activity.sum())
        items = rng.choice(size.items, size.interactions // 2, p=popularity / popularity.sum())
        keys = np.unique(np.concatenate([keys, users * size.items + items]))
    users, items = np.divmod(rng.permutation(keys)[: size.interactions], size.items)
    names = rng.permutation(size.users), rng.permutation(size.items)
    return InteractionGraph(names[0][users], names[1][items], size.users, size.items)


def make_config(size: Size) -> LightGCNConfig:
    """The reference implementation's hyper-parameters."""
    return LightGCNConfig(
        dim=64,
        layers=3,
        lr=1e-3,
        l2=1e-4,
        batch_size=size.batch,
        epochs=1,
        evaluate_every=1,
        patience=1,
        k=20,
        seed=0,
    )


class ReferenceLightGCN:
    """The reference's model and optimizer step.

    Args:
        graph: Interactions to learn from.
        weights: Initial embeddings of users and then items, float32 (U + I, D).
        config: Hyper-parameters.
    """

    def __init__(self, graph: InteractionGraph, weights: Tensor, config: LightGCNConfig):
        users, items = weights.split([graph.n_users, graph.n_items])
        self.users = torch.nn.Embedding.from_pretrained(users.clone(), freeze=False)
        self.items = torch.nn.Embedding.from_pretrained(items.clone(), freeze=False)
        self.adjacency = graph.adjacency().to_sparse_coo().coalesce()
        self.config = config
        parameters = [self.users.weight, self.items.weight]
        self.optimizer = torch.optim.Adam(parameters, lr=config.lr)

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Mean over the layers, for users (U, D) and items (I, D)."""
        layer = torch.cat([self.users.weight, self.items.weight])
        layers = [layer]
        for _ in range(self.config.layers):
            layer = torch.sparse.mm(self.adjacency, layer)
            layers.append(layer)
        mean = torch.stack(layers, dim=1).mean(dim=1)
        users, items = mean.split([self.users.num_embeddings, self.items.num_embeddings])
        return users, items

    def step(self, triples: Tensor) -> float:
        """One optimizer step on (user, positive, negative) rows, int64 (3, B)."""
        users, positives, negatives = triples
        all_users, all_items = self.propagate()
        user, liked, other = all_users[users], all_items[positives], all_items[negatives]
        gap = (user * other).sum(dim=1) - (user * liked).sum(dim=1)
        start = (self.users(users), self.items(positives), self.items(negatives))
        norms = sum(x.norm(2).pow(2) for x in start) / (2 * len(users))
        loss = torch.nn.functional.softplus(gap).mean() + self.config.l2 * norms
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @property
    def gradient(self) -> Tensor:
        """Gradient of the last step, (U + I, D)."""
        parts = [self.users.weight.grad, self.items.weight.grad]
        return torch.cat([part for part in parts if part is not None])


def draw_negatives(graph: InteractionGraph, users: np.ndarray, seen: list[set[int]]) -> list[int]:
    """The reference's sampler: one user after the other, again until the item is unseen."""
    negatives = []
    for user in users:
        item = np.random.randint(graph.n_items)
        while item in seen[user]:
            item = np.random.randint(graph.n_items)
        negatives.append(item)
    return negatives


def make_batches(graph: InteractionGraph, size: Size) -> list[Tensor]:
    """Batches of (user, positive, negative) rows, one for each pair and one to warm up with."""
    rng = np.random.default_rng(1)
    chosen = rng.integers(len(graph), size=(size.pairs + 1, size.batch))
    users, positives = graph.users[chosen], graph.items[chosen]
    negatives = graph.sample_negatives(users.ravel(), rng).reshape(users.shape)
    return list(torch.from_numpy(np.stack([users, positives, negatives], axis=1)))


def compare_gradients(reference: ReferenceLightGCN, ours: LightGCNTrainer, batch: Tensor) -> float:
    """Distance of the first step's gradients over the norm of the reference's."""
    reference.step(batch)
    ours.step(batch)
    found = ours.model.embedding.weight.grad
    assert found is not None
    return float((found - reference.gradient).norm() / reference.gradient.norm())


def time_negatives(graph: InteractionGraph) -> Pairs:
    """Drawing a negative for each interaction: an epoch's worth."""
    seen: list[set[int]] = [set() for _ in range(graph.n_users)]
    for user, item in zip(graph.users.tolist(), graph.items.tolist(), strict=True):
        seen[user].add(item)
    rng = np.random.default_rng(2)
    return in_turns(
        lambda _: draw_negatives(graph, graph.users, seen),
        lambda _: graph.sample_negatives(graph.users, rng),
        pairs=3,
    )


def _median_peak_mb(step: Callable[[Tensor], float], batches: Sequence[Tensor]) -> float:
    return float(np.median([peak_extra_mb(partial(step, batch)) for batch in batches]))


def run(size: Size = FULL) -> Section:
    """Measures steps, memory and gradients, and reports."""
    graph, config = make_graph(size), make_config(size)
    ours = LightGCNTrainer(graph, graph, config)
    reference = ReferenceLightGCN(graph, ours.model.embedding.weight.detach(), config)
    batches = make_batches(graph, size)
    difference = compare_gradients(reference, ours, batches[-1])
    pairs = in_turns(
        lambda turn: reference.step(batches[turn]),
        lambda turn: ours.step(batches[turn]),
        size.pairs,
    )
    negatives = time_negatives(graph)
    memory = [_median_peak_mb(step, batches[:5]) for step in (reference.step, ours.step)]
    checks: list[Check] = [
        at_least("training step", pairs.ratio, 4.0),
        at_most("peak extra memory, share of the reference's", memory[1] / memory[0], 0.25),
        at_most("first gradient, relative difference", difference, 1e-5),
    ]
    return Section(
        title="LightGCN, one training step",
        conditions=(
            f"{size.users:,} users, {size.items:,} items, {len(graph):,} fabricated interactions "
            f"(Zipf), 3 layers, 64 dimensions, batch {size.batch:,}; reference: COO products, "
            "stack and mean, autograd, Adam. Negatives are drawn in a Python loop there."
        ),
        header=["", "reference, ms", "ours, ms", "ratio", "reference, MB", "ours, MB"],
        rows=[
            speed_row("training step", pairs, *(f"{mb:.0f}" for mb in memory)),
            speed_row("negatives of an epoch", negatives, "-", "-"),
        ],
        checks=checks,
        ratios={"lightgcn_step": pairs.ratio, "lightgcn_negatives": negatives.ratio},
    )
