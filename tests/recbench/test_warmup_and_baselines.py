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
    WarmupWriter,
    held_out_facts,
)

CATALOGUE = ItemIndex(range(100, 112), [f"Film {n} (1990)" for n in range(12)])
GRAPH = AttributeGraph(
    12,
    [(n, "Directed_by", f"Director {n % 3}") for n in range(12)]
    + [(n, "Genre", "Drama" if n % 2 else "Comedy") for n in range(12)],
)
DRAMA = ("Genre", "Drama")
FACTS = sorted({fact for n in range(12) for fact in GRAPH.attributes_of(n)})


def writer(heldout=frozenset(), seed=0):
    return WarmupWriter(
        CATALOGUE, GRAPH, heldout,
        lambda text, listed: "|".join([text, *(CATALOGUE.titles[n] for n in listed)]),
        lambda text, listed, right: CATALOGUE.titles[right], seed,
    )  # fmt: skip


def has(title, fact):
    return fact in GRAPH.attributes_of(CATALOGUE.titles.index(title))


class TestWarmup:
    def test_facts_are_in_words(self):
        documents = {writer(seed=n).write("facts", 0).turns[0] for n in range(40)}
        assert (
            "Film 4 (1990)\n\nDescribe it.",
            "Film 4 (1990): directed by Director 1; Comedy.",
        ) in documents

    def test_no_fabricated_request_asks_for_a_pair_that_is_held_out(self):
        heldout = frozenset((DRAMA, n) for n in range(12))
        source = writer(heldout)
        asked = [source.write("reasoning", 4).turns[0][0].split("|")[0] for _ in range(200)]
        assert not any("Drama" in line for line in asked)
        assert any("Comedy" in line for line in asked)

    def test_titles_and_facts_are_recited_from_a_list(self):
        source, seen = writer(), set()
        for _ in range(60):
            ((said, told),) = source.write("recite", 5).turns
            listed = said.removesuffix("\n\nRecite some.").split("\n")
            recited = told.split("\n")
            assert len(set(recited)) == len(recited) and set(recited) <= set(listed)
            seen |= set(recited)
        assert {"Film 11 (1990)", "directed by Director 2", "Drama"} <= seen

    def test_names_are_told_as_requests_say_them(self):
        graph = AttributeGraph(12, [(n, "Directed_by", "Ana Ito (director)") for n in range(12)])
        source = WarmupWriter(CATALOGUE, graph, frozenset(), lambda *_: "", lambda *_: "", 0)
        told = [source.write(kind, 5).turns[0][1] for kind in ("facts", "recite") for _ in range(9)]
        assert any("directed by Ana Ito" in line for line in told)
        assert not any("(director)" in line for line in told)

    def test_of_what_a_request_asks_only_the_right_candidate_has_all(self):
        source, forms = writer(), set()
        for _ in range(200):
            ((said, told),) = source.write("reasoning", 5).turns
            text, *listed = said.split("|")
            assert len(set(listed)) == len(listed) and told in listed
            named = [title for title in CATALOGUE.titles if title in text]
            assert not set(named) & set(listed)
            text, _, besides = text.partition(" If it is ")
            need = [fact for fact in FACTS if fact[1] in text]
            if named:
                made = [fact for fact in FACTS if fact[0] != "Genre"]
                assert all(not has(named[0], fact) for fact in made if fact[1] in text)
                need = [fact for fact in made if all(has(title, fact) for title in named)]
            need += [fact for fact in FACTS if fact[1] in besides]
            assert need and all(has(told, fact) for fact in need)
            assert not any(all(has(t, fact) for fact in need) for t in listed if t != told)
            forms.add((len(named), len(need), "directed by Director" in text))
        plain = {(0, 1, True), (0, 1, False), (0, 2, True)}
        assert forms == plain | {(1, 1, False), (1, 1, True), (1, 2, False), (1, 2, True)} | {
            (2, 1, False), (2, 2, False)
        }  # fmt: skip

    def test_near_candidates_have_one_of_two_things_asked_for(self):
        source, near = writer(), 0
        for _ in range(200):
            ((said, told),) = source.write("reasoning", 5).turns
            text, *listed = said.split("|")
            if "directed by Director" in text and ("Drama" in text or "Comedy" in text):
                kind = ("Genre", "Drama" if "Drama" in text else "Comedy")
                near += any(has(title, kind) for title in listed if title != told)
        assert near > 20

    def test_the_same_seed_writes_the_same(self):
        for kind in WARMUP_KINDS:
            assert writer(seed=3).write(kind, 5) == writer(seed=3).write(kind, 5)

    def test_what_training_queries_ask_for_is_not_held_out(self):
        queries = [
            Query("q0", "explicit", "A drama?", (101,), (DRAMA,)),
            Query("q1", "explicit", "By Director 2?", (102,), label_complete=False),
        ]
        examples = [Example(q.query_id, "explicit", [], q.truth_ids[0] - 100, ()) for q in queries]
        reader = NeedReader(CATALOGUE, GRAPH)
        assert held_out_facts(queries, examples, ["train", "test"], reader) == {
            (("Directed_by", "Director 2"), 2)
        }


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
