"""Ranks by likelihood, counted by hand."""

import numpy as np
import pytest

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.likelihood import report_ranks


def test_what_a_constraint_changes_is_counted():
    places = np.array([1, 1, 2, 6, 11])
    correct = np.array([True, False, True, False, False])
    report = report_ranks(places, correct, np.arange(5), Bootstrap(200, 0.95, 0))
    assert report["n"] == 5
    assert report["free"]["mean"] == report["constrained"]["mean"] == 0.4
    assert report["change"]["mean"] == 0 and report["made_right"] == report["made_wrong"] == 1
    assert report["hit@5"]["mean"] == 0.6
    by_hand = (1 + 1 + 1 / np.log2(3) + 1 / np.log2(7)) / 5
    assert report["ndcg@10"]["mean"] == pytest.approx(by_hand)
    low, high = report["constrained"]["interval"]
    assert 0 <= low <= 0.4 <= high <= 1
