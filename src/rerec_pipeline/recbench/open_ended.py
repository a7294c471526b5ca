"""Scoring of open-ended answers the benchmark authors' way: titles in free text, matched loosely.

This is not how the policy is trained or evaluated (``RecTask`` is: a choice among candidates,
resolved exactly). It exists to score recorded answers of any model as the benchmark's paper does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.recorded import named_answers
from rerec_pipeline.recbench.records import PROFILE_TYPES, inner_records, item_keys
from rerec_pipeline.recbench.titles import ItemIndex, natural_order

SEPARATOR = "[SEP]"
#: A predicted title is taken for a right one from this ratio of matching characters on.
SIMILAR = 0.8
_YEAR = re.compile(r" \(\d{4}\)$")
_TITLE_KEYS = (*item_keys("{}Subset"), *item_keys("{} subset"))


@dataclass(frozen=True)
class OpenEndedScore:
    """The authors' four measures of one answer.

    Attributes:
        recall: Share of the right titles that the answer names.
        precision: Right titles named, over the number of titles in the answer.
        ndcg: Discounted gain of the hits over that of as many hits as there are right titles; a
            title named twice counts twice, so it can exceed 1.
        ftr: Whether the format failed: no ``[SEP]`` in the answer (1.0) or not (0.0).
    """

    recall: float
    precision: float
    ndcg: float
    ftr: float


def read_titles(response: str) -> list[str]:
    """The titles of an answer: split at ``[SEP]``, without quotes and trailing year."""
    return [_YEAR.sub("", part.strip().strip("'").strip('"')) for part in response.split(SEPARATOR)]


def score_open_ended(response: str, truths: Sequence[str], k: int | None = None) -> OpenEndedScore:
    """Scores one answer.

    Args:
        response: What the model wrote.
        truths: The right titles as published, at least one.
        k: Only the first k titles count; None counts all, as the authors do.
    """
    predicted = read_titles(response)[:k]
    ranked = [next((t for t in truths if _similar(p, t)), p) for p in predicted]
    found = sum(truth in ranked for truth in truths)
    gain = sum(_discount(rank) for rank, title in enumerate(ranked, 1) if title in truths)
    ideal = sum(_discount(rank) for rank in range(1, min(len(truths), k or len(truths)) + 1))
    return OpenEndedScore(
        recall=found / len(truths),
        precision=found / len(ranked),
        ndcg=gain / ideal,
        ftr=float(SEPARATOR not in response),
    )


def score_rows(
    response: str, truths: Sequence[str], cuts: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The measures of one answer as a whole (``cut`` 0), and of its first titles."""
    yield {"cut": 0, **asdict(score_open_ended(response, truths))}
    for k in cuts:
        yield {"cut": k, **asdict(score_open_ended(response, truths, k))}


def join_titles(items: Sequence[int], catalogue: ItemIndex) -> str:
    """Items as an answer in the authors' form, titles as one says them."""
    return f" {SEPARATOR} ".join(natural_order(catalogue.titles[item]) for item in items)


def _similar(predicted: str, truth: str) -> bool:
    matcher = SequenceMatcher(None, predicted, truth)
    # Upper bounds of the ratio, which are sooner known.
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
    return all(bound() >= SIMILAR for bound in bounds)


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def labelled_titles(records: object, query_type: str, source: object) -> dict[str, list[str]]:
    """The right titles of every query of a published file, by the id that answer files use.

    Args:
        records: The parsed JSON of a query file.
        query_type: Its type. Profile-based queries go by ``<position of the group>-<position of
            the query among its non-empty ones>``, the others by ``data_idx``.
        source: The file, for errors.

    Raises:
        BadInputError: If a record is malformed or has no right title.
    """
    rows = published_labels(records, query_type, source)
    return {row["answer_id"]: row["titles"] for row in rows}


def published_labels(records: object, query_type: str, source: object) -> list[dict[str, Any]]:
    """The right titles of every query of a published file, with all that names it.

    Args:
        records: See ``labelled_titles``.
        query_type: Its type.
        source: The file, for errors.

    Returns:
        A row for each query: query_id (see ``Query``), query_type, answer_id (see
        ``labelled_titles``), titles, label_complete.

    Raises:
        BadInputError: See ``labelled_titles``.
    """
    if not isinstance(records, list):
        raise BadInputError(source, "expected a JSON list of records")
    rows = []
    for position, record in enumerate(records):
        name = f"record {position}"
        if not isinstance(record, dict):
            raise BadInputError(source, "expected an object", record=name)
        for suffix, inner in _inner(record, query_type, source, name):
            own = record.get("data_idx", position)
            answered = position if query_type in PROFILE_TYPES else own
            rows.append(
                {
                    "query_id": f"{query_type}-{own}{suffix}",
                    "query_type": query_type,
                    "answer_id": f"{answered}{suffix}",
                    "titles": _titles(inner, source, name),
                    "label_complete": bool(inner.get("label_complete", True)),
                }
            )
    return rows


def _inner(
    record: Mapping[str, Any], query_type: str, source: object, name: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a record's queries add to its id, and where their labels are."""
    if query_type in PROFILE_TYPES:
        queries = [query for query in inner_records(record, source, name) if query]
        yield from ((f"-{n}", query) for n, query in enumerate(queries))
    elif "data_idx" not in record:
        raise BadInputError(source, "there is no id", record=name, field="data_idx")
    else:
        yield "", record


def _titles(record: Mapping[str, Any], source: object, name: str) -> list[str]:
    key = next((key for key in _TITLE_KEYS if key in record), _TITLE_KEYS[0])
    titles = record.get(key)
    if not isinstance(titles, list) or not titles or not all(isinstance(t, str) for t in titles):
        raise BadInputError(source, "expected a non-empty list of titles", record=name, field=key)
    return titles


def score_file(
    answers: Sequence[Mapping[str, Any]],
    labelled: Mapping[str, Sequence[str]],
    source: object,
    k: int | None = None,
) -> list[dict[str, Any]]:
    """Scores all recorded answers of a file.

    Args:
        answers: Records with ``id`` and ``response``.
        labelled: Right titles by id, see ``labelled_titles``.
        source: The file of answers, for errors.
        k: See ``score_open_ended``.

    Returns:
        One row for each answer: id, recall, precision, ndcg, ftr.

    Raises:
        BadInputError: If an answer lacks a field, names no known query or answers one twice.
    """
    return [
        {"id": query, **asdict(score_open_ended(response, labelled[query], k))}
        for query, response in known_answers(answers, labelled, source)
    ]


def known_answers(
    answers: Sequence[Mapping[str, Any]], known: Collection[str], source: object
) -> Iterator[tuple[str, str]]:
    """The id of the query and the response of each recorded answer.

    Args:
        answers: Records with ``id`` and ``response``.
        known: Ids of all queries.
        source: The file of answers, for errors.

    Raises:
        BadInputError: If an answer lacks a field, names no known query or answers one twice.
    """
    for name, query, response in named_answers(answers, source):
        if query not in known:
            raise BadInputError(
                source,
                f"no query has the id '{query}'",
                record=name,
                field="id",
                remedy="Give the query_type that these answers are for",
            )
        yield query, response
