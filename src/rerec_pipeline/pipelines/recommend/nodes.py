"""Nodes of the recommend pipeline: the assistant, and its answers in bulk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import ValidationError
from tqdm import tqdm

from rerec_pipeline.assistant.assistant import Answer, Assistant, Request
from rerec_pipeline.assistant.bodies import Body
from rerec_pipeline.configs import EvaluatedSplit
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.grounding.ranking import TreeRanker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.models.backbone import Backbone
from rerec_pipeline.models.devices import device
from rerec_pipeline.models.reasoner import PolicyReasoner
from rerec_pipeline.parameters import (
    DataParameters,
    EvaluationParameters,
    RetrievalParameters,
    RFTParameters,
    explain,
    policy_name,
)
from rerec_pipeline.recbench import reading
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.storage.parts import in_parts

#: Batches of a part: what an interruption can cost.
_BATCHES = 4


def build_assistant(
    task: RecTask,
    retriever: Retriever,
    ranker: str,
    policy: Backbone,
    rft: RFTParameters,
    parameters: dict[str, Any],
) -> Assistant:
    """The assistant over the catalogue, with the trained policy."""
    policy.model.to(device())  # type: ignore[arg-type]
    length = rft.generation.max_completion_tokens
    reasoner = PolicyReasoner(policy, policy_name(parameters), length)
    ordered = retriever.ordered_by(TreeRanker(ranker))
    return Assistant(task, ordered, reasoner, constrained=rft.constrained)


def recommend(
    assistant: Assistant,
    request_file: bytes,
    requests: str | None,
    rft: RFTParameters,
    evaluation: EvaluationParameters,
    retrieval: RetrievalParameters,
    lightgcn_embeddings: dict[str, torch.Tensor],
    *tables: pd.DataFrame,
) -> pd.DataFrame:
    """Answers every request of a file; the same command goes on with what an interrupted one did.

    Args:
        assistant: Answers.
        request_file: Content of the file.
        requests: Its name, for errors.
        rft: Says where finished parts are kept.
        evaluation: Says how many requests are answered at once.
        retrieval: What the assistant's retriever was built with, as are the rest.
        lightgcn_embeddings: Of users and items.
        *tables: Those that its retriever was built from.

    Returns:
        A row for each request, in the order of the file: id, request, item_ids, titles, scores
        (lists, best first), reasons (of the first item), reasoning, facts (JSON: text, item,
        status), policy.
    """
    asked = read_requests(request_file, requests or "requests", assistant)
    size = evaluation.batch_size
    built_from = (retrieval, lightgcn_embeddings["items"].numpy(), *tables)
    follows = fingerprint(*_followed(assistant, request_file), *built_from)
    folder = Path(rft.checkpoint_dir) / follows[:16]
    with tqdm(total=len(asked), desc="Recommending", unit="request") as progress:

        def answer(some: Sequence[tuple[str, Request]]) -> pd.DataFrame:
            rows = []
            for start in range(0, len(some), size):
                names, batch = zip(*some[start : start + size], strict=True)
                answers = assistant.answer(batch)
                rows += [_row(*row) for row in zip(names, batch, answers, strict=True)]
                progress.update(len(batch))
            return pd.DataFrame(rows)

        return in_parts(asked, _BATCHES * size, folder, answer)


def judge_answers(
    assistant: Assistant,
    prompts: pd.DataFrame,
    queries: pd.DataFrame,
    data: DataParameters,
    questions: int,
    split: EvaluatedSplit,
    seed: int,
) -> dict[str, Any]:
    """Asks some questions of a split and lets MLflow score them: right, faithful, of the list."""
    from rerec_pipeline.tracking.judging import judge

    rows = prompts[prompts["split"] == split]
    rows = rows.sample(min(questions, len(rows)), random_state=seed)
    catalogue = assistant.task.catalogue
    histories = queries.set_index("query_id")["history"]
    asked = [
        {
            "request": row["text"],
            "history": catalogue.indices(histories[row["query_id"]] if data.history else ()),
            "candidates": catalogue.indices(row["candidate_ids"]),
            "truth": catalogue.titles[catalogue.index_of_id[row["truth_id"]]],
        }
        for row in rows.to_dict("records")
    ]
    return {"n": len(asked), "split": split, **judge(assistant, asked)}


def read_requests(
    request_file: bytes, source: object, assistant: Assistant
) -> list[tuple[str, Request]]:
    """The id and the request of each line: a ``Body``, with an ``id`` (by default its number).

    Raises:
        BadInputError: If a line is no such object, names no title, or has the id of another.
    """
    found: dict[str, Request] = {}
    records = reading.read_json_lines(reading.decode(request_file, source), source)
    for number, record in enumerate(records, 1):
        line = f"request {number}"
        name = str(record.pop("id", number))
        if name in found:
            raise BadInputError(source, f"the id '{name}' occurs twice", record=line, field="id")
        try:
            found[name] = Body.model_validate(record).read(assistant)
        except ValidationError as exc:
            raise BadInputError(source, explain(exc).strip(), record=line) from None
        except BadInputError as exc:
            raise BadInputError(source, str(exc), record=line) from None
    return list(found.items())


def _followed(assistant: Assistant, request_file: bytes) -> list[Any]:
    """What of the assistant recommendations follow from; the policy counts by its content."""
    reasoner, ranker = assistant.reasoner, assistant.retriever.ranker
    assert isinstance(reasoner, PolicyReasoner)
    backbone = reasoner.backbone
    source = str(backbone.source or backbone.model.name_or_path)  # the latter leaves adapters out
    policy = str(Path(source).resolve()) if Path(source).exists() else source
    return [
        request_file.decode(), policy, reasoner.max_new_tokens, assistant.list_size,
        assistant.task.wording, ranker.text if isinstance(ranker, TreeRanker) else "",
    ]  # fmt: skip


def _row(name: str, request: Request, answer: Answer) -> dict[str, Any]:
    facts = [{"text": f.text, "item": f.item, "status": f.status} for f in answer.facts]
    return {
        "id": name,
        "request": request.text,
        "item_ids": [item.id for item in answer.items],
        "titles": [item.title for item in answer.items],
        "scores": [item.score for item in answer.items],
        "reasons": list(answer.items[0].reasons) if answer.items else [],
        "reasoning": answer.reasoning,
        "facts": json.dumps(facts, ensure_ascii=False),
        "policy": answer.policy,
    }
