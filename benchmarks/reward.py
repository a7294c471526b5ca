"""Dual-graph reward, from completion text to reward: against networkx, and against a service.

The reference is the design of the released code: items and attribute values in a networkx graph,
asked for one completion at a time, in process or by one POST per completion to FastAPI.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import requests

from benchmarks.measure import Check, Pairs, Section, at_least, at_most, in_turns
from benchmarks.networkx_reward import NO_BOX_NDCG, WEIGHTS, NetworkxReward, World, service
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.recbench.task import Example, PromptWording, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.rerec.reward import Reward, RewardBatch, RewardContext, unit_rows

RELATIONS = (
    "Genre", "Directed_by", "Starring", "Written_by", "Produced_by", "Edited_by", "Music_by",
    "Cinematography", "Distributed_by",
)  # fmt: skip
WORDS = ("Amber", "Bridge", "Copper", "Delta", "Ember", "Fable", "Granite", "Harvest", "Été")
#: Of the titles in an answer: written otherwise than in the prompt, and made up.
RESPELT, UNKNOWN = 0.1, 0.05


@dataclass(frozen=True)
class Size:
    """How large the work is.

    Attributes:
        items: Items in the catalogue.
        attributes: Typed attributes.
        edges: (item, attribute) pairs that are drawn, some of them twice; at least as many as
            there are attributes.
        prompts: Prompts in a batch.
        rollouts: Completions of each prompt.
        posts: Completions of a batch that the service is asked for.
        pairs: Pairs that are timed.
    """

    items: int
    attributes: int
    edges: int
    prompts: int
    rollouts: int
    posts: int
    pairs: int


#: Items as in MovieLens-1M; 11 facts a film, as DBpedia has of those films.
FULL = Size(3706, 20_000, 41_000, prompts=512, rollouts=5, posts=100, pairs=9)

Batch = tuple[list[str], list[Example]]


def make_world(size: Size) -> World:
    """Every attribute belongs to some item, and a few attributes to very many (Zipf)."""
    rng = np.random.default_rng(0)
    titles = [
        f"{WORDS[n % 9]} {WORDS[n // 9 % 9]} {n} ({1920 + n % 100})" for n in range(size.items)
    ]
    kinds = [(RELATIONS[n % 9], f"Name {n // 9}") for n in range(size.attributes)]
    popular = 1.0 / np.arange(1, size.attributes + 1)
    more = rng.choice(size.attributes, size.edges - size.attributes, p=popular / popular.sum())
    numbers = np.concatenate([np.arange(size.attributes), more])
    items = rng.integers(size.items, size=len(numbers))
    edges = {(int(i), *kinds[a]) for i, a in zip(items, numbers, strict=True)}
    return World(titles, sorted(edges), rng.normal(size=(size.items, 64)))


def make_batch(world: World, size: Size, k: int, rng: np.random.Generator) -> Batch:
    """Completions of a batch of prompts, each a few lines and an answer of k titles."""
    texts, examples = [], []
    for prompt in range(size.prompts):
        candidates = rng.choice(len(world.titles), 20, replace=False).tolist()
        example = Example(f"q-{prompt}", "explicit", [], candidates[0], tuple(candidates))
        for _ in range(size.rollouts):
            answer = rng.permutation(candidates)[:k]
            lines = [f"{world.titles[i]}: does it have what was asked for?" for i in candidates]
            spelt = [_spell(world.titles[i], rng.random()) for i in answer]
            boxed = f"\\boxed{{{'; '.join(spelt)}}}" if rng.random() > 0.02 else "No idea."
            texts.append("\n".join([*lines, boxed]))
            examples.append(example)
    return texts, examples


def _spell(title: str, chance: float) -> str:
    if chance < UNKNOWN:
        return f"The Unwritten {title}"
    if chance < UNKNOWN + RESPELT / 2:
        return title.lower()
    return title.rsplit(" (", 1)[0] if chance < UNKNOWN + RESPELT else title


class Ours:
    """The project's way: the whole batch at once, as in training.

    Args:
        world: The catalogue and the graphs.
        k: Ranks that count.
    """

    def __init__(self, world: World, k: int):
        catalogue = ItemIndex(range(len(world.titles)), world.titles)
        wording = PromptWording(
            system="",
            user="{query}{candidates}",
            history="{titles}",
            separator="\n",
            evidence=0,
            evidence_words=0,
            order="drawn",
            known="{facts}",
        )
        self.task = RecTask(catalogue, wording)
        bits = AttributeGraph(len(world.titles), world.edges).bits
        context = RewardContext(bits, unit_rows(world.embeddings), k, NO_BOX_NDCG)
        self.reward = Reward(context, WEIGHTS)

    def __call__(self, batch: Batch) -> np.ndarray:
        """Rewards of a batch, float64 (N,)."""
        graded = self.task.grade(*batch)
        return self.reward(RewardBatch(graded.ranked, graded.truths, graded.boxed)).total


def measure(
    world: World, size: Size, k: int
) -> tuple[list[list[str]], list[Check], dict[str, float]]:
    """Rows, checks and ratios of one K."""
    rng = np.random.default_rng(k)
    # A new batch for every pair: nothing may have been seen before.
    batches = [make_batch(world, size, k, rng) for _ in range(size.pairs + 1)]
    ours, plain = Ours(world, k), NetworkxReward(world, k)
    rewards: dict[str, list[float]] = {}

    def in_process(turn: int) -> None:
        rewards["networkx"] = [
            plain(text, example.truth, example.candidates)
            for text, example in zip(*batches[turn], strict=True)
        ]

    def whole_batch(turn: int) -> None:
        rewards["ours"] = ours(batches[turn]).tolist()

    with service(world, k) as url:

        def posted(turn: int) -> None:
            texts, examples = batches[turn]
            rewards["service"] = [
                requests.post(
                    url,
                    json={"text": text, "truth": e.truth, "candidates": e.candidates},
                    timeout=60,
                ).json()["reward"]
                for text, e in zip(texts[: size.posts], examples, strict=False)
            ]

        against = {
            "networkx, in process": in_turns(in_process, whole_batch, size.pairs),
            "service, one POST each": in_turns(posted, whole_batch, size.pairs),
        }
    return _rows(against, rewards, size, k)


def _rows(
    against: dict[str, Pairs], rewards: dict[str, list[float]], size: Size, k: int
) -> tuple[list[list[str]], list[Check], dict[str, float]]:
    """A row for each reference, and the checks: speed only where K has a bar."""
    n = size.prompts * size.rollouts
    done = {"networkx, in process": n, "service, one POST each": min(size.posts, n)}
    rows, checks, ratios = [], [], {}
    for name, pairs in against.items():
        each = Pairs(pairs.reference / done[name], pairs.ours / n)
        low, high = each.spread
        rates = [f"{1 / np.median(seconds):,.0f}" for seconds in (each.reference, each.ours)]
        rows.append([str(k), name, *rates, f"{each.ratio:,.0f}x ({low:,.0f}-{high:,.0f})"])
        ratios[f"reward_k{k}_{name.split(',')[0]}"] = each.ratio
        if k == 10 and name == "networkx, in process":
            checks.append(at_least(f"K = {k}, against {name}", each.ratio, 10.0))
    for name in ("networkx", "service"):
        found = rewards["ours"][: len(rewards[name])]
        worst = float(np.abs(np.subtract(rewards[name], found)).max())
        checks.append(at_most(f"K = {k}, largest difference to the {name}", worst, 1e-6))
    return rows, checks, ratios


def run(size: Size = FULL) -> Section:
    """Measures both K and reports."""
    world = make_world(size)
    facts = len(world.edges)
    parts = [measure(world, size, k) for k in (1, 10)]
    return Section(
        title="Dual-graph reward, from completion text to reward",
        conditions=(
            f"{size.prompts} prompts x {size.rollouts} completions, {size.items:,} items, "
            f"{size.attributes:,} attributes, {facts:,} facts; NDCG@K, QAS, PAS and format; "
            "reading the answer and resolving its titles included. A new batch for every pair."
        ),
        header=["K", "reference", "reference, completions/s", "ours, completions/s", "ratio"],
        rows=[row for rows, _, _ in parts for row in rows],
        checks=[check for _, checks, _ in parts for check in checks],
        ratios={name: ratio for _, _, ratios in parts for name, ratio in ratios.items()},
    )
