"""Seconds and peak memory of linking and retrieval at several sizes of the catalogue.

    python -m benchmarks.grounding
    python -m benchmarks.grounding --items 20000 --requests 35000

Fabricates titles of up to six words, a third of them with an article, and five facts an item, each
size in a process of its own. Seconds are of CPU time. ``linker`` and ``retriever`` are what
building them takes, ``memory`` what the catalogue, the facts and the linker need, ``fit`` the
ranker's fit to 500 requests; ``link``, ``retrieve`` and ``evidence`` (three facts of each of the
20 first items) are for one request, ``all`` is these for all of them. Peak memory is that of the
whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from random import Random
from typing import Any

import numpy as np

from rerec_pipeline.grounding.config import RankerConfig
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.ranking import Answered, TreeRanker, draw_lists, fit_ranker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.grounding.wording import gather_evidence
from rerec_pipeline.recbench.titles import ItemIndex

HEADER = (
    "| items | facts | requests | catalogue | linker | memory | link | retriever | fit "
    "| retrieve | evidence | all | peak memory |\n|" + "---:|" * 13
)
RULE = RankerConfig(
    queries=500, pool_negatives=60, lists=3, list_size=20, rounds=400, patience=40,
    learning_rate=0.05, leaves=31, min_rows=30, seed=0,
)  # fmt: skip
RELATIONS = ("Directed_by", "Starring", "Starring", "Written_by", "Cinematography")


class World:
    """Titles, facts and requests, from a seed."""

    def __init__(self, items: int, seed: int = 0):
        self.rng = Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = max(2000, items // 10)
        self.words = ["".join(self.rng.choices(letters, k=3 + n % 7)) for n in range(words)]
        self.often = list(accumulate((n + 1) ** -0.7 for n in range(words)))
        self.titles = [self._title() for _ in range(items)]
        people = [" ".join(self._some(2)).title() for _ in range(items)]
        self.facts = [
            (item, relation, people[int(items * self.rng.random() ** 2)])
            for item in range(items)
            for relation in RELATIONS
        ]

    def _some(self, count: int) -> list[str]:
        return self.rng.choices(self.words, cum_weights=self.often, k=count)

    def _title(self) -> str:
        name = " ".join(self._some(self.rng.randint(1, 6))).title()
        article = ", The" if self.rng.random() < 1 / 3 else ""
        return f"{name}{article} ({self.rng.randint(1930, 2000)})"

    def request(self) -> tuple[str, int]:
        """A request of some fifty words that names an item and a name, and an item that has it."""
        item, relation, person = self.facts[self.rng.randrange(len(self.facts))]
        title = self.titles[self.rng.randrange(len(self.titles))]
        first, last = (" ".join(self._some(20)) for _ in range(2))
        verb = {"Directed_by": "directed by", "Starring": "starring"}.get(relation, "shot by")
        return f"I saw {title} and {first}. Anything {verb} {person}, {last}?", item


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the seconds of CPU time that it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def memory_mb() -> float:
    """Peak memory of this process until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(items: int, requests: int) -> dict[str, Any]:
    """Builds, fits and asks at one size."""
    world = World(items)
    before = memory_mb()
    catalogue, made = timed(lambda: ItemIndex(range(items), world.titles))
    facts = Facts(items, world.facts)
    linker, linked = timed(lambda: Linker(catalogue, facts))
    after = memory_mb()
    said = [world.request() for _ in range(requests)]
    popularity = np.random.default_rng(0).zipf(1.5, items).clip(max=10**6)
    embeddings = np.random.default_rng(1).normal(size=(items, 64)).astype(np.float32)
    retriever, built = timed(lambda: Retriever(linker, popularity, embeddings))
    asked, link = timed(lambda: [retriever.ask(text) for text, _ in said])
    pairs = zip(asked[:500], said, strict=False)
    answered = [Answered(request, frozenset({item})) for request, (_, item) in pairs]
    text, fit = timed(lambda: fit_ranker(draw_lists(retriever, answered, RULE), None, RULE))
    fitted = retriever.ordered_by(TreeRanker(text))
    found, retrieve = timed(lambda: fitted.retrieve(asked, 50))
    lists = [
        (request.links, pool[:20].tolist()) for request, pool in zip(asked, found, strict=True)
    ]
    _, told = timed(
        lambda: [gather_evidence(k, facts, some, catalogue.titles, 3, 300) for k, some in lists]
    )
    return {
        "items": items, "facts": len(world.facts), "requests": requests, "catalogue": made,
        "linker": linked, "memory": after - before, "link": 1000 * link / requests,
        "retriever": built, "fit": fit, "retrieve": 1000 * retrieve / requests,
        "evidence": 1000 * told / requests, "all": link + retrieve + told, "peak": memory_mb(),
    }  # fmt: skip


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [
        *(f"{found[name]:,}" for name in ("items", "facts", "requests")),
        *(f"{found[name]:.1f} s" for name in ("catalogue", "linker")),
        f"{found['memory']:,.0f} MB", f"{found['link']:.2f} ms",
        *(f"{found[name]:.1f} s" for name in ("retriever", "fit")),
        f"{found['retrieve']:.1f} ms", f"{found['evidence']:.2f} ms",
        f"{found['all']:.0f} s", f"{found['peak']:,.0f} MB",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measures every size in a process of its own and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[4000, 20_000, 100_000, 1_000_000])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--one", action="store_true", help="measure here, print JSON")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.items[0], asked.requests)))
        return
    print(HEADER)
    for items in asked.items:
        size = ["--items", str(items), "--requests", str(asked.requests), "--one"]
        command = [sys.executable, "-m", "benchmarks.grounding", *size]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        print(row(json.loads(done.stdout)), flush=True)


if __name__ == "__main__":
    main()
