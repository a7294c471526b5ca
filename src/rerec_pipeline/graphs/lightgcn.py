"""LightGCN (He et al. 2020) with BPR, on PyTorch Geometric's model.

Only the propagation is changed: on a symmetric adjacency the gradient of a propagation is the
propagation of the gradient, so neither pass has to transpose or sort anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn import LightGCN
from tqdm import tqdm

from rerec_pipeline.configs import LightGCNConfig
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.ranking import rank_all


class _SymmetricPropagation(torch.autograd.Function):
    r""":math:`\sum_l \alpha_l A^l x` by Horner's rule; the operator is its own transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, adjacency: Tensor, alpha: tuple[float, ...]) -> Tensor:
        ctx.adjacency, ctx.alpha = adjacency, alpha
        return _horner(x, adjacency, alpha)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _horner(grads[0], ctx.adjacency, ctx.alpha), None, None


def _horner(x: Tensor, adjacency: Tensor, alpha: tuple[float, ...]) -> Tensor:
    result = alpha[-1] * x
    for weight in reversed(alpha[:-1]):
        result = torch.addmm(x, adjacency, result, beta=weight)
    return result


class SymmetricLightGCN(LightGCN):
    """PyG's LightGCN on a normalised symmetric CSR adjacency (see ``InteractionGraph``)."""

    def reset_parameters(self) -> None:
        """Draws embeddings from N(0, 0.1), as the reference implementation does."""
        torch.nn.init.normal_(self.embedding.weight, std=0.1)

    def get_embedding(self, edge_index: Tensor, edge_weight: Any = None) -> Tensor:
        """Propagated embeddings of all nodes.

        Args:
            edge_index: The normalised adjacency, sparse CSR (N, N), symmetric.
            edge_weight: Must be None; the weights are in the adjacency.
        """
        alpha = tuple(self.alpha.tolist())
        return _SymmetricPropagation.apply(self.embedding.weight, edge_index, alpha)


def _best_row(history: list[dict[str, float]]) -> int:
    """The validation with the highest recall, the first of equals."""
    recalls = [row["recall"] for row in history]
    return recalls.index(max(recalls))


@dataclass(frozen=True)
class LightGCNResult:
    """Embeddings of the best validated epoch, and how training went.

    Attributes:
        users: Propagated user embeddings, float32 (U, D).
        items: Propagated item embeddings, float32 (I, D).
        best_epoch: The epoch they are from.
        best: Validation recall and NDCG at k of that epoch.
        history: One row per validation: epoch, loss, recall, ndcg.
    """

    users: Tensor
    items: Tensor
    best_epoch: int
    best: dict[str, float]
    history: list[dict[str, float]]


class LightGCNTrainer:
    """Trains LightGCN by BPR with early stopping on validation recall.

    Args:
        train: Interactions to learn from.
        validation: Interactions to be found, for model selection.
        config: Hyper-parameters.
        device: Where it computes. What is drawn does not depend on it; sums are rounded otherwise.
    """

    def __init__(
        self,
        train: InteractionGraph,
        validation: InteractionGraph,
        config: LightGCNConfig,
        device: torch.device | None = None,
    ):
        self.device = device or torch.device("cpu")
        self.train_graph = train
        self.validation_graph = validation
        self.config = config
        self.rng = np.random.default_rng(config.seed)
        torch.manual_seed(config.seed)
        model = SymmetricLightGCN(train.n_users + train.n_items, config.dim, config.layers)
        self.model = model.to(self.device)
        self.adjacency = train.adjacency().to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, fused=True)

    def fit(
        self,
        state: dict[str, Any] | None = None,
        on_validation: Callable[[dict[str, Any]], None] = lambda state: None,
    ) -> LightGCNResult:
        """Trains until the epochs are used up or validation recall stops improving.

        Args:
            state: Where an earlier call was, as ``on_validation`` was given it.
            on_validation: Called after every validation with all that it takes to go on.
        """
        history, best, epoch = self._restore(state)
        with tqdm(
            total=self.config.epochs, initial=epoch, desc="LightGCN", unit="epoch"
        ) as progress:
            while epoch < self.config.epochs and not self._is_over(history):
                epoch += 1
                loss = self.train_epoch()
                progress.update()
                if epoch % self.config.evaluate_every and epoch != self.config.epochs:
                    continue
                now = self.embeddings()
                scores = rank_all(*now, self.train_graph, self.validation_graph, self.config.k)
                history.append({"epoch": float(epoch), "loss": loss, **scores})
                progress.set_postfix(loss=f"{loss:.4f}", recall=f"{scores['recall']:.4f}")
                if _best_row(history) == len(history) - 1:
                    best = now
                on_validation(self._state(history, best, epoch))
        row = history[_best_row(history)]
        metrics = {"recall": row["recall"], "ndcg": row["ndcg"]}
        return LightGCNResult(*best, int(row["epoch"]), metrics, history)

    def _is_over(self, history: list[dict[str, float]]) -> bool:
        return bool(history) and len(history) - 1 - _best_row(history) >= self.config.patience

    def _state(
        self, history: list[dict[str, float]], best: tuple[Tensor, Tensor], epoch: int
    ) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draws": json.dumps(self.rng.bit_generator.state),
            "history": history,
            "users": best[0],
            "items": best[1],
            "epoch": epoch,
        }

    def _restore(
        self, state: dict[str, Any] | None
    ) -> tuple[list[dict[str, float]], tuple[Tensor, Tensor], int]:
        if state is None:
            return [], self.embeddings(), 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = json.loads(state["draws"])
        return list(state["history"]), (state["users"], state["items"]), state["epoch"]

    def train_epoch(self) -> float:
        """One pass over all interactions in a random order; returns the mean loss."""
        order = self.rng.permutation(len(self.train_graph))
        users = self.train_graph.users[order]
        positives = self.train_graph.items[order]
        negatives = self.train_graph.sample_negatives(users, self.rng)
        triples = torch.from_numpy(np.stack([users, positives, negatives]))
        losses = [self.step(batch) for batch in triples.split(self.config.batch_size, dim=1)]
        return float(np.mean(losses))

    def step(self, triples: Tensor) -> float:
        """One optimizer step on (user, positive item, negative item) rows, int64 (3, B)."""
        offsets = torch.tensor([[0], [self.train_graph.n_users], [self.train_graph.n_users]])
        nodes = (triples + offsets).to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        embedding = self.model.get_embedding(self.adjacency)
        # Not embedding[nodes]: its backward adds up in whatever order the threads come.
        user, positive, negative = torch.nn.functional.embedding(nodes, embedding)
        loss = self.model.recommendation_loss(
            (user * positive).sum(dim=-1),
            (user * negative).sum(dim=-1),
            node_id=nodes.flatten(),
            lambda_reg=0.5 * self.config.l2,
        )
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Propagated (user, item) embeddings as they are now."""
        embedding = self.model.get_embedding(self.adjacency).cpu()
        return embedding[: self.train_graph.n_users], embedding[self.train_graph.n_users :]
