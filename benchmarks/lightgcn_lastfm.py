"""LightGCN on the lastfm split of its reference implementation: ``make bench-lastfm DATA=DIR``.

The reference is gusye1234/LightGCN-PyTorch with its own hyper-parameters. Test metrics are
reported at epochs fixed beforehand; nothing is selected on the test split.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.measure import Section, at_least, finish, surroundings
from rerec_pipeline.configs import LightGCNConfig
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.lightgcn import LightGCNTrainer
from rerec_pipeline.graphs.ranking import rank_all

#: Test recall@20 and NDCG@20 of the reference implementation, by epoch (one seed).
REFERENCE = {60: (0.1924, 0.1397)}
#: What is asked for after 500 epochs.
BARS = {500: (0.265, 0.205)}
REPORTED = (60, 300, 400, 500)
K = 20


def read_pairs(path: Path) -> np.ndarray:
    """Reads user, item (1-based) and a weight that nobody uses, tab-separated.

    Returns:
        0-based (user, item) pairs, int64 (E, 2).

    Raises:
        BadInputError: The file is missing or empty, or an id is no positive whole number.
    """
    try:
        pairs = np.loadtxt(path, dtype=np.int64, delimiter="\t", usecols=(0, 1), ndmin=2)
    except (OSError, ValueError) as error:
        raise BadInputError(path, f"not rows of user, item and weight: {error}") from error
    if not len(pairs) or pairs.min() < 1:
        raise BadInputError(path, "expected at least one row, and ids counted from 1")
    return pairs - 1


def read_split(folder: Path) -> tuple[InteractionGraph, InteractionGraph]:
    """Training and test interactions over the same users and items.

    Args:
        folder: Where ``data1.txt`` and ``test1.txt`` are.
    """
    train, test = read_pairs(folder / "data1.txt"), read_pairs(folder / "test1.txt")
    n_users, n_items = (np.concatenate([train, test]).max(axis=0) + 1).tolist()
    return (
        InteractionGraph(train[:, 0], train[:, 1], n_users, n_items),
        InteractionGraph(test[:, 0], test[:, 1], n_users, n_items),
    )


def reference_config(epochs: int, seed: int) -> LightGCNConfig:
    """The reference implementation's hyper-parameters."""
    return LightGCNConfig(
        dim=64,
        layers=3,
        lr=1e-3,
        l2=1e-4,
        batch_size=2048,
        epochs=epochs,
        evaluate_every=epochs,
        patience=1,
        k=K,
        seed=seed,
    )


def train(
    graph: InteractionGraph, test: InteractionGraph, config: LightGCNConfig
) -> dict[int, dict[str, float]]:
    """Test metrics at the reported epochs and at the last one."""
    trainer = LightGCNTrainer(graph, test, config)
    scores = {}
    for epoch in tqdm(range(1, config.epochs + 1), desc="LightGCN", unit="epoch"):
        trainer.train_epoch()
        if epoch in REPORTED or epoch == config.epochs:
            scores[epoch] = rank_all(*trainer.embeddings(), graph, test, K)
    return scores


def report(scores: dict[int, dict[str, float]], graph: InteractionGraph) -> Section:
    """The metrics by epoch beside the reference's, and the bars."""
    rows, checks = [], []
    for epoch, found in scores.items():
        known = REFERENCE.get(epoch)
        theirs = [f"{value:.4f}" for value in known] if known else ["-", "-"]
        rows.append([str(epoch), f"{found['recall']:.4f}", f"{found['ndcg']:.4f}", *theirs])
        for name, bar in zip(("recall", "ndcg"), BARS.get(epoch, ()), strict=False):
            checks.append(at_least(f"{name}@{K} at epoch {epoch}", found[name], bar, unit=""))
    return Section(
        title="LightGCN, quality on lastfm",
        conditions=(
            f"{graph.n_users:,} users, {graph.n_items:,} items, {len(graph):,} training "
            "interactions; 3 layers, 64 dimensions, N(0, 0.1), Adam 1e-3, L2 1e-4, batch 2,048. "
            f"Test metrics, all unseen items ranked."
        ),
        header=["epoch", f"recall@{K}", f"ndcg@{K}", "reference recall", "reference ndcg"],
        rows=rows,
        checks=checks,
    )


def main(arguments: list[str] | None = None) -> None:
    """Trains, prints the table, and ends with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the lastfm split")
    parser.add_argument("--epochs", type=int, default=max(REPORTED))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        graph, test = read_split(options.data)
    except BadInputError as error:
        sys.exit(str(error))
    scores = train(graph, test, reference_config(options.epochs, options.seed))
    command = f"make bench-lastfm, seed {options.seed}"
    heading = surroundings(command, ["torch", "torch-geometric", "numpy"])
    finish(heading, [report(scores, graph)])


if __name__ == "__main__":
    main()
