"""Statistics of a comparison: bootstrap over seeds and queries, permutation test, Holm.

Every seed answers the same queries, so seeds and queries are crossed: a resample draws seeds with
replacement, and then queries with replacement, one draw for all seeds (the pigeonhole bootstrap,
Owen 2007, doi:10.1214/07-AOAS122). Queries drawn anew for each seed would be averaged over the
seeds, and the interval too narrow.

Queries that ask for the same are answered alike, and are no independent evidence: what is drawn,
and whose signs are flipped, are clusters of them (Miller 2024, arXiv 2411.00640, on evaluations
of language models). ``Share.of_clusters`` makes one unit of each; a query of its own is a cluster
of one. Below, a *unit* is a cluster, or a query where there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Numbers held at once by a portion of resamples or of sign flips: 32 MB of float64.
_PORTION = 4_000_000

#: With at most so many units that differ, all 2^n sign flips are enumerated.
EXACT_UP_TO = 14


@dataclass(frozen=True)
class Share:
    """A share over seeds and units, e.g. of right answers or of facts that are true.

    Attributes:
        hits: What counts, (S seeds, N units).
        total: Out of how much, (S, N); None for one a unit, which makes the share a mean.
    """

    hits: Array
    total: Array | None = None

    @property
    def value(self) -> float:
        """The share over all seeds and units together; NaN of nothing."""
        total = self.hits.size if self.total is None else self.total.sum()
        return float(self.hits.sum() / total) if total else float("nan")

    def of_clusters(self, clusters: NDArray[np.int64]) -> Share:
        """The same share with one unit for each cluster.

        Args:
            clusters: Cluster of each unit, (N,); any numbers.
        """
        total = np.ones_like(self.hits) if self.total is None else self.total
        return Share(sum_clusters(self.hits, clusters), sum_clusters(total, clusters))


def sum_clusters(values: Array, clusters: NDArray[np.int64]) -> Array:
    """Sums (S, N) over the units of each of C clusters, (S, C), clusters in order of number."""
    names, place = np.unique(clusters, return_inverse=True)
    return np.stack([np.bincount(place, row, minlength=len(names)) for row in values])


def resample(shares: Sequence[Share], samples: int, seed: int) -> Array:
    """Resamples shares over seeds and units, all with the same units.

    Seeds are drawn for each share by itself: trainings of different variants are independent,
    also where their seeds have the same numbers.

    Args:
        shares: V shares over the same N units; their numbers of seeds may differ.
        samples: Number of resamples.
        seed: Of the draws.

    Returns:
        The shares in every resample, (samples, V); NaN where a resample has nothing to share.

    Raises:
        ValueError: If there is no unit, or the shares are not over the same number of them.
    """
    sizes = {share.hits.shape[1] for share in shares}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"shares must be over the same units, at least one; found {sizes}")
    of_units, of_seeds = (np.random.default_rng([seed, part]) for part in (1, 2))
    seeds = [_counts(of_seeds, len(share.hits), samples) for share in shares]
    values = np.empty((samples, len(shares)))
    for rows in _portions(samples, sizes.pop()):
        units = _counts(of_units, shares[0].hits.shape[1], rows.stop - rows.start)
        for column, share in enumerate(shares):
            values[rows, column] = _weighted(share, seeds[column][rows], units)
    return values


def _portions(count: int, width: int) -> Iterator[slice]:
    step = max(1, _PORTION // width)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _counts(rng: np.random.Generator, size: int, samples: int) -> Array:
    """How often each of ``size`` things is drawn in ``size`` draws with replacement."""
    drawn = rng.integers(size, size=(samples, size)) + np.arange(samples)[:, None] * size
    counts = np.bincount(drawn.ravel(), minlength=samples * size)
    return counts.reshape(samples, size).astype(np.float64)


def _weighted(share: Share, seeds: Array, units: Array) -> Array:
    hits = (seeds * (units @ share.hits.T)).sum(axis=1)
    if share.total is None:
        return np.asarray(hits / share.hits.size)
    total = (seeds * (units @ share.total.T)).sum(axis=1)
    return np.divide(hits, total, out=np.full_like(hits, np.nan), where=total > 0)


def percentile_interval(resampled: Array, confidence: float) -> tuple[float, float]:
    """The percentile interval of resampled values, NaN left out; (NaN, NaN) of nothing."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def permutation_test(differences: Array, permutations: int, seed: int) -> float:
    """Two-sided p value of a mean paired difference, by flipping signs.

    If two variants answer alike, which of them a unit's two answers are from says nothing, so
    each difference is as likely with the other sign. Units without a difference do not matter.
    What the seeds are is taken as given: the test is about the policies that were trained.

    Args:
        differences: Of each unit, the mean over seeds of one variant minus that of the other,
            (N,); of a cluster, the sum over its queries.
        permutations: Random sign flips where there are too many units to enumerate all.
        seed: Of the flips.

    Returns:
        The share of sign flips whose mean is at least as far from 0. Exact with at most
        ``EXACT_UP_TO`` differences that are not 0; else (1 + flips as far) / (1 + flips), which
        never claims less than was drawn (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    moved = differences[differences != 0]
    # Sums of the same numbers in another order differ in the last digits.
    observed = abs(moved.sum()) - 1e-9 * np.abs(moved).sum()
    if len(moved) <= EXACT_UP_TO:
        patterns = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
        return float((np.abs((1 - 2 * patterns) @ moved) >= observed).mean())
    rng = np.random.default_rng(seed)
    as_far = 0
    for rows in _portions(permutations, len(moved)):
        flips = rng.integers(2, size=(rows.stop - rows.start, len(moved)), dtype=np.int8)
        sums = moved.sum() - 2 * (flips.astype(np.float64) @ moved)
        as_far += int((np.abs(sums) >= observed).sum())
    return (1 + as_far) / (1 + permutations)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for multiple comparisons (Holm 1979), in the given order.

    The smallest of n is multiplied by n, the next by n - 1, and so on; none falls below one
    before it, and none exceeds 1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(steps, 1.0)
    return [float(value) for value in corrected]
