r"""Choosing among candidate titles by their likelihood after the reasoning.

A policy writes its reasoning freely until it opens the box. What it would write there is then
compared over the candidates alone: each title is read after the same reasoning, and its score is
the log-probability of ``title}``. So an answer is always a candidate, the best one is found
exactly (greedy decoding under a trie of the titles can miss it), and all candidates are ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import StoppingCriteria, StoppingCriteriaList

from rerec_pipeline.models.backbone import Backbone
from rerec_pipeline.models.token_bytes import TokenBytes

BOX = "\\boxed{"
_BOX = BOX.encode()


class BoxOpens(StoppingCriteria):
    r"""Ends a completion where it opens a box, for any tokenizer.

    Args:
        table: Bytes of the tokenizer's tokens.
        start: Tokens of the (padded) prompts, which are not looked at.
    """

    def __init__(self, table: TokenBytes, start: int):
        self._table = table
        self._start = start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Whether each completion (B, T) has opened a box, bool (B,)."""
        # The opening is short: it lies in the last tokens, each of which has at least a byte.
        tails = input_ids[:, max(self._start, input_ids.shape[1] - len(_BOX)) :].tolist()
        found = [_BOX in self._table.read(tail).data for tail in tails]
        return torch.tensor(found, device=input_ids.device)


def until_box(token_ids: Sequence[int], table: TokenBytes) -> tuple[list[int], bool]:
    r"""The reasoning in front of the first box.

    Args:
        token_ids: A completion.
        table: Bytes of the tokenizer's tokens.

    Returns:
        Its tokens up to, not including, the one in which ``\boxed{`` begins, and whether there is
        a box. The bytes of that token in front of the backslash are not reasoning and are lost.
    """
    read = table.read(token_ids)
    at = read.data.find(_BOX)
    if at < 0:
        return list(token_ids), False
    ends = np.cumsum(read.lengths)
    return list(token_ids[: int(np.searchsorted(ends, at, side="right"))]), True


@torch.no_grad()
def title_scores(
    backbone: Backbone, context: Sequence[int], titles: Sequence[str]
) -> NDArray[np.float64]:
    r"""Log-probabilities of titles in a box that follows a context.

    Args:
        backbone: The policy.
        context: Tokens of the prompt and of the reasoning, at least one, without a box.
        titles: C candidate titles, at least one.

    Returns:
        float64 (C,): log-probability of ``\boxed{title}`` after the context, up to a constant
        that all titles share.
    """
    model: Any = backbone.model
    encoded = [_encode(backbone, f"{BOX}{title}}}") for title in titles]
    shared = _shared_prefix(encoded)
    head = [*context, *encoded[0][:shared]]
    tails = [ids[shared:] for ids in encoded]
    # The context is read once; every title goes on from a copy of its cache.
    first = model(torch.tensor([head], device=model.device), use_cache=True)
    cache = first.past_key_values
    cache.batch_repeat_interleave(len(tails))
    width = max(map(len, tails))
    ids = torch.zeros((len(tails), width), dtype=torch.long, device=model.device)
    known = torch.zeros((len(tails), width), dtype=torch.long, device=model.device)
    for row, tail in enumerate(tails):
        ids[row, : len(tail)] = torch.tensor(tail)
        known[row, : len(tail)] = 1
    seen = torch.ones((len(tails), len(head)), dtype=torch.long, device=model.device)
    later = model(ids, past_key_values=cache, attention_mask=torch.cat([seen, known], dim=1))
    before = first.logits[:, -1:].expand(len(tails), 1, -1)
    logits = torch.cat([before, later.logits[:, :-1]], dim=1).float()
    chosen = logits.log_softmax(-1).gather(2, ids.unsqueeze(2)).squeeze(2)
    return (chosen.double() * known).sum(dim=1).cpu().numpy()


def _encode(backbone: Backbone, text: str) -> list[int]:
    ids: list[int] = backbone.tokenizer.encode(text, add_special_tokens=False)
    return ids


def _shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with, leaving at least one in each."""
    shortest = min(map(len, rows)) - 1
    return next((n for n in range(shortest) if len({row[n] for row in rows}) > 1), max(shortest, 0))


@torch.no_grad()
def reason(
    backbone: Backbone,
    prompt: Sequence[int],
    table: TokenBytes,
    max_new_tokens: int,
    **options: Any,
) -> list[int]:
    """Lets a policy reason until it opens a box, greedily.

    Args:
        backbone: The policy.
        prompt: Tokens of the prompt.
        table: Bytes of the tokenizer's tokens.
        max_new_tokens: Most tokens of the reasoning.
        **options: Passed on to ``generate``, e.g. a ``streamer``.

    Returns:
        The completion's tokens, the box's opening included where there is one.
    """
    model: Any = backbone.model
    ids = torch.tensor([list(prompt)], device=model.device)
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        num_beams=1,
        pad_token_id=backbone.tokenizer.pad_token_id,
        stopping_criteria=StoppingCriteriaList([BoxOpens(table, ids.shape[1])]),
        **options,
    )
    completion: list[int] = output[0, ids.shape[1] :].tolist()
    return completion
