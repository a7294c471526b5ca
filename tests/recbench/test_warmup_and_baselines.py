"""What a model from scratch reads of real data, and answers that need no language model."""

import numpy as np
import pytest

from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.recbench.baselines import choose_near, choose_popular, profile_of
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.task import Example
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.recbench.warmup import (
    WARMUP_KINDS,
    Lesson,
    WarmupHabits,
    WarmupWriter,
    read_lessons,
)

CATALOGUE = ItemIndex(range(100, 112), [f"Film {n} (1990)" for n in range(12)])
GRAPH = AttributeGraph(
    12,
    [(n, "Directed_by", f"Director {n % 3}") for n in range(12)]
    + [(n, "Genre", "Drama" if n % 2 else "Comedy") for n in range(12)],
)
HABITS = WarmupHabits(looks=2, spots=0.5, follows=1, commits=1, true_verdicts=1)
DRAMA = ("Genre", "Drama")


def writer(habits=HABITS, heldout=frozenset(), lessons=None, seed=0):
    lesson = Lesson("A drama?", frozenset([DRAMA]), 1, frozenset(range(1, 12, 2)))
    return WarmupWriter(
        CATALOGUE, GRAPH, np.arange(12.0), lessons or [lesson], heldout,
        lambda text, listed: "|".join([text, *(CATALOGUE.titles[n] for n in listed)]), habits, seed,
    )  # fmt: skip


class TestWarmup:
    def test_a_trace_lists_the_truth_once_and_nothing_else_that_is_right(self):
        source = writer()
        for _ in range(50):
            ((said, _),) = source.write("trace", 6).turns
            text, *listed = said.split("|")
            assert text == "A drama?"
            assert len(set(listed)) == 6
            right = {CATALOGUE.titles[n] for n in range(1, 12, 2)} & set(listed)
            assert right == {"Film 1 (1990)"}

    def test_with_perfect_habits_a_trace_is_true_and_right(self):
        perfect = WarmupHabits(looks=2, spots=1, follows=0, commits=1, true_verdicts=1)
        source = writer(perfect)
        for _ in range(20):
            ((_, told),) = source.write("trace", 4).turns
            lines = told.split("\n")
            assert lines[0] == "Wanted: Drama."
            assert lines[1] == "Film 1 (1990): Drama. Fits."
            assert lines[-1] == "\\boxed{Film 1 (1990)}"

    def test_verdicts_are_false_as_often_as_the_habits_say(self):
        liar = WarmupHabits(looks=1, spots=1, follows=0, commits=0, true_verdicts=0)
        ((_, told),) = writer(liar).write("trace", 4).turns
        assert "Film 1 (1990): Drama. Does not fit." in told

    def test_facts_are_in_words(self):
        documents = {writer(seed=n).write("facts", 0).turns[0] for n in range(40)}
        assert (
            "Film 4 (1990)\n\nDescribe it.",
            "Film 4 (1990): directed by Director 1; Comedy.",
        ) in documents

    def test_no_fabricated_request_asks_for_a_pair_that_is_held_out(self):
        heldout = frozenset((DRAMA, n) for n in range(12))
        source = writer(heldout=heldout)
        asked = [source.write("ask", 4).turns[0][1].split("\n")[0] for _ in range(200)]
        assert not any("Drama" in line for line in asked)
        assert any("Comedy" in line for line in asked)

    def test_the_same_seed_writes_the_same(self):
        for kind in WARMUP_KINDS:
            assert writer(seed=3).write(kind, 5) == writer(seed=3).write(kind, 5)

    def test_only_training_queries_become_lessons(self):
        queries = [
            Query("q0", "explicit", "A drama?", (101,), (DRAMA,)),
            Query("q1", "explicit", "By Director 2?", (102,), label_complete=False),
        ]
        examples = [Example(q.query_id, "explicit", [], q.truth_ids[0] - 100, ()) for q in queries]
        reader = NeedReader(CATALOGUE, GRAPH)
        lessons, heldout = read_lessons(queries, examples, ["train", "test"], reader)
        assert [lesson.text for lesson in lessons] == ["A drama?"]
        assert lessons[0].barred == set(range(1, 12, 2))
        assert heldout == {(("Directed_by", "Director 2"), 2)}


def example(*candidates):
    return Example("q", "explicit", [], candidates[0], candidates)


class TestBaselines:
    ITEMS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])

    def test_popularity_takes_the_first_of_equals(self):
        chosen = choose_popular([example(0, 1), example(2, 1)], np.array([1.0, 5.0, 5.0]))
        assert chosen.tolist() == [1, 2]

    def test_lightgcn_takes_the_nearest_and_nothing_without_a_profile(self):
        profiles = [np.array([2.0, 1.0]), None]
        chosen = choose_near([example(0, 1), example(0, 1)], profiles, self.ITEMS)
        assert chosen.tolist() == [0, -1]

    @pytest.mark.parametrize(
        ("query", "mentioned", "expected"),
        [
            (Query("q", "explicit", "?", (1,), user_id="u"), {0}, [3.0, 3.0]),
            (Query("q", "explicit", "?", (1,), user_id="x", history=(10, 11)), {2}, [0.5, 0.5]),
            (Query("q", "explicit", "?", (1,)), {2}, [1.0, 1.0]),
            (Query("q", "explicit", "?", (1,)), set(), None),
        ],
    )
    def test_a_profile_is_the_user_else_the_history_else_what_is_named(
        self, query, mentioned, expected
    ):
        users = {"u": np.array([3.0, 3.0])}
        profile = profile_of(query, mentioned, users, self.ITEMS, {10: 0, 11: 1})
        assert (None if profile is None else profile.tolist()) == expected
