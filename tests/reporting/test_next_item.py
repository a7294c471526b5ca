"""Next-item reports, against values by hand."""

import math

import numpy as np
import pytest

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.next_item import places_listed, report_places
from rerec_pipeline.reporting.plots import next_item_choices


def test_measures_by_hand_and_no_list_where_one_item_is_recommended():
    places = {"model": np.array([1, 2, 11, 20]), "policy": np.array([1, 0, 0, 0])}
    report = report_places(places, ["policy"], Bootstrap(200, 0.95, 0))
    means = {name: row["mean"] for name, row in report["model"].items()}
    assert means == {
        "hit@1": 0.25, "hit@10": 0.5, "ndcg@10": pytest.approx((1 + 1 / math.log2(3)) / 4),
    }  # fmt: skip
    assert list(report["policy"]) == ["hit@1"] and report["policy"]["hit@1"]["mean"] == 0.25
    figure = next_item_choices({"candidates": 20, "users": 4, "models": report})
    assert [list(bar.x) for bar in figure.data] == [["model", "policy"], ["model"], ["model"]]


def test_where_a_policy_lists_the_right_item():
    ranked = np.array([[4, -1], [7, 4], [-1, -1]])
    assert places_listed(ranked, np.array([[4], [4], [4]])).tolist() == [1, 2, 0]
