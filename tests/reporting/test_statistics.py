"""Intervals and tests of a comparison, against hand, enumeration and scipy."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rerec_pipeline.reporting import statistics
from rerec_pipeline.reporting.statistics import (
    Share,
    holm,
    percentile_interval,
    permutation_test,
    resample,
    sum_clusters,
)

RIGHT = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])  # two seeds, three queries
outcomes = arrays(
    np.float64, st.tuples(st.integers(1, 3), st.just(6)), elements=st.sampled_from([0.0, 1.0])
)


def mean(values) -> Share:
    return Share(np.asarray(values, dtype=float))


def rows(seed, count, p=0.5, seeds=1):
    return (np.random.default_rng(seed).random((seeds, count)) < p).astype(float)


class TestResampling:
    def test_every_resample_is_as_likely_as_its_draws(self):
        """All 2^2 draws of seeds x 3^3 draws of queries, enumerated."""
        exact: dict[float, float] = {}
        for seeds in product(range(2), repeat=2):
            for queries in product(range(3), repeat=3):
                value = round(float(RIGHT[np.ix_(seeds, queries)].mean()), 9)
                exact[value] = exact.get(value, 0) + 1 / (2**2 * 3**3)
        values, counts = np.unique(
            resample([mean(RIGHT)], 40_000, 0).round(9), return_counts=True
        )  # fmt: skip
        assert dict(zip(values, counts / 40_000, strict=True)) == pytest.approx(exact, abs=0.01)

    def test_a_share_is_of_what_was_drawn(self):
        """One seed; query 0 states 3 facts, all true, query 1 states 1, which is not."""
        facts = Share(np.array([[3.0, 0.0]]), np.array([[3.0, 1.0]]))
        assert facts.value == 3 / 4
        values, counts = np.unique(resample([facts], 8_000, 0), return_counts=True)
        assert values.tolist() == [0.0, 0.75, 1.0]
        assert counts / 8_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)

    def test_a_resample_that_states_nothing_has_no_share(self):
        facts = Share(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))
        drawn = resample([facts], 200, 0)
        assert np.isnan(drawn).any() and percentile_interval(drawn, 0.95) == (1.0, 1.0)
        nothing = Share(np.zeros((2, 3)), np.zeros((2, 3)))
        assert np.isnan(nothing.value)
        assert np.isnan(percentile_interval(resample([nothing], 50, 0), 0.95)).all()

    def test_variants_are_resampled_with_the_same_queries(self):
        """One that is right where the other is not: their sum is the same in every resample."""
        one = rows(0, 50)
        drawn = resample([mean(one), mean(1 - one)], 300, 0)
        assert drawn.sum(axis=1) == pytest.approx(np.ones(300))
        assert drawn[:, 0].std() > 0

    def test_seeds_that_differ_widen_the_interval(self):
        """Three seeds, right on all or on none: queries say nothing, seeds everything."""
        steady = mean(np.ones((3, 40)))
        shaky = mean(np.array([[1.0], [1.0], [0.0]]) * np.ones((3, 40)))
        drawn = resample([steady, shaky], 2_000, 0)
        assert percentile_interval(drawn[:, 0], 0.95) == (1.0, 1.0)
        assert percentile_interval(drawn[:, 1], 0.95) == pytest.approx((0.0, 1.0))

    def test_portions_do_not_change_the_result(self, monkeypatch):
        shares = [mean(rows(1, 30, seeds=3)), mean(rows(2, 30, seeds=2))]
        whole = resample(shares, 500, 7)
        monkeypatch.setattr(statistics, "_PORTION", 100)
        assert (resample(shares, 500, 7) == whole).all()

    def test_shares_of_other_queries_are_refused(self):
        with pytest.raises(ValueError, match="same units"):
            resample([mean(np.ones((1, 2))), mean(np.ones((1, 3)))], 10, 0)
        with pytest.raises(ValueError, match="at least one"):
            resample([mean(np.ones((1, 0)))], 10, 0)

    def test_one_seed_is_scipys_percentile_bootstrap(self):
        data = rows(3, 80, 0.3)[0]
        ours = percentile_interval(resample([mean(data[None])], 20_000, 0), 0.9)
        reference = scipy.stats.bootstrap(
            (data,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        assert ours == pytest.approx(tuple(reference), abs=0.013)  # one query in 80

    def test_a_paired_difference_is_scipys_paired_bootstrap(self):
        one, two = rows(4, 80, 0.6)[0], rows(5, 80, 0.4)[0]
        drawn = resample([mean(one[None]), mean(two[None])], 20_000, 0)
        ours = percentile_interval(drawn[:, 0] - drawn[:, 1], 0.9)
        reference = scipy.stats.bootstrap(
            (one, two), lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis), paired=True,
            n_resamples=20_000, confidence_level=0.9, method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        assert ours == pytest.approx(tuple(reference), abs=0.013)

    def test_the_interval_holds_the_truth_about_as_often_as_it_says(self):
        """300 experiments of 60 queries and a true accuracy of .4, one seed each."""
        held = 0
        for trial in range(300):
            drawn = resample([mean(rows(trial, 60, 0.4))], 300, trial)
            low, high = percentile_interval(drawn, 0.9)
            held += low <= 0.4 <= high
        assert 0.83 <= held / 300 <= 0.96

    @settings(max_examples=40, deadline=None)
    @given(outcomes, outcomes)
    def test_a_difference_is_the_other_way_round_with_the_other_sign(self, one, two):
        drawn = resample([mean(one), mean(two)], 200, 0)
        there = percentile_interval(drawn[:, 0] - drawn[:, 1], 0.9)
        back = percentile_interval(drawn[:, 1] - drawn[:, 0], 0.9)
        assert there == pytest.approx((-back[1], -back[0]))
        assert (drawn >= 0).all() and (drawn <= 1).all()

    @settings(max_examples=40, deadline=None)
    @given(outcomes)
    def test_on_average_a_resample_is_what_was_seen(self, values):
        drawn = resample([mean(values)], 4_000, 1)
        assert drawn.mean() == pytest.approx(values.mean(), abs=0.05)


class TestClusters:
    def test_sums_by_hand(self):
        values = np.array([[1.0, 2.0, 4.0, 8.0], [0.0, 1.0, 0.0, 1.0]])
        assert sum_clusters(values, np.array([5, 2, 5, 2])).tolist() == [[10.0, 5.0], [2.0, 0.0]]

    def test_every_resample_is_as_likely_as_its_draws_of_clusters(self):
        """One seed; clusters of 2 queries (both right) and 1 (wrong): shares 1, 2/3 and 0."""
        share = mean([[1, 1, 0]]).of_clusters(np.array([0, 0, 1]))
        assert share.value == 2 / 3
        values, counts = np.unique(resample([share], 8_000, 0).round(9), return_counts=True)
        assert values == pytest.approx([0, 2 / 3, 1])
        assert counts / 8_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)

    def test_clusters_of_one_change_nothing(self):
        share = mean(rows(0, 40, seeds=3))
        own = share.of_clusters(np.arange(40))
        assert own.value == share.value
        assert resample([own], 200, 0) == pytest.approx(resample([share], 200, 0))

    @settings(max_examples=30, deadline=None)
    @given(outcomes, st.lists(st.integers(0, 3), min_size=6, max_size=6))
    def test_the_share_itself_is_that_of_the_queries(self, values, clusters):
        share = mean(values)
        assert share.of_clusters(np.array(clusters)).value == pytest.approx(share.value)

    def test_the_interval_holds_the_truth_where_one_of_queries_is_too_narrow(self):
        """200 experiments of 20 clusters of 5 queries, each right on all or on none."""
        held = {"clusters": 0, "queries": 0}
        numbers = np.repeat(np.arange(20), 5)
        for trial in range(200):
            share = mean(np.repeat(rows(trial, 20, 0.4), 5, axis=1))
            for name, drawn in (("clusters", share.of_clusters(numbers)), ("queries", share)):
                low, high = percentile_interval(resample([drawn], 300, trial), 0.9)
                held[name] += low <= 0.4 <= high
        assert held["queries"] / 200 < 0.65
        assert 0.8 < held["clusters"] / 200 <= 0.97


class TestPermutation:
    def test_by_hand(self):
        """Of 8 sign flips of (1, 1, 1), two have a sum of 3 or -3."""
        assert permutation_test(np.ones(3), 100, 0) == 2 / 8
        # (2, 1, -1): sums 2 0 4 2 and their negatives; |sum| >= 2 in 6 of 8.
        assert permutation_test(np.array([2.0, 1.0, -1.0]), 100, 0) == 6 / 8

    def test_queries_without_a_difference_do_not_matter(self):
        assert permutation_test(np.array([0.0, 1.0, 0.0, 1.0, 1.0]), 100, 0) == 2 / 8
        assert permutation_test(np.zeros(5), 100, 0) == 1.0
        assert permutation_test(np.zeros(0), 100, 0) == 1.0

    @pytest.mark.parametrize("count", [8, 200])
    def test_it_is_scipys(self, count):
        rng = np.random.default_rng(count)
        one, two = rng.random(count), rng.random(count) + 0.04
        reference = scipy.stats.permutation_test(
            (one, two), lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
            permutation_type="samples", n_resamples=4_000, vectorized=True, rng=rng,
        ).pvalue  # fmt: skip
        ours = permutation_test(one - two, 4_000, 0)
        assert ours == pytest.approx(reference, abs=1e-12 if count == 8 else 0.03)

    def test_random_flips_agree_with_all_of_them(self, monkeypatch):
        differences = np.random.default_rng(3).normal(0.3, 1, 12)
        exact = permutation_test(differences, 1, 0)
        monkeypatch.setattr(statistics, "EXACT_UP_TO", 0)
        drawn = permutation_test(differences, 40_000, 0)
        assert drawn == pytest.approx(exact, abs=0.01)
        assert drawn == permutation_test(differences, 40_000, 0)
        assert drawn != permutation_test(differences, 40_000, 1)

    def test_a_p_value_is_never_zero(self):
        assert permutation_test(np.ones(200), 999, 0) == 1 / 1000

    @settings(max_examples=50, deadline=None)
    @given(arrays(np.float64, st.integers(0, 10), elements=st.sampled_from([-1, -1 / 3, 0, 2 / 3])))
    def test_the_sign_of_all_makes_no_difference(self, differences):
        p = permutation_test(differences, 10, 0)
        assert p == permutation_test(-differences, 10, 0)
        assert 2.0 ** -len(differences) <= p <= 1

    def test_where_nothing_differs_it_says_so_as_often_as_it_should(self):
        """Of 400 experiments between equals, about a tenth have p <= 0.1."""
        found = 0
        for trial in range(400):
            one, two = rows(trial, 100, 0.5), rows(trial + 1000, 100, 0.5)
            found += permutation_test((one - two)[0], 199, trial) <= 0.1
        assert 0.05 <= found / 400 <= 0.15


class TestHolm:
    def test_by_hand(self):
        """Sorted .01 .02 .03 .04: x4 .04, x3 .06, x2 .06, x1 .04 -> not below the one before."""
        assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
        assert holm([0.6, 0.5]) == [1.0, 1.0]
        assert holm([0.02]) == [0.02]
        assert holm([]) == []

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_it_keeps_the_order_and_stays_between_p_and_bonferroni(self, values):
        corrected = holm(values)
        for p, q in zip(values, corrected, strict=True):
            assert p <= q <= min(1.0, p * len(values)) + 1e-12
        assert [corrected[i] for i in np.argsort(values)] == sorted(corrected)
