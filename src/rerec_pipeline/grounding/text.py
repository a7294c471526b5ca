"""BM25 over words, by bm25s."""

from __future__ import annotations

from collections.abc import Iterable

import bm25s
import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.grounding.reading import SMALL_WORDS
from rerec_pipeline.recbench.mentions import words


def content_words(text: str) -> list[str]:
    """The folded words of a text that say something."""
    return [word for word in words(text) if word[0].isalnum() and word not in SMALL_WORDS]


class BM25:
    """Okapi BM25 (Robertson et al. 1994, in Lucene's form) over some documents.

    Args:
        documents: D texts. An empty collection, or one without a word, scores 0 everywhere.
    """

    def __init__(self, documents: Iterable[str]):
        known: dict[str, int] = {}
        ids = [[known.setdefault(w, len(known)) for w in content_words(d)] for d in documents]
        self._size = len(ids)
        self._known = known
        self._index = bm25s.BM25(method="lucene")
        if known:
            self._index.index((ids, known), show_progress=False, create_empty_token=False)

    def scores(self, text: str) -> NDArray[np.float32]:
        """The score of each document, float32 (D,); a word that is said twice counts twice."""
        ids = [self._known[word] for word in content_words(text) if word in self._known]
        if not ids:
            return np.zeros(self._size, dtype=np.float32)
        return self._index.get_scores_from_ids(np.array(ids, dtype=np.int32))
