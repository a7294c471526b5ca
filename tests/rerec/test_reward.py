"""Reward terms against values worked out by hand, and their properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.rerec.reward import (
    Reward,
    RewardBatch,
    RewardContext,
    format_term,
    ndcg_at_k,
    pas,
    qas,
    unit_rows,
)

# Four films. 0: directed by Ann, starring Ben, Drama. 1: directed by Ben (as director!), starring
# Ben, Drama. 2: starring Cat. 3: nothing known.
GRAPH = AttributeGraph(
    4,
    [
        (0, "Directed_by", "Ann"), (0, "Starring", "Ben"), (0, "Genre", "Drama"),
        (1, "Directed_by", "Ben"), (1, "Starring", "Ben"), (1, "Genre", "Drama"),
        (2, "Starring", "Cat"),
    ],
)  # fmt: skip
EMBEDDINGS = unit_rows(np.array([[3.0, 4.0], [4.0, 3.0], [-3.0, -4.0], [0.0, 0.0]]))


def rows(*items):
    width = max(len(r) for r in items)
    return np.array([list(r) + [-1] * (width - len(r)) for r in items], dtype=np.int64)


class TestNdcg:
    def test_one_answer_one_truth(self):
        assert ndcg_at_k(rows([0], [1], [-1]), rows([0], [0], [0]), k=1).tolist() == [1, 0, 0]

    def test_rank_counts(self):
        # right at rank 2 of 3: 1/log2(3) over an ideal of 1
        value = ndcg_at_k(rows([1, 0, 2]), rows([0]), k=3)
        assert value == pytest.approx([1 / math.log2(3)])

    def test_k_cuts_the_list(self):
        assert ndcg_at_k(rows([1, 0]), rows([0]), k=1).tolist() == [0.0]

    def test_several_truths_share_the_ideal(self):
        # truths {0, 1}, answers 2, 0, 1 at K=3: (1/log2 3 + 1/log2 4) / (1 + 1/log2 3)
        value = ndcg_at_k(rows([2, 0, 1]), rows([0, 1]), k=3)
        assert value == pytest.approx([(1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3))])

    def test_more_truths_than_k(self):
        # K=1 and three truths: one right answer is all that can be asked for
        assert ndcg_at_k(rows([2]), rows([0, 1, 2]), k=1).tolist() == [1.0]

    def test_padding_is_never_a_hit(self):
        assert ndcg_at_k(rows([-1, -1]), rows([0, -1]), k=2).tolist() == [0.0]

    def test_rejects_what_makes_no_sense(self):
        with pytest.raises(ValueError, match="k must be"):
            ndcg_at_k(rows([0]), rows([0]), k=0)
        with pytest.raises(ValueError, match="right item"):
            ndcg_at_k(rows([0]), rows([-1]), k=1)


class TestQas:
    def test_attributes_are_typed(self):
        # film 1 shares (Starring, Ben) and (Genre, Drama) with film 0, not (Directed_by, Ann);
        # Ben directing film 1 does not count as Ben starring
        assert qas(GRAPH.bits, rows([1]), rows([0]), 1) == pytest.approx([2 / 3])

    def test_is_not_symmetric(self):
        assert qas(GRAPH.bits, rows([2], [0]), rows([0], [2]), 1).tolist() == [0.0, 0.0]
        assert qas(GRAPH.bits, rows([0]), rows([0]), 1).tolist() == [1.0]

    def test_unknown_answer_and_empty_truth_score_zero(self):
        assert qas(GRAPH.bits, rows([-1], [0]), rows([0], [3]), 1).tolist() == [0.0, 0.0]

    def test_several_truths_ask_for_what_they_share(self):
        # films 0 and 1 share (Starring, Ben) and (Genre, Drama); film 0 has both
        assert qas(GRAPH.bits, rows([0], [2]), rows([0, 1], [0, 1]), 1).tolist() == [1.0, 0.0]

    def test_padding_takes_nothing_away_wherever_it_stands(self):
        truths = np.array([[0, -1, 1], [-1, 1, 0], [-1, -1, 0]])
        # what 0 and 1 share, twice; then all of film 0, of which film 1 has two thirds
        value = qas(GRAPH.bits, rows([1], [2], [1]), truths, 1)
        assert value == pytest.approx([1, 0, 2 / 3])

    def test_a_graph_without_attributes(self):
        assert qas(AttributeGraph(2, []).bits, rows([1]), rows([0]), 1).tolist() == [0.0]

    def test_k_places_are_averaged(self):
        # places: film 0 (1.0), nothing (0), film 1 (2/3)
        value = qas(GRAPH.bits, rows([0, -1, 1]), rows([0]), 3)
        assert value == pytest.approx([(1 + 0 + 2 / 3) / 3])

    def test_more_than_64_attributes(self):
        graph = AttributeGraph(
            2,
            [(0, "Genre", str(n)) for n in range(200)]
            + [(1, "Genre", str(n)) for n in range(0, 200, 2)],
        )
        assert qas(graph.bits, rows([1]), rows([0]), 1) == pytest.approx([0.5])


class TestPas:
    def test_cosines_by_hand(self):
        # (3,4).(4,3)/25 = 24/25; opposite vectors -1; unknown 0; a zero vector 0
        value = pas(EMBEDDINGS, rows([1], [2], [-1], [3]), rows([0], [0], [0], [0]), 1)
        assert value == pytest.approx([0.96, -1.0, 0.0, 0.0])

    def test_places_are_averaged_and_an_empty_one_counts_nothing(self):
        # places: film 1 (0.96), nothing, which is not the last film, and film 0 (1)
        value = pas(EMBEDDINGS[:3], rows([1, -1, 0]), rows([0]), 3)
        assert value == pytest.approx([(0.96 + 1) / 3])

    def test_several_truths_are_averaged(self):
        assert pas(EMBEDDINGS, rows([0]), rows([0, 2]), 1) == pytest.approx([0.0])


@given(
    hnp.arrays("float64", (8, 3), elements=st.floats(-1, 1, width=32)),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 4),
)
def test_no_answer_off_the_list_is_paid_more_than_the_worst_on_it(vectors, seed, w_qas, w_pas, k):
    """Whatever the graphs say; for k > 1, of answers with one title."""
    rng = np.random.default_rng(seed)
    embeddings, bits = unit_rows(vectors), rng.integers(0, 256, (8, 1)).astype(np.uint64)
    listed = rng.permutation(8)[:5]
    truth = listed[:1]
    ranked = np.array([[item] for item in (*listed, -1)])
    n = len(ranked)
    batch = RewardBatch(
        ranked, np.tile(truth, (n, 1)), np.ones(n, dtype=bool), np.tile(listed, (n, 1))
    )
    context = RewardContext(bits, embeddings, k=k, no_box_ndcg=-0.5)
    weights = {"ndcg": 1.0, "qas": w_qas, "pas": w_pas, "format": 0.1}
    *on_list, off_list = Reward(context, weights)(batch).total
    assert off_list <= min(on_list) + 1e-12


def test_pas_of_an_answer_off_the_list_by_hand():
    """Right item (1, 0); on the list cosines 1, 0 and -0.6, so an unknown answer has -0.6."""
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8], [-1.0, 0.0]])
    ranked, truths = np.array([[-1], [1], [-1]]), np.array([[0], [0], [0]])
    listed = np.array([[0, 1, 2], [0, 1, 2], [0, 1, -1]])  # item 3 is not on any list
    assert pas(embeddings, ranked, truths, 1, listed).tolist() == pytest.approx([-0.6, 0.0, 0.0])
    assert pas(embeddings, ranked, truths, 1).tolist() == pytest.approx([0.0, 0.0, 0.0])
    # two places, one of them empty
    assert pas(embeddings, ranked, truths, 2, listed).tolist() == pytest.approx([-0.6, -0.3, 0.0])


class TestReward:
    CONTEXT = RewardContext(GRAPH.bits, EMBEDDINGS, k=1, no_box_ndcg=-0.5)

    def test_paper_formula_by_hand(self):
        reward = Reward(self.CONTEXT, {"ndcg": 1.0, "qas": 0.01, "pas": 0.01, "format": 0.1})
        batch = RewardBatch(
            rows([0], [1], [-1]), rows([0], [0], [0]), np.array([True, True, False])
        )
        scored = reward(batch)
        assert scored.total == pytest.approx(
            [
                1 + 0.01 * 1 + 0.01 * 1 + 0.1 * 0.5,
                0 + 0.01 * 2 / 3 + 0.01 * 0.96 + 0.1 * 0.5,
                -0.5 + 0 + 0 - 0.1 * 0.5,
            ]
        )
        assert scored.terms["qas"] == pytest.approx([1, 2 / 3, 0])

    def test_weight_zero_still_measures(self):
        scored = Reward(self.CONTEXT, {"ndcg": 1.0, "qas": 0.0})(
            RewardBatch(rows([1]), rows([0]), np.array([True]))
        )
        assert scored.total.tolist() == [0.0]
        assert scored.terms["qas"] == pytest.approx([2 / 3])

    def test_unknown_term_is_an_error(self):
        with pytest.raises(ValueError, match="unknown reward terms"):
            Reward(self.CONTEXT, {"novelty": 1.0})

    def test_format_term(self):
        assert format_term(np.array([True, False])).tolist() == [0.5, -0.5]


@st.composite
def batches(draw):
    n_items = draw(st.integers(2, 8))
    edges = draw(
        st.lists(
            st.tuples(
                st.integers(0, n_items - 1), st.sampled_from("RST"), st.sampled_from("abcde")
            ),
            max_size=30,
        )
    )
    n = draw(st.integers(1, 6))
    width = draw(st.integers(1, 4))
    ranked = [draw(st.permutations(range(n_items)))[:width] for _ in range(n)]
    ranked = np.array([[i if draw(st.booleans()) else -1 for i in row] for row in ranked])
    truths = np.array([[draw(st.integers(0, n_items - 1))] for _ in range(n)])
    return n_items, edges, ranked, truths


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(1, 5))
def test_against_sets_and_plain_python(case, k):
    """The vectorised terms equal a direct transcription of the definitions."""
    n_items, edges, ranked, truths = case
    graph = AttributeGraph(n_items, edges)
    fast_qas, fast_ndcg = qas(graph.bits, ranked, truths, k), ndcg_at_k(ranked, truths, k)
    for row in range(len(ranked)):
        wanted = graph.attributes_of(int(truths[row, 0]))
        places = [int(p) for p in ranked[row, :k]]
        shared = [
            len(graph.attributes_of(p) & wanted) / max(len(wanted), 1) for p in places if p >= 0
        ]
        assert fast_qas[row] == pytest.approx(sum(shared) / k)
        gain = sum(1 / math.log2(j + 2) for j, p in enumerate(places) if p == truths[row, 0])
        assert fast_ndcg[row] == pytest.approx(gain)


@settings(max_examples=30, deadline=None)
@given(batches(), st.randoms(use_true_random=False))
def test_permuting_rows_permutes_rewards(case, random):
    n_items, edges, ranked, truths = case
    graph = AttributeGraph(n_items, edges)
    order = list(range(len(ranked)))
    random.shuffle(order)
    assert (
        qas(graph.bits, ranked[order], truths[order], 2).tolist()
        == qas(graph.bits, ranked, truths, 2)[order].tolist()
    )
