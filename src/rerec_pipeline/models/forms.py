"""Graph-constrained decoding: a policy writes what its evidence says, in the form of a trace.

At each token only those are left to choose from with which the text can still become one of the
form (``grounding/traces.py`` writes it). What is stated of a candidate is then what the graph says
of it, and the answer is a candidate; which candidates are considered, and which of them fits, is
the policy's to say. After Luo et al., "Graph-constrained Reasoning" (ICML 2025). The masks are
llguidance's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from llguidance import LLExecutor, LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.models.rows import RowsProcessor
from rerec_pipeline.models.token_bytes import TokenBytes


class Forms:
    """The forms that a tokenizer's texts can keep to.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        stops: Ids that end a completion.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[int]):
        self._tokenizer, self._stops = tokenizer, list(stops)

    @cached_property
    def _known(self) -> LLTokenizer:
        table = TokenBytes(self._tokenizer).table[:-1]
        # What reads as nothing is no text: llguidance marks such tokens by a byte 0xFF.
        silent = [n for n, data in enumerate(table) if not data]
        tokens = [data or b"\xff" + f"<{n}>".encode() for n, data in enumerate(table)]
        described = _Described(self._tokenizer, tokens, silent, self._stops[0])
        return LLTokenizer(TokenizerWrapper(described), eos_token=self._stops, slices=[])

    def constraint(self, forms: Sequence[str | None]) -> FormProcessor | None:
        """What keeps B rows to their forms; None where all write freely.

        Args:
            forms: Of each row a grammar; None lets it write freely.

        Raises:
            ValueError: If a grammar cannot be read.
        """
        if not any(forms):
            return None
        # The rollouts of a prompt have the same form: it is read once.
        read = {form: self._matcher(form) for form in {*filter(None, forms)}}
        made = [None if form is None else read[form].deep_copy() for form in forms]
        return FormProcessor(made, self._known.vocab_size, self._stops)

    def allows(self, form: str, head: Sequence[int], endings: Sequence[str]) -> NDArray[np.bool_]:
        """Whether a text of a form that begins with some tokens can go on with each ending, (E,).

        Args:
            form: A grammar.
            head: Tokens of the beginning.
            endings: E texts.
        """
        matcher = self._matcher(form)
        if not matcher.consume_tokens(list(head)):
            return np.zeros(len(endings), dtype=bool)
        encoded = [self._tokenizer.encode(text, add_special_tokens=False) for text in endings]
        return np.array([matcher.validate_tokens(ids) == len(ids) for ids in encoded])

    def _matcher(self, form: str) -> LLMatcher:
        matcher = LLMatcher(self._known, LLMatcher.grammar_from_lark(form))
        if matcher.is_error():
            raise ValueError(f"the form of an answer cannot be read: {matcher.get_error()}")
        return matcher


class _Described(SimpleNamespace):
    """What ``TokenizerWrapper`` asks of a tokenizer."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokens: list[bytes],
        silent: list[int],
        end: int,
    ):
        super().__init__(
            tokens=tokens, special_token_ids=silent, eos_token_id=end, bos_token_id=None
        )
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


class FormProcessor(RowsProcessor):
    """Leaves each row the tokens with which it can still keep to its form.

    Args:
        matchers: What follows a text of the form of each of B rows; None lets it write freely.
        tokens: Number of tokens; a model may have further rows of embeddings.
        stops: Ids that end a completion.
    """

    def __init__(self, matchers: Sequence[LLMatcher | None], tokens: int, stops: Sequence[int]):
        self._matchers = list(matchers)
        self._tokens = tokens
        self._stops = list(stops)
        self._read: int | None = None  # tokens that it has seen; of prompts, all of them
        self._executor = LLExecutor()

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Puts the scores (B, V) of all other tokens to minus infinity."""
        before, self._read = self._read, input_ids.shape[1]
        new = input_ids[:, self._read if before is None else before :].tolist()
        for matcher, row in zip(self._matchers, new, strict=True):
            if matcher is None or matcher.is_stopped() or matcher.consume_tokens(row):
                continue
            raise ReRecError(f"an answer left its form: {matcher.get_error()}")
        kept = [(m, n) for n, m in enumerate(self._matchers) if m is not None]
        unfinished = [(matcher, row) for matcher, row in kept if not matcher.is_stopped()]
        mask = allocate_token_bitmask(len(new), self._tokens)
        if unfinished:
            fill_next_token_bitmask_par(self._executor, unfinished, mask)
        allowed = torch.ones(scores.shape, dtype=torch.bool)
        rows = [row for _, row in kept]
        allowed[rows] = _unpacked(mask[rows], self._tokens, scores.shape[1])
        for matcher, row in kept:
            if matcher.is_stopped():  # nothing can follow but the end
                allowed[row] = False
                allowed[row, self._stops] = True
        allowed = allowed.to(scores.device)
        return scores.masked_fill(~allowed, -torch.inf)

    def keep(self, rows: Tensor) -> None:
        """Goes on with some rows alone."""
        self._matchers = [self._matchers[row] for row in rows.tolist()]


def _unpacked(mask: NDArray[np.int32], tokens: int, size: int) -> Tensor:
    """Bits int32 (B, W) of tokens as bool (B, size); what is no token is not allowed."""
    bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little")[:, :tokens]
    return torch.from_numpy(np.pad(bits, ((0, 0), (0, size - bits.shape[1])))).bool()
