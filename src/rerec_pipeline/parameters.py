"""All parameters of a run, validated before anything runs, and the three choices behind them.

Data set, backbone and variant are independent choices on the command line. Each names a block
under ``conf/base/parameters/`` that is laid over the defaults:

    defaults <- data set <- backbone <- variant <- ``--params``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.recbench.candidates import CandidateRule
from rerec_pipeline.recbench.records import QueryType
from rerec_pipeline.recbench.sample.corpus import DOCUMENT_KINDS
from rerec_pipeline.recbench.sample.reasoner import Habits
from rerec_pipeline.recbench.sample.world import DOMAINS, WorldSize
from rerec_pipeline.recbench.splits import Split
from rerec_pipeline.recbench.task import PromptWording
from rerec_pipeline.recbench.warmup import WARMUP_KINDS, WarmupHabits
from rerec_pipeline.rerec.curriculum import CurriculumRule
from rerec_pipeline.rerec.reward import TERMS
from rerec_pipeline.rules import (
    AdvantageRule,
    EvaluatedSplit,
    KLEstimator,
    LightGCNRule,
    Rule,
    SASRecRule,
)

#: The choices, and the key that holds the blocks they name.
CHOICES = {"dataset": "datasets", "backbone": "backbones", "variant": "variants"}

#: What a label may look like, and what it may not be called: it is a folder beside these.
LABEL = r"[A-Za-z][A-Za-z0-9._=+-]*"
TAKEN = ("checkpoints", "policy", "transfer", "validation")

#: What an experiment may be called.
EXPERIMENT = r"\w[\w.-]*"


def _check_label(value: str) -> str:
    if value and (not re.fullmatch(LABEL, value) or Path(value).suffix[1:].isalpha()):
        raise ValueError(
            f"'{value}' can not name a folder: it must begin with a letter, consist of letters, "
            "digits and ._=+-, and end like no file"
        )
    if value in TAKEN:
        raise ValueError(f"'{value}' is a folder of every run; choose another name")
    return value


class SplitRule(Rule):
    """Shares of the queries, and the seed that deals them."""

    train: float = Field(gt=0, lt=1)
    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> SplitRule:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must sum to 1, they sum to {total}")
        return self


class DataParameters(Rule):
    """Where the data comes from and how it becomes a task.

    Attributes:
        source: ``fabricated`` writes the built-in sample, ``published`` reads files that exist.
        domain: ``movie`` or ``book``.
        world: Size and seed of the fabricated world; null for published data.
        split: Train, validation and test.
        candidates: How the list of candidates is drawn.
        history: Whether the prompt names what the user has seen.
        prompt: The texts around a query.
    """

    source: Literal["fabricated", "published"]
    domain: Literal["movie", "book"]
    world: WorldSize | None
    split: SplitRule
    candidates: CandidateRule
    history: bool
    prompt: PromptWording

    @model_validator(mode="after")
    def _a_fabricated_world_has_a_size(self) -> DataParameters:
        if self.source == "fabricated" and self.world is None:
            raise ValueError("world must be given when source is 'fabricated'")
        if self.world is not None:
            wanted = set(DOMAINS[self.domain].people)
            if set(self.world.people) != wanted:
                raise ValueError(f"world.people must give a number for each of {sorted(wanted)}")
        return self


AttributeSource = Literal["items", "edge_list", "gexf", "training_queries"]


class AttributeParameters(Rule):
    """Where the attribute graph gets its facts.

    Attributes:
        sources: ``items`` (kinds in the items file), ``edge_list`` (item_attributes.csv), ``gexf``
            (a graph as the authors release it) and ``training_queries`` (facts they state).
            A file that is not there adds nothing; the report says what each added.
    """

    sources: list[AttributeSource] = Field(min_length=1)


class FixedParameters(Rule):
    """A user's own split and candidates, used as they are; null lets them be drawn.

    Attributes:
        splits: CSV with query_id and split; queries that it does not name are left out.
        candidates: JSON lines with query_id and candidates (titles or ids, in prompt order).
    """

    splits: str | None
    candidates: str | None


class HistoryParameters(Rule):
    """What a prompt tells of the user's past where ``data.history`` is true.

    Attributes:
        length: Most items; the latest ones.
    """

    length: int = Field(ge=1)


class InteractionParameters(Rule):
    """What of the interactions LightGCN is validated on.

    Attributes:
        validation_share: Share of each user's interactions that is held out.
        seed: Which ones.
    """

    validation_share: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)


class LoraParameters(Rule):
    """PEFT LoRA: what is trained instead of the whole model."""

    r: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    target_modules: str | list[str]


class ArchitectureParameters(Rule):
    """Size of a Qwen2 model from scratch."""

    hidden: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    mlp: int = Field(ge=8)
    init_std: float = Field(gt=0)
    rope_theta: float = Field(gt=0)


class ScratchStageParameters(Rule):
    """One stage of warming up a model made from scratch.

    Attributes:
        batches: Number of batches.
        list_sizes: Candidates in a list at the beginning and at the end of the stage.
        verdict_weight: Weight of verdict tokens in the loss; all others weigh 1.
        documents: Kind of document -> share.
    """

    batches: int = Field(ge=1)
    list_sizes: tuple[int, int]
    verdict_weight: float = Field(gt=0)
    documents: dict[str, float]

    @field_validator("documents")
    @classmethod
    def _documents_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(WARMUP_KINDS))
        if unknown or not value:
            raise ValueError(f"unknown kinds {unknown}; there are {list(WARMUP_KINDS)}")
        return value


class ScratchParameters(Rule):
    """A model made from random weights on the training split alone, with its own tokenizer.

    Attributes:
        vocabulary: Entries of its byte-level BPE tokenizer.
        architecture: The model.
        habits: How well the naive reasoner of its warm-up decides.
        stages: What it reads, in order.
        tokens_per_batch: Upper bound, padding included.
        lr: Peak learning rate (cosine, with warm-up).
        warmup_steps: Steps of linear warm-up.
        weight_decay: Of AdamW.
        checkpoint_every: Steps between checkpoints.
        seed: Of documents, initial weights and order.
    """

    vocabulary: int = Field(ge=300)
    architecture: ArchitectureParameters
    habits: WarmupHabits
    stages: list[ScratchStageParameters] = Field(min_length=1)
    tokens_per_batch: int = Field(ge=256)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    checkpoint_every: int = Field(ge=1)
    seed: int = Field(ge=0)


class BackboneParameters(Rule):
    """The policy's starting point.

    Attributes:
        name_or_path: A Hugging Face name or a folder.
        dtype: Precision of arithmetic and of weights that are not trained. Those that are trained
            are kept in float32 meanwhile, because updates would be lost in 16 bits.
        lora: Null trains all weights.
        scratch: Null for a model that exists; else how it is made, in the folder that
            ``name_or_path`` names.
        template_values: Variables that the chat template reads, fixed to values.
    """

    name_or_path: str = Field(min_length=1)
    dtype: Literal["float32", "bfloat16", "float16"]
    lora: LoraParameters | None
    scratch: ScratchParameters | None
    template_values: dict[str, str | bool | int | float]


class RewardParameters(Rule):
    """The dual-graph reward.

    Attributes:
        k: Ranks that count.
        no_box_ndcg: What stands in for NDCG where nothing is boxed.
        weights: Term -> weight (``w1`` and ``w2`` of the paper are ``qas`` and ``pas``). A term
            of weight 0 is still measured.
    """

    k: int = Field(ge=1)
    no_box_ndcg: float
    weights: dict[str, float]

    @field_validator("weights")
    @classmethod
    def _weights_name_terms(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(TERMS))
        if unknown:
            raise ValueError(f"unknown terms {unknown}; there are {sorted(TERMS)}")
        if "ndcg" not in value:
            raise ValueError("ndcg must have a weight (0 keeps it as a measure)")
        return value


class BudgetParameters(Rule):
    """What training may spend, and in which portions.

    Attributes:
        rollouts: Completions generated in all; spent to the last one.
        prompts: Prompts of one generation, over all processes.
        group_size: Completions of each prompt (``G``).
        updates: Optimizer steps on one generation.
        micro_batch: Most completions in memory at once, per process.
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

    def portions(self, samples: int, processes: int) -> tuple[int, int]:
        """Shares the samples of an optimizer step out to processes.

        Args:
            samples: Samples of a step, over all processes.
            processes: Number of processes that share them.

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
                "rft.sft.batch_size)"
            )
        most = min(self.micro_batch, share)
        at_once = max(n for n in range(1, most + 1) if share % n == 0)
        return at_once, share // at_once

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


class OptimizerParameters(Rule):
    """The objective and its optimizer.

    Attributes:
        lr: Learning rate.
        schedule: A Hugging Face schedule name.
        warmup_steps: Optimizer steps of linear warm-up.
        weight_decay: Of AdamW.
        max_grad_norm: Gradient clipping.
        beta: Coefficient of the KL to the backbone; 0 leaves it out. GRPO has it in the loss (k3
            estimator), REINFORCE++ and RLOO in the reward.
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


class VllmParameters(Rule):
    """How TRL is to run vLLM, where it is switched on.

    Attributes:
        mode: ``colocate`` runs it in the training processes, ``server`` asks one that runs.
        gpu_memory: Share of a GPU's memory that it may take (colocate).
        tensor_parallel: GPUs that share one copy of the model (colocate).
        sleep: Whether it gives its memory back while weights are trained (colocate).
        server: Address of the server.
    """

    mode: Literal["colocate", "server"]
    gpu_memory: float = Field(gt=0, lt=1)
    tensor_parallel: int = Field(ge=1)
    sleep: bool
    server: str | None

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> VllmParameters:
        if self.mode == "server" and self.server is None:
            raise ValueError("server must be given when mode is 'server'")
        return self


class GenerationParameters(Rule):
    """How rollouts are generated.

    Attributes:
        max_prompt_tokens: A longer prompt stops the run, or is left out and counted.
        on_long_prompt: ``error`` or ``exclude``.
        max_completion_tokens: A completion is cut there.
        temperature: Of the sampling.
        at_once: Most completions in the making at once, per process; null: all of a generation.
        vllm: Whether vLLM generates; it needs a GPU and schedules by itself, without at_once.
        vllm_engine: How.
    """

    max_prompt_tokens: int = Field(ge=1)
    on_long_prompt: Literal["error", "exclude"]
    max_completion_tokens: int = Field(ge=1)
    temperature: float = Field(gt=0)
    at_once: int | None = Field(ge=1)
    vllm: bool
    vllm_engine: VllmParameters


class SFTParameters(Rule):
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


class RFTParameters(Rule):
    """Fine-tuning of the policy.

    Attributes:
        algorithm: ``grpo`` (with whatever reward, advantage and curriculum say), ``reinforce_pp``
            or ``rloo`` (with advantages of their own), or ``sft``.
        backbone: What is fine-tuned.
        reward: The dual-graph reward.
        advantage: RAAE.
        curriculum: What to visit next.
        difficulty: Difficulty is 1 - reward (paper) or 1 - NDCG (official).
        budget: What may be spent.
        optimizer: The objective.
        generation: The rollouts.
        sft: The supervised control.
        checkpoint_every: Optimizer steps between checkpoints.
        checkpoint_dir: Where checkpoints of unfinished runs are.
    """

    algorithm: Literal["grpo", "reinforce_pp", "rloo", "sft"]
    backbone: BackboneParameters
    reward: RewardParameters
    advantage: AdvantageRule
    curriculum: CurriculumRule
    difficulty: Literal["reward", "ndcg"]
    budget: BudgetParameters
    optimizer: OptimizerParameters
    generation: GenerationParameters
    sft: SFTParameters
    checkpoint_every: int = Field(ge=1)
    checkpoint_dir: str

    @property
    def teaches_traces(self) -> bool:
        """Whether reasoning traces are what is learned from."""
        return self.algorithm == "sft" and self.sft.teaches == "traces"

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


class EvaluationParameters(Rule):
    """Evaluation on queries that were not trained on.

    Attributes:
        batch_size: Prompts at once.
        bootstrap_samples: Resamples of the queries for an interval.
        confidence: Of the intervals.
        seed: Of the bootstrap and of which transcripts are shown.
        transcripts_per_type: Transcripts shown for each query type.
    """

    batch_size: int = Field(ge=1)
    bootstrap_samples: int = Field(ge=100)
    confidence: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    transcripts_per_type: int = Field(ge=1)

    @property
    def bootstrap(self) -> tuple[int, float, int]:
        """Resamples, confidence and seed, in the order in which reports take them."""
        return self.bootstrap_samples, self.confidence, self.seed


class DiagnosisLimits(Rule):
    """Where the rules of the diagnosis begin to speak; ``conf`` says what each is about."""

    chance: float = Field(gt=0, lt=1)
    hacking_rise: float = Field(gt=0)
    hacking_fall: float = Field(gt=0, le=1)
    no_spread: float = Field(ge=0, le=1)
    wrong_above_right: float = Field(ge=0, le=1)
    shaping_variance: float = Field(ge=0)
    penalty_push: float = Field(ge=0, le=1)
    not_boxed: float = Field(ge=0, le=1)
    not_listed: float = Field(ge=0, le=1)
    at_limit: float = Field(ge=0, le=1)
    length_factor: float = Field(gt=1)
    entropy_kept: float = Field(ge=0, le=1)
    kl: float = Field(ge=0)
    clipped: float = Field(ge=0, le=1)
    returned: float = Field(ge=0, le=1)
    forgotten: float = Field(ge=0, le=1)


class DiagnosisParameters(Rule):
    """The diagnosis of a finished run.

    Attributes:
        window: Steps of a moving mean, and the fewest that make a stretch of training.
        changes: Answers shown that became right, and that became wrong.
        limits: Where its rules begin to speak.
    """

    window: int = Field(ge=1)
    changes: int = Field(ge=1)
    limits: DiagnosisLimits


class PublishedParameters(Rule):
    """What the paper reports, to stand beside our figures.

    Attributes:
        source: Where the figures are from, as a reader would cite it.
        address: Where that can be read.
        backbone: Name of our block for the paper's backbone.
        accuracy: Data set -> system -> query type -> test accuracy.
    """

    source: str
    address: str
    backbone: str
    accuracy: dict[str, dict[str, dict[QueryType, Annotated[float, Field(ge=0, le=1)]]]]


class ComparisonParameters(Rule):
    """How the finished cells of an experiment are compared.

    Attributes:
        reference: Variant that the others are held against.
        bootstrap_samples: Resamples of seeds and queries for an interval.
        permutations: Random sign flips of a test that has too many queries to enumerate all.
        confidence: Of the intervals; 1 - confidence is the level of the tests.
        seed: Of the resamples and flips.
        window: Optimizer steps of the moving mean in learning curves.
        published: The paper's figures.
    """

    reference: str
    bootstrap_samples: int = Field(ge=100)
    permutations: int = Field(ge=100)
    confidence: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    window: int = Field(ge=1)
    published: PublishedParameters


class QuestionParameters(Rule):
    """Questions about a fabricated world, which the tasks of the tiny backbone ask.

    Attributes:
        size: Most questions of a task.
        seed: Which ones.
    """

    size: int = Field(ge=4)
    seed: int = Field(ge=0)


class AbilityParameters(Rule):
    """What is asked before and after fine-tuning that is not the task.

    Attributes:
        tasks: Names of tasks, groups or tags of lm-evaluation-harness.
        folder: More task files in its format.
        limit: Only the first so many questions of each task; null asks all.
        batch_size: Questions at once.
        questions: What the tasks about a fabricated world ask.
    """

    tasks: list[str] = Field(min_length=1)
    folder: str = Field(min_length=1)
    limit: int | None = Field(ge=1)
    batch_size: int = Field(ge=1)
    questions: QuestionParameters

    @field_validator("tasks")
    @classmethod
    def _each_task_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"a task is named twice in {value}")
        return value


class StageParameters(Rule):
    """One stage of pretraining the base policy.

    Attributes:
        batches: Number of batches.
        list_sizes: Candidates in a list at the beginning and at the end of the stage.
        verdict_weight: Weight of verdict tokens in the loss; all others weigh 1.
        documents: Kind of document -> share.
    """

    batches: int = Field(ge=1)
    list_sizes: tuple[int, int]
    verdict_weight: float = Field(gt=0)
    documents: dict[str, float]

    @field_validator("documents")
    @classmethod
    def _documents_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - set(DOCUMENT_KINDS))
        if unknown or not value:
            raise ValueError(f"unknown kinds {unknown}; there are {list(DOCUMENT_KINDS)}")
        return value


class BasePolicyParameters(Rule):
    """How the sample's base policy is pretrained.

    Attributes:
        worlds: Data set -> share of the documents that are about it.
        data: Data set -> its parameters; filled in from the data sets' blocks.
        raw_dir: Data set -> its raw folder; filled in.
        hold_out: Splits whose (need, item) pairs no document may tell.
        habits: How well the naive reasoner decides.
        architecture: The model.
        stages: What it reads, in order.
        tokens_per_batch: Upper bound, padding included.
        lr: Peak learning rate (cosine, with warm-up).
        warmup_steps: Steps of linear warm-up.
        weight_decay: Of AdamW.
        checkpoint_every: Steps between checkpoints.
        checkpoint_dir: Where checkpoints of an unfinished pretraining are.
        seed: Of documents, initial weights and order.
    """

    worlds: dict[str, float]
    data: dict[str, DataParameters]
    raw_dir: dict[str, str]
    hold_out: list[Split]
    habits: Habits
    architecture: ArchitectureParameters
    stages: list[StageParameters] = Field(min_length=1)
    tokens_per_batch: int = Field(ge=256)
    lr: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    checkpoint_every: int = Field(ge=1)
    checkpoint_dir: str
    seed: int = Field(ge=0)

    @field_validator("hold_out")
    @classmethod
    def _evaluation_is_held_out(cls, value: list[str]) -> list[str]:
        if missing := sorted({"validation", "test"} - set(value)):
            raise ValueError(f"must name {missing}: a backbone that was told them measures nothing")
        return value


class NextItemParameters(Rule):
    """The choice of the item that comes next in a user's history.

    Attributes:
        core: Interactions that a user and an item must have; a history needs an item to learn
            from, one to validate on and one to test on.
        users: Most users that are asked.
        negatives: Candidates beside the right one.
        history: Most titles that a prompt tells of the history; 0 leaves the sentence out.
        request: What the policy is asked; ``{last}`` becomes the title of the latest item.
        seed: Of the users and the negatives.
    """

    core: int = Field(ge=3)
    users: int = Field(ge=1)
    negatives: int = Field(ge=1)
    history: int = Field(ge=0)
    request: str = Field(min_length=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _the_prompt_tells_something(self) -> NextItemParameters:
        if self.history == 0 and "{last}" not in self.request:
            raise ValueError("history=0 tells nothing of the user unless request has {last}")
        return self


class SASRecParameters(SASRecRule):
    """SASRec, and where checkpoints of an unfinished training are."""

    checkpoint_dir: str


class Parameters(Rule):
    """All parameters of a run.

    Attributes:
        dataset, backbone, variant: The three choices.
        target: Data set that a policy trained on ``dataset`` is tested on (``transfer``). Blocks
            of data and graphs are then those of the target.
        engine: What computes on tables of interactions. Results do not depend on it, so it is
            in no stamp.
        seed: Of rollouts, curriculum and adapters. Data, LightGCN and evaluation have their own.
        label: Names the folder of a run that differs from its variant by further parameters.
        split: The queries that policies are evaluated on.
        raw_dir: Folder that holds ``dataset/<domain>/...``.
        query_type: Of the recorded answers that ``score_answers`` scores.
        answers: File of recorded answers, of ``score_answers`` and ``score_choices``.
        scores: Where their scores go.
        score_cuts: Ranks at which ``score_answers`` also gives means.
        experiment: Name of the experiment whose cells ``comparison`` compares.
    """

    dataset: str
    backbone: str
    variant: str
    target: str | None
    engine: str
    seed: int = Field(ge=0)
    label: Annotated[str, AfterValidator(_check_label)]
    split: EvaluatedSplit
    raw_dir: str
    data: DataParameters
    attributes: AttributeParameters
    fixed: FixedParameters
    histories: HistoryParameters
    interactions: InteractionParameters
    lightgcn: LightGCNRule
    rft: RFTParameters
    evaluation: EvaluationParameters
    diagnosis: DiagnosisParameters
    comparison: ComparisonParameters
    abilities: AbilityParameters
    base_policy: BasePolicyParameters
    next_item: NextItemParameters
    sasrec: SASRecParameters
    query_type: QueryType
    answers: str | None
    scores: str | None
    score_cuts: list[int]
    experiment: str = Field(pattern=f"^{EXPERIMENT}$")

    @model_validator(mode="after")
    def _traces_come_from_somewhere(self) -> Parameters:
        traces = self.rft.sft.traces
        if self.rft.teaches_traces and traces is None and self.data.source != "fabricated":
            raise ValueError(
                f"rft.sft.traces: the variant '{self.variant}' imitates reasoning, and '"
                f"{self.dataset}' has none: give a file of JSON lines with id and response "
                "(--params rft.sft.traces=FILE)"
            )
        if self.rft.teaches_traces and traces is not None and not Path(traces).is_file():
            raise ValueError(f"rft.sft.traces: there is no file {traces}")
        return self


def run_choices(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a run from others: choices and seed; label and split where they are not usual."""
    chosen = {key: parameters[key] for key in (*CHOICES, "seed", "label", "split")}
    usual = {"label": "", "split": "test"}
    return {key: value for key, value in chosen.items() if usual.get(key) != value}


def say_run(parameters: Mapping[str, Any]) -> str:
    """A run as the title of a page names it."""
    said = "{dataset}, {backbone}, {variant}, seed {seed}".format(**parameters)
    further = (parameters["label"], "validation" if parameters["split"] == "validation" else "")
    return ", ".join([said, *filter(None, further)])


def folder_of_split(split: str) -> str:
    """Folder, with a slash before it, of what was asked of a split's queries; none for test."""
    return "" if split == "test" else f"/{split}"


def overlay(base: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lays nested mappings over one another; later ones win, key by key."""
    result = deepcopy(dict(base))
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = overlay(result[key], value)
            else:
                result[key] = deepcopy(value)
    return result


def compose(
    defaults: Mapping[str, Any], runtime: Mapping[str, Any], project_root: Path
) -> dict[str, Any]:
    """Lays the three chosen blocks and the command line over the defaults, and validates.

    Where a ``target`` is named, its block takes the place of that of ``dataset``: everything but
    the policy is about the target then.

    Args:
        defaults: Everything under ``conf/base/parameters*``, the blocks of choices included.
        runtime: What ``--params`` said.
        project_root: Folder that relative raw folders are in.

    Returns:
        The parameters of the run by their top-level names, blocks as validated rules.

    Raises:
        BadParameterError: If a choice names no block, or a parameter is unknown or wrong.
    """
    plain = {key: value for key, value in defaults.items() if key not in CHOICES.values()}
    chosen = {choice: runtime.get(choice, plain[choice]) for choice in CHOICES}
    layers = {choice: _block(defaults, choice, name) for choice, name in chosen.items()}
    if (target := _target(plain, runtime, chosen["dataset"])) is not None:
        layers["dataset"] = _block(defaults, "dataset", target, asked_as="target")
    composed = overlay(plain, *layers.values(), runtime)
    worked_on = target or composed["dataset"]
    composed["raw_dir"] = _raw_dir(composed["raw_dir"], worked_on, project_root)
    folder = Path(composed["rft"]["checkpoint_dir"])  # without a label, two slashes meet in it
    composed["rft"]["checkpoint_dir"] = folder.as_posix()
    composed["fixed"] = {
        name: None if path is None else _inside(project_root, path)
        for name, path in composed["fixed"].items()
    }
    if traces := composed["rft"]["sft"]["traces"]:
        composed["rft"]["sft"]["traces"] = _inside(project_root, traces)
    # The base policy is pretrained on several data sets at once: they get their blocks here.
    worlds = composed["base_policy"]["worlds"]
    composed["base_policy"]["data"] = {
        name: overlay(plain["data"], _block(defaults, "dataset", name)["data"]) for name in worlds
    }
    composed["base_policy"]["raw_dir"] = {
        name: _raw_dir(None, name, project_root) for name in worlds
    }
    return dict(validate(composed))


def _target(plain: Mapping[str, Any], runtime: Mapping[str, Any], dataset: str) -> str | None:
    """The data set to test on. The catalog, too, must know it, and reads the command line alone."""
    target: str | None = runtime.get("target")
    if plain["target"] != target:
        raise BadParameterError(
            "target can only be given on the command line: --params target=NAME"
        )
    if target is not None and target == dataset:
        raise BadParameterError(
            f"target={target} is the data set that the policy was trained on; the evaluation "
            "pipeline tests it there"
        )
    return target


def _block(
    defaults: Mapping[str, Any], choice: str, name: str, asked_as: str | None = None
) -> dict[str, Any]:
    key = CHOICES[choice]
    blocks = defaults.get(key) or {}
    if name not in blocks:
        raise BadParameterError(
            f"{asked_as or choice}={name} names no block; conf/base/parameters/{key}.yml has "
            f"{', '.join(blocks)}"
        )
    return blocks[name] or {}


def _raw_dir(given: str | None, dataset: str, project_root: Path) -> str:
    return _inside(project_root, Path("data/01_raw") / dataset if given is None else given)


def _inside(project_root: Path, path: str | Path) -> str:
    return (project_root / path).resolve().as_posix()


def validate(parameters: Mapping[str, Any]) -> Parameters:
    """Checks all parameters.

    Raises:
        BadParameterError: Naming every key that is unknown, missing or wrong.
    """
    try:
        return Parameters.model_validate(dict(parameters))
    except ValidationError as exc:
        raise BadParameterError(f"these parameters cannot be used:\n{explain(exc)}") from None


def explain(error: ValidationError) -> str:
    """What pydantic found wrong, a line for each key, by the name that a user knows it by."""
    return "\n".join(f"  {_key(e['loc'])}: {_reason(dict(e))}" for e in error.errors())


def _key(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location)


def _reason(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such parameter"
    if error["type"] == "missing":
        return "is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{message}, got {error['input']!r}"
