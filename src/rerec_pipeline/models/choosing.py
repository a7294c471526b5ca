r"""Choosing among candidate titles by their likelihood after the reasoning.

A policy writes its reasoning freely until it opens the box. What it would write there is then
compared over the candidates alone: each title is read after the same reasoning, and its score is
the log-probability of ``title}``. So an answer is always a candidate, the best one is found
exactly (greedy decoding under a trie of the titles can miss it), and all candidates are ranked.
"""

from __future__ import annotations

import codecs
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import StoppingCriteria, StoppingCriteriaList

from rerec_pipeline.models.backbone import Backbone
from rerec_pipeline.models.generation import decoding, generate, stop_ids
from rerec_pipeline.models.rows import RowsProcessor
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.task import Prompt

BOX = "\\boxed{"
_BOX = BOX.encode()
#: Titles that are read at once: each has a copy of the prompt's cache.
_AT_ONCE = 32


class ReasoningCriteria(StoppingCriteria):
    r"""Ends each completion where it opens a box or nobody waits for it; passes on its text.

    Args:
        table: Bytes of the tokenizer's tokens.
        prompts: Who waits for each of the B completions.
    """

    def __init__(self, table: TokenBytes, prompts: Sequence[Prompt]):
        self._table = table
        self._prompts = prompts
        self._streamers = [ReasoningStreamer(p.on_text) if p.on_text else None for p in prompts]
        self._tails = [b""] * len(prompts)
        self._done = [False] * len(prompts)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Whether each completion has ended, bool (B,); ``input_ids`` (B, T) are all tokens."""
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if not self._done[row]:
                written = self._table.read([token]).data
                if (streamer := self._streamers[row]) is not None:
                    streamer.tell(written)
                tail = self._tails[row] + written
                self._done[row] = _BOX in tail or self._prompts[row].gone()
                self._tails[row] = tail[1 - len(_BOX) :]
        return torch.tensor(self._done, device=input_ids.device)

    def end(self) -> None:
        """Passes on what turned out not to be a box."""
        for streamer in self._streamers:
            if streamer is not None:
                streamer.end()


class ReasoningStreamer:
    """Passes on whole characters of a reasoning, and nothing of its box.

    Args:
        on_text: Called with each piece.
    """

    def __init__(self, on_text: Callable[[str], None]):
        self._on_text = on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def tell(self, data: bytes) -> None:
        """Takes the bytes of one token."""
        self._held += self._decoder.decode(data)
        # What may be the opening of the box waits until it is clear that it is not.
        at = self._held.rfind("\\")
        opening = at >= 0 and (BOX.startswith(self._held[at:]) or BOX in self._held)
        ready = self._held.find(BOX) if BOX in self._held else at if opening else None
        if said := self._held[:ready]:
            self._on_text(said)
        self._held = "" if ready is None else self._held[ready:]

    def end(self) -> None:
        """Passes on what turned out not to be a box."""
        self._held += self._decoder.decode(b"", final=True)
        if self._held and not self._held.startswith(BOX):
            self._on_text(self._held)


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
    cache, before = first.past_key_values, first.logits[:, -1:]
    scores = []
    for start in range(0, len(tails), _AT_ONCE):
        is_last = start + _AT_ONCE >= len(tails)
        own = cache if is_last else copy.deepcopy(cache)
        scores.append(_tail_scores(model, own, before, tails[start : start + _AT_ONCE]))
    return np.concatenate(scores)


def _tail_scores(
    model: Any, cache: Any, before: torch.Tensor, tails: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Log-probabilities of some tails, (n,); ``cache`` of what they follow is used up.

    ``before``, (1, 1, V), are the logits of their first tokens.
    """
    n, width, seen = len(tails), max(map(len, tails)), cache.get_seq_length()
    cache.batch_repeat_interleave(n)
    ids = torch.zeros((n, width), dtype=torch.long, device=model.device)
    known = torch.zeros((n, width), dtype=torch.long, device=model.device)
    for row, tail in enumerate(tails):
        ids[row, : len(tail)] = torch.tensor(tail)
        known[row, : len(tail)] = 1
    mask = torch.cat([known.new_ones((n, seen)), known], dim=1)
    later = model(ids, past_key_values=cache, attention_mask=mask)
    logits = torch.cat([before.expand(n, 1, -1), later.logits[:, :-1]], dim=1).float()
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
    prompts: Sequence[Sequence[int]],
    watch: ReasoningCriteria,
    max_new_tokens: int,
    constraint: RowsProcessor | None = None,
) -> list[list[int]]:
    """Lets a policy reason about several prompts at once, greedily, until it opens boxes.

    Args:
        backbone: The policy.
        prompts: Tokens of B prompts.
        watch: Ends each of the B completions.
        max_new_tokens: Most tokens of a reasoning.
        constraint: Leaves each completion the tokens that it may have.

    Returns:
        The tokens of each completion, the box's opening included where there is one, and padded
        behind its end.
    """
    model: Any = backbone.model
    padded = backbone.tokenizer.pad(
        {"input_ids": [list(ids) for ids in prompts]}, return_tensors="pt"
    )
    ids = padded["input_ids"].to(model.device)
    output = generate(
        model,
        input_ids=ids,
        attention_mask=padded["attention_mask"].to(model.device),
        max_new_tokens=max_new_tokens,
        pad_token_id=backbone.tokenizer.pad_token_id,
        eos_token_id=stop_ids(backbone),
        stopping_criteria=StoppingCriteriaList([watch]),
        constraint=constraint,
        **decoding(0.0),
    )
    watch.end()
    completions: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return completions
