"""Scoring of open-ended answers the benchmark authors' way: titles in free text, matched loosely.

This is not how the policy is trained or evaluated (``RecTask`` is: a choice among candidates,
resolved exactly). It exists to score recorded answers of any model as the benchmark's paper does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.recorded import named_answers
from rerec_pipeline.recbench.records import PROFILE_TYPES, inner_records, item_keys

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


def _similar(predicted: str, truth: str) -> bool:
    return SequenceMatcher(None, predicted, truth).ratio() >= SIMILAR


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
    if not isinstance(records, list):
        raise BadInputError(source, "expected a JSON list of records")
    labelled: dict[str, list[str]] = {}
    for position, record in enumerate(records):
        name = f"record {position}"
        if not isinstance(record, dict):
            raise BadInputError(source, "expected an object", record=name)
        if query_type in PROFILE_TYPES:
            inner = [r for r in inner_records(record, source, name) if r]
            labelled |= {f"{position}-{n}": _titles(r, source, name) for n, r in enumerate(inner)}
        elif "data_idx" not in record:
            raise BadInputError(source, "there is no id", record=name, field="data_idx")
        else:
            labelled[str(record["data_idx"])] = _titles(record, source, name)
    return labelled


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
    rows: list[dict[str, Any]] = []
    for name, query, response in named_answers(answers, source):
        if query not in labelled:
            raise BadInputError(
                source,
                f"no query has the id '{query}'",
                record=name,
                field="id",
                remedy="Give the query_type that these answers are for",
            )
        score = score_open_ended(response, labelled[query], k)
        rows.append({"id": query, **asdict(score)})
    return rows
