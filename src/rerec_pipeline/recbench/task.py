"""The RecBench+ task: one object that owns prompt, answer parsing, resolution and scoring.

Training and evaluation ask the same ``RecTask``, so what is rewarded is what is measured.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from rerec_pipeline.configs import Config
from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.recbench.answers import SEPARATOR, Answer, read_answer, says_something
from rerec_pipeline.recbench.mentions import PhraseIndex, title_forms, title_index, words
from rerec_pipeline.recbench.titles import (
    NO_ITEM,
    SEVERAL,
    ItemIndex,
    choose,
    natural_order,
    split_year,
    tidy,
)

Messages = list[dict[str, str]]

_PLACES = re.compile(r"\{(history|candidates|query|known)\}")


class PromptWording(Config):
    """The texts around a query, in one place.

    Attributes:
        system: The system message.
        user: The user message with ``{query}`` and ``{candidates}``, and ``{history}`` where the
            history sentence goes.
        history: The sentence that ``{history}`` becomes when there is one, with ``{titles}``.
        separator: Text between the titles of a list.
        evidence: Most facts of the attribute graph that stand beside a candidate; 0 tells none, as
            in the paper.
        evidence_words: Largest number of words of evidence in a prompt.
        order: How candidates are listed: as they were ``drawn``, or as the ``graph`` ranks them,
            what fits the request best first.
        known: The text that ``{known}`` becomes where the request states something that the graph
            knows, with ``{facts}``.
    """

    system: str
    user: str
    history: str
    separator: str
    evidence: int = Field(ge=0)
    evidence_words: int = Field(ge=0)
    order: Literal["drawn", "graph"]
    known: str

    @field_validator("user")
    @classmethod
    def _user_has_places(cls, value: str) -> str:
        missing = [place for place in ("{query}", "{candidates}") if place not in value]
        if missing:
            raise ValueError(f"must contain {' and '.join(missing)}")
        return value

    @field_validator("history")
    @classmethod
    def _history_has_place(cls, value: str) -> str:
        if "{titles}" not in value:
            raise ValueError("must contain {titles}")
        return value

    @field_validator("known")
    @classmethod
    def _known_has_place(cls, value: str) -> str:
        if "{facts}" not in value:
            raise ValueError("must contain {facts}")
        return value

    @model_validator(mode="after")
    def _evidence_has_a_place(self) -> PromptWording:
        if self.evidence and "{known}" not in self.user:
            raise ValueError("user must contain {known} where there is evidence")
        return self


@dataclass(frozen=True)
class Evidence:
    """What the attribute graph says that touches a request (``grounding/wording.py`` gathers it).

    Attributes:
        of_items: Item index -> short facts, e.g. "directed by Ana Torv, as Ember was".
        of_request: What the request states about items it names, and what is right.
    """

    of_items: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    of_request: tuple[str, ...] = ()


NO_EVIDENCE = Evidence()


@dataclass(frozen=True)
class Example:
    """One query with its candidates: what the policy is asked, and what is right.

    Attributes:
        query_id: Id of the query.
        query_type: One of the published query types.
        messages: The prompt as chat messages.
        truth: The one right candidate, as an item index.
        candidates: All candidates, as item indices in prompt order.
        conditions: The attributes asked for, where known.
        mentioned: Indices of the items that the query names.
        form: The grammar (Lark) that an answer keeps to; None lets the policy write freely.
    """

    query_id: str
    query_type: str
    messages: Messages
    truth: int
    candidates: tuple[int, ...]
    conditions: tuple[Attribute, ...] = ()
    mentioned: frozenset[int] = field(default_factory=frozenset)
    form: str | None = None


def nobody_left() -> bool:
    """Of a prompt whose answer is waited for to the end: that nobody has left."""
    return False


@dataclass(frozen=True)
class Prompt:
    """What a policy is to reason about for somebody who waits.

    Attributes:
        messages: The prompt as chat messages.
        titles: C titles to choose from, as the prompt writes them.
        on_text: Called with each piece of the reasoning as it is written; None where it is not.
        gone: Whether nobody waits for the answer any more; asked at every token.
        form: The grammar (Lark) that the reasoning keeps to; None lets the policy write freely.
    """

    messages: Messages
    titles: Sequence[str]
    on_text: Callable[[str], None] | None = None
    gone: Callable[[], bool] = nobody_left
    form: str | None = None


@dataclass(frozen=True)
class Graded:
    """What a batch of completions answers.

    Attributes:
        answers: The parsed answers, N of them.
        ranked: Answered items (N, R), best first, int64; -1 where a place holds no candidate.
        truths: Right items (N, 1), int64.
        listed: Candidates (N, C), int64, padded with -1.
        boxed: Whether each completion boxes an answer, (N,).
        correct: Whether the first answer is right (the accuracy of the paper), (N,).
    """

    answers: list[Answer]
    ranked: NDArray[np.int64]
    truths: NDArray[np.int64]
    listed: NDArray[np.int64]
    boxed: NDArray[np.bool_]
    correct: NDArray[np.bool_]


class RecTask:
    """The task over one catalogue.

    Args:
        catalogue: All items.
        wording: The texts of the prompt.
    """

    def __init__(self, catalogue: ItemIndex, wording: PromptWording):
        self.catalogue = catalogue
        self.wording = wording

    # -- asking --------------------------------------------------------------------------

    def messages(
        self,
        query: str,
        candidates: Sequence[int],
        history: Sequence[int],
        evidence: Evidence = NO_EVIDENCE,
    ) -> Messages:
        """The prompt as chat messages.

        Args:
            query: What the user says.
            candidates: Item indices in the order they are listed.
            history: Item indices the user has seen, oldest first; empty leaves the sentence out.
            evidence: Facts that stand beside the candidates and the request.
        """
        titles = self.catalogue.titles
        join = self.wording.separator.join
        seen = self.wording.history.replace("{titles}", join(titles[i] for i in history))
        texts = {
            "history": seen if history else "",
            "candidates": join(self._listed(i, evidence) for i in candidates),
            "query": query,
            "known": self.wording.known.replace("{facts}", "; ".join(evidence.of_request))
            if evidence.of_request
            else "",
        }
        # In one pass: what a query or a title says in braces is text.
        user = _PLACES.sub(lambda place: texts[place[1]], self.wording.user)
        return [
            {"role": "system", "content": self.wording.system},
            {"role": "user", "content": user},
        ]

    def _listed(self, item: int, evidence: Evidence) -> str:
        facts = evidence.of_items.get(item, ())
        title = self.catalogue.titles[item]
        return f"{title}: {'; '.join(facts)}" if facts else title

    def next_item_messages(
        self, request: str, candidates: Sequence[int], history: Sequence[int], told: int
    ) -> Messages:
        """The prompt for the item that comes next in a history.

        Args:
            request: What the user says; ``{last}`` becomes the latest title, as one says it.
            candidates: Item indices in the order they are listed.
            history: What the user did before, oldest first, at least one item.
            told: How many of the latest items the history sentence names.
        """
        last = natural_order(self.catalogue.titles[history[-1]])
        latest = history[len(history) - min(told, len(history)) :]
        return self.messages(request.replace("{last}", last), candidates, latest)

    # -- reading answers -----------------------------------------------------------------

    def rank(self, answer: Answer, candidates: Sequence[int]) -> list[int]:
        """The answered items, best first, each once.

        A title means a candidate if it fits one. One that is unknown, fits several candidates or
        is no candidate keeps its rank as -1: it is a wrong answer and never replaced by something
        else.
        """
        allowed = set(candidates)
        ranked: dict[object, int] = {}
        for title in self._titles(answer):
            index = choose(self.catalogue.readings(title), allowed)
            if index is not None and index in allowed:
                ranked[index] = index
            else:
                ranked[title] = -1
        return list(ranked.values())

    def _rank_each(
        self, answers: Sequence[Answer], examples: Sequence[Example], listed: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """``rank`` of N answers at once: (N, R), padded with -1.

        The rollouts of a prompt answer the same few titles: each is resolved once.
        """
        rows = [self._parts(answer) for answer, _ in zip(answers, examples, strict=True)]
        parts = [*chain.from_iterable(rows)]
        ranked = _padded(rows, map(self._numbers({*parts}).__getitem__, parts))
        in_order = np.sort(ranked, axis=1)
        again = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != NO_ITEM)
        # Few answers repeat a title, or have one that the list decides or that says nothing.
        alone = again.any(axis=1) | (ranked == SEVERAL).any(axis=1)
        for row in np.flatnonzero(alone).tolist():
            items = self.rank(answers[row], examples[row].candidates)
            ranked[row] = NO_ITEM
            ranked[row, : len(items)] = items
        is_listed = np.zeros(ranked.shape, dtype=bool)
        for place in listed.T:
            is_listed |= ranked == place[:, None]
        return np.where(is_listed, ranked, NO_ITEM)

    def _numbers(self, parts: Iterable[str]) -> dict[str, int]:
        """Part of an answer -> its item, a number of its own below all others if it has none."""
        numbers = {}
        for n, part in enumerate(parts):
            item = self.catalogue.only_reading(part) if says_something(part) else SEVERAL
            numbers[part] = SEVERAL - 1 - n if item == NO_ITEM else item
        return numbers

    def _titles(self, answer: Answer) -> list[str]:
        return [*filter(says_something, self._parts(answer))]

    def _parts(self, answer: Answer) -> list[str]:
        """What separators part; a title of the catalogue may itself contain the separator."""
        # A separator at the end of a title leaves one part.
        content = answer.content or ""
        if self._most_parts > 1 and 0 < content.count(SEPARATOR) < self._most_parts:
            return [content] if any(self.catalogue.readings(content)) else answer.parts
        return answer.parts

    @cached_property
    def _most_parts(self) -> int:
        """Parts that a title of the catalogue is cut into at separators, at most."""
        return 1 + max((tidy(t).count(SEPARATOR) for t in self.catalogue.titles), default=0)

    def grade(self, completions: Sequence[str], examples: Sequence[Example]) -> Graded:
        """Reads and scores one completion for each example.

        Args:
            completions: What the policy wrote, N texts.
            examples: What it was asked, N examples.
        """
        answers = [read_answer(text) for text in completions]
        lists = [example.candidates for example in examples]
        listed = _padded(lists, chain.from_iterable(lists))
        ranked = self._rank_each(answers, examples, listed)
        truths = np.array([e.truth for e in examples], dtype=np.int64)[:, None]
        boxed = np.array([answer.boxed for answer in answers], dtype=bool)
        return Graded(answers, ranked, truths, listed, boxed, ranked[:, 0] == truths[:, 0])

    # -- reasoning that led astray ---------------------------------------------------------

    def penalised_paragraphs(
        self, paragraphs: Sequence[str], answer: Answer, index: int
    ) -> list[int]:
        r"""Paragraphs that bring up the wrongly recommended item (RAAE).

        The paragraphs of the answer itself are left aside (official). An item is brought up by its
        whole title, as the catalogue or the answer writes it.

        Args:
            paragraphs: Texts of the completion's paragraphs.
            answer: The completion's answer.
            index: The recommended item, -1 if it is not a candidate.

        Returns:
            Positions of the penalised paragraphs; empty if nothing was boxed.
        """
        title = next(iter(self._titles(answer)), None)
        if title is None:
            return []
        known = index if index >= 0 else self.catalogue.resolve(title)
        finder, key = self._finder(title, known)
        spared = answer.paragraphs
        # Without a word ("____", "?!") there is nothing that could be brought up.
        needle = max(words(split_year(title)[0] or title), key=len, default="")
        return [
            n
            for n, text in enumerate(paragraphs)
            if needle
            and n not in spared
            # Most paragraphs lack even the longest word of the title: do not search those.
            and needle in unicodedata.normalize("NFC", text).casefold()
            and any(key in mention.keys for mention in finder.find(text))
        ]

    def _finder(self, title: str, known: int | None) -> tuple[PhraseIndex, object]:
        """What to search with, and the key to look for.

        A catalogue title is searched among all titles, so that a longer one around it wins.
        """
        if known is not None:
            return self.title_index, known
        return PhraseIndex((form, title, open_) for form, open_ in title_forms(title)), title

    @cached_property
    def title_index(self) -> PhraseIndex:
        """All titles of the catalogue, to be found in running text; keys are item indices."""
        return title_index(self.catalogue)


def _padded(rows: Sequence[Sized], values: Iterable[int]) -> NDArray[np.int64]:
    """Values of rows of different lengths as one array, at least one column wide, -1 at the end."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    whole = np.full((len(rows), lengths.max(initial=1)), -1, dtype=np.int64)
    filled = np.arange(whole.shape[1]) < lengths[:, None]
    whole[filled] = np.fromiter(values, dtype=np.int64, count=lengths.sum())
    return whole
