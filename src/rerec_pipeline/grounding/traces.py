"""Short reasoning that is true, about a request whose right answer is known.

It is what a policy is taught before reinforcement: what is wanted, two or three candidates with
the evidence that a prompt shows and a verdict each, and the answer. Right answers go into it, so
it is written for training queries and fabricated requests alone; evidence comes from the request
and the graph.
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

#: Candidates beside the right one that a trace considers, at least and at most.
_OTHERS = (1, 2)
#: Facts of a candidate where prompts show none, so that they have to be remembered.
_REMEMBERED = 2


class TraceWriter:
    """Writes traces.

    Args:
        linker: Links requests to the catalogue and its facts.
        wording: How much evidence prompts show.
        ranked: Whether prompts list candidates as the graph ranks them. Then the first listed are
            considered, else those with the most evidence.
        seed: Of how many are considered.
    """

    def __init__(self, linker: Linker, wording: PromptWording, ranked: bool, seed: int):
        self.linker, self.facts = linker, linker.facts
        self.titles = linker.catalogue.titles
        self.most = wording.evidence or _REMEMBERED
        self.words, self.ranked = wording.evidence_words, ranked
        self._rng = np.random.default_rng(seed)

    def write(self, text: str, candidates: Sequence[int], truth: int) -> str:
        """One trace that ends in the right answer.

        Args:
            text: What the user says.
            candidates: Item indices as the prompt lists them.
            truth: The right one of them.
        """
        links = self.linker.link(text)
        evidence = gather_evidence(
            links, self.facts, candidates, self.titles, self.most, self.words
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
        """What the request asks for, as far as the evidence of the right item shows it."""
        shown = evidence.of_items.get(truth, ())
        reasons = [r for r in explain(links, truth, self.facts) if r.aspect != "refuted"]
        return [reason.fact for reason in reasons if say_reason(reason, self.titles) in shown]

    def _considered(
        self, links: Links, wanted: Sequence[Attribute], candidates: Sequence[int], truth: int
    ) -> list[int]:
        """The right candidate and one or two others, in the order they are listed.

        One that has all that is wanted is none of them: nothing that is known makes it wrong.
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
