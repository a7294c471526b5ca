"""When a cell counts as done, what comes next, what has to wait, and how long it will take."""

import pytest

from rerec_pipeline.experiments.grid import Cell
from rerec_pipeline.experiments.schedule import (
    list_ready,
    list_stuck,
    match_compute,
    say_duration,
    seconds_left,
    too_large,
)


def cell(variant, seed=0, changes=()):
    return Cell("d", "b", variant, seed, "x" if changes else "", changes)


SFT, REREC, GRPO = cell("sft"), cell("rerec"), cell("grpo")
CELLS = [SFT, REREC, GRPO]
NEEDS = {SFT: REREC}


class TestOrder:
    def test_compute_is_that_of_the_same_seed_and_changes(self):
        qas = (("qas", 0.1),)
        cells = [cell(v, s, c) for v in ("sft", "rerec") for s in (0, 1) for c in ((), qas)]
        matched = match_compute(cells, {"sft"})
        assert matched == {
            cell("sft", s, c): cell("rerec", s, c) for s in (0, 1) for c in ((), qas)
        }

    def test_a_value_may_be_a_list(self):
        lists = [(("cuts", cuts),) for cuts in ([1], [1, 5])]
        cells = [cell(v, 0, c) for v in ("sft", "rerec") for c in lists]
        matched = match_compute(cells, {"sft"})
        assert matched == {cell("sft", 0, c): cell("rerec", 0, c) for c in lists}

    def test_without_the_reference_nothing_is_matched(self):
        assert match_compute([SFT, GRPO], {"sft"}) == {}

    def test_a_cell_waits_for_what_it_needs(self):
        states = dict.fromkeys(CELLS, "waiting")
        assert list_ready(CELLS, states, [], NEEDS) == [REREC, GRPO]
        assert list_ready(CELLS, states, [REREC], NEEDS) == [GRPO]
        assert list_ready(CELLS, {**states, REREC: "finished"}, [], NEEDS) == [SFT, GRPO]

    def test_it_is_stuck_if_that_has_failed(self):
        states = dict.fromkeys(CELLS, "waiting")
        assert list_stuck(CELLS, states, NEEDS) == []
        assert list_stuck(CELLS, {**states, REREC: "failed"}, NEEDS) == [SFT]


class TestTime:
    def test_the_mean_of_the_finished_ones(self):
        assert seconds_left([], [], 3, 1) is None
        assert seconds_left([10, 20], [], 4, 1) == 60
        assert seconds_left([10, 20], [5], 4, 1) == 70
        assert seconds_left([10], [4], 3, 2) == 18  # 3 cells and 6 s, two at once
        assert seconds_left([10], [1, 1], 0, 4) == 9  # more jobs do not make a cell faster
        assert seconds_left([10], [25], 0, 1) == 0
        assert seconds_left([10], [], 0, 1) == 0

    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (3590, "1 h 00 min"), (7500, "2 h 05 min")],
    )
    def test_in_words(self, seconds, said):
        assert say_duration(seconds) == said


class TestMemory:
    def test_only_what_plainly_does_not_fit_is_refused(self):
        assert too_large(1, 10**10, 10**9) is None
        assert too_large(4, None, 10**9) is None
        assert too_large(2, 10**9, 2 * 10**9) is None
        said = too_large(4, 10**9, 2_500_000_000)
        assert said == (
            "4 cells at once need about 4.0 GB (a finished one held 1.0 GB), and 2.5 GB are free: "
            "use --jobs 2"
        )
