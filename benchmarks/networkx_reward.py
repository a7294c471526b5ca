"""The reference of the reward benchmark: networkx, one completion at a time, and as a service.

Run as a module it is the service; it imports little, so that it starts at once.
"""

from __future__ import annotations

import math
import pickle
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fastapi
import networkx as nx
import numpy as np
import pydantic
import requests
import uvicorn

WEIGHTS = {"ndcg": 1.0, "qas": 0.01, "pas": 0.01, "format": 0.1}
NO_BOX_NDCG = -0.5

Edge = tuple[int, str, str]


@dataclass(frozen=True)
class World:
    """A fabricated catalogue with its two graphs.

    Attributes:
        titles: Titles of all items.
        edges: (item, relation, value).
        embeddings: Item embeddings as LightGCN leaves them, float64 (I, 64).
    """

    titles: list[str]
    edges: list[Edge]
    embeddings: np.ndarray


class NetworkxReward:
    """The reference: the same reward of one completion at a time, on a networkx graph.

    Args:
        world: The catalogue and the graphs.
        k: Ranks that count.
    """

    def __init__(self, world: World, k: int):
        self.k = k
        self.embeddings = world.embeddings
        self.exact = {title: n for n, title in enumerate(world.titles)}
        self.folded = {title.lower(): n for title, n in self.exact.items()}
        self.yearless = {title.rsplit(" (", 1)[0]: n for title, n in self.folded.items()}
        self.graph = nx.MultiGraph()
        self.graph.add_nodes_from(range(len(world.titles)))
        for item, relation, value in world.edges:
            self.graph.add_edge(item, value, key=relation)

    def resolve(self, title: str) -> int | None:
        """The item a title means, or None."""
        if title in self.exact:
            return self.exact[title]
        title = title.lower()
        return self.folded.get(title, self.yearless.get(title))

    def attributes(self, item: int) -> set[tuple[str, str]]:
        """Typed attributes of an item."""
        return {(relation, value) for _, value, relation in self.graph.edges(item, keys=True)}

    def qas(self, item: int, truth: int) -> float:
        """Share of the right item's attributes that the answer has."""
        wanted = self.attributes(truth)
        return len(self.attributes(item) & wanted) / len(wanted) if wanted else 0.0

    def pas(self, item: int, truth: int) -> float:
        """Cosine of two item embeddings."""
        a, b = self.embeddings[item], self.embeddings[truth]
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    def read(self, text: str, candidates: Sequence[int]) -> list[int | None] | None:
        """Answered items, best first, None for a wrong title; None if nothing is boxed."""
        boxes = re.findall(r"\\boxed\{([^{}]*)\}", text)
        if not boxes:
            return None
        items: list[int | None] = []
        for title in boxes[-1].split(";"):
            item = self.resolve(title.strip())
            if item is None or item not in candidates:
                items.append(None)
            elif item not in items:
                items.append(item)
        return items

    def __call__(self, text: str, truth: int, candidates: Sequence[int]) -> float:
        """The reward of one completion."""
        items = self.read(text, candidates)
        if items is None:
            return WEIGHTS["ndcg"] * NO_BOX_NDCG - WEIGHTS["format"] * 0.5
        top = items[: self.k]
        known = [item for item in top if item is not None]
        ndcg = 1.0 / math.log2(top.index(truth) + 2) if truth in top else 0.0
        qas = sum(self.qas(item, truth) for item in known) / self.k
        pas = sum(self.pas(item, truth) for item in known) / self.k
        shaped = WEIGHTS["ndcg"] * ndcg + WEIGHTS["qas"] * qas + WEIGHTS["pas"] * pas
        return shaped + WEIGHTS["format"] * 0.5


class Post(pydantic.BaseModel):
    """What is sent to the service: one completion."""

    text: str
    truth: int
    candidates: list[int]


def serve(descriptor: int, k: int) -> None:
    """Runs the service on a socket that is open, over a world that comes by standard input."""
    reference = NetworkxReward(pickle.load(sys.stdin.buffer), k)
    app = fastapi.FastAPI()

    @app.post("/reward")
    def reward(post: Post) -> dict[str, float]:
        return {"reward": reference(post.text, post.truth, post.candidates)}

    uvicorn.run(app, fd=descriptor, log_level="error")


@contextmanager
def service(world: World, k: int) -> Iterator[str]:
    """Starts the service in a process of its own; gives the address to post to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        descriptor = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.networkx_reward", str(descriptor), str(k)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            pass_fds=[descriptor],
        )
    try:
        assert process.stdin is not None
        with process.stdin as pipe:
            pickle.dump(world, pipe)
        _wait(url, process)
        yield f"{url}/reward"
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until the service answers.

    Raises:
        RuntimeError: If it ends, or does not answer within a minute.
    """
    for _ in range(600):
        try:
            requests.get(f"{url}/openapi.json", timeout=60).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.1)
        if process.poll() is not None:
            break
    raise RuntimeError(f"the service at {url} does not answer")


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
