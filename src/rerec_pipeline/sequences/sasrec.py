r"""SASRec: self-attentive sequential recommendation (Kang & McAuley 2018, ICDM).

An item is scored against everything the user did before, by causal self-attention over item
embeddings. Section and equation numbers are the paper's. Item 0 stands for padding, which is on
the left, so that the newest item is always in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rerec_pipeline.configs import SASRecConfig
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.sequences.choices import ndcg, ranks
from rerec_pipeline.sequences.histories import training_part

IntArray = NDArray[np.int64]
PADDING = 0


class Block(nn.Module):
    r"""Self-attention and a point-wise network (sections III-B and III-C, eq. 2 to 5).

    Each is put in as :math:`x + \mathrm{Dropout}(g(\mathrm{LayerNorm}(x)))`.
    """

    def __init__(self, config: SASRecConfig):
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(config.dim)
        self.queries_keys_values = nn.Linear(config.dim, 3 * config.dim)
        self.output = nn.Linear(config.dim, config.dim)
        self.network_norm = nn.LayerNorm(config.dim)
        self.network = nn.Sequential(
            nn.Linear(config.dim, config.dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.dim, config.dim),
        )

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """One block: x (B, L, D), visible bool (B, 1, L, L), who may look at whom."""
        shape = (*x.shape[:2], 3, self.heads, -1)
        mixed = self.queries_keys_values(self.attention_norm(x)).view(shape)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=dropout
        )
        attended = self.output(attended.transpose(1, 2).flatten(2))
        x = x + functional.dropout(attended, self.dropout, self.training)
        network = self.network(self.network_norm(x))
        return x + functional.dropout(network, self.dropout, self.training)


class SASRec(nn.Module):
    """The network; item embeddings are shared by input and output (section III-D).

    Args:
        n_items: Number of items; they are numbered from 1.
        config: Hyper-parameters.
    """

    def __init__(self, n_items: int, config: SASRecConfig):
        super().__init__()
        self.config = config
        self.items = nn.Embedding(n_items + 1, config.dim, padding_idx=PADDING)
        self.positions = nn.Embedding(config.length, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        for embedding in (self.items, self.positions):
            nn.init.normal_(embedding.weight, std=config.dim**-0.5)
        with torch.no_grad():
            self.items.weight[PADDING] = 0.0

    def forward(self, sequences: Tensor) -> Tensor:
        """What each place of a sequence knows of the next item.

        Args:
            sequences: Items, int64 (B, L), padded on the left; L is ``config.length``.

        Returns:
            float32 (B, L, D). Places of padding hold nothing of use.
        """
        length = sequences.shape[1]
        real = sequences != PADDING
        scaled = self.items(sequences) * self.config.dim**0.5
        x = scaled + self.positions.weight[-length:]
        x = functional.dropout(x, self.config.dropout, self.training)
        place = torch.arange(length, device=sequences.device)
        # A place always sees itself: one that sees nothing would be a division by zero.
        visible = (place[:, None] > place) & real[:, None, None, :] | (place[:, None] == place)
        for block in self.blocks:
            x = block(x, visible)
        return self.norm(x)

    def score(self, states: Tensor, items: Tensor) -> Tensor:
        r"""Relevance :math:`r_{i,t} = F_t \cdot N_i` (eq. 6): states (..., D), items (..., C)."""
        return (states[..., None, :] * self.items(items)).sum(dim=-1)


def next_item_loss(positive: Tensor, negative: Tensor, real: Tensor) -> Tensor:
    r"""Binary cross-entropy with one sampled negative for each place (section III-E).

    .. math:: -\frac{1}{|T|} \sum_{t \in T} \left[ \log \sigma(r_{o_t,t})
              + \log(1 - \sigma(r_{j_t,t})) \right]

    Args:
        positive: Scores of the items that came next, (B, L).
        negative: Scores of items that the user has not interacted with, (B, L).
        real: Places that count, bool (B, L); those of padding do not.
    """
    terms = functional.logsigmoid(positive) + functional.logsigmoid(-negative)
    return -terms[real].mean()


def padded(rows: Sequence[IntArray], length: int) -> Tensor:
    """The newest ``length`` items of each row, int64 (B, length), padded on the left."""
    table = np.full((len(rows), length), PADDING, dtype=np.int64)
    for place, row in zip(table, rows, strict=True):
        newest = row[-length:]
        place[length - len(newest) :] = newest
    return torch.from_numpy(table)


@dataclass(frozen=True)
class Choices:
    """Choices among candidates; items are numbered from 1.

    Attributes:
        histories: What each user did before, oldest first; N of them.
        candidates: int64 (N, C).
        right: Position of the right candidate, int64 (N,).
    """

    histories: list[IntArray]
    candidates: IntArray
    right: IntArray


@torch.no_grad()
def score_candidates(model: SASRec, choices: Choices, batch_size: int = 512) -> NDArray[np.float64]:
    """Scores of all candidates, float64 (N, C), without dropout."""
    model.eval()
    blocks, device = [], model.items.weight.device
    for start in range(0, len(choices.histories), batch_size):
        rows = choices.histories[start : start + batch_size]
        last = model(padded(rows, model.config.length).to(device))[:, -1]
        candidates = torch.from_numpy(choices.candidates[start : start + batch_size]).to(device)
        blocks.append(model.score(last, candidates).double().cpu().numpy())
    return np.concatenate(blocks)


@dataclass(frozen=True)
class SASRecResult:
    """The weights of the best validated epoch, and how training went.

    Attributes:
        weights: Name -> tensor.
        best_epoch: The epoch they are from.
        history: One row for each validation: epoch, loss, ndcg.
    """

    weights: dict[str, Tensor]
    best_epoch: int
    history: list[dict[str, float]]


class SASRecTrainer:
    """Trains SASRec with early stopping on validation choices.

    Every epoch draws from generators of its own, so a training that resumes from a validation's
    state ends where one without a break does.

    Args:
        histories: All users' items, oldest first, numbered from 1. The last two of each are not
            learned from.
        n_items: Number of items.
        validation: Choices that say when to stop.
        config: Hyper-parameters.
        device: Where it computes. Batches and negatives do not depend on it; dropout does.
    """

    def __init__(
        self,
        histories: Sequence[IntArray],
        n_items: int,
        validation: Choices,
        config: SASRecConfig,
        device: torch.device | None = None,
    ):
        self.config = config
        self.validation = validation
        users, items = training_part(histories)
        self.seen = InteractionGraph(users, items - 1, len(histories), n_items)
        self.histories = [history[:-2] for history in histories]
        # A first item has nothing before it to be told by.
        self.users = np.flatnonzero([len(history) > 1 for history in self.histories])
        torch.manual_seed(config.seed)
        self.model = SASRec(n_items, config).to(device or torch.device("cpu"))
        # As in the authors' code: a shorter memory of squares than Adam's default.
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, betas=(0.9, 0.98))

    def fit(
        self,
        state: dict[str, Any] | None = None,
        on_validation: Callable[[dict[str, Any]], None] = lambda state: None,
    ) -> SASRecResult:
        """Trains until the epochs are used up or validation NDCG stops improving.

        Args:
            state: Where an earlier call was, as ``on_validation`` was given it.
            on_validation: Called after every validation with all that it takes to go on.
        """
        history, best_epoch, weights, epoch = self._restore(state)
        with tqdm(total=self.config.epochs, initial=epoch, desc="SASRec", unit="epoch") as progress:
            while epoch < self.config.epochs and not self._is_over(history, best_epoch):
                epoch += 1
                loss = self.train_epoch(epoch)
                progress.update()
                if epoch % self.config.evaluate_every and epoch != self.config.epochs:
                    continue
                history.append({"epoch": float(epoch), "loss": loss, "ndcg": self.validate()})
                progress.set_postfix(loss=f"{loss:.4f}", ndcg=f"{history[-1]['ndcg']:.4f}")
                if history[-1]["ndcg"] > max((row["ndcg"] for row in history[:-1]), default=-1.0):
                    best_epoch, weights = epoch, _copy(self.model.state_dict())
                on_validation(self._state(history, best_epoch, weights, epoch))
        return SASRecResult(weights, best_epoch, history)

    def train_epoch(self, epoch: int) -> float:
        """One pass over all users in a random order; returns the mean loss."""
        rng = np.random.default_rng([self.config.seed, epoch])
        torch.manual_seed(int(rng.integers(1 << 31)))  # of dropout
        self.model.train()
        order = rng.permutation(self.users)
        batches = np.split(order, range(self.config.batch_size, len(order), self.config.batch_size))
        return float(np.mean([self._step(batch, rng) for batch in batches]))

    def _step(self, users: IntArray, rng: np.random.Generator) -> float:
        """One optimizer step on the histories of some users."""
        rows = [self.histories[user] for user in users]
        inputs = padded([row[:-1] for row in rows], self.config.length)
        positives = padded([row[1:] for row in rows], self.config.length)
        real = positives != PADDING
        owners = np.repeat(users, real.sum(dim=1).numpy())
        negatives = torch.zeros_like(positives)
        negatives[real] = torch.from_numpy(self.seen.sample_negatives(owners, rng) + 1)
        device = self.model.items.weight.device
        states = self.model(inputs.to(device))
        scores = self.model.score(states, torch.stack([positives, negatives], dim=-1).to(device))
        loss = next_item_loss(scores[..., 0], scores[..., 1], real.to(device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def validate(self) -> float:
        """Mean NDCG of the right candidate over the whole list of candidates."""
        places = ranks(score_candidates(self.model, self.validation), self.validation.right)
        return float(ndcg(places, self.validation.candidates.shape[1]).mean())

    def _is_over(self, history: list[dict[str, float]], best_epoch: int) -> bool:
        return sum(row["epoch"] > best_epoch for row in history) >= self.config.patience

    def _state(
        self, history: list[dict[str, float]], best: int, weights: dict[str, Tensor], epoch: int
    ) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": history,
            "best_epoch": best,
            "weights": weights,
            "epoch": epoch,
        }

    def _restore(
        self, state: dict[str, Any] | None
    ) -> tuple[list[dict[str, float]], int, dict[str, Tensor], int]:
        if state is None:
            return [], 0, _copy(self.model.state_dict()), 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        return list(state["history"]), state["best_epoch"], state["weights"], state["epoch"]


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
