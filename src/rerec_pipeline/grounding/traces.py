"""Writes traces, short and true reasoning about requests with known answers, and their forms.

A policy learns from traces before reinforcement. A trace says what is wanted, then gives two or
three candidates, each with the evidence that a prompt shows and a verdict, and ends in the answer.
A trace contains the right answer, so traces are written for training queries and fabricated
requests only. Their evidence comes from the request and the graph alone.

The form of an answer is the set of all traces about a request, whichever candidate is right: all
that a policy may write if it is to state no fact beyond the evidence.
"""

from __future__ import annotations

import json
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


class FormWriter:
    """Writes the forms of answers.

    Args:
        linker: Links requests to the catalogue and its facts.
        wording: How much evidence prompts show.
    """

    def __init__(self, linker: Linker, wording: PromptWording):
        self.linker, self.facts = linker, linker.facts
        self.titles = linker.catalogue.titles
        self.most_facts = wording.evidence or _REMEMBERED
        self.most_words = wording.evidence_words

    def form(self, links: Links, candidates: Sequence[int]) -> str:
        r"""The form of an answer: every trace about a request, whichever candidate is right.

        The request and the graph alone decide it, as they decide evidence.

        Args:
            links: What the request is about.
            candidates: C item indices, at least one.

        Returns:
            A grammar (Lark, as llguidance reads it). A text keeps to it that maybe says what is
            wanted (the facts that some candidate's evidence shows), then considers up to two
            candidates that do not fit, one that fits, and up to two others again that do not, each
            with all of its evidence; and boxes the one that fits.
        """
        evidence = self._evidence(links, candidates)
        wanted = dict.fromkeys(
            line for item in candidates for line in _say_wanted(self._wanted(links, evidence, item))
        )
        wrong = [self._say_candidate(item, evidence, DOES_NOT_FIT) for item in candidates]
        right = [self._say_candidate(item, evidence, FITS) for item in candidates]
        boxed = [self._say_answer(item) for item in candidates]
        return _grammar([*wanted], wrong, right, boxed)

    def _evidence(self, links: Links, candidates: Sequence[int]) -> Evidence:
        limits = (self.most_facts, self.most_words)
        return gather_evidence(links, self.facts, candidates, self.titles, *limits)

    def _say_candidate(self, item: int, evidence: Evidence, verdict: str) -> str:
        facts = "; ".join(evidence.of_items.get(item, ()))
        known = f" {facts}." if facts else ""
        return f"{self.titles[item]}:{known} {verdict}"

    def _say_answer(self, item: int) -> str:
        return f"\\boxed{{{self.titles[item]}}}"

    def _wanted(self, links: Links, evidence: Evidence, truth: int) -> list[Attribute]:
        """The facts that the request asks for and that the right item's evidence shows."""
        shown = evidence.of_items.get(truth, ())
        reasons = [r for r in explain(links, truth, self.facts) if r.aspect != "refuted"]
        return [reason.fact for reason in reasons if say_reason(reason, self.titles) in shown]


class TraceWriter(FormWriter):
    """Writes traces.

    Args:
        linker: Links requests to the catalogue and its facts.
        wording: How much evidence prompts show.
        ranked: Whether prompts list candidates as the graph ranks them. If so, a trace considers
            the wrong candidates that are listed first, otherwise those with the most evidence.
        seed: Seed of the draw of how many wrong candidates a trace considers.
    """

    def __init__(self, linker: Linker, wording: PromptWording, ranked: bool, seed: int):
        super().__init__(linker, wording)
        self.ranked = ranked
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
        evidence = self._evidence(links, candidates)
        wanted = self._wanted(links, evidence, truth)
        lines = _say_wanted(wanted)
        for item in self._considered(links, wanted, candidates, truth):
            verdict = FITS if item == truth else DOES_NOT_FIT
            lines.append(self._say_candidate(item, evidence, verdict))
        return "\n".join([*lines, self._say_answer(truth)])

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


def _say_wanted(facts: Sequence[Attribute]) -> list[str]:
    """The line that says what is wanted, if anything is known of it."""
    said = dict.fromkeys(say_fact(*fact) for fact in facts)
    return [f"Wanted: {'; '.join(said)}."] if said else []


def _grammar(
    wanted: Sequence[str], wrong: Sequence[str], right: Sequence[str], boxed: Sequence[str]
) -> str:
    """The grammar of ``FormWriter.form`` of lines about C candidates."""
    numbers = range(len(wrong))
    most = f"~0..{_OTHERS[1]}"
    rules = [
        "start: FORM",
        f"FORM: {'WANTED? ' if wanted else ''}({' | '.join(f'ANSWER{n}' for n in numbers)})",
        *([f"WANTED: {' | '.join(map(_quoted, wanted))}"] if wanted else []),
    ]
    for n in numbers:
        # Whoever fits is not said not to fit.
        others = " | ".join(f"WRONG{other}" for other in numbers if other != n)
        around = f"OTHERS{n}{most} " if others else ""
        box = _quoted(boxed[n], end="")
        rules += [f"OTHERS{n}: {others}"] if others else []
        rules += [
            f"WRONG{n}: {_quoted(wrong[n])}",
            f"ANSWER{n}: {around}{_quoted(right[n])} {around}{box}",
        ]
    return "\n".join(rules)


def _quoted(line: str, end: str = "\n") -> str:
    """A line as a literal of a grammar."""
    return json.dumps(line + end, ensure_ascii=False)
