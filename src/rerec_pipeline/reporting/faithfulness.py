"""Faithfulness of reasoning: what share of the stated facts and verdicts the graph confirms.

A paragraph is read as being about the first item whose title it mentions. In it,

* a fact is a phrase that announces a relation ("directed by", "starring") followed by a value of
  that relation known to the graph, or the name of a kind (genre, category) standing alone;
* a verdict is "fits" or "does not fit" (and a few synonyms), and is checked where the query's
  conditions are known.

This reads plain statements, one item a paragraph. It does not understand negated facts,
pronouns or comparisons, so on free text it measures the part of the reasoning that is plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rerec_pipeline.graphs.attributes import Attribute, AttributeGraph
from rerec_pipeline.recbench.mentions import PhraseIndex, words
from rerec_pipeline.recbench.relations import RELATION_PHRASES, is_kind, phrases_of
from rerec_pipeline.recbench.task import Example, RecTask

_FITS = re.compile(r"\b(fits|matches|satisfies|is a match)\b", re.IGNORECASE)
_MISSES = re.compile(
    r"\b(does not|doesn't|do not|don't) (fit|match|satisfy)\b|\bis not a match\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Statement:
    """One checkable statement of a reasoning text.

    Attributes:
        kind: ``fact`` or ``verdict``.
        item: Index of the item it is about.
        claim: The attribute stated, or ``fits`` / ``does not fit``.
        confirmed: Whether the attribute graph confirms it.
    """

    kind: str
    item: int
    claim: Attribute | str
    confirmed: bool


class StatementReader:
    """Finds and checks the statements of reasoning texts.

    Args:
        task: Knows titles.
        graph: The facts to check against.
    """

    def __init__(self, task: RecTask, graph: AttributeGraph):
        self.task = task
        self.graph = graph
        self._values = PhraseIndex(
            (value, (relation, value), False) for relation, value in graph.attributes
        )
        self._cues = PhraseIndex(
            (phrase, relation, False)
            for relation in sorted({*RELATION_PHRASES, *(name for name, _ in graph.attributes)})
            for phrase in phrases_of(relation)
        )

    def read(self, paragraphs: Sequence[str], example: Example) -> list[Statement]:
        """All statements of a completion's paragraphs."""
        return [s for text in paragraphs for s in self._read_paragraph(text, example)]

    def _read_paragraph(self, text: str, example: Example) -> Iterator[Statement]:
        titles = self.task.title_index.find(text)
        if not titles or "\\boxed{" in text:
            return
        item = min(titles[0].keys & set(example.candidates) or titles[0].keys)
        # What is before the title is about something else; its own words state nothing.
        rest = " ".join(words(text)[titles[0].end :])
        for attribute in self._claimed(rest):
            yield Statement("fact", item, attribute, self.graph.has(item, attribute))
        verdict = self._verdict(text)
        if verdict is not None and example.conditions:
            fits = all(self.graph.has(item, condition) for condition in example.conditions)
            claim = "fits" if verdict else "does not fit"
            yield Statement("verdict", item, claim, fits == verdict)

    def _claimed(self, text: str) -> Iterator[Attribute]:
        """Attributes that a text states; a cue applies to the values up to the next cue."""
        cues = [(m.start, m.end, next(iter(m.keys))) for m in self._cues.find(text)]
        for mention in self._values.find(text):
            ruling = [relation for _, end, relation in cues if end <= mention.start]
            for relation, value in sorted(mention.keys):
                if is_kind(relation):
                    yield relation, value
            names = {value for relation, value in mention.keys if not is_kind(relation)}
            if names and ruling:
                yield ruling[-1], min(names)

    @staticmethod
    def _verdict(text: str) -> bool | None:
        if _MISSES.search(text):
            return False
        return True if _FITS.search(text) else None


def checks(statements: Sequence[Statement], kind: str) -> list[bool]:
    """Whether each statement of a kind, ``fact`` or ``verdict``, is confirmed."""
    return [s.confirmed for s in statements if s.kind == kind]


def shares_confirmed(statements: Sequence[Statement]) -> dict[str, float | int | None]:
    """Share of facts and of verdicts that are confirmed, with their numbers.

    A share of nothing is None.
    """
    report: dict[str, float | int | None] = {}
    for kind in ("fact", "verdict"):
        checked = checks(statements, kind)
        report[f"{kind}s"] = len(checked)
        report[f"{kind}s_confirmed"] = sum(checked) / len(checked) if checked else None
    return report
