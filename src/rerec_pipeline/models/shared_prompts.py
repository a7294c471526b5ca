"""Reading the completions of a group with their common prompt read once.

Prompts and completions of a batch are packed into one row of tokens. Everything in a transformer
but attention works on tokens alone, so only attention has to know who belongs to whom: prompts
attend to themselves, completions to their prompt and themselves. The attention is registered with
transformers as an implementation of its own (``AttentionInterface``) and is SDPA for every other
call. Without a cache, it works under gradient checkpointing, LoRA and autocast, and inside DDP and
FSDP, as the model's own forward does. The gradients of a prompt's keys and values are summed over
its completions by autograd.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "shared_prompts"


def group_size(prompt_ids: Tensor, prompt_mask: Tensor) -> int:
    """How many neighbouring rows can share a prompt, the same number everywhere.

    Args:
        prompt_ids: Prompts, int (B, P).
        prompt_mask: Where they are not padding, (B, P).

    Returns:
        The greatest number that divides the length of every run of equal rows; 1 if there is none.
    """
    rows = torch.cat([prompt_ids, prompt_mask.to(prompt_ids.dtype)], dim=1)
    starts = (rows[1:] != rows[:-1]).any(dim=1).nonzero().flatten().add(1).tolist()
    bounds = [0, *starts, len(rows)]
    return math.gcd(*(end - start for start, end in pairwise(bounds)))


def causal_model(model: Any) -> Any:
    """The causal language model inside a PEFT model, or the model itself."""
    return model.get_base_model() if _is_adapted(model) else model


def _is_adapted(model: Any) -> bool:
    """Whether it is a PEFT model; PEFT takes a second to import, and then has been imported."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def why_not_shared(model: Any) -> str | None:
    """Why a model can not read a packed row; None if it can.

    Args:
        model: A causal language model or a PEFT model, not wrapped for distribution.
    """
    base = causal_model(model)
    config = base.config
    layers = getattr(config, "layer_types", None) or ["full_attention"]
    window = getattr(config, "sliding_window", None) if "layer_types" not in vars(config) else None
    reasons = {
        "its adapter puts tokens before every prompt": _is_adapted(model)
        and model.active_peft_config.is_prompt_learning,
        "it reads more than text": config.get_text_config() is not config,
        f"its attention is {config._attn_implementation}, not sdpa": (
            config._attn_implementation not in ("sdpa", ATTENTION)
        ),
        "its attention can not be exchanged": not base._supports_attention_backend,
        "its attention does not reach back to the prompt everywhere": (
            window is not None or set(layers) != {"full_attention"}
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


@dataclass(eq=False)
class PackedGroups:
    """N prompts of P tokens and G completions of each, R tokens long, packed into one row.

    The row holds the tokens of the prompts, and all but the last of each completion, without
    padding; the last token of a prompt predicts the first of each of its completions. Attention
    sees them in rows of equal length (slots): N x P and N G x L, L = R - 1, padded on the left and
    on the right. Positions are those of the rows before they were packed, as a model without
    ``position_ids`` counts them.

    Attributes:
        input_ids: The T tokens of the row, int (1, T).
        position_ids: Of its tokens, likewise.
        slots: Where attention sees them, indices into N P + N G L.
        prompt_mask: What prompt tokens attend to, bool (N, 1, P, P).
        completion_mask: What completion tokens attend to, bool (N G, 1, L, P + L).
        ends: Where in the row prompts end, (N,).
        started: Completions with a token, indices into N G.
        labels: The completion tokens that are predicted, firsts of completions first, (1, S).
        scored: Where these are, indices into N G R.
        shape: N, G, P and L.
        layers: How many layers have attended.
    """

    input_ids: Tensor
    position_ids: Tensor
    slots: Tensor
    prompt_mask: Tensor
    completion_mask: Tensor
    ends: Tensor
    started: Tensor
    labels: Tensor
    scored: Tensor
    shape: tuple[int, int, int, int]
    layers: int = field(default=0)

    @classmethod
    def of(cls, ids: Tensor, mask: Tensor, completion_length: int) -> PackedGroups:
        """Packs whole rows; neighbours with the same prompt share it.

        Args:
            ids: Prompts, left padded, and completions, right padded, int (B, P + R).
            mask: Where they are not padding, (B, P + R).
            completion_length: R.
        """
        present = mask.bool()
        start, r = _bounds(present, completion_length)
        end = ids.shape[1] - completion_length
        g = group_size(ids[:, start:end], present[:, start:end])
        asked, made = present[::g, start:end], present[:, end : end + r]
        (n, p), length = asked.shape, r - 1
        slots = _where(torch.cat([asked.flatten(), made[:, 1:].flatten()]))
        completions = ids[:, end : end + r]
        tokens = torch.cat([ids[::g, start:end].flatten(), completions[:, :-1].flatten()])
        position = torch.arange(start, end + length, device=ids.device)
        positions = torch.cat([position[:p].repeat(n), position[p:].repeat(n * g)])
        started = _where(made[:, 0])
        later = torch.cat([torch.zeros_like(made[:, :1]), made[:, 1:]], dim=1)
        scored = torch.cat([started * r, _where(later.flatten())])
        return cls(
            tokens[slots][None],
            positions[slots][None],
            slots,
            *_masks(asked, present[:, start : end + length], length),
            asked.sum(dim=1).cumsum(dim=0) - 1,
            started,
            completions.flatten()[scored][None],
            scored,
            (n, g, p, length),
        )

    def spread_out(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Takes (1, heads, T, d) apart into (N, heads, P, d) and (N, G, heads, L, d)."""
        n, g, p, length = self.shape
        rows = packed.new_zeros(packed.shape[1], n * (p + g * length), packed.shape[3])
        rows = rows.index_copy(1, self.slots, packed[0])
        prompts = rows[:, : n * p].unflatten(1, (n, p)).transpose(0, 1)
        completions = rows[:, n * p :].unflatten(1, (n, g, length)).permute(1, 2, 0, 3, 4)
        return prompts, completions

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, **details: Any
    ) -> Tensor:
        """Attention of all tokens of the row, (1, T, heads, d)."""
        self.layers += 1
        spread = [self.spread_out(states) for states in (query, key, value)]
        prompts, completions = ([both[n] for both in spread] for n in (0, 1))
        out = _sdpa(module, prompts, self.prompt_mask, details)
        seen = out.flatten(0, 1)
        if self.shape[3]:
            whole = (
                torch.cat([told[:, None].expand(-1, self.shape[1], -1, -1, -1), own], dim=3)
                for told, own in zip(prompts[1:], completions[1:], strict=True)
            )
            rows = (part.flatten(0, 1) for part in (completions[0], *whole))
            out = _sdpa(module, list(rows), self.completion_mask, details)
            seen = torch.cat([seen, out.flatten(0, 1)])
        return seen.index_select(0, self.slots)[None]

    def before_scored(self, hidden: Tensor) -> Tensor:
        """Hidden states that predict the scored tokens, (1, S, H), of those of the row."""
        rows = hidden[0]
        last = rows.index_select(0, self.ends)[:, None].expand(-1, self.shape[1], -1)
        first = last.flatten(0, 1).index_select(0, self.started)
        return torch.cat([first, rows[len(rows) + len(first) - len(self.scored) :]])[None]

    def spread(self, values: Tensor, width: int) -> Tensor:
        """Values of the scored tokens, (1, S), as (N G, ``width``), zero for padding."""
        n, g, _, length = self.shape
        flat = values.new_zeros(n * g * (length + 1)).index_copy(0, self.scored, values[0])
        return pad(flat.view(n * g, length + 1), (0, width - length - 1))


def _sdpa(module: Any, states: list[Tensor], mask: Tensor, details: dict[str, Any]) -> Tensor:
    out, _ = sdpa_attention_forward(module, states[0], states[1], states[2], mask, **details)
    return out


def _where(marked: Tensor) -> Tensor:
    return marked.nonzero().flatten()


def _masks(asked: Tensor, present: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """What tokens of prompts (N, P) and of completions, in whole rows (N G, P + L), attend to."""
    p = asked.shape[1]
    position = torch.arange(p + length, device=asked.device)
    causal = position[:, None] >= position
    # A slot of padding sees itself, lest its softmax be over nothing.
    itself = torch.eye(p, dtype=torch.bool, device=asked.device)
    prompts = (asked[:, None] | itself) & causal[:p, :p]
    return prompts[:, None], (present[:, None] & causal[p:])[:, None]


def _bounds(present: Tensor, completion_length: int) -> tuple[int, int]:
    """First column of a prompt that is not all padding, and length of the longest completion."""
    columns = present.any(dim=0).nonzero().flatten()
    prompt = present.shape[1] - completion_length
    first, last = columns[[0, -1]].tolist()
    return min(first, prompt - 1), max(last + 1 - prompt, 1)


def attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed_groups: PackedGroups | None = None,
    **details: Any,
) -> tuple[Tensor, None]:
    """SDPA, as transformers has it, that also knows packed groups."""
    if packed_groups is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **details)
    return packed_groups.attend(module, query, key, value, **details), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def read_packed(model: Any, whole: Any, packed: PackedGroups, **details: Any) -> Any:
    """Lets a model read a packed row.

    Args:
        model: The causal language model inside, whose trunk's output is cut to what is scored.
        whole: What is called: the model or whatever it is wrapped in.
        packed: The row.
        **details: Passed on.

    Returns:
        What ``whole`` makes of the S hidden states before the scored tokens.
    """
    if model.config._attn_implementation != ATTENTION:
        model.set_attn_implementation(ATTENTION)

    def cut(_module: Any, _args: Any, output: Any) -> Any:
        output.last_hidden_state = packed.before_scored(output.last_hidden_state)
        return output

    with model.base_model.register_forward_hook(cut):
        return whole(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            # A mask of four dimensions is handed on as it is; ours is in the packed groups.
            attention_mask=packed.prompt_mask,
            packed_groups=packed,
            **details,
        )
