"""Candidates that retrieval finds: which they are, and that labels do not choose them."""

from dataclasses import replace

import pandas as pd
import pytest

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.pipelines.data_engineering import prompts as dp
from rerec_pipeline.pipelines.rft import nodes as rft
from rerec_pipeline.recbench.candidates import CandidateConfig, CandidateDrawer
from rerec_pipeline.recbench.records import Query
from rerec_pipeline.recbench.schemas import CandidatePools, Candidates
from rerec_pipeline.recbench.tables import lists_right_item
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.reporting.data_tables import share_listed
from tests.conftest import DRAWN, RETRIEVAL

RULE = CandidateConfig(source="retrieved", size=3, hard=2, traps=2, seed=0)
TITLES = [*(f"Film {n} (1990)" for n in range(8)), "Twin", "Twin"]
FOUND = [9, 5, 4, 3, 2, 6, 0, 7]  # best first; 1 is not found, 9 has the title of 8


def keep(query: Query, mentioned=frozenset(), found=FOUND):
    drawer = CandidateDrawer(ItemIndex(range(10), TITLES), AttributeGraph(10, []), {}, RULE)
    return drawer.keep(query, mentioned, found)


class TestOneQuery:
    def test_the_first_that_may_be_listed(self):
        # 9 cannot be answered, 5 is named, 4 was seen; 3, 2 and 6 are next.
        choice = keep(Query("q", "explicit", "?", (2,), history=(4,)), {5})
        assert choice.truth == 2 and set(choice.candidates) == {2, 3, 6}

    def test_what_is_not_found_is_not_listed(self):
        choice = keep(Query("q", "explicit", "?", (1,)))
        assert choice.truth == 1 and set(choice.candidates) == {5, 4, 3}

    def test_at_most_one_is_right(self):
        choice = keep(Query("q", "explicit", "?", (5, 3)))
        assert len({5, 3} & set(choice.candidates)) == 1 and choice.truth in choice.candidates

    def test_a_right_item_that_is_named_has_no_privilege(self):
        assert 5 not in keep(Query("q", "explicit", "?", (5,)), {5}).candidates

    @pytest.mark.parametrize("truth", range(8))
    def test_which_item_is_right_does_not_change_the_list(self, truth):
        query = Query("q", "explicit", "?", (3,))
        assert keep(replace(query, truth_ids=(truth,))).candidates == keep(query).candidates

    def test_the_order_is_seeded_by_the_query(self):
        orders = {keep(Query(f"q{n}", "explicit", "?", (3,))).candidates for n in range(20)}
        assert len(orders) > 1 and {frozenset(order) for order in orders} == {frozenset({5, 4, 3})}

    def test_too_few(self):
        with pytest.raises(BadInputError, match=r"q7.*finds 2 items, 3 .*retrieval\.pool"):
            keep(Query("q7", "explicit", "?", (3,)), found=[3, 4])


@pytest.fixture(scope="module")
def config(world_tables):
    return world_tables[0].candidates.model_copy(update={"source": "retrieved", "size": 5})


def pools(tables, config, **changes):
    known = {**tables, **changes}
    names = ("queries", "splits", "items", "attribute_graph", "item_popularity", "group_popularity")
    return CandidatePools.validate(dp.find_pools(*(known[n] for n in names), config, RETRIEVAL))


@pytest.fixture(scope="module")
def found(world_tables, config):
    return pools(world_tables[1], config)


@pytest.fixture(scope="module")
def listed(world_tables, config, found):
    names = ("queries", "splits", "mentions", "histories", "items", "attribute_graph")
    known = [world_tables[1][name] for name in names]
    return Candidates.validate(dp.draw_candidates(*known, found, config, DRAWN))


class TestAWorld:
    def test_nothing_is_looked_for_where_candidates_are_drawn(self, world_tables):
        assert world_tables[1]["candidate_pools"].empty
        shares = share_listed(world_tables[1]["candidates"], world_tables[1]["splits"])
        assert shares == {"train": 1.0, "validation": 1.0, "test": 1.0}

    def test_most_right_items_are_found_in_every_split(self, world_tables, listed):
        shares = share_listed(listed, world_tables[1]["splits"])
        assert set(shares) == {"train", "validation", "test"}
        assert all(0.6 < share < 1 for share in shares.values()), shares

    def test_the_right_item_stays_the_one_that_is_drawn(self, world_tables, listed):
        """Whoever held the drawn ones out of pretraining held these out, too."""
        drawn = world_tables[1]["candidates"]
        assert drawn["truth_id"].tolist() == listed["truth_id"].tolist()

    def test_answers_of_other_splits_change_nothing(self, world_tables, config, found):
        tables = world_tables[1]
        queries = tables["queries"].copy()
        asked = set(tables["splits"].query("split != 'train'")["query_id"])
        other = [int(tables["items"]["item_id"].iloc[0])]
        queries["truth_ids"] = [
            other if name in asked else truths
            for name, truths in zip(queries["query_id"], queries["truth_ids"], strict=True)
        ]
        pd.testing.assert_frame_equal(pools(tables, config, queries=queries), found)

    def test_the_own_answer_of_a_training_query_changes_nothing(self, world_tables, config, found):
        tables = world_tables[1]
        query = tables["splits"].query("split == 'train'")["query_id"].iloc[0]
        queries = tables["queries"].copy()
        at = queries.index[queries["query_id"] == query][0]
        queries.at[at, "truth_ids"] = [int(tables["items"]["item_id"].iloc[0])]
        again = pools(tables, config, queries=queries).set_index("query_id")["item_ids"]
        assert again[query] == found.set_index("query_id")["item_ids"][query]

    def test_only_lists_with_the_right_item_are_trained_on(self, world_tables, listed, monkeypatch):
        prompts = world_tables[1]["prompts"].copy()
        of_query = listed.set_index("query_id")["candidate_ids"]
        prompts["candidate_ids"] = [of_query[name] for name in prompts["query_id"]]
        chosen = prompts[prompts["split"] == "train"].reset_index(drop=True)
        monkeypatch.setattr(rft, "select_prompts", lambda *_: chosen)
        record = {"name_or_path": "any"}
        kept = rft.select_training_prompts(prompts, None, record, None, None, "sample_movie")
        right = lists_right_item(chosen)
        assert kept["query_id"].tolist() == chosen["query_id"][right].tolist()
        assert 0 < len(kept) < len(chosen)
        chosen["candidate_ids"] = [[-1]] * len(chosen)
        with pytest.raises(BadInputError, match=r"finds no right item.*data\.candidates\.source"):
            rft.select_training_prompts(prompts, None, record, None, None, "sample_movie")
