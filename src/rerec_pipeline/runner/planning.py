"""``kedro plan``: what a run would cost, and which settings would make it fit."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

from rerec_pipeline.errors import BadParameterError, did_you_mean
from rerec_pipeline.experiments.grid import write
from rerec_pipeline.models import cost
from rerec_pipeline.parameters import BackboneParameters, RFTParameters, portions
from rerec_pipeline.runner.project import Project

GB = 1e9


def plan(
    project: Project,
    text: str,
    gpus: int,
    card: str,
    prompt: float | None = None,
    completion: float | None = None,
) -> Iterator[str]:
    """What ``kedro run --params TEXT`` would cost, line by line.

    Args:
        project: The project.
        text: As of ``--params``.
        gpus: Number of cards.
        card: An entry of ``conf/base/plan.yml``.
        prompt: Tokens of a prompt on average; None takes those of an earlier run of this data set
            and backbone if there was one, else the limit.
        completion: Tokens of a completion on average; None takes half of the limit to the limit.

    Raises:
        BadParameterError: If a parameter is wrong, or there is no such card or model.
    """
    conf, parameters = project.read("plan")["plan"], project.parameters(text)
    rft: RFTParameters = parameters["rft"]
    if rft.algorithm == "sft":
        raise BadParameterError("plan: the compute of sft is a parameter, rft.sft.token_passes")
    report = _read(project.files(text)["prompt_lengths"]) or {}
    lengths, asked = report.get("train", {}), report.get(parameters["split"], {}).get("prompts")
    limit = rft.generation.max_prompt_tokens
    mean, longest = lengths.get("mean_tokens") or limit, lengths.get("max_tokens") or limit
    model = architecture(rft.backbone, conf["architectures"])
    work = work_of(rft, model, card != "cpu", gpus, prompt or mean, longest, completion)
    names = ", ".join(f"{key}={parameters[key]}" for key in ("dataset", "backbone", "variant"))
    yield f"{names}; {gpus} x {card}"
    chosen = card_of(conf["cards"], card)
    yield from say_memory(work, chosen)
    yield from say_time(work, chosen, completion)
    if (cold := rft.cold_start).enabled:
        budget, again = cold.token_budget, cold.gradient_checkpointing
        hours = _hours(chosen, lambda speed: cost.supervised(work, speed, budget, again))
        told = f"{hours}: {budget / 1e6:,.1f} M token passes, once for all variants and seeds"
        yield f"  {'cold start':<20}{told}"
    if asked:
        batch = parameters["evaluation"].batch_size
        hours = _hours(chosen, lambda speed: 2 * cost.answering(work, speed, asked, batch))
        yield f"  {'answering':<20}{hours}: {asked:,} queries, before and after"
    yield "\nAssumed"
    yield from (f"  {line}" for line in assumptions(work, chosen, completion))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def architecture(backbone: BackboneParameters, table: Mapping[str, Any]) -> cost.Architecture:
    """The sizes of a backbone: from its folder, its recipe, or by its name.

    Raises:
        BadParameterError: If nothing says them.
    """
    if (scratch := backbone.scratch) is not None:
        sizes = scratch.architecture
        return cost.Architecture(
            layers=sizes.layers, hidden=sizes.hidden, mlp=sizes.mlp, heads=sizes.heads,
            kv_heads=sizes.heads, head=sizes.hidden // sizes.heads, tied=True, qkv_bias=True,
            vocabulary=scratch.vocabulary + scratch.phrases,  # at most
        )  # fmt: skip
    folder = Path(backbone.name_or_path.removesuffix(".gguf"))
    if (config := _read(folder / "config.json")) is not None:
        return cost.architecture_of(config, folder / "config.json")
    for name in (backbone.name_or_path, folder.name):
        if name in table:
            return cost.Architecture.model_validate(table[name])
    raise BadParameterError(
        f"plan: the sizes of {backbone.name_or_path} are not known here. Give a folder that has "
        "its config.json (rft.backbone.name_or_path), or add them to conf/base/plan.yml"
    )


def work_of(
    rft: RFTParameters,
    model: cost.Architecture,
    gpu: bool,
    cards: int,
    prompt: float,
    longest: int,
    completion: float | None,
) -> cost.Workload:
    """What a run with these parameters has to do on each card."""
    budget, generation, lora = rft.budget, rft.generation, rft.backbone.lora
    limit = generation.max_completion_tokens
    half = rft.backbone.dtype != "float32" and (gpu or lora is not None)
    batch_size = generation.batch_size or budget.prompts * budget.group_size
    engine = generation.vllm_engine
    return cost.Workload(
        model=model,
        lora=None if lora is None else lora.r,
        half=half,
        reference=rft.optimizer.beta > 0,
        read_again=rft.reads_again,
        checkpointing=rft.optimizer.gradient_checkpointing,
        share_prompts=rft.share_prompts,
        vllm=engine.gpu_memory if generation.vllm and engine.mode == "colocate" else None,
        vllm_sleeps=engine.sleep,
        rollouts=budget.rollouts,
        prompts=budget.prompts,
        group=budget.group_size,
        updates=budget.updates,
        micro_batch=portions(budget.samples_per_update, cards, budget.micro_batch)[0],
        batch_size=batch_size,
        prompt=min(prompt, longest),
        completion=completion or limit,
        prompt_limit=longest,
        completion_limit=limit,
        processes=cards,
    )


def card_of(cards: Mapping[str, Mapping[str, Any]], name: str) -> cost.Card:
    """A card by name; what is null is measured on this machine.

    Raises:
        BadParameterError: If there is none of that name.
    """
    if name not in cards:
        raise BadParameterError(f"plan: there is no card '{name}'{did_you_mean(name, cards)}")
    known = {key: value for key, value in cards[name].items() if value is not None}
    return cost.Card.model_validate(known if len(known) == len(cards[name]) else measured() | known)


def measured() -> dict[str, float]:
    """This machine with nothing else to do: memory, FLOP/s of a product, bandwidth of a copy."""

    def rate(work: Callable[[], Any], amount: float) -> float:
        """Of the best of many tries, in processor time: what others take of it is left out."""
        times = []
        for _ in range(20):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return amount * torch.get_num_threads() / min(times)

    def product(dtype: torch.dtype, n: int) -> float:
        a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
        return rate(lambda: a @ b, 2 * n**3)

    source = torch.randn(32 * 2**20)
    target = torch.empty_like(source)
    return {
        "memory": float(psutil.virtual_memory().total),
        "flops32": product(torch.float32, 768),
        "flops16": product(torch.bfloat16, 384),
        "bandwidth": rate(lambda: target.copy_(source), 2 * source.nbytes),
    }


def say_memory(work: cost.Workload, card: cost.Card) -> Iterator[str]:
    """What a card has to hold, line by line, and whether it can."""
    model = work.model
    trained = "all trained" if work.lora is None else f"{work.trained:,} trained (LoRA)"
    yield f"  {model.parameters:,} parameters, {trained}, {16 if work.half else 32}-bit arithmetic"
    yield "\nMemory a card, GB (10^9 bytes)"
    held = cost.memory(work, card)
    for name, value in held.items():
        yield f"  {name:<20}{value / GB:8.2f}"
    total = sum(held.values())
    yield f"  {'together':<20}{total / GB:8.2f} of {card.memory / GB:.1f}: " + _fits(
        work, card, total
    )


def say_time(work: cost.Workload, card: cost.Card, completion: float | None) -> Iterator[str]:
    """Steps, tokens and hours, line by line."""
    yield "\nTime"
    tokens = work.rollouts * (work.prompt + work.completion)
    yield f"  {work.steps:,} steps on {work.rollouts:,} rollouts, {tokens / 1e6:,.1f} M tokens"
    # What is not known of lengths is in the range, too: at best half of what is allowed.
    short = work if completion else cost.replace(work, completion=work.completion / 2)
    worst, best = card.worst_and_best
    slow, fast = cost.seconds(work, worst), cost.seconds(short, best)
    for name in slow:
        yield f"  {name:<20}{_range(fast[name], slow[name])} s a generation of {work.per_card}"
    hours = [sum(part.values()) * work.generations / 3600 for part in (fast, slow)]
    yield f"  {'fine-tuning':<20}{_range(*hours)} hours"


def _fits(work: cost.Workload, card: cost.Card, total: float) -> str:
    if total <= card.memory:
        return "fits"
    found = cost.what_makes_it_fit(work, card)
    if found is None:
        return "does not fit, nor with an adapter and the smallest portions"
    smaller, parameters = found
    need = sum(cost.memory(smaller, card).values()) / GB
    return f"does not fit. {need:.2f} with\n  --params {shlex.quote(write(parameters))}"


def _hours(card: cost.Card, seconds: Callable[[cost.Speed], float]) -> str:
    return f"{_range(*sorted(seconds(speed) / 3600 for speed in card.worst_and_best))} hours"


def _range(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def assumptions(work: cost.Workload, card: cost.Card, completion: float | None) -> Iterator[str]:
    """What the figures rest on."""
    yield f"prompts of {work.prompt:.0f} tokens on average, {work.prompt_limit} at most"
    least = "" if completion else f"{work.completion / 2:.0f} to "
    yield f"completions of {least}{work.completion:.0f} tokens, {work.completion_limit} at most"
    once = "once for its group" if work.share_prompts else "with each of its completions"
    yield f"a prompt is read {once}"
    yield f"training on a token is worth {cost.passes(work):g} forward passes"
    yield (
        f"the card: {card.flops32 / 1e12:.3g} TFLOP/s in float32, {card.flops16 / 1e12:.3g} in 16 "
        f"bits, {card.bandwidth / GB:.0f} GB/s"
    )
    low, high = card.training
    yield f"training reaches {low:.0%} to {high:.0%} of the FLOP/s"
    low, high = card.decoding
    yield f"generation reaches {low:.0%} to {high:.0%} of the bandwidth"
    slow, quick = card.launch
    yield f"a layer takes {quick * 1e3:g} to {slow * 1e3:g} ms at least"
