"""Recorded answers of any model: checked, and brought to the queries they answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.task import Example, Graded, RecTask
from rerec_pipeline.recbench.titles import ItemIndex


def named_answers(
    records: Sequence[Mapping[str, Any]], source: object
) -> Iterator[tuple[str, str, str]]:
    """Checks records of answers one by one.

    Args:
        records: Objects with ``id`` and ``response``.
        source: The file, for errors.

    Yields:
        What to call the record in an error, the id of its query, the response.

    Raises:
        BadInputError: If a field is missing or no text, or a query is answered twice.
    """
    seen: set[str] = set()
    for number, record in enumerate(records, 1):
        name = f"answer {number}"
        query, response = _texts(record, ("id", "response"), source, name)
        if query in seen:
            raise BadInputError(source, f"'{query}' is answered twice", record=name, field="id")
        seen.add(query)
        yield name, query, response


def answers_to_test(
    records: Sequence[Mapping[str, Any]], splits: Mapping[str, str], source: object
) -> dict[str, str]:
    """The responses to test queries, by query id.

    Args:
        records: See ``named_answers``.
        splits: Query id -> split, of all queries.
        source: The file, for errors.

    Raises:
        BadInputError: If an answer is malformed, to no known query, or to one of another split:
            what was trained or selected on measures nothing.
    """
    responses = {}
    for name, query, response in named_answers(records, source):
        if problem := _not_of(query, "test", splits):
            remedy = "Answer the prompts of: kedro run --pipelines export_prompts"
            raise BadInputError(source, problem, record=name, field="id", remedy=remedy)
        responses[query] = response
    return responses


def recorded_traces(
    records: Sequence[Mapping[str, Any]],
    splits: Mapping[str, str],
    examples: Mapping[str, Example],
    task: RecTask,
    source: object,
) -> list[tuple[str, str]]:
    """Checks reasoning traces that are to be imitated, of one model or another.

    Args:
        records: Objects with ``id`` (or ``query_id``) and ``response``; a query may have several.
        splits: Query id -> split, of all queries.
        examples: The training queries that prompts are short enough for; traces of others that
            are in the training split are left out.
        task: Reads the answers.
        source: The file, for errors.

    Returns:
        (query id, response) of each trace, in the order of the file.

    Raises:
        BadInputError: If a trace is malformed, of no known query or one of another split, or if
            it does not end in the right answer.
    """
    traces = []
    for number, record in enumerate(records, 1):
        name = f"trace {number}"
        key = "query_id" if "query_id" in record else "id"
        query, response = _texts(record, (key, "response"), source, name)
        if problem := _not_of(query, "train", splits):
            remedy = (
                "Only training queries may be taught; the column split of the prompts says which"
            )
            raise BadInputError(source, problem, record=name, field=key, remedy=remedy)
        if query in examples:
            _check_answer(response, examples[query], task, source, name)
            traces.append((query, response))
    return traces


def _texts(
    record: Mapping[str, Any], fields: Sequence[str], source: object, name: str
) -> list[str]:
    """Fields of a record that must be texts; numbers, as ids may be, are taken as such."""
    for field in fields:
        if type(record.get(field)) not in (int, str):
            raise BadInputError(source, "expected a text", record=name, field=field)
    return [str(record[field]) for field in fields]


def _not_of(query: str, split: str, splits: Mapping[str, str]) -> str:
    """Why a query is not one of a split; empty if it is."""
    if query not in splits:
        return f"no query has the id '{query}'"
    return "" if splits[query] == split else f"the query '{query}' is in the {splits[query]} split"


def _check_answer(
    response: str, example: Example, task: RecTask, source: object, name: str
) -> None:
    graded = task.grade([response], [example])
    if not graded.correct[0]:
        right = task.catalogue.titles[example.truth]
        problem = f"it does not end in the right answer, \\boxed{{{right}}}"
        if graded.boxed[0]:
            problem += f", but in '{graded.answers[0].content}'"
        raise BadInputError(
            source, problem, record=name, field="response", remedy="Leave wrong traces out"
        )


def choice_rows(
    graded: Graded, examples: Sequence[Example], catalogue: ItemIndex
) -> Iterator[dict[str, Any]]:
    """What each graded answer chose.

    Args:
        graded: N graded answers.
        examples: What they answer, N examples.
        catalogue: The items.

    Yields:
        id, query_type, answer (the candidate's title; what is boxed where that names none; None
        without a box), truth (title), correct, boxed.
    """
    for n, example in enumerate(examples):
        chosen = int(graded.ranked[n, 0])
        yield {
            "id": example.query_id,
            "query_type": example.query_type,
            "answer": catalogue.titles[chosen] if chosen >= 0 else graded.answers[n].content,
            "truth": catalogue.titles[example.truth],
            "correct": bool(graded.correct[n]),
            "boxed": bool(graded.boxed[n]),
        }
