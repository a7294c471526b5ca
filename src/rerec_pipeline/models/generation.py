"""Batched answers of a policy: for evaluation, and several to each prompt in training."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.cache_utils import DynamicLayer
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.integrations.fsdp import is_fsdp_managed_module

from rerec_pipeline.models.backbone import Backbone, prompt_ids
from rerec_pipeline.models.devices import device
from rerec_pipeline.models.forms import Forms
from rerec_pipeline.models.rows import RowsProcessor
from rerec_pipeline.models.shared_prompts import causal_model, group_size
from rerec_pipeline.recbench.task import Example


class PreallocatedLayer(DynamicLayer):
    """A layer of a cache that has room for further tokens, so that it is rarely copied.

    transformers' own copies all keys and values for every token, which is more than half of the
    time that a small model takes to generate.
    """

    _ROOM = 64
    _rooms: tuple[Tensor, Tensor] | None = None
    _used: Tensor | None = None  # the keys in the rooms; others come by repeating or reordering

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Appends keys and values, (B, heads, tokens, d), and gives all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._rooms is None or self._used is not self.keys or end > self._rooms[0].shape[-2]:
            self._rooms = (self._room(self.keys, key_states), self._room(self.values, value_states))
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., start:end, :] = states
        self.keys, self.values = (room[..., :end, :] for room in self._rooms)
        self._used = self.keys
        return self.keys, self.values

    def _room(self, kept: Tensor | None, states: Tensor) -> Tensor:
        used = kept.shape[-2] if kept is not None and kept.numel() else 0
        *rows, new, size = states.shape
        room = states.new_empty(*rows, used + new + self._ROOM, size)
        if kept is not None and used:
            room[..., :used, :] = kept
        return room


class SeededDrawProcessor(RowsProcessor):
    """Chooses each token by a number that was drawn for it: where cumulative probability passes it.

    Args:
        draws: Uniform in [0, 1), float64 (B, T).
        start: Tokens of the prompts, padding included.
        config: How tokens are drawn: temperature, top_k, top_p, min_p.
    """

    def __init__(self, draws: Tensor, start: int, config: GenerationConfig):
        self.draws = draws
        self.start = start
        self.warpers = LogitsProcessorList()
        if config.temperature not in (None, 1.0):
            self.warpers.append(TemperatureLogitsWarper(config.temperature))
        if config.top_k:
            self.warpers.append(TopKLogitsWarper(config.top_k))
        if config.top_p not in (None, 1.0):
            self.warpers.append(TopPLogitsWarper(config.top_p))
        if config.min_p:
            self.warpers.append(MinPLogitsWarper(config.min_p))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Leaves of the scores (B, V) the chosen token's alone."""
        probabilities = self.warpers(input_ids, scores).float().softmax(dim=-1)
        passed = probabilities.cumsum(dim=-1, dtype=torch.float64)
        drawn = self.draws[:, input_ids.shape[1] - self.start, None].to(passed.device)
        chosen = torch.searchsorted(passed, drawn * passed[:, -1:], right=True)
        chosen = chosen.clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

    def keep(self, rows: Tensor) -> None:
        """Goes on with some rows alone."""
        self.draws = self.draws[rows.to(self.draws.device)]


class HalfFinishedCriteria(StoppingCriteria):
    """Ends a generation when half of its rows have ended, if there are enough to be worth it.

    Args:
        stops: Ids that end a completion.

    Attributes:
        done: Which rows have ended, bool (B,).
    """

    _FEWEST = 8

    def __init__(self, stops: Tensor):
        self.stops = stops
        self.done: Any = False

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row is to end, bool (B,)."""
        self.done = self.done | torch.isin(input_ids[:, -1], self.stops)
        half = (2 * self.done.sum() >= len(self.done)) & (len(self.done) >= self._FEWEST)
        return half.expand(len(self.done))


def _with_draws(draws: Tensor, start: int, details: dict[str, Any]) -> dict[str, Any]:
    """The details of a generation whose tokens are chosen by ``draws``; what is left is greedy."""
    config = details["generation_config"]
    greedy = copy(config)
    greedy.do_sample, greedy.temperature = False, 1.0
    greedy.top_k, greedy.top_p, greedy.min_p = None, None, None
    allowed = details.get("logits_processor", ())
    chosen = LogitsProcessorList([*allowed, SeededDrawProcessor(draws, start, config)])
    return {**details, "generation_config": greedy, "logits_processor": chosen}


@torch.no_grad()
def generate(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    share: bool = True,
    draws: Tensor | None = None,
    constraint: RowsProcessor | None = None,
    **details: Any,
) -> Tensor:
    """Does what ``model.generate`` does, in less time: the same tokens, and the same random draws.

    A prompt that neighbouring rows share is read once: the cache of all but its last token is
    repeated and handed to ``model.generate``, which goes on from there. Rows that have ended are
    not computed until the longest has: whenever half have, it goes on with the others alone.

    Args:
        model: What generates; its cache must be of keys and values of all tokens, else its own
            ``generate`` does everything.
        input_ids: Prompts, left padded, int (B, P).
        attention_mask: Where they are not padding, (B, P).
        share: Whether a prompt that rows share is read once, into a cache of our own.
        draws: Uniform numbers float64 (B, T) by which tokens are drawn, in place of torch's
            generator: then a row's tokens do not depend on the other rows.
        constraint: Leaves each row the tokens that it may have.
        **details: Passed on; with ``draws``, a ``generation_config`` is among them.

    Returns:
        What ``model.generate`` gives.
    """
    if constraint is not None:
        details["logits_processor"] = LogitsProcessorList([constraint])
    if draws is not None:
        details = _with_draws(draws, input_ids.shape[1], details)
    config = details.get("generation_config")
    other_cache = config is not None and (config.use_cache is False or config.cache_implementation)
    images = any(isinstance(value, Tensor) for value in details.values())
    cache = None if other_cache or images or not share else _roomy_cache(causal_model(model))
    if cache is not None:
        group = group_size(input_ids, attention_mask)
        if group > 1 and input_ids.shape[1] > 1:
            _read(model, input_ids[::group, :-1], attention_mask[::group, :-1], cache)
            cache.batch_repeat_interleave(group)
        details["past_key_values"] = cache
        if config is None:  # the model's own may say no
            details["use_cache"] = True
        if (stops := _stops(model, details)) is not None:
            return _in_rounds(model, input_ids, attention_mask, stops, details)
    return _plain(model, input_ids, attention_mask, details)


def _plain(
    model: Any, input_ids: Tensor, attention_mask: Tensor, details: dict[str, Any]
) -> Tensor:
    # Of the class: TRL's trainers are given this function as their model's ``generate``.
    made: Tensor = type(model).generate(
        model, input_ids=input_ids, attention_mask=attention_mask, **details
    )
    return made


#: Settings under which a row's tokens depend on others, or on how many were made before.
_BOUND = (
    "do_sample", "min_length", "min_new_tokens", "begin_suppress_tokens", "max_time",
    "exponential_decay_length_penalty", "return_dict_in_generate", "stopping_criteria",
    "assistant_model", "prompt_lookup_num_tokens",
)  # fmt: skip


def _stops(model: Any, details: dict[str, Any]) -> Tensor | None:
    """Ids that end a completion; None if rows can not be left out of a generation."""
    # Then all ranks must make as many steps.
    if is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model):
        return None
    asked = _asked(model, details)
    if any(
        not isinstance(chooses, RowsProcessor) for chooses in asked.get("logits_processor") or ()
    ):
        return None  # of another's, it is not known what it keeps of each row
    several = any((asked.get(name) or 1) > 1 for name in ("num_beams", "num_return_sequences"))
    if several or any(asked.get(name) for name in _BOUND) or not asked.get("max_new_tokens"):
        return None
    stops = asked.get("eos_token_id")
    return None if stops is None else torch.tensor(stops, device=model.device).reshape(-1)


def _asked(model: Any, details: dict[str, Any]) -> dict[str, Any]:
    """The settings of a generation, from wherever they are given."""
    config = details.get("generation_config") or model.generation_config
    return {**config.to_dict(), **details}


def _at_most(new_tokens: int, details: dict[str, Any]) -> dict[str, Any]:
    # transformers wants settings either in a configuration or beside none.
    if "generation_config" not in details or "max_new_tokens" in details:
        return {**details, "max_new_tokens": new_tokens}
    config = copy(details["generation_config"])
    config.max_new_tokens = new_tokens
    return {**details, "generation_config": config}


def _in_rounds(
    model: Any, input_ids: Tensor, attention_mask: Tensor, stops: Tensor, details: dict[str, Any]
) -> Tensor:
    """Generates, leaving out rows that have ended each time that they are half of all."""
    asked = _asked(model, details)
    end, pad = input_ids.shape[1] + asked["max_new_tokens"], asked.get("pad_token_id")
    whole = input_ids.new_full((len(input_ids), end), int(stops[0]) if pad is None else pad)
    rows = torch.arange(len(input_ids), device=input_ids.device)
    cache, drawn = details["past_key_values"], details.get("logits_processor", ())
    while True:
        half = HalfFinishedCriteria(stops)
        details["stopping_criteria"] = [half]
        made = _plain(model, input_ids, attention_mask, _at_most(end - input_ids.shape[1], details))
        whole[rows, : made.shape[1]] = made
        left = (~half.done).nonzero()[:, 0]
        if made.shape[1] == end or not len(left):
            return whole[:, : made.shape[1]]
        seen = attention_mask.new_ones(len(made), made.shape[1] - input_ids.shape[1])
        attention_mask = torch.cat([attention_mask, seen], dim=1)[left]
        rows, input_ids = rows[left], made[left]
        cache.batch_select_indices(left)
        for processor in drawn:
            processor.keep(left)


def _roomy_cache(model: Any) -> DynamicCache | None:
    """An empty cache; None if a model keeps other things than keys and values of all tokens."""
    if not model._supports_default_dynamic_cache():
        return None
    cache = DynamicCache(config=model.config)
    if not cache.layers or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    cache.layers = [PreallocatedLayer() for _ in cache.layers]
    return cache


def _read(model: Any, input_ids: Tensor, attention_mask: Tensor, cache: DynamicCache) -> None:
    """Fills a cache with some prompts."""
    # Counted as ``model.generate`` counts: padding is before the first position.
    positions = (attention_mask.long().cumsum(dim=1) - 1).masked_fill(attention_mask == 0, 0)
    model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )


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
    model: Any = backbone.model.to(device())  # type: ignore[arg-type]
    ids = prompt_ids(tokenizer, examples)
    # Similar lengths together: less padding; the order of the results is restored below.
    order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
    completions: list[list[int]] = [[] for _ in ids]
    stops = stop_ids(backbone)
    forms = Forms(backbone.tokenizer, stops)
    with tqdm(total=len(ids), desc=label, unit="query") as progress:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer.pad({"input_ids": [ids[n] for n in rows]}, return_tensors="pt")
            batch = batch.to(model.device)
            output = generate(
                model,
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens,
                **decoding(temperature),
                constraint=forms.constraint([examples[n].form for n in rows]),
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=stops,
            )
            for n, row in zip(rows, output[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
                completions[n] = _until_stop(row, stops)
            progress.update(len(rows))
    return completions


def decoding(temperature: float) -> dict[str, Any]:
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
