"""The ranker of the second stage: boosted trees, by LightGBM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.grounding.retrieval import FEATURES, FloatArray


class TreeRanker:
    """Boosted trees over ``FEATURES``.

    Args:
        text: The model in LightGBM's text form.

    Raises:
        ValueError: If it was fitted on other features.
    """

    def __init__(self, text: str):
        # LightGBM takes a second to import, which nothing else here needs.
        import lightgbm

        self.text = text
        self._model = lightgbm.Booster(model_str=text)
        if self._model.feature_name() != list(FEATURES):
            raise ValueError("the ranker was fitted on other features: fit it again")

    def predict(self, features: FloatArray) -> NDArray[np.float64]:
        """Scores (P,) of items described by features (P, F); more is better."""
        if not len(features):
            return np.empty(0)
        return np.asarray(self._model.predict(features, num_threads=1))

    def importances(self) -> dict[str, float]:
        """Share of the loss that splits on each feature took away, largest first."""
        gains = self._model.feature_importance("gain")
        shares = gains / max(gains.sum(), 1e-12)
        pairs = zip(FEATURES, shares.tolist(), strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))
