"""A training step with the prompt of each group read once, against plain TRL.

The reference is TRL's ``GRPOTrainer``, which reads a prompt again for each of its completions; ours
is the same trainer with ``SharesPrompts`` put in, and nothing else of this project.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from omegaconf import OmegaConf
from transformers import LlamaConfig, LlamaForCausalLM, set_seed
from trl import GRPOConfig, GRPOTrainer

from benchmarks.measure import (
    PROJECT,
    Check,
    Pairs,
    Section,
    at_least,
    at_most,
    in_turns,
    peak_extra_mb,
    speed_row,
)
from rerec_pipeline.configs import WorldSize
from rerec_pipeline.models.backbone import Backbone, load_backbone
from rerec_pipeline.recbench.task import Messages, PromptWording, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.sample.layout import fabricate_asks
from rerec_pipeline.training.shared_prompts import SharesPrompts, generating, whole_groups

Rows = list[dict[str, Any]]
Batch = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How large the work is.

    Attributes:
        prompts: Prompts of a step.
        group: Completions of each.
        prompt: Tokens of a prompt, of the random model.
        completion: Most tokens of a completion.
        pairs: Pairs that are timed.
        steps: Pairs of whole steps, the sample's only.
    """

    prompts: int
    group: int
    prompt: int
    completion: int
    pairs: int
    steps: int = 0


#: As backbone ``tiny`` trains on ``sample_movie``; its prompts are as long as they are.
SAMPLE = Size(prompts=8, group=8, prompt=0, completion=80, pairs=15, steps=15)
LARGE = Size(prompts=1, group=8, prompt=370, completion=64, pairs=3)
#: Shaped like SmolLM2-135M.
LLAMA_135M = LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
    num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
)  # fmt: skip


class Plain(GRPOTrainer):
    """TRL's trainer; tokens are chosen by numbers drawn beforehand, as in every training of ours.

    Attributes:
        draws: Those numbers, float64 (B, T).
    """

    draws: torch.Tensor

    def _generate_single_turn(self, *prompts: Any, **more: Any) -> Any:
        with generating(self.accelerator.unwrap_model(self.model), share=False, draws=self.draws):
            return super()._generate_single_turn(*prompts, **more)


class Sharing(SharesPrompts, GRPOTrainer):
    """The same, reading each prompt once and leaving out rows that have ended."""

    draws: torch.Tensor

    def _generate_single_turn(self, *prompts: Any, **more: Any) -> Any:
        return super()._generate_single_turn(*prompts, draws=self.draws, **more)


def sample_prompts(count: int) -> list[Messages]:
    """Prompts of the built-in films: a request, and a list of 20 that one of them fits."""
    conf = PROJECT / "conf" / "base"
    data = OmegaConf.merge(
        OmegaConf.load(conf / "parameters_data_engineering.yml").data,
        OmegaConf.load(conf / "parameters" / "datasets.yml").datasets.sample_movie.data,
    )
    world, asks = fabricate_asks("movie", WorldSize(**data.world))
    catalogue = ItemIndex([i.item_id for i in world.items], [i.title for i in world.items])
    task = RecTask(catalogue, PromptWording(**data.prompt))
    rng, prompts = np.random.default_rng(0), []
    for text, ask in list(asks.items())[:count]:
        right = catalogue.index_of_id[ask.truth.item_id]
        others = rng.choice([n for n in range(len(catalogue)) if n != right], 19, replace=False)
        listed = rng.permutation([right, *others]).tolist()
        prompts.append(task.messages(text, listed, history=()))
    return prompts


def digits(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """A reward that costs nothing and differs between completions."""
    return [sum(ids) % 10 / 10 for ids in completion_ids]


def make_trainer(kind: type[GRPOTrainer], backbone: Backbone, size: Size, beta: float) -> Any:
    """A trainer in training; its optimizer steps change nothing, so that steps can be compared."""
    trainer: Any = kind(
        model=copy.deepcopy(backbone.model),
        processing_class=backbone.tokenizer,
        reward_funcs=digits,
        args=GRPOConfig(
            output_dir=tempfile.gettempdir(),
            per_device_train_batch_size=size.prompts * size.group,
            num_generations=size.group,
            max_completion_length=size.completion,
            learning_rate=0.0,
            beta=beta,
            use_bias_correction_kl=False,
            bf16=False,
            activation_checkpointing=False,
            report_to=[],
        ),
        train_dataset=Dataset.from_dict({"prompt": [""]}),
    )
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def learn(trainer: Any, batch: Batch) -> torch.Tensor:
    """Forward and backward; gives the gradient of all weights."""
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    return torch.cat([w.grad.flatten() for w in trainer.model.parameters() if w.grad is not None])


def step(trainer: Any, rows: Rows, seed: int) -> list[Any]:
    """A whole optimizer step: rollouts, rewards, reference, loss, gradient. Gives the rollouts."""
    set_seed(seed)
    trainer.draws = torch.rand(len(rows), trainer.args.max_completion_length, dtype=torch.float64)
    trainer.training_step(trainer.model, rows, None)
    trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return list(trainer._logs["completion"])


def compare_learning(
    reference: Any, ours: Any, batch: Batch, pairs: int
) -> tuple[Pairs, list[float], float]:
    """Times, peaks (MB) and the relative difference of gradients, of the same rollouts."""
    given = {id(reference): batch, id(ours): whole_groups([batch])[0]}
    peaks: dict[int, float] = {}

    def work(trainer: Any) -> Callable[[int], object]:
        def timed(turn: int) -> None:
            if turn >= 0:
                learn(trainer, given[id(trainer)])
            else:
                peaks[id(trainer)] = peak_extra_mb(lambda: learn(trainer, given[id(trainer)]))

        return timed

    expected, found = (learn(trainer, given[id(trainer)]) for trainer in (reference, ours))
    difference = float((found - expected).norm() / expected.norm())
    del expected, found
    for trainer in (reference, ours):
        trainer.model.zero_grad()
    times = in_turns(work(reference), work(ours), pairs)
    return times, [peaks[id(trainer)] for trainer in (reference, ours)], difference


def sample(size: Size = SAMPLE) -> Section:
    """The built-in policy on the built-in films: forward and backward, and a whole step."""
    backbone = load_backbone(str(PROJECT / "data" / "06_models" / "base_policy"))
    reference, ours = (make_trainer(k, backbone, size, 0.01) for k in (Plain, Sharing))
    prompts = sample_prompts(size.prompts * (size.steps + 1))
    same: list[bool] = []
    made: dict[int, dict[int, list[Any]]] = {}

    def work(trainer: Any) -> Callable[[int], object]:
        def timed(turn: int) -> None:
            start = (turn + 1) * size.prompts
            rows = [{"prompt": p} for p in prompts[start : start + size.prompts]]
            rows = [row for row in rows for _ in range(size.group)]
            made.setdefault(turn, {})[id(trainer)] = step(trainer, rows, turn + 1)

        return timed

    steps = in_turns(work(reference), work(ours), size.steps)
    same = [one[id(reference)] == one[id(ours)] for one in made.values()]
    batch = reference._buffered_inputs[0]
    learning, peaks, difference = compare_learning(reference, ours, batch, size.pairs)
    return Section(
        title="A prompt read once, the sample's training step",
        conditions=(
            f"The base policy on the built-in films, {shape(batch, size)}; float32, KL to a "
            "reference. Reference: TRL's GRPOTrainer; ours: the same with SharesPrompts; the same "
            "numbers choose the tokens of both. Forward and backward are of the same rollouts; a "
            "whole step generates them, reads the reference policy, and updates."
        ),
        header=["", "reference, ms", "ours, ms", "ratio", "reference, MB", "ours, MB"],
        rows=[
            speed_row("forward and backward", learning, *(f"{mb:.0f}" for mb in peaks)),
            speed_row("whole step", steps, "-", "-"),
        ],
        checks=[
            at_least("forward and backward", learning.ratio, 2.0),
            at_least("whole step", steps.ratio, 1.6),
            *agreement(peaks, difference),
            Check(f"the same rollouts in {sum(same)} of {len(same)} steps", all(same)),
        ],
        ratios={"share_prompts_sample": learning.ratio, "step_sample": steps.ratio},
    )


def large(size: Size = LARGE, config: LlamaConfig = LLAMA_135M) -> Section:
    """A random model of a real shape: forward and backward of one group."""
    torch.manual_seed(0)
    tokenizer = load_backbone(str(PROJECT / "data" / "06_models" / "base_policy")).tokenizer
    backbone = Backbone(LlamaForCausalLM(config), tokenizer)
    millions = sum(w.numel() for w in backbone.model.parameters()) / 1e6
    reference, ours = (make_trainer(k, backbone, size, 0.0) for k in (GRPOTrainer, Sharing))
    del backbone
    batch = random_rollouts(size, config.vocab_size)
    learning, peaks, difference = compare_learning(reference, ours, batch, size.pairs)
    return Section(
        title=f"A prompt read once, {millions:.0f} M parameters",
        conditions=(
            f"A random Llama of SmolLM2-135M's shape ({config.num_hidden_layers} layers, hidden "
            f"size {config.hidden_size}, {config.vocab_size:,} tokens), {shape(batch, size)}; "
            "float32, no KL. Reference: TRL's GRPOTrainer; ours: the same with SharesPrompts."
        ),
        header=["", "reference, ms", "ours, ms", "ratio", "reference, MB", "ours, MB"],
        rows=[speed_row("forward and backward", learning, *(f"{mb:.0f}" for mb in peaks))],
        checks=[
            at_least("forward and backward", learning.ratio, 2.5),
            *agreement(peaks, difference),
        ],
        ratios={"share_prompts_135m": learning.ratio},
    )


def random_rollouts(size: Size, vocabulary: int) -> Batch:
    """Prompts and completions of random tokens, none of them padding."""
    count = size.prompts * size.group
    prompts = torch.randint(vocabulary, (size.prompts, size.prompt))
    completions = torch.randint(vocabulary, (count, size.completion))
    return {
        "prompt_ids": prompts.repeat_interleave(size.group, dim=0),
        "prompt_mask": torch.ones(count, size.prompt, dtype=torch.long),
        "completion_ids": completions,
        "completion_mask": torch.ones_like(completions),
        "advantages": torch.randn(count),
        "num_items_in_batch": torch.tensor(completions.numel()),
    }


def shape(batch: Batch, size: Size) -> str:
    """What a batch consists of, in words."""
    means = [batch[f"{part}_mask"].sum(dim=1).float().mean() for part in ("prompt", "completion")]
    return (
        f"{size.prompts} prompt(s) x {size.group} completions, {means[0]:.0f} and {means[1]:.0f} "
        "tokens on average"
    )


def agreement(peaks: Sequence[float], difference: float) -> list[Check]:
    """Bars for memory and gradients."""
    return [
        at_most("peak extra memory, share of the reference's", peaks[1] / peaks[0], 1.0),
        at_most("gradient, relative difference", difference, 1e-5),
    ]
