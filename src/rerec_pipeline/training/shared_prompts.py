"""TRL's trainers of rollouts, reading the prompt of each group once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import split_tensor_dict

from rerec_pipeline.models.generation import generate
from rerec_pipeline.models.shared_prompts import (
    PackedGroups,
    causal_model,
    read_packed,
    why_not_shared,
)

logger = logging.getLogger(__name__)

#: One of TRL's trainers that learn from rollouts; a subclass of ``SharesPrompts`` says which.
_RolloutTrainer: Any = object

Batch = dict[str, Any]
LogProbs = tuple[Tensor, Tensor | None, Tensor | None]


class SharesPrompts(_RolloutTrainer):
    """Reads the prompt of a group once, wherever TRL asks for log-probabilities of completions.

    What TRL gets is what its own method gives (``tests/training/test_shared_prompts.py``); where a
    model or a batch can not be read so, TRL's method reads it, and the log says why, once.
    """

    _unshared: str | None = None
    _buffered_inputs: Any

    @property
    def _share_prompts(self) -> bool:
        return bool(getattr(self.args, "share_prompts", True))  # TRL's own settings have none

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **more: Any,
    ) -> LogProbs:
        size = batch_size or len(input_ids)
        more["compute_aux_loss"] = compute_aux_loss or None  # of a mixture of experts
        if self._shares(model) and all(value is None for value in more.values()):
            parts = zip(input_ids.split(size), attention_mask.split(size), strict=True)
            read = [self._read_groups(model, *part, logits_to_keep) for part in parts]
            if self._unshared is None:
                entropies = [made for _, made in read if made is not None]
                return (
                    torch.cat([made for made, _ in read]),
                    torch.cat(entropies) if compute_entropy else None,
                    None,
                )
        given = (model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy)
        more["compute_aux_loss"] = compute_aux_loss
        read_apart: LogProbs = super()._get_per_token_logps_and_entropies(*given, **more)
        return read_apart

    def _shares(self, model: Any) -> bool:
        """Whether a model can read packed groups, as far as can be told before it has."""
        if self._unshared is None and self._share_prompts:
            self._give_up(why_not_shared(self.accelerator.unwrap_model(model)))
        return self._unshared is None and self._share_prompts

    def _give_up(self, reason: str | None) -> None:
        if reason is not None:
            logger.warning("Each completion's prompt is read again (share_prompts): %s", reason)
        self._unshared = reason

    def _read_groups(
        self, model: Any, ids: Tensor, mask: Tensor, length: int
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities and entropies (B, ``length``)."""
        base = causal_model(self.accelerator.unwrap_model(model))
        packed = PackedGroups.of(ids, mask, length)
        with self.accelerator.autocast():
            output = read_packed(
                base, model, packed, shift_labels=packed.labels, fused_lm_head=True
            )
        if packed.layers != base.config.num_hidden_layers:
            self._give_up("its layers do not attend by way of transformers' AttentionInterface")
        entropy = None if output.entropy is None else packed.spread(output.entropy, length)
        return packed.spread(output.log_probs, length), entropy

    def _generate_single_turn(self, *prompts: Any, **more: Any) -> Any:
        model = self.accelerator.unwrap_model(self.model_wrapped)
        how = {name: more.pop(name, None) for name in ("draws", "constraint")}
        with generating(model, share=self._share_prompts, **how):
            return super()._generate_single_turn(*prompts, **more)

    def _prepare_inputs(self, generation_batch: Any) -> Batch:
        before = self._buffered_inputs
        inputs: Batch = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is before or not self._share_prompts:
            return inputs
        self._buffered_inputs = whole_groups(self._buffered_inputs)
        turn: Batch = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return turn


@contextmanager
def generating(model: Any, **how: Any) -> Iterator[None]:
    """Puts our ``generate`` in the place of ``model.generate``, which is what TRL calls."""
    before = vars(model).get("generate")  # FSDP has put its own there
    model.generate = partial(generate, model, **how)
    try:
        yield
    finally:
        del model.generate
        if before is not None:
            model.generate = before


def whole_groups(parts: list[Batch]) -> list[Batch]:
    """Deals the rows of a generation out anew, so that those with the same prompt stay together.

    TRL shuffles rows before it splits them into micro-batches. Groups come in the order in which
    that shuffle brings their first rows; which rows make a generation does not change.

    Args:
        parts: A generation's micro-batches, equally large.
    """
    if any(isinstance(value, list) for value in parts[0].values()):
        return parts  # images, which are not one a row
    whole = {
        name: torch.cat([part[name] for part in parts]) if _has_rows(value) else value
        for name, value in parts[0].items()
    }
    prompts = torch.cat([whole["prompt_ids"], whole["prompt_mask"]], dim=1)
    group = torch.unique(prompts, dim=0, return_inverse=True)[1]
    row = torch.arange(len(group), device=group.device)
    first = row.new_full((len(group),), len(group)).scatter_reduce(0, group, row, "amin")
    order = torch.argsort(first[group], stable=True)
    ordered = {name: value[order] if _has_rows(value) else value for name, value in whole.items()}
    dealt: list[Batch] = split_tensor_dict(ordered, len(parts))
    return dealt


def _has_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0
