"""What a fine-tuning costs before it is run: memory and seconds from FLOPs and bandwidth; pure.

A small model, not a simulation. Bytes are counted for what is held at the same time; seconds are
arithmetic over the speed of a card, with a range for the share of it that is reached. Everything
that goes in is an argument, so that it can be printed beside what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from pydantic import Field

from rerec_pipeline.configs import Config
from rerec_pipeline.errors import BadInputError

#: TRL scores completions in tiles of so many positions x so many entries of the vocabulary.
TILE = (4096, 32768)

#: Embedding, head, sampling and bookkeeping take about as long as so many layers that compute
#: little; it shows in small models alone (calibrated on the 0.36 M policy of the sample).
AROUND = 4

#: Architectures that differ in nothing that counts here but biases and norms of q, k and v.
_BIASED = {"qwen2"}
_NORMED = {"qwen3"}
KNOWN = {"llama", "mistral", *_BIASED, *_NORMED}


class Architecture(Config):
    """The sizes of a decoder: grouped-query attention and a gated MLP in each layer.

    Attributes:
        layers, hidden, mlp, vocabulary: Sizes.
        heads, kv_heads, head: Query heads, key-value heads, and the size of each.
        tied: Whether the head is the embedding.
        qkv_bias, qk_norm: Biases of q, k and v (Qwen2); norms of q and k (Qwen3).
    """

    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    mlp: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head: int = Field(ge=1)
    tied: bool
    qkv_bias: bool = False
    qk_norm: bool = False

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear maps of one layer."""
        d, q, kv = self.hidden, self.heads * self.head, self.kv_heads * self.head
        return [(d, q), (d, kv), (d, kv), (q, d), (d, self.mlp), (d, self.mlp), (self.mlp, d)]

    @property
    def trunk(self) -> int:
        """Weights of the linear maps of all layers: a token costs two FLOPs for each."""
        return self.layers * sum(n * m for n, m in self.matrices)

    @property
    def embedding(self) -> int:
        """Weights of the embedding, and of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        bias = self.qkv_bias * (self.heads + 2 * self.kv_heads) * self.head
        norms = 2 * self.hidden + self.qk_norm * 2 * self.head
        embeddings = self.embedding * (1 if self.tied else 2)
        return self.trunk + self.layers * (bias + norms) + self.hidden + embeddings

    def adapter(self, r: int) -> int:
        """Weights of a LoRA adapter of rank r on all linear maps."""
        return self.layers * r * sum(n + m for n, m in self.matrices)

    @property
    def kv_per_token(self) -> int:
        """Numbers that a token leaves in the cache."""
        return self.layers * 2 * self.kv_heads * self.head


def architecture_of(config: Mapping[str, Any], source: object) -> Architecture:
    """Reads the ``config.json`` of a model.

    Raises:
        BadInputError: If it is of an architecture that this does not know.
    """
    kind = config.get("model_type")
    if kind not in KNOWN:
        raise BadInputError(
            source,
            f"the cost of '{kind}' is not known, only of {', '.join(sorted(KNOWN))}",
            field="model_type",
        )
    heads = config["num_attention_heads"]
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        mlp=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head=config.get("head_dim") or config["hidden_size"] // heads,
        tied=config.get("tie_word_embeddings", False),
        qkv_bias=kind in _BIASED,
        qk_norm=kind in _NORMED,
    )


class Card(Config):
    """What computes: peak figures, and the range of the share of them that is reached.

    Attributes:
        memory: Bytes.
        flops32, flops16: Dense FLOP/s in float32 and in bfloat16.
        bandwidth: Bytes a second.
        training: Share of the FLOP/s that training reaches, from worst to best.
        decoding: Share of the bandwidth that generation reaches, likewise.
        launch: Seconds that a layer takes at least, however little it computes, likewise.
        process: Bytes that the program itself takes there.
    """

    memory: float = Field(gt=0)
    flops32: float = Field(gt=0)
    flops16: float = Field(gt=0)
    bandwidth: float = Field(gt=0)
    training: tuple[float, float]
    decoding: tuple[float, float]
    launch: tuple[float, float]
    process: float = Field(ge=0)

    @property
    def worst_and_best(self) -> tuple[Speed, Speed]:
        """The two ends of the range."""
        return self._speed(0), self._speed(1)

    def _speed(self, n: int) -> Speed:
        reached = self.training[n]
        return Speed(
            self.flops32 * reached, self.flops16 * reached,
            self.bandwidth * self.decoding[n], self.launch[n],
        )  # fmt: skip


@dataclass(frozen=True)
class Speed:
    """What a card reaches: FLOP/s in both precisions, bytes a second, seconds a layer."""

    flops32: float
    flops16: float
    bandwidth: float
    launch: float


@dataclass(frozen=True)
class Workload:
    """A fine-tuning on rollouts, as far as it costs something, on each of ``processes`` cards.

    Attributes:
        model: The architecture.
        lora: Rank of an adapter on all linear maps; None trains all weights.
        half: Whether arithmetic is in 16 bits.
        reference: Whether there is a KL to the reference policy.
        read_again: Whether log-probabilities of the policy are needed a second time.
        checkpointing: Whether activations are computed again in the backward pass.
        share_prompts: Whether a prompt is read once for its group.
        vllm: Share of the card's memory that vLLM takes to generate; None where it does not.
        vllm_sleeps: Whether it gives that back while training goes on.
        rollouts, prompts, group, updates: The budget, over all cards.
        micro_batch: Completions in memory at once.
        batch_size: Completions generated at once.
        prompt, completion: Tokens on average.
        prompt_limit, completion_limit: Tokens at most, which memory must be there for.
        processes: Cards.
    """

    model: Architecture
    lora: int | None
    half: bool
    reference: bool
    read_again: bool
    checkpointing: bool
    share_prompts: bool
    vllm: float | None
    vllm_sleeps: bool
    rollouts: int
    prompts: int
    group: int
    updates: int
    micro_batch: int
    batch_size: int
    prompt: float
    completion: float
    prompt_limit: int
    completion_limit: int
    processes: int = 1

    @property
    def generations(self) -> int:
        """How often rollouts are made."""
        return self.rollouts // (self.prompts * self.group)

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.generations * self.updates

    @property
    def trained(self) -> int:
        """Weights that are trained."""
        return self.model.parameters if self.lora is None else self.model.adapter(self.lora)

    @property
    def per_card(self) -> int:
        """Completions of a generation on one card."""
        return ceil(self.prompts * self.group / self.processes)

    def read(self, completions: int, prompt: float, completion: float) -> float:
        """Tokens that a pass over some completions with their prompts reads."""
        return self.prompts_of(completions) * prompt + completions * completion

    def prompts_of(self, completions: int) -> float:
        """How many prompts are read with them: of a group once in each of its micro-batches."""
        return completions / (min(self.group, self.micro_batch) if self.share_prompts else 1)

    def squares(self, completions: int) -> float:
        """Pairs of tokens that attention looks at in a pass over some completions."""
        prompt, whole = self.prompt, self.prompt + self.completion
        if not self.share_prompts:
            return completions * whole**2
        return self.prompts_of(completions) * prompt**2 + completions * self.completion * whole


def memory(work: Workload, card: Card) -> dict[str, float]:
    """Bytes that are held on one card: what stays, and the larger of training and generation.

    Weights that are trained are float32, with gradients and Adam's two moments; 16-bit arithmetic
    makes a copy of them in a forward pass. An adapter's base stays in the precision of arithmetic.
    """
    size = 2 if work.half else 4
    parameters, trained = work.model.parameters, work.trained
    full = work.lora is None
    held = {
        "program": card.process,
        "weights": parameters * 4 if full else parameters * size + trained * 4,
        "gradients": trained * 4,
        "optimizer": trained * 8,
        "reference": parameters * 4 if full and work.reference else 0,
    }
    copy = parameters * 2 if full and work.half else 0
    training = {"16-bit copy": copy, "activations": activations(work), "logits": logits(work)}
    generation = {"keys and values": cache(work)}
    if work.vllm is not None:
        generation = {"vLLM": work.vllm * card.memory}
        if not work.vllm_sleeps:
            held, generation = held | generation, {}
    larger = max(training, generation, key=lambda part: sum(part.values()))
    return {name: float(value) for name, value in {**held, **larger}.items() if value}


def activations(work: Workload) -> float:
    """Bytes that the backward pass of a micro-batch needs of the forward pass.

    A layer keeps, for each token, inputs and outputs of its norms (6 hidden sizes), what attention
    reads and gives (4) and the MLP's four products (4 MLP sizes). In 16-bit arithmetic norms are
    float32 still. With checkpointing all layers keep their input, and one is computed again.
    """
    model = work.model
    tokens = work.read(work.micro_batch, work.prompt_limit, work.completion_limit)
    short = 2 if work.half else 4
    layer = tokens * (4 * 4 * model.hidden + short * (6 * model.hidden + 4 * model.mlp))
    if not work.checkpointing:
        return model.layers * layer
    kept = 4 if work.lora is None else short
    return layer + model.layers * tokens * model.hidden * kept


def logits(work: Workload) -> float:
    """Bytes of one tile of logits in float32, with its gradient."""
    tokens = work.micro_batch * work.completion_limit
    return 2 * 4 * min(tokens, TILE[0]) * min(work.model.vocabulary, TILE[1])


def cache(work: Workload) -> float:
    """Bytes of keys and values of the completions of a batch, and of their next logits."""
    size = 4 if not work.half else 2
    tokens = work.prompt_limit + work.completion_limit
    batch_size = min(work.batch_size, work.per_card)
    return batch_size * (tokens * work.model.kv_per_token * size + work.model.vocabulary * 4)


def seconds(work: Workload, speed: Speed) -> dict[str, float]:
    """Seconds of one generation with the updates on it: generating, training, optimizer.

    Args:
        work: What is done.
        speed: What the card reaches.
    """
    flops = speed.flops16 if work.half else speed.flops32
    return {
        "generating": generating(work, speed),
        "training": passes(work) * forward(work) / flops + waiting(work, speed),
        # Weights, gradients and two moments are read, all but gradients are written.
        "optimizer": work.updates * 28 * work.trained / speed.bandwidth,
    }


def forward(work: Workload) -> float:
    """FLOPs of one forward pass over the completions of a generation on one card."""
    model, count = work.model, work.per_card
    trunk = 2 * model.trunk * work.read(count, work.prompt, work.completion)
    head = 2 * model.embedding * count * work.completion
    attention = 4 * model.layers * model.heads * model.head * work.squares(count)
    return trunk + head + attention


def passes(work: Workload) -> float:
    """Forward passes that training on a token is worth.

    The policy's forward pass counts one and its backward pass two (one with an adapter, whose base
    has no gradients); checkpointing, the reference and reading again cost a forward pass each.
    """
    backward = 2 if work.lora is None else 1
    return 1 + backward + work.checkpointing + work.reference + work.read_again


def waiting(work: Workload, speed: Speed) -> float:
    """Seconds that layers take at least, in all passes over all micro-batches."""
    count = passes(work) * ceil(work.per_card / work.micro_batch)
    return count * (work.model.layers + AROUND) * speed.launch


def generating(work: Workload, speed: Speed) -> float:
    """Seconds to make the completions of a generation on one card.

    A step of decoding reads all weights and the cache, and computes one token of each completion;
    the slower of the two counts. transformers decodes until the longest of a batch ends, so about
    as far as is allowed; vLLM fills the places of those that have ended, and has no time between
    layers (CUDA graphs).
    """
    model = work.model
    flops = speed.flops16 if work.half else speed.flops32
    weights = (model.trunk + model.embedding) * (2 if work.half and work.lora is not None else 4)
    batch_size = min(work.batch_size, work.per_card)
    tokens = work.prompt + work.completion / 2
    kept = batch_size * tokens * model.kv_per_token * (2 if work.half else 4)
    step = max(
        2 * (model.trunk + model.embedding) * batch_size / flops, (weights + kept) / speed.bandwidth
    ) + (model.layers + AROUND) * (speed.launch if work.vllm is None else 0)
    portions = work.per_card / batch_size
    prompts = work.per_card / (work.group if work.share_prompts else 1)
    steps = work.completion_limit if work.vllm is None else work.completion
    return portions * steps * step + 2 * model.trunk * prompts * work.prompt / flops


def answering(work: Workload, speed: Speed, queries: int, batch: int) -> float:
    """Seconds to answer so many queries once, greedily, in one process."""
    alone = replace(
        work, prompts=queries, group=1, batch_size=batch, share_prompts=False, vllm=None,
        processes=1,
    )  # fmt: skip
    return generating(alone, speed)


def supervised(work: Workload, speed: Speed, token_passes: int, checkpointing: bool) -> float:
    """Seconds of a supervised training of the same model, its tokens shared out over the cards.

    Args:
        work: What is trained.
        speed: What the card reaches.
        token_passes: Its budget, in which a token counts three: forward one, backward two.
        checkpointing: Whether it computes activations again.
    """
    flops = speed.flops16 if work.half else speed.flops32
    alone = replace(work, checkpointing=checkpointing, reference=False, read_again=False)
    tokens = token_passes / 3 / work.processes
    return tokens * passes(alone) * 2 * (work.model.trunk + work.model.embedding) / flops


def what_makes_it_fit(work: Workload, card: Card) -> tuple[Workload, dict[str, Any]] | None:
    """The first change of settings with which a training fits in a card's memory.

    Returns:
        The changed work and the parameters that change it; None where nothing here is enough.
    """
    for changed, parameters in _smaller(work):
        if sum(memory(changed, card).values()) <= card.memory:
            return changed, parameters
    return None


def _smaller(work: Workload) -> Iterator[tuple[Workload, dict[str, Any]]]:
    """Ever cheaper versions of a training: smaller portions first, then what changes results."""
    parameters: dict[str, Any] = {}
    yield work, {}
    for lora in (None, 16) if work.lora is None else (work.lora,):
        if lora is not None and work.lora is None:
            parameters["rft.backbone.lora"] = {
                "r": lora, "alpha": 2 * lora, "dropout": 0.0, "target_modules": "all-linear",
            }  # fmt: skip
        per_step = work.prompts * work.group // work.updates
        for checkpointing in (False, True) if not work.checkpointing else (True,):
            if checkpointing != work.checkpointing:
                parameters["rft.optimizer.gradient_checkpointing"] = True
            portion = work.micro_batch
            while portion >= 1:
                batch_size = min(
                    work.batch_size, max(portion, work.batch_size * portion // work.micro_batch)
                )
                changed = replace(
                    work, lora=lora, checkpointing=checkpointing, micro_batch=portion,
                    batch_size=batch_size,
                )  # fmt: skip
                sizes = {
                    "rft.budget.micro_batch": (portion, work.micro_batch),
                    "rft.generation.batch_size": (batch_size, work.batch_size),
                }
                if per_step % portion == 0:
                    less = {key: n for key, (n, was) in sizes.items() if n != was}
                    yield changed, parameters | less
                portion //= 2
        parameters.pop("rft.optimizer.gradient_checkpointing", None)
