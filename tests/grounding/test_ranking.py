import numpy as np
import pytest

from rerec_pipeline.grounding.config import RankerConfig
from rerec_pipeline.grounding.features import FEATURES
from rerec_pipeline.grounding.ranking import Answered, TreeRanker, draw_lists, fit_ranker

RULE = RankerConfig(
    queries=100, pool_negatives=4, lists=2, list_size=3, rounds=10, patience=5,
    learning_rate=0.3, leaves=3, min_rows=1, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def answered(retriever):
    """Whoever asks wants what is unpopular: the ranker has to learn the opposite of the pool."""
    asked = [retriever.ask(text) for text in ("anything", "something", "whatever")]
    return [Answered(request, frozenset({7})) for request in asked]


class TestLists:
    def test_right_items_among_wrong_ones(self, retriever, answered):
        lists = draw_lists(retriever, answered, RULE)
        assert len(lists.sizes) == 3 * (1 + RULE.lists)
        assert lists.sizes[0] == 1 + RULE.pool_negatives and sum(lists.sizes) == len(lists.right)
        assert lists.right.sum() == len(lists.sizes)  # one right item in each

    def test_what_may_be_right_named_or_seen_is_in_no_list(self, retriever):
        asked = retriever.ask("I saw The Harbor", history=(1,))
        query = Answered(asked, frozenset({7, 0}), frozenset({2, 3, 4}))
        config = RULE.model_copy(update={"pool_negatives": 8, "list_size": 8})
        lists = draw_lists(retriever, [query], config)
        year = lists.features[:, FEATURES.index("year")]
        assert set(year.tolist()) == {1999, 1996, 1960}  # 7 is right, 5 and 6 are wrong

    def test_a_query_whose_right_items_it_names_teaches_nothing(self, retriever):
        asked = retriever.ask("I saw The Harbor")
        lists = draw_lists(retriever, [Answered(asked, frozenset({0}))], RULE)
        assert lists.sizes == [] and len(lists.features) == 0

    def test_no_more_queries_than_wanted_and_the_same_again(self, retriever, answered):
        config = RULE.model_copy(update={"queries": 2})
        first, again = (draw_lists(retriever, answered, config) for _ in range(2))
        assert len(first.sizes) == 2 * (1 + RULE.lists)
        assert np.array_equal(first.features, again.features, equal_nan=True)


class TestRanker:
    def test_it_learns_and_its_text_keeps_what_it_learned(self, retriever, answered):
        lists = draw_lists(retriever, answered, RULE)
        text = fit_ranker(lists, lists, RULE)
        assert fit_ranker(lists, lists, RULE) == text
        fitted = retriever.ordered_by(TreeRanker(text))
        asked = answered[0].asked
        assert retriever.top(asked, 1) == [0] and fitted.top(asked, 1) == [7]
        assert fitted.choose(asked, [0, 3, 7]) == 7
        importances = TreeRanker(text).importances()
        assert set(importances) == set(FEATURES) and sum(importances.values()) == pytest.approx(1)

    def test_without_validation(self, retriever, answered):
        lists = draw_lists(retriever, answered, RULE)
        TreeRanker(fit_ranker(lists, None, RULE))

    def test_without_anything_to_learn_from_the_order_is_that_of_the_first_stage(self, retriever):
        lists = draw_lists(retriever, [], RULE)
        fitted = retriever.ordered_by(TreeRanker(fit_ranker(lists, None, RULE)))
        asked = retriever.ask("directed by Ana Torv")
        assert fitted.top(asked, 8) == retriever.top(asked, 8)

    def test_other_features(self):
        with pytest.raises(ValueError, match="fit it again"):
            import lightgbm

            data = lightgbm.Dataset(np.eye(4), [0, 1, 0, 1])
            other = lightgbm.train({"verbose": -1, "min_data_in_leaf": 1}, data, 1)
            TreeRanker(other.model_to_string())
