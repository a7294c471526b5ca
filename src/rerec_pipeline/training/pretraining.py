"""Pretraining of small policies from random weights, on conversations that we write ourselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Trainer,
    TrainingArguments,
)

from rerec_pipeline.models.backbone import Backbone
from rerec_pipeline.models.chat import ASSISTANT, EOS, USER
from rerec_pipeline.models.fixed_rows import fix_rows, hold_fixed_rows
from rerec_pipeline.parameters import (
    ArchitectureParameters,
    PretrainingParameters,
    StageParameters,
)
from rerec_pipeline.recbench.documents import Document
from rerec_pipeline.training.progress import show_progress, train_or_resume

#: Documents are sorted by length within portions, so that a batch needs little padding.
_PORTION = 1000
_IGNORED = -100


@dataclass(frozen=True)
class Encoded:
    """One document as tokens.

    Attributes:
        ids: Token ids of the whole conversation.
        weights: Weight of each token in the loss; 0 for what the user says.
    """

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]


class DocumentEncoder:
    """Encodes documents; the assistant's words are learned, the user's are read.

    Args:
        tokenizer: One with the chat template of ``models/chat.py``.
        verdicts: How verdicts begin; the first token of each can weigh more in the loss.
    """

    def __init__(self, tokenizer: Qwen2Tokenizer, verdicts: Sequence[str]):
        self.tokenizer = tokenizer
        control: Any = tokenizer.convert_tokens_to_ids([USER, ASSISTANT, EOS])
        self._user, self._assistant, self._end = control
        self._verdicts = {self._encode(text)[0] for text in verdicts}

    def encode(self, document: Document, verdict_weight: float) -> Encoded:
        """Encodes one document.

        Args:
            document: The conversation.
            verdict_weight: Weight of a verdict; every other learned token weighs 1.
        """
        ids: list[int] = []
        weights: list[float] = []
        for said, answered in document.turns:
            question = [self._user, *self._encode(said), self._assistant]
            answer = [*self._encode(answered), self._end]
            ids += question + answer
            weights += [0.0] * len(question)
            weights += [verdict_weight if t in self._verdicts else 1.0 for t in answer]
        return Encoded(np.array(ids), np.array(weights, dtype=np.float32))

    def _encode(self, text: str) -> list[int]:
        # A control token that is written in a title or a query is text.
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])


Batch = list[Encoded]


class Writer(Protocol):
    """Whoever writes documents."""

    def write(self, kind: Any, list_size: int) -> Document:
        """Writes one document of a kind, with so many candidates in its list."""


def write_batches(
    writers: Sequence[Writer],
    shares: Sequence[float],
    encoder: DocumentEncoder,
    stages: Sequence[StageParameters],
    tokens_per_batch: int,
    seed: int,
) -> Iterator[Batch]:
    """Writes everything a policy is pretrained on, in order.

    Args:
        writers: One writer for each world.
        shares: Share of each world.
        encoder: Turns documents into tokens.
        stages: What is written, in order.
        tokens_per_batch: Upper bound of a batch, padding included.
        seed: Which documents, in which order.

    Yields:
        Batches of documents of similar length.
    """
    rng = np.random.default_rng(seed)
    total = sum(stage.batches for stage in stages)
    with tqdm(total=total, desc="Writing documents", unit="batch") as progress:
        for stage in stages:
            written = 0
            while written < stage.batches:
                size = _list_size(stage, written)
                documents = _portion(writers, shares, encoder, stage, size, rng)
                batches = _cut(documents, tokens_per_batch)
                for n in rng.permutation(len(batches))[: stage.batches - written]:
                    written += 1
                    progress.update()
                    yield batches[n]


def _list_size(stage: StageParameters, written: int) -> int:
    first, last = stage.list_sizes
    return round(first + (last - first) * written / stage.batches)


def _portion(
    writers: Sequence[Writer],
    shares: Sequence[float],
    encoder: DocumentEncoder,
    stage: StageParameters,
    size: int,
    rng: np.random.Generator,
) -> list[Encoded]:
    kinds = list(stage.documents)
    weights = np.array(list(stage.documents.values()))
    worlds = rng.choice(len(writers), size=_PORTION, p=np.array(shares) / sum(shares))
    chosen = rng.choice(len(kinds), size=_PORTION, p=weights / weights.sum())
    documents = [
        encoder.encode(writers[w].write(kinds[k], size), stage.verdict_weight)
        for w, k in zip(worlds, chosen, strict=True)
    ]
    return sorted(documents, key=lambda document: len(document.ids))


def _cut(documents: Sequence[Encoded], tokens_per_batch: int) -> list[Batch]:
    """Cuts sorted documents into batches; the last, longest one of a batch sets its width."""
    batches: list[Batch] = [[]]
    for document in documents:
        if batches[-1] and (len(batches[-1]) + 1) * len(document.ids) > tokens_per_batch:
            batches.append([])
        batches[-1].append(document)
    return batches


class _Batches(Dataset):
    """Ready-made batches as a data set of padded tensors."""

    def __init__(self, batches: Sequence[Batch], pad: int):
        self.batches = batches
        self.pad = pad

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        batch = self.batches[index]
        width = max(len(document.ids) for document in batch)
        ids = np.full((len(batch), width), self.pad, dtype=np.int64)
        weights = np.zeros((len(batch), width), dtype=np.float32)
        for row, document in enumerate(batch):
            ids[row, : len(document.ids)] = document.ids
            weights[row, : len(document.ids)] = document.weights
        return {"input_ids": torch.from_numpy(ids), "weights": torch.from_numpy(weights)}


def _the_one(batch: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    (ready,) = batch
    return ready


class _PretrainingTrainer(Trainer):
    """Next-token prediction with a weight for each token, on ready-made batches in order."""

    def get_train_dataloader(self) -> DataLoader:
        # Batches are made, and passed on one by one, in order. With no batch size the loader would
        # have no batch sampler, which is what skips the batches already seen when resuming.
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=_the_one)  # type: ignore[arg-type]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        weights = inputs["weights"][:, 1:]
        learned = weights > 0
        hidden = model.model(
            input_ids=inputs["input_ids"],
            attention_mask=(inputs["input_ids"] != model.config.pad_token_id).long(),
        ).last_hidden_state
        # Logits only where something is learned: most tokens are questions and padding.
        logits = model.lm_head(hidden[:, :-1][learned])
        loss = torch.nn.functional.cross_entropy(
            logits, inputs["input_ids"][:, 1:][learned], reduction="none"
        )
        return (loss * weights[learned]).sum() / weights[learned].sum()


def new_model(
    architecture: ArchitectureParameters, tokenizer: Qwen2Tokenizer, seed: int
) -> Qwen2ForCausalLM:
    """A Qwen2 model with random weights.

    Args:
        architecture: Its size.
        tokenizer: Its vocabulary.
        seed: Of the weights.
    """
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=architecture.hidden,
            intermediate_size=architecture.mlp,
            num_hidden_layers=architecture.layers,
            num_attention_heads=architecture.heads,
            num_key_value_heads=architecture.heads,
            tie_word_embeddings=True,
            initializer_range=architecture.init_std,
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": architecture.rope_theta},
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def pretrain(
    batches: Sequence[Batch],
    tokenizer: Qwen2Tokenizer,
    parameters: PretrainingParameters,
    folder: Path,
    fixed_rows: tuple[int, float] | None = None,
) -> Backbone:
    """Pretrains a policy; resumes from a checkpoint of the same pretraining.

    Args:
        batches: What it reads, in order, once.
        tokenizer: Its tokenizer.
        parameters: Architecture and optimizer.
        folder: Where checkpoints of this very pretraining go.
        fixed_rows: Token id from which on embeddings stay as drawn, now and in later trainings,
            and the standard deviation of these; None trains all.
    """
    model = new_model(parameters.architecture, tokenizer, parameters.seed)
    if fixed_rows is not None:
        fix_rows(model, *fixed_rows)
    hold_fixed_rows(model)
    trainer = _PretrainingTrainer(
        model=model,
        train_dataset=_Batches(batches, int(tokenizer.pad_token_id)),
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=len(batches),
            learning_rate=parameters.lr,
            lr_scheduler_type="cosine",
            warmup_steps=parameters.warmup_steps,
            weight_decay=parameters.weight_decay,
            adam_beta2=0.98,
            max_grad_norm=1.0,
            logging_steps=100,
            save_steps=parameters.checkpoint_every,
            seed=parameters.seed,
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
        ),
    )
    show_progress(trainer, "loss")
    train_or_resume(trainer, folder)
    return Backbone(model.eval(), tokenizer)
