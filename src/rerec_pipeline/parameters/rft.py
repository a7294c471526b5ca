"""Blocks about fine-tuning: by reward, and the supervised controls beside it."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from rerec_pipeline.configs import Config, KLEstimator
from rerec_pipeline.errors import BadParameterError, did_you_mean
from rerec_pipeline.parameters.backbone import BackboneParameters
from rerec_pipeline.rerec.advantage import AdvantageConfig
from rerec_pipeline.rerec.curriculum import CurriculumConfig
from rerec_pipeline.rerec.reward import TERMS


class RewardParameters(Config):
    """The dual-graph reward.

    Attributes:
        k: Ranks that count.
        no_box_ndcg: Value of the NDCG term where nothing is boxed.
        weights: Term -> weight (``w1`` and ``w2`` of the paper are ``qas`` and ``pas``). A term
            of weight 0 is still measured.
        data: name -> file of further numbers about the items, which a term reads by that name.
    """

    k: int = Field(ge=1)
    no_box_ndcg: float
    weights: dict[str, float]
    data: dict[str, str]

    @field_validator("weights")
    @classmethod
    def _weights_name_terms(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(TERMS))
        if unknown:
            hint = did_you_mean(unknown[0], TERMS)
            raise ValueError(f"there is no reward term '{unknown[0]}'{hint}")
        if "ndcg" not in value:
            raise ValueError("ndcg must have a weight (0 keeps it as a measure)")
        return value


def portions(samples: int, processes: int, micro_batch: int) -> tuple[int, int]:
    """Shares the samples of an optimizer step out to processes.

    Args:
        samples: Samples of a step, over all processes.
        processes: Number of processes that share them.
        micro_batch: Most samples that a process has in memory at once.

    Returns:
        Samples that a process has in memory at once (the most that ``micro_batch`` allows and
        that make equal portions), and the number of such portions in a step.

    Raises:
        BadParameterError: If the processes can not have equal shares.
    """
    share, rest = divmod(samples, processes)
    if rest or not share:
        raise BadParameterError(
            f"the {samples} samples of an optimizer step can not be shared out evenly to "
            f"{processes} processes: launch another number, or change rft.budget (for sft "
            "rft.sft.batch_size, for a cold start rft.cold_start.batch_size)"
        )
    most = min(micro_batch, share)
    per_device = max(n for n in range(1, most + 1) if share % n == 0)
    return per_device, share // per_device


class BudgetParameters(Config):
    """What training may spend, and in which portions.

    Attributes:
        rollouts: Completions generated in all; spent to the last one.
        prompts: Prompts of one generation, over all processes.
        group_size: Completions of each prompt (``G``).
        updates: Optimizer steps on one generation.
        micro_batch: Largest number of completions that a process trains on at once.
    """

    rollouts: int = Field(ge=1)
    prompts: int = Field(ge=1)
    group_size: int = Field(ge=2)
    updates: int = Field(ge=1)
    micro_batch: int = Field(ge=1)

    @property
    def samples_per_update(self) -> int:
        """Rollouts of an optimizer step, over all processes."""
        return self.prompts * self.group_size // self.updates

    @model_validator(mode="after")
    def _portions_fit(self) -> BudgetParameters:
        per_generation = self.prompts * self.group_size
        if self.rollouts % per_generation:
            lower = self.rollouts // per_generation * per_generation
            raise ValueError(
                f"rollouts={self.rollouts} is not a multiple of prompts x group_size = "
                f"{per_generation}; use {lower or per_generation} or {lower + per_generation}"
            )
        if per_generation % (self.updates * self.micro_batch):
            raise ValueError(
                f"prompts x group_size = {per_generation} is not a multiple of "
                f"updates x micro_batch = {self.updates * self.micro_batch}"
            )
        return self


class OptimizerParameters(Config):
    """The objective and its optimizer.

    Attributes:
        lr: Learning rate.
        schedule: A Hugging Face schedule name.
        warmup_steps: Optimizer steps of linear warm-up.
        weight_decay: Weight decay of AdamW.
        max_grad_norm: Gradient clipping.
        beta: Coefficient of the KL to the reference policy, with which fine-tuning begins; 0 leaves
            it out. GRPO has it in the loss (k3 estimator), REINFORCE++ and RLOO in the reward.
        reward_kl: Estimator of the KL that REINFORCE++ has in its reward.
        epsilon: Clipping of the probability ratio.
        gradient_checkpointing: Saves memory, costs time.
    """

    lr: float = Field(gt=0)
    schedule: str
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    beta: float = Field(ge=0)
    reward_kl: KLEstimator
    epsilon: float = Field(gt=0)
    gradient_checkpointing: bool


class VllmParameters(Config):
    """How TRL is to run vLLM, where it is switched on.

    Attributes:
        mode: ``colocate`` runs it in the training processes, ``server`` asks one that runs.
        gpu_memory: Share of a GPU's memory that it may take (colocate).
        tensor_parallel: GPUs that share one copy of the model (colocate).
        sleep: Whether it gives its memory back while weights are trained (colocate).
        server: Address of the server, without a password: parameters are written to records.
    """

    mode: Literal["colocate", "server"]
    gpu_memory: float = Field(gt=0, lt=1)
    tensor_parallel: int = Field(ge=1)
    sleep: bool
    server: str | None

    @field_validator("server")
    @classmethod
    def _an_address_is_no_secret(cls, value: str | None) -> str | None:
        if value is not None and "@" in urlsplit(value).netloc:
            raise ValueError(
                "an address with a user name or password would be written to records and logs: "
                "leave them out and put them in ~/.netrc, where they are found"
            )
        return value

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> VllmParameters:
        if self.mode == "server" and self.server is None:
            raise ValueError("server must be given when mode is 'server'")
        return self


class GenerationParameters(Config):
    """How rollouts are generated.

    Attributes:
        max_prompt_tokens: A longer prompt stops the run, or is left out and counted.
        on_long_prompt: ``error`` or ``exclude``.
        max_completion_tokens: A completion is cut there.
        temperature: Sampling temperature.
        batch_size: Completions generated at once by a process; null: all of a generation.
        vllm: Whether vLLM generates; it needs a GPU and schedules by itself, without batch_size.
        vllm_engine: Settings of vLLM.
    """

    max_prompt_tokens: int = Field(ge=1)
    on_long_prompt: Literal["error", "exclude"]
    max_completion_tokens: int = Field(ge=1)
    temperature: float = Field(gt=0)
    batch_size: int | None = Field(ge=1)
    vllm: bool
    vllm_engine: VllmParameters


class SupervisedPlan(Config):
    """What a supervised training may spend, and how; of the control as of a cold start.

    Attributes:
        backbone: What is trained.
        token_passes: Compute to spend, in forward passes of one token (a backward counts two).
        batch_size: Examples in an optimizer step, over all processes.
        micro_batch: Most examples in memory at once, per process.
        lr, schedule, weight_decay, max_grad_norm: Of the optimizer.
        gradient_checkpointing: Saves memory, costs time.
        longest: Tokens of a completion; a longer lesson is counted in a warning.
        checkpoint_every: Optimizer steps between checkpoints.
    """

    backbone: BackboneParameters
    token_passes: int
    batch_size: int
    micro_batch: int
    lr: float
    schedule: str
    weight_decay: float
    max_grad_norm: float
    gradient_checkpointing: bool
    longest: int
    checkpoint_every: int


class ColdStartParameters(Config):
    """Supervised training before the reinforcement: the form of an answer, and true reasoning.

    Attributes:
        traces: ``none`` leaves it out; ``graph`` writes traces of training queries from the
            attribute graph; anything else is a file of them (JSON lines with id and response).
        token_budget: Compute to spend, in forward passes of one token (a backward counts two).
        batch_size: Traces in an optimizer step.
        micro_batch: Largest number of traces that a process trains on at once.
        lr: Learning rate, falling linearly to zero.
        gradient_checkpointing: Saves memory, costs time.
        seed: Of what traces consider, and their order; not the run's, so that all runs of a
            backbone begin from one policy.
        checkpoint_every: Optimizer steps between checkpoints.
        checkpoint_dir: Where cold-started policies are, each in a folder named by all that it
            follows from, and checkpoints of unfinished ones.
    """

    traces: str = Field(min_length=1)
    token_budget: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    gradient_checkpointing: bool
    seed: int = Field(ge=0)
    checkpoint_every: int = Field(ge=1)
    checkpoint_dir: str

    @property
    def enabled(self) -> bool:
        """Whether there is one."""
        return self.traces != "none"

    def plan(
        self, backbone: BackboneParameters, generation: GenerationParameters
    ) -> SupervisedPlan:
        """The training that it is."""
        return SupervisedPlan(
            backbone=backbone,
            token_passes=self.token_budget,
            schedule="linear",
            weight_decay=0.0,
            max_grad_norm=1.0,
            longest=generation.max_completion_tokens,
            **self.model_dump(
                include={
                    *("batch_size", "micro_batch", "lr"),
                    *("gradient_checkpointing", "checkpoint_every"),
                }
            ),
        )


class SFTParameters(Config):
    """The supervised control: cross-entropy on what is right for the training queries.

    Attributes:
        teaches: ``answers`` alone, or ``traces``: reasoning that ends in the right answer.
        traces: File of traces; null on a fabricated data set has the naive reasoner's right ones.
        token_passes: Compute to spend, in forward passes of one token (a backward counts two).
        batch_size: Examples in an optimizer step.
        lr: Learning rate.
    """

    teaches: Literal["answers", "traces"]
    traces: str | None
    token_passes: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0)


class RFTParameters(Config):
    """Fine-tuning of the policy.

    Attributes:
        algorithm: ``grpo`` (with whatever reward, advantage and curriculum say), ``reinforce_pp``
            or ``rloo`` (with advantages of their own), or ``sft``.
        backbone: Model to fine-tune.
        reward: The dual-graph reward.
        advantage: Estimation of advantages, of ``grpo``.
        curriculum: Online curriculum: the order of queries.
        difficulty: Difficulty is 1 - reward (paper) or 1 - NDCG (official).
        budget: Size of the training.
        optimizer: Optimizer and objective.
        generation: Generation of rollouts and answers.
        share_prompts: Whether the prompt of a group is read once, not for each completion.
        constrained: Whether rollouts and answers are decoded under the graph's constraint: the form
            of a trace, in which a candidate has the facts of its evidence alone.
        sft: Supervised training, the control.
        cold_start: Supervised training before all this.
        checkpoint_every: Optimizer steps between checkpoints.
        checkpoint_dir: Folder of the checkpoints of an unfinished run.
    """

    algorithm: Literal["grpo", "reinforce_pp", "rloo", "sft"]
    backbone: BackboneParameters
    reward: RewardParameters
    advantage: AdvantageConfig
    curriculum: CurriculumConfig
    difficulty: Literal["reward", "ndcg"]
    budget: BudgetParameters
    optimizer: OptimizerParameters
    generation: GenerationParameters
    share_prompts: bool
    constrained: bool
    sft: SFTParameters
    cold_start: ColdStartParameters
    checkpoint_every: int = Field(ge=1)
    checkpoint_dir: str

    @model_validator(mode="after")
    def _constraint_is_ours(self) -> RFTParameters:
        if self.constrained and self.generation.vllm:
            raise ValueError(
                "constrained: vLLM is not given the form of an answer; leave rft.generation.vllm "
                "at false"
            )
        return self

    @property
    def teaches_traces(self) -> bool:
        """Whether reasoning traces are what is learned from."""
        return self.algorithm == "sft" and self.sft.teaches == "traces"

    @property
    def supervised(self) -> SupervisedPlan:
        """The training of the supervised control."""
        optimizer = self.optimizer
        return SupervisedPlan(
            backbone=self.backbone,
            token_passes=self.sft.token_passes,
            batch_size=self.sft.batch_size,
            micro_batch=self.budget.micro_batch,
            lr=self.sft.lr,
            schedule=optimizer.schedule,
            weight_decay=optimizer.weight_decay,
            max_grad_norm=optimizer.max_grad_norm,
            gradient_checkpointing=optimizer.gradient_checkpointing,
            longest=self.generation.max_completion_tokens,
            checkpoint_every=self.checkpoint_every,
        )

    @property
    def reads_again(self) -> bool:
        """Whether the policy reads rollouts once more, for log-probabilities of its own.

        After it has changed, in RLOO's ratio, in REINFORCE++'s reward, and beside vLLM's.
        """
        return (
            self.budget.updates > 1
            or self.generation.vllm
            or self.algorithm == "rloo"
            or (self.algorithm == "reinforce_pp" and self.optimizer.beta > 0)
        )

    @property
    def samples_per_step(self) -> int:
        """Rollouts (or supervised examples) of an optimizer step, over all processes."""
        if self.algorithm == "sft":
            return self.sft.batch_size
        return self.budget.samples_per_update

    @model_validator(mode="after")
    def _only_grpo_penalises_paragraphs(self) -> RFTParameters:
        if self.algorithm in ("reinforce_pp", "rloo") and self.advantage.w_penalty:
            raise ValueError(
                f"{self.algorithm} has advantages of its own, without a penalty of paragraphs: "
                "set advantage.w_penalty=0, as the variant of that name does"
            )
        return self

    @model_validator(mode="after")
    def _checkpoints_fall_between_generations(self) -> RFTParameters:
        if self.checkpoint_every % self.budget.updates:
            raise ValueError(
                f"checkpoint_every={self.checkpoint_every} is not a multiple of "
                f"budget.updates={self.budget.updates}: a generation would be cut in two"
            )
        return self
