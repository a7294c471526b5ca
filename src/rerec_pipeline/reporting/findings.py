"""Why a run did or did not learn: rules over its log, each a plain sentence.

A rule compares one value from the log with its limit and reports a problem if the value is beyond
it; otherwise its sentence says what is in order. A rule whose columns were not logged (a supervised
run has no rollouts) is listed as not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rerec_pipeline.parameters import DiagnosisLimits
from rerec_pipeline.reporting.statistics import permutation_test, sum_clusters

#: Maximum number of stretches of training that are compared to find reward hacking.
_STRETCHES = 40


@dataclass(frozen=True)
class RunRecord:
    """Input of the rules.

    Attributes:
        log: One row for each optimizer step.
        right_before: Whether each query was answered rightly before fine-tuning, bool (N,).
        right_after: The same after, bool (N,).
        clusters: Cluster of each query, (N,).
        w_penalty: Share of the reward that penalised paragraphs lose.
        max_tokens: Limit of a completion's tokens.
        window: Fewest steps that make a stretch of training.
        permutations: Random sign flips of the test whether answers changed by chance.
    """

    log: pd.DataFrame
    right_before: NDArray[np.bool_]
    right_after: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    w_penalty: float
    max_tokens: int
    window: int
    permutations: int

    def mean(self, column: str) -> float:
        """Mean over all steps that have a value."""
        return float(self.log[column].mean())

    def quarters(self, column: str) -> tuple[float, float]:
        """Means over the first and the last quarter of the steps that have a value."""
        values = self.log[column].dropna().to_numpy(dtype="float64")
        size = math.ceil(len(values) / 4)
        return float(values[:size].mean()), float(values[-size:].mean())

    def end(self, column: str) -> float:
        """Mean over the last quarter."""
        return self.quarters(column)[1]


@dataclass(frozen=True)
class Finding:
    """Result of one rule.

    Attributes:
        rule: Name of the rule and, if it has one, of its limit in ``conf``.
        is_problem: Whether the value is beyond the limit.
        value: The value.
        limit: The limit.
        sentence: What was found.
        advice: What to look at if there is a problem.
    """

    rule: str
    is_problem: bool
    value: float
    limit: float
    sentence: str
    advice: str = ""

    @property
    def unit(self) -> str:
        """Unit of value and limit; ``%`` for a share."""
        return _UNITS.get(self.rule, "%")


#: Units of values and limits; all other rules are about shares.
_UNITS = {
    "chance": "p value",
    "hacking_rise": "reward",
    "length_factor": "times",
    "kl": "nats per token",
    "largest_advantage": "advantage",
}

Check = Callable[[RunRecord, DiagnosisLimits], Finding]


def _above(limits: DiagnosisLimits, rule: str, value: float, sentence: str, advice: str) -> Finding:
    """A finding that is a problem if its value is above the limit of the rule."""
    limit = float(getattr(limits, rule))
    return Finding(rule, value > limit, value, limit, sentence, advice)


def gain(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Did answers on held-out queries get better, beyond chance?"""
    before, after = run.right_before, run.right_after
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    changed = sum_clusters((after.astype(np.float64) - before)[None], run.clusters)[0]
    p = permutation_test(changed, run.permutations, seed=0)
    counts = (
        f"Accuracy went from {before.mean():.3f} to {after.mean():.3f}: {gained} answers "
        f"became right, {lost} became wrong"
    )
    chance = p > limits.chance
    verdict = "which may be chance" if chance else "more than chance explains"
    return Finding(
        "chance", chance or lost > gained, p, limits.chance,
        f"{counts}, {verdict} (permutation test over clusters, p = {p:.2g}).",
        "The other findings say where the training signal went. More seeds give more evidence.",
    )  # fmt: skip


def reward_hacking(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Did reward rise somewhere while accuracy fell?"""
    parted = _parting(run, limits)
    if parted is None:
        best = run.quarters("reward")[1] - run.quarters("reward")[0]
        return Finding(
            "hacking_rise", False, 0.0, limits.hacking_rise,
            f"Reward (change {best:+.2f}) and accuracy moved together throughout.",
        )  # fmt: skip
    start, stop, rise, fall = parted
    return Finding(
        "hacking_rise", True, rise, limits.hacking_rise,
        f"Reward rose by {rise:.2f} while accuracy fell by {fall:.2f} between steps {start} and "
        f"{stop}: reward hacking.",
        "Look at which term rose there, and lower its weight.",
    )  # fmt: skip


def _parting(run: RunRecord, limits: DiagnosisLimits) -> tuple[int, int, float, float] | None:
    """Where reward rises while accuracy falls the most: two steps, the rise and the fall."""
    rows = run.log[["reward", "accuracy"]].dropna()
    pieces = np.array_split(np.arange(len(rows)), max(1, min(_STRETCHES, len(rows) // run.window)))
    means = np.array([rows.iloc[piece].mean().to_numpy() for piece in pieces])
    rise = means[None, :, 0] - means[:, None, 0]
    fall = means[:, None, 1] - means[None, :, 1]
    worst = np.minimum(rise / limits.hacking_rise, fall / limits.hacking_fall)
    worst[np.tril_indices(len(means))] = -np.inf  # only from earlier to later
    a, b = np.unravel_index(int(worst.argmax()), worst.shape)
    if worst[a, b] < 1:
        return None
    steps = [int(rows.index[pieces[n][len(pieces[n]) // 2]]) + 1 for n in (a, b)]
    return steps[0], steps[1], float(rise[a, b]), float(fall[a, b])


def no_spread(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """How many groups have nothing to compare?"""
    share = run.mean("diagnosis/no_spread")
    teach = (
        "only penalised paragraphs give a gradient" if run.w_penalty else "they give no gradient"
    )
    return _above(
        limits, "no_spread", share,
        f"{share:.0%} of groups had no reward spread: {teach}. In "
        f"{run.mean('diagnosis/none_right'):.0%} of all groups no answer was right, in "
        f"{run.mean('diagnosis/all_right'):.0%} all were.",
        "Where none is right, queries are too hard or groups too small; where all are, too easy.",
    )  # fmt: skip


def wrong_above_right(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Do wrong answers get at least the reward of right ones?"""
    share = run.mean("diagnosis/wrong_above_right")
    return _above(
        limits, "wrong_above_right", share,
        f"In {share:.1%} of groups with right and wrong answers a wrong one got at least "
        "the reward of a right one.",
        "The terms beside NDCG weigh more than being right: lower their weights.",
    )  # fmt: skip


def shaping_variance(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """What makes the differences that teach?"""
    prefix = "diagnosis/variance_share/"
    columns = [c for c in run.log.columns if c.startswith(prefix) and c != f"{prefix}ndcg"]
    shares = {c.removeprefix(prefix): run.mean(c) for c in columns}
    share = sum(shares.values())
    parts = ", ".join(f"{name} {value:.0%}" for name, value in shares.items())
    return _above(
        limits, "shaping_variance", share,
        f"Terms beside NDCG made {share:.0%} of the variance of rewards within groups ({parts}).",
        "The policy learns these terms more than to be right.",
    )  # fmt: skip


def penalised_advantage_share(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Does the penalty drown the rest?"""
    share = run.mean("diagnosis/penalised_advantage_share")
    tokens = run.mean("raae/penalised_token_share")
    return _above(
        limits, "penalised_advantage_share", share,
        f"Penalised paragraphs, {tokens:.0%} of the tokens, had {share:.0%} of all absolute "
        "advantages.",
        "In a group of nearly equal rewards a small penalty divided by a tiny spread is large: "
        "see rft.advantage.scale.",
    )  # fmt: skip


def largest_advantage(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Does a single group own the gradient?"""
    largest = run.mean("diagnosis/largest_advantage")
    worst = float(run.log["diagnosis/largest_advantage"].max())
    return _above(
        limits, "largest_advantage", largest,
        f"The largest advantage of a step was {largest:.1f} on average and {worst:.1f} at most, in "
        "absolute value; those of a group with right and wrong answers are about 1.",
        "Rewards of a group that are nearly equal are divided by next to nothing, and the clipped "
        "gradient is that group's: see rft.advantage.min_std and scale.",
    )  # fmt: skip


def not_boxed(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Is there an answer at all?"""
    first, last = run.quarters("diagnosis/not_boxed")
    return _above(
        limits, "not_boxed", last,
        f"{last:.1%} of rollouts boxed no answer at the end ({first:.1%} at the beginning).",
        "It gets the reward of a wrong answer: look at the prompt and at the limit of tokens.",
    )  # fmt: skip


def not_listed(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Is the answer one of the candidates?"""
    first, last = run.quarters("diagnosis/not_listed")
    return _above(
        limits, "not_listed", last,
        f"{last:.1%} of rollouts answered with no candidate at the end ({first:.1%} at the "
        "beginning).",
        "Titles outside the list: invented, misspelt, or taken from the query. Read the losses.",
    )  # fmt: skip


def at_limit(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Are completions cut?"""
    last = run.end("completions/clipped_ratio")
    return _above(
        limits, "at_limit", last,
        f"{last:.1%} of completions were truncated at {run.max_tokens} tokens at the end.",
        "A truncated completion has no answer: raise rft.generation.max_completion_tokens.",
    )  # fmt: skip


def length_factor(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Did completions get much longer or shorter?"""
    first, last = run.quarters("completions/mean_length")
    factor = max(first, last) / max(min(first, last), 1e-9)
    return _above(
        limits, "length_factor", factor,
        f"Completions had {first:.0f} tokens on average at the beginning and {last:.0f} at the "
        "end.",
        "Read the answers below: reasoning is padded, or given up.",
    )  # fmt: skip


def entropy_kept(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Does the policy still try different things?"""
    first, last = run.quarters("entropy")
    kept = last / max(first, 1e-9)
    return Finding(
        "entropy_kept", kept < limits.entropy_kept, kept, limits.entropy_kept,
        f"Entropy went from {first:.3f} to {last:.3f} nats a token: {kept:.0%} of it is left.",
        "The rollouts of a group are nearly the same: less can be learned from now on.",
    )  # fmt: skip


def kl(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """How far from the backbone?"""
    last = run.end("kl")
    return _above(
        limits, "kl", last,
        f"KL to the reference policy was {last:.3f} nats a token at the end.",
        "The policy has left the backbone's language: lower rft.optimizer.lr or raise beta.",
    )  # fmt: skip


def clipped(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Are updates larger than the objective allows?"""
    share = run.mean("clip_ratio/region_mean")
    return _above(
        limits, "clipped", share,
        f"The ratio was clipped at {share:.1%} of tokens.",
        "Steps are too large, or there are too many updates on one generation.",
    )  # fmt: skip


def not_finite(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Did numbers break?"""
    columns = [name for name in ("loss", "grad_norm") if name in run.log]
    broken = ~np.isfinite(run.log[columns].to_numpy(dtype="float64")).all(axis=1)
    steps = (np.flatnonzero(broken)[:5] + 1).tolist()
    what = f"in {broken.sum()} of {len(broken)} steps"
    return Finding(
        "not_finite", bool(steps), float(broken.mean()), 0.0,
        f"Loss or gradient was not finite {what}{f', first in {steps}' if steps else ''}.",
        "Such a step corrupts the weights: lower the learning rate, check the precision.",
    )  # fmt: skip


def returned(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Is the budget spent on what is known already?"""
    share = run.mean("diagnosis/returned")
    return _above(
        limits, "returned", share,
        f"{share:.0%} of visits were to queries that were mastered already.",
        "There are too few hard queries for the budget.",
    )  # fmt: skip


def forgotten(run: RunRecord, limits: DiagnosisLimits) -> Finding:
    """Does what was mastered stay?"""
    rows = run.log[["diagnosis/returned", "diagnosis/forgotten"]].dropna()
    visits = rows["diagnosis/returned"]
    share = float(np.average(rows["diagnosis/forgotten"], weights=visits))
    return _above(
        limits, "forgotten", share,
        f"{share:.0%} of mastered queries were no longer mastered when visited again.",
        "Visit them again sooner (rft.curriculum.review_after), or lower tau.",
    )  # fmt: skip


#: Rules in the order of the report: topic, rule, and the columns that it needs.
RULES: tuple[tuple[str, Check, tuple[str, ...]], ...] = (
    ("answers on held-out queries", gain, ()),
    ("reward against accuracy", reward_hacking, ("reward", "accuracy")),
    (
        "reward spread of groups",
        no_spread,
        ("diagnosis/no_spread", "diagnosis/none_right", "diagnosis/all_right"),
    ),
    ("wrong answers rewarded like right ones", wrong_above_right, ("diagnosis/wrong_above_right",)),
    ("what rewards differ by", shaping_variance, ("diagnosis/variance_share/ndcg",)),
    (
        "penalised paragraphs",
        penalised_advantage_share,
        ("diagnosis/penalised_advantage_share", "raae/penalised_token_share"),
    ),
    ("largest advantage", largest_advantage, ("diagnosis/largest_advantage",)),
    ("rollouts without an answer", not_boxed, ("diagnosis/not_boxed",)),
    ("answers that are no candidates", not_listed, ("diagnosis/not_listed",)),
    ("completions cut at the limit", at_limit, ("completions/clipped_ratio",)),
    ("length of completions", length_factor, ("completions/mean_length",)),
    ("entropy of rollouts", entropy_kept, ("entropy", "reward")),
    ("KL to the reference policy", kl, ("kl",)),
    ("clipped ratios", clipped, ("clip_ratio/region_mean",)),
    ("numbers that are not finite", not_finite, ()),
    ("visits to mastered queries", returned, ("diagnosis/returned",)),
    ("forgotten queries", forgotten, ("diagnosis/returned", "diagnosis/forgotten")),
)


@dataclass(frozen=True)
class Diagnosis:
    """Results of all rules.

    Attributes:
        findings: Of the rules that could be applied, problems first.
        not_measured: Topics of the other rules, whose columns this run did not log.
    """

    findings: tuple[Finding, ...]
    not_measured: tuple[str, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings beyond their limits."""
        return tuple(f for f in self.findings if f.is_problem)

    def report(self) -> dict[str, Any]:
        """As plain values, findings by rule."""
        return {
            "problems": len(self.problems),
            "findings": {
                f.rule: {k: v for k, v in asdict(f).items() if k != "rule"} for f in self.findings
            },
            "not_measured": list(self.not_measured),
        }


def examine(run: RunRecord, limits: DiagnosisLimits) -> Diagnosis:
    """Applies all rules to a run.

    Args:
        run: Its record; at least one step.
        limits: Limits of the rules.
    """
    findings = [check(run, limits) for _, check, needs in RULES if _logged(run.log, needs)]
    missing = tuple(what for what, _, needs in RULES if not _logged(run.log, needs))
    return Diagnosis(tuple(sorted(findings, key=lambda f: not f.is_problem)), missing)


def _logged(log: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether all columns are there with a value in common."""
    return set(columns) <= set(log.columns) and (
        not columns or bool(log[list(columns)].notna().all(axis=1).any())
    )
