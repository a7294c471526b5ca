"""Other abilities before and after: paired changes by hand, and runs side by side."""

import pandas as pd
import pytest

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.reporting import plots
from rerec_pipeline.reporting.abilities import changes, side_by_side


def scores(values, task="t", name="g", metric="acc"):
    rows = {"name": name, "metric": metric, "task": task, "doc_id": range(len(values))}
    return pd.DataFrame({**rows, "score": values})


class TestChanges:
    def test_by_hand(self):
        before, after = scores([1.0, 1.0, 0.0, 1.0]), scores([1.0, 0.0, 0.0, 0.0])
        row = changes(before, after, Bootstrap(2000, 0.95, 0))["g"]["acc"]
        assert (row["n"], row["before"], row["after"], row["change"]) == (4, 0.75, 0.25, -0.5)
        # Of 4 draws from (0, -1, 0, -1), 1 in 16 is all 0, 1 in 16 all -1: beyond the 2.5 %.
        assert row["interval"] == [-1.0, 0.0]

    def test_it_is_paired(self):
        """Hard and easy questions, each a little better: a change that is certain."""
        before = scores([0.0, 0.25, 0.5, 0.75])
        after = before.assign(score=before["score"] + 0.25)
        row = changes(before, after, Bootstrap(200, 0.95, 0))["g"]["acc"]
        assert row["change"] == 0.25 and row["interval"] == [0.25, 0.25]

    def test_members_of_a_group_are_pooled_by_question(self):
        before = pd.concat([scores([0.0, 0.0, 0.0], "a"), scores([0.0], "b")])
        after = pd.concat([scores([1.0], "b"), scores([0.0, 0.0, 1.0], "a")])
        row = changes(before, after, Bootstrap(200, 0.95, 0))["g"]["acc"]
        assert (row["n"], row["change"]) == (4, 0.5)

    def test_metrics_keep_the_order_of_the_harness(self):
        before = pd.concat([scores([1.0], metric=m) for m in ("strict", "loose", "acc")])
        assert list(changes(before, before, Bootstrap(200, 0.95, 0))["g"]) == [
            "strict",
            "loose",
            "acc",
        ]

    @pytest.mark.parametrize("other", [scores([1.0]), scores([1.0, 1.0], task="u")])
    def test_other_questions_are_refused(self, other):
        with pytest.raises(BadInputError, match="not the questions of abilities_before"):
            changes(scores([1.0, 0.0]), other, Bootstrap(200, 0.95, 0))


def report(variant, change, asked=None):
    row = {"n": 9, "before": 0.9, "after": 0.9 + change, "change": change}
    row["interval"] = [change - 0.1, change + 0.1]
    metrics = {"strict": row, "loose": {**row, "change": 0.0}}
    return {"run": {"variant": variant}, "asked": asked or {"limit": None}, "tasks": {"t": metrics}}


REPORTS = {
    "rerec/seed-0": report("rerec", -0.1),
    "sft/seed-0": report("sft", -0.5),
    "sft/seed-1": report("sft", -0.4),
    "grpo/seed-0": report("grpo", 0.0, {"limit": 5}),
}


class TestSideBySide:
    def test_each_run_is_a_row_of_each_metric(self, caplog):
        table = side_by_side(REPORTS, {"limit": None})
        strict = table[table["metric"] == "strict"]
        assert table["metric"].tolist() == ["strict"] * 3 + ["loose"] * 3
        assert strict["run"].tolist() == ["rerec/seed-0", "sft/seed-0", "sft/seed-1"]
        assert strict["change"].tolist() == [-0.1, -0.5, -0.4]
        assert strict["low"].tolist() == pytest.approx([-0.2, -0.6, -0.5])
        assert "grpo/seed-0 was asked other questions" in caplog.text

    def test_nothing_in_common_is_an_empty_table(self):
        assert side_by_side(REPORTS, {"limit": 7}).empty

    def test_a_point_for_each_run_of_the_first_metric(self):
        figure = plots.abilities_side_by_side(side_by_side(REPORTS, {"limit": None}))
        points = {trace.name: list(trace.y) for trace in figure.data}
        assert points == {"rerec": [-0.1], "sft": [-0.5, -0.4]}

    def test_before_and_after_with_the_interval_of_the_change(self):
        figure = plots.abilities_kept(REPORTS["sft/seed-0"]["tasks"])
        before, after = figure.data
        assert list(before.y) == [0.9] and list(after.y) == pytest.approx([0.4])
        assert list(after.error_y.array) == pytest.approx([0.1])
        assert before.x[0] == "t<br>strict, n=9"
