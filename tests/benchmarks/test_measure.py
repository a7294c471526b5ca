"""How the benchmarks measure and report."""

import re
import sys

import numpy as np
import pytest

from benchmarks.measure import (
    Check,
    Pairs,
    Section,
    at_least,
    at_most,
    finish,
    in_turns,
    peak_extra_mb,
    speed_row,
    surroundings,
)


def section(*checks: Check) -> Section:
    return Section("Title", "Conditions.", ["", "ratio"], [["a", "2x"]], checks)


def test_the_ratio_is_the_median_of_the_pairs_by_hand():
    pairs = Pairs(np.array([4.0, 9.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    assert pairs.ratio == 4.0  # of 4, 9, 1; not the ratio of the sums, 14 / 3
    assert pairs.spread == (2.5, 6.5)
    assert speed_row("a", pairs, "b") == ["a", "4e+03", "1e+03", "4.0x (2.5-6.5)", "b"]


def test_turns_alternate_and_both_do_the_same_work():
    calls = []
    in_turns(lambda n: calls.append(("r", n)), lambda n: calls.append(("o", n)), pairs=3)
    assert calls == [
        ("r", -1), ("o", -1),  # to warm up
        ("o", 0), ("r", 0), ("r", 1), ("o", 1), ("o", 2), ("r", 2),
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process read its peak")
def test_the_peak_is_what_a_call_takes_for_a_while():
    mb = peak_extra_mb(lambda: np.ones(2**23).sum())  # 64 MB, given back at once
    assert 60 < mb < 80
    assert peak_extra_mb(lambda: None) < 10


def test_bars_by_hand():
    assert at_least("a", 4.0, 4.0).met
    assert not at_least("a", 3.99, 4.0).met
    assert at_most("a", 0.25, 0.25).met
    assert not at_most("a", 0.26, 0.25).met
    assert at_least("a", 4.0, 4.0).what == "a: 4x (bar: at least 4x)"


def test_a_report_is_markdown_and_says_what_was_missed():
    text = section(Check("fast", True), Check("small", False)).markdown()
    assert text.split("\n\n") == [
        "### Title",
        "Conditions.",
        "|  | ratio |\n| --- | --- |\n| a | 2x |",
        "- met: fast\n- NOT MET: small",
    ]


@pytest.mark.parametrize(("met", "code"), [(True, 0), (False, 1)])
def test_a_missed_bar_is_an_exit_code(met, code, capsys):
    with pytest.raises(SystemExit) as ended:
        finish("heading", [section(Check("a", True)), section(Check("b", met))])
    assert ended.value.code == code
    assert capsys.readouterr().out.startswith("heading\n\n### Title")


def test_the_surroundings_are_told():
    line = surroundings("make bench", ["numpy"])
    assert re.match(r"`make bench`, \d{4}-\d\d-\d\d: \d+ cores \(.+\), \d+ threads, Python 3", line)
    assert f"numpy {np.__version__}, commit " in line
