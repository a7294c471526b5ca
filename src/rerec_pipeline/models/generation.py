"""Batched answers of a policy, for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from rerec_pipeline import processes
from rerec_pipeline.models.backbone import Backbone, prompt_ids
from rerec_pipeline.recbench.task import Example


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
