"""A catalogue of eight films whose facts one can keep in mind."""

from __future__ import annotations

import numpy as np
import pytest

from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.recbench.titles import ItemIndex

TITLES = [
    "Harbor, The (1990)",  # 0
    "Night Train (1991)",  # 1
    "Boat, The (Das Boot) (1981)",  # 2
    "Ember (1994)",  # 3
    "Night Train 2 (1995)",  # 4
    "Quiet Village (1996)",  # 5
    "Long Winter (1960)",  # 6
    "Mara Lind (1999)",  # 7
]
FACTS = [
    (0, "Directed_by", "Ana Torv"),
    (1, "Directed_by", "Ana Torv"),
    (3, "Directed_by", "Ana Torv"),
    (2, "Directed_by", "Otto Beck"),
    (0, "Starring", "Mara Lind"),
    (2, "Starring", "Mara Lind"),
    (5, "Starring", "Mara Lind"),
    (4, "Starring", "Ana Torv"),
    (6, "Starring", "John Steele (actor)"),
    (0, "Genre", "Drama"),
    (3, "Genre", "Drama"),
    (1, "Genre", "Comedy"),
    (6, "Genre", "Comedy"),
]


@pytest.fixture(scope="session")
def catalogue() -> ItemIndex:
    return ItemIndex(range(1, 9), TITLES)


@pytest.fixture(scope="session")
def facts() -> Facts:
    return Facts(len(TITLES), FACTS)


@pytest.fixture(scope="session")
def linker(catalogue, facts) -> Linker:
    return Linker(catalogue, facts)


@pytest.fixture(scope="session")
def retriever(linker) -> Retriever:
    return Retriever(linker, np.arange(8, 0, -1, dtype=np.float64), pool=8)
