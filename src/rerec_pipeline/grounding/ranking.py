"""The ranker of the second stage: boosted trees, by LightGBM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.grounding.config import RankerConfig
from rerec_pipeline.grounding.features import FEATURES
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.grounding.signals import Asked, FloatArray, IntArray

#: Queries whose lists are described at a time.
_PART = 256


class TreeRanker:
    """Boosted trees over ``FEATURES``.

    Args:
        text: The model in LightGBM's text form; an empty one, of a fit without a single training
            query, keeps the order of the first stage.

    Raises:
        ValueError: If it was fitted on other features.
    """

    def __init__(self, text: str):
        self.text = text
        self._model: Any = None
        if text:
            # LightGBM takes a second to import, which nothing else here needs.
            import lightgbm

            self._model = lightgbm.Booster(model_str=text)
            if self._model.feature_name() != list(FEATURES):
                raise ValueError("the ranker was fitted on other features: fit it again")

    def predict(self, features: FloatArray) -> NDArray[np.float64]:
        """Scores (P,) of items described by features (P, F); more is better."""
        if self._model is None or not len(features):
            return features[:, FEATURES.index("first_stage")].astype(np.float64)
        return np.asarray(self._model.predict(features, num_threads=1))

    def importances(self) -> dict[str, float]:
        """Share of the loss that splits on each feature took away, largest first."""
        none = np.zeros(len(FEATURES))
        gains = none if self._model is None else self._model.feature_importance("gain")
        shares = gains / max(gains.sum(), 1e-12)
        pairs = zip(FEATURES, shares.tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))


@dataclass(frozen=True)
class Answered:
    """A request with what is known to answer it.

    Attributes:
        asked: The request.
        truths: Indices of the listed right items, at least one.
        unknown: Indices of items that may be right unlisted: neither right nor wrong.
    """

    asked: Asked
    truths: frozenset[int]
    unknown: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Lists:
    """Lists of items to learn an order from: features (P, F), labels (P,), lengths."""

    features: FloatArray
    right: NDArray[np.bool_]
    sizes: list[int]


def join_lists(parts: Sequence[Lists]) -> Lists:
    """Several sets of lists as one."""
    return Lists(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.right for part in parts]),
        [size for part in parts for size in part.sizes],
    )


def draw_lists(retriever: Retriever, answered: Sequence[Answered], config: RankerConfig) -> Lists:
    """Lists that the ranker learns from: pools, and random ones such as a prompt has.

    Each query gives its pool, of which the right items and ``pool_negatives`` wrong ones are kept:
    the better half of these the best of the first stage, the rest drawn from the others. It is
    described before that, so that ranks in it are what they will be. And each gives ``lists``
    lists of one right item among random ones. An item that may be right unlisted, that the request
    names or that the history has is never a wrong one.

    Args:
        retriever: Finds pools and describes items.
        answered: Training queries; at most ``config.queries`` of them are used.
        config: How many.
    """
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(rng.permutation(len(answered))[: config.queries])
    features, right, sizes = [np.empty((0, len(FEATURES)), dtype=np.float32)], [], []
    for at in range(0, len(chosen), _PART):
        some = [answered[n] for n in chosen[at : at + _PART]]
        pools = list(retriever.ranked_pools([query.asked for query in some]))
        owners: list[Asked] = []
        lists: list[IntArray] = []
        kept: list[NDArray[np.bool_]] = []
        for query, pool in zip(some, pools, strict=True):
            for items, keep in _lists_of(query, pool, retriever.n_items, config, rng):
                owners.append(query.asked)
                lists.append(items)
                kept.append(keep)
                right.append(np.isin(items[keep], list(query.truths)))
                sizes.append(int(keep.sum()))
        if lists:
            features.append(retriever.features(owners, lists)[np.concatenate(kept)])
    labels = np.concatenate([np.empty(0, dtype=bool), *right])
    return Lists(np.concatenate(features), labels, sizes)


def _lists_of(
    query: Answered, pool: IntArray, n_items: int, config: RankerConfig, rng: np.random.Generator
) -> Iterator[tuple[IntArray, NDArray[np.bool_]]]:
    """Lists of a query, each with which of its items are kept to learn from."""
    named = set(query.asked.links.items)
    truths = np.array(sorted(query.truths - named), dtype=np.int64)
    if not len(truths):
        return
    barred = np.array(sorted({*query.truths, *query.unknown, *named, *query.asked.history}))
    keep = np.isin(pool, truths)
    if keep.any():
        wrong = np.flatnonzero(~np.isin(pool, barred))
        best = wrong[: config.pool_negatives // 2]
        others = rng.permutation(wrong[len(best) :])[: config.pool_negatives - len(best)]
        keep[np.concatenate([best, others])] = True
        yield pool, keep
    for _ in range(config.lists):
        # Twice as many as are wanted, as some are barred; distinct, without a look at all items.
        drawn = np.unique(rng.integers(n_items, size=2 * config.list_size + len(barred)))
        free = rng.permutation(drawn[~np.isin(drawn, barred)])[: config.list_size - 1]
        items = np.concatenate([rng.choice(truths, 1), free])
        yield items, np.ones(len(items), dtype=bool)


def fit_ranker(train: Lists, validation: Lists | None, config: RankerConfig) -> str:
    """Fits LambdaRank (Burges 2010) in LightGBM's form to lists.

    Args:
        train: Lists of training queries.
        validation: Lists of validation queries, which end the boosting; None without.
        config: How.

    Returns:
        The model in LightGBM's text form; empty without a list.
    """
    if not train.sizes:
        return ""
    import lightgbm

    settings = {
        "objective": "lambdarank", "metric": "ndcg", "eval_at": [1], "seed": config.seed,
        "learning_rate": config.learning_rate, "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_rows, "feature_fraction": 0.7, "bagging_fraction": 0.8,
        "bagging_freq": 1, "lambda_l2": 5.0, "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "verbose": -1,
    }  # fmt: skip
    names = list(FEATURES)
    known = lightgbm.Dataset(
        train.features, train.right.astype(int), group=train.sizes, feature_name=names
    )
    held: list[Any] = []
    stop: list[Callable[..., Any]] = []
    if validation is not None and validation.sizes:
        labels = validation.right.astype(int)
        held = [lightgbm.Dataset(validation.features, labels, known, group=validation.sizes)]
        stop = [lightgbm.early_stopping(config.patience, verbose=False)]
    model = lightgbm.train(settings, known, config.rounds, held, callbacks=stop)
    return str(model.model_to_string(num_iteration=model.best_iteration or None))
