"""Batched answers of a policy: for evaluation, and several to each prompt in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rerec_pipeline import processes
from rerec_pipeline.models.backbone import Backbone, prompt_ids
from rerec_pipeline.models.shared_prompts import group_size
from rerec_pipeline.recbench.task import Example


def generate_groups(
    model: Any, input_ids: Tensor, attention_mask: Tensor, **details: Any
) -> Tensor:
    """Does what ``model.generate`` does, but reads a prompt that neighbouring rows share once.

    The cache of all but the last token of the prompts is handed to ``generate``, which goes on as
    from any cache: the same tokens, and the same draws of the random generator.

    Args:
        model: What generates; any with ``generate``.
        input_ids: Prompts, left padded, int (B, P).
        attention_mask: Where they are not padding, (B, P).
        **details: Passed on to ``generate``.

    Returns:
        What ``generate`` gives. Where no prompts are shared, or the cache is not of keys and
        values of all tokens (or ``generation_config`` names another), they are read row by row.
    """
    config = details.get("generation_config")
    other_cache = config is not None and (config.use_cache is False or config.cache_implementation)
    images = any(isinstance(value, Tensor) for value in details.values())
    group = 1 if other_cache or images else group_size(input_ids, attention_mask)
    if group > 1 and input_ids.shape[1] > 1:
        cache = _cache_of(model, input_ids[::group, :-1], attention_mask[::group, :-1])
        if cache is not None:
            cache.batch_repeat_interleave(group)
            details["past_key_values"] = cache
    # Of the class: TRL's trainers are given this function as their model's ``generate``.
    generate = type(model).generate
    made: Tensor = generate(model, input_ids=input_ids, attention_mask=attention_mask, **details)
    return made


def _cache_of(model: Any, input_ids: Tensor, attention_mask: Tensor) -> DynamicCache | None:
    """Keys and values of some prompts; None if a model keeps other things."""
    # Counted as ``generate`` counts: padding is before the first position.
    positions = (attention_mask.long().cumsum(dim=1) - 1).masked_fill(attention_mask == 0, 0)
    cache = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
    ).past_key_values
    plain = type(cache) is DynamicCache and {type(layer) for layer in cache.layers} == {
        DynamicLayer
    }
    return cache if plain else None


@torch.no_grad()
def answer(
    backbone: Backbone,
    examples: Sequence[Example],
    max_new_tokens: int,
    batch_size: int,
    label: str,
    temperature: float = 0.0,
) -> list[list[int]]:
    """Lets a policy answer.

    Args:
        backbone: The policy; it is moved to this process's accelerator if there is one.
        examples: What it is asked, N examples.
        max_new_tokens: Most tokens of a completion.
        batch_size: Prompts at once; memory, not results, depends on it.
        label: Words before the progress bar.
        temperature: 0 takes the likeliest token; above, tokens are drawn by torch's generator.

    Returns:
        Completion tokens of each example, up to and including the end token.
    """
    tokenizer = backbone.tokenizer
    model: Any = backbone.model.to(processes.device())  # type: ignore[arg-type]
    ids = prompt_ids(tokenizer, examples)
    # Similar lengths together: less padding; the order of the results is restored below.
    order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
    completions: list[list[int]] = [[] for _ in ids]
    stops = stop_ids(backbone)
    with tqdm(total=len(ids), desc=label, unit="query") as progress:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer.pad({"input_ids": [ids[n] for n in rows]}, return_tensors="pt")
            batch = batch.to(model.device)
            output = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens,
                **_decoding(temperature),
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=stops,
            )
            for n, row in zip(rows, output[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
                completions[n] = _until_stop(row, stops)
            progress.update(len(rows))
    return completions


def _decoding(temperature: float) -> dict[str, Any]:
    """How tokens are chosen; a model's own defaults are put out of force.

    What is left out here would be taken from the model's generation_config.json: Qwen2.5's has a
    repetition penalty, which changes greedy answers, too.
    """
    plain = {"top_p": 1.0, "repetition_penalty": 1.0, "num_beams": 1}
    if temperature > 0:
        return {"do_sample": True, "temperature": temperature, "top_k": 0, **plain}
    return {"do_sample": False, "temperature": 1.0, "top_k": 50, **plain}


def stop_ids(backbone: Backbone) -> list[int]:
    """Every id that ends a completion: the tokenizer's and those the model declares."""
    declared = backbone.model.generation_config.eos_token_id
    stops = declared if isinstance(declared, list) else [declared]
    return sorted({s for s in [*stops, backbone.tokenizer.eos_token_id] if s is not None})


def _until_stop(tokens: list[int], stops: list[int]) -> list[int]:
    end = next((n for n, token in enumerate(tokens) if token in stops), len(tokens) - 1)
    return tokens[: end + 1]
