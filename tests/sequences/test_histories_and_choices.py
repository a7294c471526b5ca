"""Order of time, the core, leave-one-out, candidates and ranks, against values by hand."""

import math

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.sequences.choices import draw_candidates, hits, ndcg, ranks, sample_users
from rerec_pipeline.sequences.histories import by_user, in_order, k_core, training_part

RAW = pa.schema(
    {"record": pa.int64(), "user_id": pa.string(), "item": pa.string(), "timestamp": pa.int64()}
)


@pytest.fixture(params=["duckdb", "datafusion"])
def table(request):
    """Makes tables of interactions in each of the two engines in turn."""
    engine = getattr(ibis, request.param).connect()

    def make(rows):
        columns = {name: [row[n] for row in rows] for n, name in enumerate(RAW.names)}
        return engine.create_table("raw", pa.table(columns, schema=RAW))

    return make


def keys(*names):
    index = {"key": list(names), "item_id": [10 * n for n in range(1, len(names) + 1)]}
    return ibis.memtable(index, schema={"key": "string", "item_id": "int64"})


class TestOrder:
    def test_time_then_place_in_the_file(self, table):
        raw = table([(1, "b", "x", 5), (2, "a", "z", 7), (3, "a", "y", 7), (4, "a", "x", 6),
                     (5, "b", "y", 4)])  # fmt: skip
        found = in_order(raw, keys("x", "y", "z"))
        assert found.names == ["a", "b"]
        assert found.users.tolist() == [0, 0, 0, 1, 1]
        assert found.items.tolist() == [10, 30, 20, 20, 10]
        assert found.undated == 0

    def test_users_without_all_their_times_are_left_out_and_counted(self, table):
        raw = table([(1, "a", "x", 5), (2, "a", "y", None), (3, "b", "x", 1), (4, "c", "y", None)])
        found = in_order(raw, keys("x", "y"))
        assert (found.names, found.users.tolist(), found.items.tolist()) == (["b"], [0], [10])
        assert found.undated == 2

    def test_nobody_is_left(self, table):
        found = in_order(table([(1, "a", "x", None)]), keys("x"))
        assert (found.names, len(found.users), found.undated) == ([], 0, 1)


class TestCore:
    def test_what_goes_takes_others_along(self):
        # Item 3 has one user; without it user 2 has one item; without that item 2 has one user.
        users = np.array([0, 0, 1, 1, 2, 2, 0])
        items = np.array([0, 1, 0, 1, 2, 3, 2])
        assert k_core(users, items, 2).tolist() == [True] * 4 + [False] * 3

    @given(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40), st.integers(1, 4)
    )
    def test_everything_left_has_k(self, pairs, k):
        users, items = (np.array([p[n] for p in pairs], dtype=np.int64) for n in (0, 1))
        kept = k_core(users, items, k)
        for nodes in (users[kept], items[kept]):
            assert not len(nodes) or np.unique(nodes, return_counts=True)[1].min() >= k
        assert k_core(users, items, 1).all()

    def test_histories_and_what_is_learned_from(self):
        histories = by_user(np.array([4, 4, 4, 4, 7, 7]), np.array([3, 1, 2, 5, 6, 8]))
        assert {user: items.tolist() for user, items in histories.items()} == {
            4: [3, 1, 2, 5], 7: [6, 8],
        }  # fmt: skip
        users, items = training_part(list(histories.values()))
        assert (users.tolist(), items.tolist()) == ([0, 0], [3, 1])
        assert by_user(np.empty(0, np.int64), np.empty(0, np.int64)) == {}


class TestCandidates:
    def test_nothing_seen_is_a_negative_and_the_draw_is_the_users_own(self):
        pool, seen = np.arange(40), np.array([1, 2, 3])
        drawn = draw_candidates("user 5", 3, seen, pool, 19, seed=0)
        assert len(set(drawn.tolist())) == 20 and 3 in drawn
        assert not set(drawn.tolist()) & {1, 2}
        assert (drawn == draw_candidates("user 5", 3, seen, pool, 19, seed=0)).all()
        for other in (("user 6", 0), ("user 5", 1)):
            assert (drawn != draw_candidates(other[0], 3, seen, pool, 19, seed=other[1])).any()

    def test_too_few_items_are_an_error(self):
        with pytest.raises(ValueError, match="only 2 items can be negatives, 3 are needed"):
            draw_candidates("u", 0, np.array([0]), np.arange(3), 3, seed=0)

    def test_users_are_sampled_once_each_in_order(self):
        names = [f"{n:03}" for n in range(100)]
        drawn = sample_users(names, 10, seed=0)
        assert drawn == sorted(set(drawn)) and len(drawn) == 10
        assert drawn == sample_users(names, 10, seed=0) != sample_users(names, 10, seed=1)
        assert sample_users(names, 100, seed=0) == names


class TestRanks:
    def test_by_hand(self):
        scores = np.array([[0.5, 0.9, 0.1], [0.2, 0.2, 0.2], [0.2, 0.2, 0.2]])
        assert ranks(scores, np.array([0, 0, 2])).tolist() == [2, 1, 3]

    def test_a_model_whose_scores_are_nan_is_never_right(self):
        nan = np.nan
        scores = np.array([[nan, nan, nan], [0.3, nan, 0.1], [0.3, nan, 0.1]])
        assert ranks(scores, np.array([0, 1, 0])).tolist() == [3, 3, 2]

    def test_hits_and_ndcg(self):
        places = np.array([1, 2, 10, 11, 0])
        assert hits(places, 10).tolist() == [1, 1, 1, 0, 0]
        assert ndcg(places, 10) == pytest.approx([1, 1 / math.log2(3), 1 / math.log2(11), 0, 0])

    @given(st.integers(0, 2**32 - 1))
    def test_a_rank_is_the_place_in_a_stable_sort(self, seed):
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, 4, size=(5, 8)).astype(float)
        right = rng.integers(8, size=5)
        order = np.argsort(-scores, axis=1, kind="stable")
        assert ranks(scores, right).tolist() == [
            row.tolist().index(r) + 1 for row, r in zip(order, right, strict=True)
        ]
