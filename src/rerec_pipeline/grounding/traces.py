"""Writes traces: short, true reasoning about a request whose right answer is known.

A policy learns from traces before reinforcement. A trace says what is wanted, then gives two or
three candidates, each with the evidence that a prompt shows and a verdict, and ends in the answer.
A trace contains the right answer, so traces are written for training queries and fabricated
requests only. Their evidence comes from the request and the graph alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.grounding.evidence import explain
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.links import Links
from rerec_pipeline.grounding.wording import gather_evidence, say_fact, say_reason
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS
from rerec_pipeline.recbench.task import Evidence, PromptWording

#: Least and most wrong candidates that a trace considers beside the right one.
_OTHERS = (1, 2)
#: Most facts of a candidate where prompts show none: the policy has to recall them.
_REMEMBERED = 2


class TraceWriter:
    """Writes traces.

    Args:
        linker: Links requests to the catalogue and its facts.
        wording: How much evidence prompts show.
        ranked: Whether prompts list candidates as the graph ranks them. If so, a trace considers
            the wrong candidates that are listed first, otherwise those with the most evidence.
        seed: Seed of the draw of how many wrong candidates a trace considers.
    """

    def __init__(self, linker: Linker, wording: PromptWording, ranked: bool, seed: int):
        self.linker, self.facts = linker, linker.facts
        self.titles = linker.catalogue.titles
        self.most_facts = wording.evidence or _REMEMBERED
        self.most_words, self.ranked = wording.evidence_words, ranked
        self._rng = np.random.default_rng(seed)

    def write(self, text: str, candidates: Sequence[int], truth: int) -> str:
        """Writes one trace.

        Args:
            text: What the user says.
            candidates: Item indices as the prompt lists them.
            truth: The right one of them.

        Returns:
            Lines of text; the last one is the right answer in a box.
        """
        links = self.linker.link(text)
        evidence = gather_evidence(
            links, self.facts, candidates, self.titles, self.most_facts, self.most_words
        )
        wanted = self._wanted(links, evidence, truth)
        said = dict.fromkeys(say_fact(*fact) for fact in wanted)
        lines = [f"Wanted: {'; '.join(said)}."] if said else []
        for item in self._considered(links, wanted, candidates, truth):
            facts = "; ".join(evidence.of_items.get(item, ()))
            known = f" {facts}." if facts else ""
            verdict = FITS if item == truth else DOES_NOT_FIT
            lines.append(f"{self.titles[item]}:{known} {verdict}")
        return "\n".join([*lines, f"\\boxed{{{self.titles[truth]}}}"])

    def _wanted(self, links: Links, evidence: Evidence, truth: int) -> list[Attribute]:
        """The facts that the request asks for and that the right item's evidence shows."""
        shown = evidence.of_items.get(truth, ())
        reasons = [r for r in explain(links, truth, self.facts) if r.aspect != "refuted"]
        return [reason.fact for reason in reasons if say_reason(reason, self.titles) in shown]

    def _considered(
        self, links: Links, wanted: Sequence[Attribute], candidates: Sequence[int], truth: int
    ) -> list[int]:
        """The right candidate and one or two wrong ones, in the order of the list.

        A candidate that has every wanted fact is left out: no known fact makes it wrong.
        """
        numbers = [self.facts.number[fact] for fact in wanted]
        others = [item for item in candidates if item != truth]
        wrong = [item for item in others if not numbers or not self._has(item, numbers)]
        if not self.ranked:
            wrong.sort(key=lambda item: -len(explain(links, item, self.facts)))
        count = int(self._rng.integers(_OTHERS[0], _OTHERS[1] + 1))
        return [i for i in candidates if i == truth or i in wrong[:count]]

    def _has(self, item: int, numbers: Sequence[int]) -> bool:
        return set(numbers) <= set(self.facts.of_item(item).tolist())
