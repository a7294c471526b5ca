"""The assistant: from a request to items of the catalogue, with reasons whose facts are checked.

The steps to an answer: *link* the request to the catalogue and its graph, *retrieve* candidates
(unless the caller gives some), let the policy *reason* about them, *choose* by the likelihood of
each candidate after the reasoning, and *check* what the reasoning states against the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy.special import softmax

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.grounding.links import Claim, Status
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.grounding.signals import Asked
from rerec_pipeline.grounding.traces import FormWriter
from rerec_pipeline.grounding.wording import gather_evidence, say_claim, say_reason, say_statement
from rerec_pipeline.recbench.task import Prompt, RecTask, nobody_left


@dataclass(frozen=True)
class Item:
    """A recommended or considered item.

    Attributes:
        id: The data set's id.
        title: Its title.
        score: Probability of this item among the candidates, whose scores add up to 1.
        kinds: Its kinds (genres).
        reasons: Its facts that touch the request, in words.
    """

    id: str
    title: str
    score: float
    kinds: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """A statement of the reasoning, and what the attribute graph says of it."""

    text: str
    item: str
    status: Status


@dataclass(frozen=True)
class Answer:
    """What the assistant answers.

    Attributes:
        items: The recommendation, best first.
        reasoning: What the policy wrote before it chose.
        facts: Statements of the reasoning, checked.
        request_facts: What the request itself states about items that it names, checked.
        candidates: All that was considered, best first, with their reasons.
        policy: Name of the policy that answered; ``graph`` where retrieval alone did.
    """

    items: tuple[Item, ...]
    reasoning: str
    facts: tuple[Fact, ...]
    request_facts: tuple[Fact, ...]
    candidates: tuple[Item, ...]
    policy: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)


@dataclass(frozen=True)
class Request:
    """What somebody asks.

    Attributes:
        text: What the user says; may be empty.
        history: Item indices that the user knows, oldest first. They are not recommended.
        candidates: Item indices to choose from; None lets the retriever find them.
        top: How many items to recommend.
        exclude: Item indices that must not be recommended, e.g. what was shown before.
        on_text: Called with each piece of the reasoning as it is written.
        gone: Returns whether nobody waits for the answer any more; called while it is made.
    """

    text: str
    history: Sequence[int] = ()
    candidates: Sequence[int] | None = None
    top: int = 1
    exclude: Sequence[int] = ()
    on_text: Callable[[str], None] | None = None
    gone: Callable[[], bool] = nobody_left


class Reasoner(Protocol):
    """A policy as the assistant uses it (``models/reasoner.py``)."""

    name: str

    def reason(self, prompts: Sequence[Prompt]) -> list[tuple[str, np.ndarray]]:
        """The reasoning for each prompt, and the probability of each of its C titles, (C,)."""
        ...


@dataclass
class Assistant:
    """Answers requests over one catalogue.

    Attributes:
        task: Words prompts and knows titles.
        retriever: Links requests and finds candidates.
        reasoner: The policy; None lets retrieval alone answer.
        list_size: Number of candidates that the retriever finds for the policy.
        shown_reasons: Most reasons given for an item.
        constrained: Whether the policy is to keep to the form of a trace (``FormWriter``).
        span: Called with the name of each step (link, retrieve, reason, check); the step runs
            inside the context manager that it returns. What that yields, unless None, gets the
            step's result by ``set_outputs``.
    """

    task: RecTask
    retriever: Retriever
    reasoner: Reasoner | None = None
    list_size: int = 20
    shown_reasons: int = 3
    constrained: bool = False
    span: Callable[[str], AbstractContextManager[Any]] = lambda _: nullcontext()
    _raw_ids: list[str] = field(init=False, repr=False)
    _index: dict[str, int] = field(init=False, repr=False)
    _forms: FormWriter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_id = {item: raw for raw, item in self.task.catalogue.id_of_raw.items()}
        self._raw_ids = [by_id[item] for item in self.task.catalogue.item_ids]
        self._index = {raw: n for n, raw in enumerate(self._raw_ids)}
        self._forms = FormWriter(self.retriever.linker, self.task.wording)

    def index_of(self, raw_id: str) -> int:
        """Index of the item with this id in the data set; a KeyError if there is none."""
        return self._index[raw_id]

    def ask(self, text: str, **details: Any) -> Answer:
        """Answers one request; ``details`` are further fields of ``Request``."""
        return self.answer([Request(text, **details)])[0]

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers requests as one batch: the policy writes for several as fast as for one."""
        titles = self.task.catalogue.titles
        with self.span("link") as span:
            asked = [self.retriever.ask(request.text, request.history) for request in requests]
            if span is not None:
                span.set_outputs([[titles[n] for n in row.links.items] for row in asked])
        with self.span("retrieve") as span:
            listed = self._listed(asked, requests)
            if span is not None:
                span.set_outputs([[titles[n] for n in row] for row in listed])
        waiting = [n for n, items in enumerate(listed) if items and not requests[n].gone()]
        with self.span("reason") as span:
            rows: list[Any] = [[row[n] for n in waiting] for row in (asked, listed, requests)]
            reasoned = dict(zip(waiting, self._reasoned(*rows), strict=True))
            if span is not None:
                span.set_outputs([reasoning for reasoning, _ in reasoned.values()])
        with self.span("check") as span:
            answers = [
                self._answer(requests[n], asked[n], listed[n], *reasoned.get(n, ("", None)))
                for n in range(len(requests))
            ]
            if span is not None:
                span.set_outputs([[asdict(fact) for fact in row.facts] for row in answers])
        return answers

    def _answer(
        self, request: Request, asked: Asked, listed: Sequence[int], reasoning: str, scores: Any
    ) -> Answer:
        """The answer to one request; ``scores`` is None where nothing was chosen from."""
        order = () if scores is None else np.argsort(-scores, kind="stable")
        considered = tuple(self._item(asked, listed[n], float(scores[n])) for n in order)
        return Answer(
            considered[: request.top],
            reasoning,
            self._checked_reasoning(reasoning),
            self._checked(asked.links.stated),
            considered,
            self.name,
        )

    @property
    def name(self) -> str:
        """Name of the policy; ``graph`` where retrieval alone answers."""
        return "graph" if self.reasoner is None else self.reasoner.name

    def indices(self, titles: Sequence[str], field_name: str) -> list[int]:
        """Item indices of titles.

        Args:
            titles: Titles as people write them.
            field_name: Where they stand, for the error.

        Raises:
            BadInputError: If no item has a title, or two have it.
        """
        found = [(title, self.task.catalogue.resolve(title)) for title in titles]
        for title, index in found:
            if index is None:
                raise BadInputError(
                    "request",
                    f"'{title[:80]}' is no title of the catalogue, or fits two of its items",
                    field=field_name,
                    remedy="Write the full title with its year",
                )
        return [index for _, index in found if index is not None]

    def _listed(self, asked: Sequence[Asked], requests: Sequence[Request]) -> list[list[int]]:
        """The items that each request is answered from."""
        barred = [{*request.history, *request.exclude} for request in requests]
        given = [list(dict.fromkeys(request.candidates or ())) for request in requests]
        listed = [[i for i in g if i not in out] for g, out in zip(given, barred, strict=True)]
        finding = [n for n, request in enumerate(requests) if request.candidates is None]
        # More than are listed, because barred items are taken out afterwards.
        most = self.list_size + max((len(barred[n]) for n in finding), default=0)
        found = self.retriever.retrieve([asked[n] for n in finding], most)
        for n, items in zip(finding, found, strict=True):
            listed[n] = [i for i in items.tolist() if i not in barred[n]][: self.list_size]
        return listed

    def _reasoned(
        self,
        asked: Sequence[Asked],
        listed: Sequence[Sequence[int]],
        requests: Sequence[Request],
    ) -> list[tuple[str, np.ndarray]]:
        """The reasoning for each request and the probabilities of its C candidates, (C,)."""
        if self.reasoner is None:
            scores = self.retriever.rank(asked, [np.asarray(items) for items in listed])
            return [("", softmax(row)) for row in scores]
        prompts = [self._prompt(*row) for row in zip(asked, listed, requests, strict=True)]
        return self.reasoner.reason(prompts)

    def _prompt(self, asked: Asked, listed: Sequence[int], request: Request) -> Prompt:
        titles, wording = self.task.catalogue.titles, self.task.wording
        evidence = gather_evidence(
            asked.links, self.retriever.facts, listed, titles, wording.evidence,
            wording.evidence_words,
        )  # fmt: skip
        messages = self.task.messages(request.text, listed, request.history, evidence)
        choices = [titles[item] for item in listed]
        form = self._forms.form(asked.links, listed) if self.constrained else None
        return Prompt(messages, choices, request.on_text, request.gone, form)

    def _item(self, asked: Asked, item: int, score: float) -> Item:
        titles = self.task.catalogue.titles
        reasons = self.retriever.explain(asked.links, item)[: self.shown_reasons]
        said = tuple(dict.fromkeys(say_reason(reason, titles) for reason in reasons))
        facts = self.retriever.facts
        kinds = (facts.attributes[n][1] for n in facts.of_item(item) if facts.is_kind[n])
        return Item(self._raw_ids[item], titles[item], score, tuple(kinds), said)

    def _checked(self, claims: Sequence[Claim]) -> tuple[Fact, ...]:
        """The checked statements of a request about items that it names."""
        titles = self.task.catalogue.titles
        return tuple(Fact(say_claim(c, titles), titles[c.item], c.status) for c in claims)

    def _checked_reasoning(self, reasoning: str) -> tuple[Fact, ...]:
        """The checked statements of a reasoning, each about an item that its paragraph names."""
        titles = self.task.catalogue.titles
        facts = [
            Fact(say_statement(claim, titles), titles[claim.item], claim.status)
            for paragraph in reasoning.splitlines()
            for claim in self.retriever.linker.link(paragraph).stated
        ]
        return tuple(dict.fromkeys(facts))
