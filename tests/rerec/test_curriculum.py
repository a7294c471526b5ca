"""The curriculum: order, mastery, forgetting, padding, state."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerec_pipeline.rerec.curriculum import Curriculum, CurriculumConfig, difficulties

RULE = CurriculumConfig(enabled=True, tau=0.1, review_after=2, seed=0)


def run_epoch(curriculum, difficulty):
    """Serves and records one whole epoch; returns its order."""
    served = []
    epoch = len(curriculum.plans)
    while True:
        batch = curriculum.next_batch()
        if len(curriculum.plans) > epoch + 1:
            raise AssertionError("an epoch ended in the middle of a batch")
        curriculum.record(batch, [difficulty(q) for q in batch])
        served += batch
        if len(served) == len(curriculum.plans[-1].order):
            return served


def test_difficulty_by_hand():
    # rewards 1, .5 -> mean of 0 and .5; 1.4 is clamped to 1, -.5 to 0
    assert difficulties(np.array([1.0, 0.5, 1.4, -0.5]), 2).tolist() == [0.25, 0.5]


def test_first_epoch_visits_everything_once():
    curriculum = Curriculum(12, 4, RULE)
    assert sorted(run_epoch(curriculum, lambda q: 1.0)) == list(range(12))


def test_second_epoch_is_sorted_and_leaves_out_the_mastered():
    curriculum = Curriculum(12, 4, RULE)
    run_epoch(curriculum, lambda q: q / 12)  # queries 0 and 1 are below tau = .1
    order = run_epoch(curriculum, lambda q: q / 12)
    # ten are left; two places of the last batch are filled by the mastered ones, served first
    assert sorted(order[:2]) == [0, 1]
    assert order[2:] == list(range(2, 12))
    plan = curriculum.plans[1]
    assert (plan.active, plan.mastered, plan.reviewed, plan.padding) == (10, 2, 0, 2)


def test_the_hardest_are_never_cut_off():
    curriculum = Curriculum(10, 4, RULE)
    for _ in range(5):
        order = run_epoch(curriculum, lambda q: 0.2 + q / 20)
        assert len(order) % 4 == 0
        assert set(order) == set(range(10))
    assert order[-1] == 9


def test_a_mastered_query_is_looked_at_again_and_comes_back_when_forgotten():
    curriculum = Curriculum(8, 4, RULE)
    run_epoch(curriculum, lambda q: 0.0 if q < 4 else 0.9)  # 0-3 mastered in epoch 0
    assert set(run_epoch(curriculum, lambda q: 0.9)) == {4, 5, 6, 7}
    assert set(run_epoch(curriculum, lambda q: 0.9)) == {4, 5, 6, 7}
    # epoch 3: more than two epochs unseen, so they are due; 0 has been forgotten
    assert set(run_epoch(curriculum, lambda q: 0.9 if q == 0 else 0.0)) == set(range(8))
    assert curriculum.plans[3].reviewed == 4
    assert not curriculum.mastered()[0]
    assert 0 in run_epoch(curriculum, lambda q: 0.5)


def test_all_mastered_still_spends_the_budget():
    curriculum = Curriculum(8, 4, RULE)
    for _ in range(4):
        run_epoch(curriculum, lambda q: 0.0)
    assert len(curriculum.plans) == 4


def test_disabled_visits_all_in_changing_seeded_orders():
    config = RULE.model_copy(update={"enabled": False})
    one, two = Curriculum(8, 4, config), Curriculum(8, 4, config)
    orders = [run_epoch(one, lambda q: 0.0) for _ in range(3)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert orders[0] != orders[1]
    assert orders == [run_epoch(two, lambda q: 0.0) for _ in range(3)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 25), st.integers(1, 9), st.integers(0, 3), st.booleans(),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_batches_are_full_distinct_and_nothing_is_lost(n, batch_size, seed, enabled, noise):
    config = CurriculumConfig(enabled=enabled, tau=0.3, review_after=2, seed=seed)
    curriculum = Curriculum(n, batch_size, config)
    rng = np.random.default_rng(noise)
    last_seen = dict.fromkeys(range(n), 0)
    for _ in range(60):
        batch = curriculum.next_batch()
        assert len(batch) == batch_size
        if n >= batch_size:
            assert len(set(batch)) == batch_size
        curriculum.record(batch, rng.random(batch_size).tolist())
        for query in batch:
            last_seen[query] = len(curriculum.plans)
    # no query stays away for longer than a review asks for (plus the running epoch)
    assert all(
        len(curriculum.plans) - seen <= config.review_after + 2 for seen in last_seen.values()
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 15))
def test_a_restored_state_goes_on_exactly(n, batch_size, steps):
    def step(curriculum, rng):
        batch = curriculum.next_batch()
        curriculum.record(batch, rng.random(batch_size).tolist())
        return batch

    straight = Curriculum(n, batch_size, RULE)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        step(straight, rng)
    resumed = Curriculum(n, batch_size, RULE)
    resumed.load_state_dict(json.loads(json.dumps(straight.state_dict(), allow_nan=False)))
    seed = int(rng.integers(1000))
    one, two = np.random.default_rng(seed), np.random.default_rng(seed)
    assert [step(straight, one) for _ in range(12)] == [step(resumed, two) for _ in range(12)]


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one"):
        Curriculum(0, 4, RULE)
    with pytest.raises(ValueError, match="has 3 queries"):
        Curriculum(4, 2, RULE).load_state_dict(Curriculum(3, 2, RULE).state_dict())
