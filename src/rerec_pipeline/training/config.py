"""The settings that this project adds to TRL's ``GRPOConfig`` and ``RLOOConfig``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trl import GRPOConfig

from rerec_pipeline.rerec.advantage import AdvantageConfig
from rerec_pipeline.rerec.curriculum import CurriculumConfig
from rerec_pipeline.rerec.reward import Reward, RewardContext, RewardData


def _help(default: Any, text: str) -> Any:
    """A field of a configuration with its help text."""
    return field(default=default, metadata={"help": text})


@dataclass
class RecTaskConfig:
    """Settings that all algorithms share: reward, curriculum and generation.

    A mixin: it stands before TRL's configuration among the base classes. Defaults are the paper's,
    or the released code's where the paper is silent. The ``help`` of each field says what it means.
    """

    term_weights: dict[str, float] = field(
        default_factory=lambda: {"ndcg": 1.0, "qas": 0.01, "pas": 0.01, "format": 0.1},
        metadata={
            "help": "Weight of each reward term (rerec_pipeline.rerec.reward.TERMS). A term of "
            "weight 0 is measured, but not part of the reward. TRL's `reward_weights` are those of "
            "further `reward_funcs`."
        },
    )
    ndcg_k: int = _help(1, "Ranks of an answer that count (K of the paper).")
    no_box_ndcg: float = _help(-0.5, "Value of the NDCG term where no answer is boxed.")
    curriculum: bool = _help(
        True,
        "Whether each epoch visits the queries from easy to hard, without those that are mastered. "
        "Otherwise it visits all of them in a new order.",
    )
    tau: float = _help(0.1, "A query whose difficulty is below this is mastered, in [0, 1].")
    review_after: int = _help(3, "Epochs after which a mastered query is visited again.")
    curriculum_seed: int | None = _help(None, "Seed of the order of queries; None: `seed`.")
    difficulty: Literal["reward", "ndcg"] = _help(
        "reward", "Difficulty is the mean of 1 - reward (paper) or of 1 - NDCG (released code)."
    )
    max_concurrent_completions: int | None = _help(
        None,
        "Most completions that a process generates at once; it bounds the memory of keys and "
        "values. None: all of a generation. vLLM schedules by itself.",
    )
    share_prompts: bool = _help(True, "Whether the prompt of a group is read once, not G times.")
    beta: float = _help(0.01, "Coefficient of the KL to the reference policy; 0 leaves it out.")

    # Fields that a command line gives as JSON. As in TRL it has no annotation, so that it does not
    # become a field itself. TRL's list is the same for GRPO and RLOO.
    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "term_weights"]  # noqa: RUF012

    def curriculum_config(self) -> CurriculumConfig:
        """The curriculum's settings, validated.

        Raises:
            ValueError: If a setting is out of range, or ``difficulty`` names a reward term that
                has no weight.
        """
        seed: Any = self.curriculum_seed
        if self.difficulty not in ("reward", *self.term_weights):
            raise ValueError(
                f"difficulty='{self.difficulty}' needs this term: give it a weight (0 measures it)"
            )
        return CurriculumConfig(
            enabled=self.curriculum,
            tau=self.tau,
            review_after=self.review_after,
            seed=self.seed if seed is None else seed,  # type: ignore[attr-defined]  # TRL's
        )

    def reward(self, data: RewardData) -> Reward:
        """The reward with these settings.

        Args:
            data: What the reward terms know about the items.

        Raises:
            ValueError: If a weight names no term.
        """
        context = RewardContext(
            data.bits, data.embeddings, self.ndcg_k, self.no_box_ndcg, extra=data.extra
        )
        return Reward(context, self.term_weights)


@dataclass
class ReRecConfig(RecTaskConfig, GRPOConfig):
    """TRL's ``GRPOConfig`` with the settings of ReRec: reward, advantage, curriculum.

    TRL's ``scale_rewards`` chooses the divisor of the advantage: the standard deviation of the
    group (paper) or of the batch, or none.
    """

    _VALID_DICT_FIELDS = [*RecTaskConfig._VALID_DICT_FIELDS, "advantage_settings"]  # noqa: RUF012

    loss_type: str = _help("dapo", "Token mean over the batch (1/N), as in the paper; see TRL.")
    use_bias_correction_kl: bool = _help(
        False, "Whether the KL is weighted with the ratio (TRL's default); the paper's is not."
    )
    advantage: str = _help("raae", "An entry of rerec_pipeline.rerec.advantage.ADVANTAGES.")
    w_penalty: float = _help(
        0.3, "Share of the reward that paragraphs about a wrong answer lose; 0 is plain GRPO."
    )
    min_std: float = _help(
        0.0, "Least standard deviation that advantages are divided by; 0 is the paper's formula."
    )
    advantage_settings: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Further settings of an advantage that takes others than these."},
    )

    def advantage_config(self) -> AdvantageConfig:
        """The advantage with its settings, validated."""
        return AdvantageConfig(
            name=self.advantage,
            w_penalty=self.w_penalty,
            scale=self.scale_rewards,
            min_std=self.min_std,
            **self.advantage_settings,
        )
