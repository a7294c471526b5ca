"""Blocks about reports: evaluation, diagnosis, comparison, abilities."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from rerec_pipeline.configs import Bootstrap, Config
from rerec_pipeline.recbench.records import QueryType


class EvaluationParameters(Config):
    """Evaluation on queries that were not trained on.

    Attributes:
        batch_size: Prompts at once.
        bootstrap_samples: Resamples of the queries for an interval.
        confidence: Confidence level of the intervals.
        seed: Seed of the bootstrap and of the choice of transcripts.
        transcripts_per_type: Transcripts shown for each query type.
        limit: Number of queries to ask, drawn by the seed; null asks all.
    """

    batch_size: int = Field(ge=1)
    bootstrap_samples: int = Field(ge=100)
    confidence: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    transcripts_per_type: int = Field(ge=1)
    limit: int | None = Field(ge=1)

    @property
    def bootstrap(self) -> Bootstrap:
        """How the intervals of reports are found."""
        return Bootstrap(self.bootstrap_samples, self.confidence, self.seed)


class DiagnosisLimits(Config):
    """Limits of the diagnosis rules; "at the end" is the last quarter of the steps.

    Attributes:
        chance: p of the permutation test on answers that changed, above which it may be chance.
        hacking_rise: Reward rises by this between two stretches of training, and accuracy falls
            by ``hacking_fall``.
        hacking_fall: Fall in accuracy that counts together with ``hacking_rise``.
        no_spread: Share of groups whose rewards are all equal.
        wrong_above_right: Share of mixed groups in which a wrong answer gets at least as much
            reward.
        shaping_variance: Share of the variance within groups that the terms beside NDCG make.
        penalised_advantage_share: Share of all advantages (absolute) that is on penalised tokens.
        largest_advantage: Largest advantage of a step (absolute), mean over the steps.
        not_boxed: Share of rollouts without an answer, at the end.
        not_listed: Share of rollouts that answer no candidate, at the end.
        at_limit: Share of rollouts that are truncated, at the end.
        length_factor: Mean length at the end is this many times longer or shorter.
        entropy_kept: Share of the entropy at the beginning that is left at the end.
        kl: Mean KL to the reference policy at the end, nats a token.
        clipped: Share of tokens at which the ratio is clipped.
        returned: Share of visits to mastered queries.
        forgotten: Share of mastered queries that turn out forgotten when looked at again.
    """

    chance: float = Field(gt=0, lt=1)
    hacking_rise: float = Field(gt=0)
    hacking_fall: float = Field(gt=0, le=1)
    no_spread: float = Field(ge=0, le=1)
    wrong_above_right: float = Field(ge=0, le=1)
    shaping_variance: float = Field(ge=0)
    penalised_advantage_share: float = Field(ge=0, le=1)
    largest_advantage: float = Field(gt=0)
    not_boxed: float = Field(ge=0, le=1)
    not_listed: float = Field(ge=0, le=1)
    at_limit: float = Field(ge=0, le=1)
    length_factor: float = Field(gt=1)
    entropy_kept: float = Field(ge=0, le=1)
    kl: float = Field(ge=0)
    clipped: float = Field(ge=0, le=1)
    returned: float = Field(ge=0, le=1)
    forgotten: float = Field(ge=0, le=1)


class DiagnosisParameters(Config):
    """The diagnosis of a finished run.

    Attributes:
        window: Steps of a moving mean, and the fewest that make a stretch of training.
        changes: Answers shown that became right, and that became wrong.
        permutations: Random sign flips of the test whether answers changed by chance.
        limits: Limits of its rules.
    """

    window: int = Field(ge=1)
    changes: int = Field(ge=1)
    permutations: int = Field(ge=1)
    limits: DiagnosisLimits


class PublishedParameters(Config):
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


class ComparisonParameters(Config):
    """How the finished cells of an experiment are compared.

    Attributes:
        reference: Variant that the others are compared with.
        bootstrap_samples: Resamples of seeds and queries for an interval.
        permutations: Random sign flips of a test that has too many queries to enumerate all.
        confidence: Confidence level of the intervals; the tests have the level 1 - confidence.
        seed: Seed of the resamples and flips.
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


class QuestionParameters(Config):
    """Questions about a fabricated world, which the tasks of the tiny backbone ask.

    Attributes:
        size: Largest number of questions of a task.
        seed: Seed of the choice of questions.
    """

    size: int = Field(ge=4)
    seed: int = Field(ge=0)


class AbilityParameters(Config):
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
