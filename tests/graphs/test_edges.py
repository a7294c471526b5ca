"""The interaction graph in an engine: hold-out, degrees, arrays."""

import hashlib

import ibis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerec_pipeline.graphs.edges import degree_histogram, edge_arrays, hold_out

PAIRS = st.sets(st.tuples(st.sampled_from(["1", "10", "2", "é"]), st.integers(1, 12)), min_size=1)
SCHEMA = {"user_id": "string", "item_id": "int64"}


def table(pairs):
    return ibis.memtable([{"user_id": u, "item_id": i} for u, i in pairs], schema=SCHEMA)


def by_hand(pairs, share_tenths, seed):
    """The held-out pairs, by the definition in ``hold_out``, in plain Python."""
    held = set()
    for user in {u for u, _ in pairs}:
        items = [i for u, i in pairs if u == user]
        items.sort(key=lambda i: (hashlib.md5(f"{seed}|{user}|{i}".encode()).hexdigest()[:12], i))
        quota = min(len(items) * share_tenths // 10, len(items) - 1)
        held |= {(user, i) for i in items[:quota]}
    return held


def rows(expression):
    return [tuple(row.values()) for row in expression.to_pyarrow().to_pylist()]


class TestHoldOut:
    @settings(max_examples=60, deadline=None)
    @given(PAIRS, st.integers(1, 9), st.integers(0, 3))
    def test_it_is_what_its_definition_says(self, pairs, tenths, seed):
        found = rows(hold_out(table(sorted(pairs)), tenths / 10, seed))
        assert [(u, i) for u, i, _ in found] == sorted(pairs)
        assert {(u, i) for u, i, p in found if p == "validation"} == by_hand(pairs, tenths, seed)

    @settings(max_examples=40, deadline=None)
    @given(PAIRS.flatmap(lambda s: st.permutations(sorted(s))))
    def test_the_order_of_rows_changes_nothing(self, shuffled):
        assert rows(hold_out(table(shuffled), 0.5, 0)) == rows(
            hold_out(table(sorted(shuffled)), 0.5, 0)
        )

    def test_shares_are_rounded_down_and_one_is_kept(self):
        pairs = [(u, i) for u, n in (("a", 10), ("b", 1), ("c", 3)) for i in range(n)]
        for share, expected in ((0.5, [5, 0, 1]), (0.99, [9, 0, 2]), (0.1, [1, 0, 0])):
            found = rows(hold_out(table(pairs), share, 0))
            assert [sum(r[0] == u and r[2] == "validation" for r in found) for u in "abc"] == (
                expected
            )

    def test_a_share_is_the_decimal_that_was_written(self):
        # 0.29 * 100 is 28.999999999999996 in binary fractions
        found = rows(hold_out(table([("a", i) for i in range(100)]), 0.29, 0))
        assert sum(part == "validation" for _, _, part in found) == 29

    def test_the_seed_chooses(self):
        pairs = [(str(u), i) for u in range(20) for i in range(20)]
        parts = [rows(hold_out(table(pairs), 0.5, seed)) for seed in (0, 1)]
        agree = np.mean([a == b for a, b in zip(*parts, strict=True)])
        assert 0.4 < agree < 0.6

    def test_no_item_is_preferred(self):
        pairs = [(str(u), i) for u in range(400) for i in range(10)]
        found = rows(hold_out(table(pairs), 0.3, 0))
        counts = np.bincount([i for _, i, part in found if part == "validation"], minlength=10)
        assert counts.sum() == 1200
        assert counts.min() > 120 - 4 * 9.2 and counts.max() < 120 + 4 * 9.2  # binomial, 4 sigma

    @pytest.mark.parametrize(
        "dialect", ["pyspark", "databricks", "snowflake", "postgres", "duckdb"]
    )
    def test_other_engines_have_all_it_needs(self, dialect):
        edges = ibis.table(SCHEMA, name="edges")
        sql = self.compile(hold_out(edges, 0.1, 0), dialect).upper()
        assert "MD5(" in sql and "ROW_NUMBER()" in sql

    @staticmethod
    def compile(expression, dialect):
        from ibis.backends.sql import compilers

        compiler = {name.lower(): getattr(compilers, name) for name in dir(compilers)}[
            f"{dialect}compiler"
        ]()
        return compiler.to_sqlglot(expression).sql(compiler.dialect)


def test_degrees():
    edges = table([("a", 1), ("a", 2), ("b", 1), ("c", 1)])
    assert rows(degree_histogram(edges)) == [
        ("item", 1, 1),
        ("item", 3, 1),
        ("user", 1, 2),
        ("user", 2, 1),
    ]


class TestArrays:
    def edges(self, pairs):
        return hold_out(table(pairs), 0.5, 0)

    def test_users_are_numbered_in_sorted_order_and_items_as_given(self):
        pairs = [("b", 7), ("a", 7), ("a", 5), ("10", 5), ("2", 9)]
        edges = self.edges(pairs)
        users, items, held = edge_arrays(edges, [9, 5, 7])
        assert users.dtype == items.dtype == np.int64 and held.dtype == bool
        names = ["10", "2", "a", "b"]
        found = {
            (names[u], [9, 5, 7][i], bool(h)) for u, i, h in zip(users, items, held, strict=True)
        }
        assert found == {(u, i, part == "validation") for u, i, part in rows(edges)}

    def test_an_item_that_is_not_in_the_table(self):
        with pytest.raises(ValueError, match="not in the items table"):
            edge_arrays(self.edges([("a", 1), ("a", 2)]), [1])

    def test_no_edge(self):
        with pytest.raises(ValueError, match="no edge"):
            edge_arrays(ibis.memtable([], schema={**SCHEMA, "part": "string"}), [1])
