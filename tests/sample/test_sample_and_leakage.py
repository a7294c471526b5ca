"""The fabricated world, and the proofs that nothing of a test query leaks."""

import json
from collections import Counter

import networkx as nx
import pytest

from rerec_pipeline.configs import DOCUMENT_KINDS, Habits
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.parameters import InteractionParameters
from rerec_pipeline.pipelines.data_engineering import nodes as de
from rerec_pipeline.recbench.candidates import CandidateConfig, CandidateDrawer
from rerec_pipeline.recbench.heldout import held_out_pairs, split_fingerprint
from rerec_pipeline.recbench.mentions import title_index, words
from rerec_pipeline.recbench.records import QUERY_FILES, Query
from rerec_pipeline.recbench.splits import mentioned_items, need_of
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    examples_from_table,
    graph_from_table,
    queries_from_table,
    queries_to_table,
)
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.sample.corpus import CorpusWriter
from rerec_pipeline.sample.layout import fabricate_files
from rerec_pipeline.sample.world import DOMAINS, fabricate_world
from tests.conftest import attribute_parameters, data_parameters, engineer, small_world

BOOKS = data_parameters(
    domain="book",
    world=small_world(
        people={"Written_by": 10},
        queries={"explicit": 30, "implicit": 30, "misinformed": 30, "interest": 30},
    ),
)


class TestWorld:
    def test_a_seed_makes_one_world(self):
        assert fabricate_files("movie", small_world()) == fabricate_files("movie", small_world())
        assert fabricate_files("movie", small_world()) != fabricate_files(
            "movie", small_world(seed=4)
        )

    def test_it_is_written_in_the_published_layout(self):
        files = fabricate_files("movie", small_world())
        assert set(files) == {
            "movies.dat", "users.dat", "ratings.dat", "item_attributes.csv", *QUERY_FILES.values()
        }  # fmt: skip
        misinformed = json.loads(files["MisinformedQuery.json"])[0]
        assert set(misinformed["misinformed"][0]) == {
            "movie",
            "relation",
            "person",
            "original person",
        }
        assert (
            misinformed["multihop_info"][0]["person"]
            == misinformed["misinformed"][0]["original person"]
        )
        implicit = json.loads(files["ImplicitQuery.json"])[0]
        assert {"direct_description_query", "situational_description_query", "data_idx"} <= set(
            implicit
        )
        assert any(
            q == {}
            for r in json.loads(files["InterestBasedQuery.json"])
            for q in r["query & ground true"]
        )

    def test_titles_have_what_makes_titles_hard(self):
        titles = [item.title for item in fabricate_world(DOMAINS["movie"], small_world()).items]
        names = Counter(title[:-7] for title in titles)
        assert len(set(titles)) == len(titles)
        assert any(", The (" in title for title in titles)
        assert any(not title.isascii() for title in titles)
        assert any(f"{name.removesuffix(', The')} 2" in names for name in names)
        assert max(names.values()) > 1  # remakes share a name

    def test_some_people_are_in_two_relations(self):
        world = fabricate_world(DOMAINS["movie"], small_world())
        people = {
            r: {v for i in world.items for v in i.values(r)} for r in ("Directed_by", "Starring")
        }
        assert people["Directed_by"] & people["Starring"]

    def test_users_watch_within_their_taste(self):
        world = fabricate_world(DOMAINS["movie"], small_world())
        taste = {item.item_id: item.taste for item in world.items}
        own = [taste[i] == world.users[u - 1].taste for u, i, _, _ in world.ratings]
        assert sum(own) / len(own) > 0.5  # four tastes: chance would be a quarter


@pytest.fixture(scope="module", params=["movie", "book"])
def tables(request, world_tables, tmp_path_factory):
    if request.param == "movie":
        return world_tables[1]
    return engineer(BOOKS, str(tmp_path_factory.mktemp("books")))


class TestTables:
    def test_queries_survive_the_table(self, tables, tmp_path):
        tables["queries"].to_parquet(tmp_path / "q.parquet")
        import pandas as pd

        queries = queries_from_table(pd.read_parquet(tmp_path / "q.parquet"))
        assert queries == queries_from_table(tables["queries"])
        assert queries_to_table(queries).equals(
            queries_to_table(queries_from_table(tables["queries"]))
        )

    def test_the_truth_satisfies_and_no_other_candidate_does(self, tables):
        catalogue = catalogue_from_table(tables["items"])
        graph = graph_from_table(tables["attribute_graph"], catalogue)
        for example in examples_from_table(tables["prompts"], catalogue):
            if example.conditions:
                satisfying = set(graph.satisfying(example.conditions).tolist())
                assert satisfying & set(example.candidates) == {example.truth}

    def test_candidates(self, tables):
        catalogue = catalogue_from_table(tables["items"])
        queries = queries_from_table(tables["queries"])
        titles = title_index(catalogue)
        for query, row in zip(queries, tables["candidates"].to_dict("records"), strict=True):
            candidates = list(row["candidate_ids"])
            assert len(set(candidates)) == 20
            assert set(candidates) & set(query.truth_ids) == {row["truth_id"]}
            named = {catalogue.item_ids[i] for i in mentioned_items(query, titles)}
            assert not named & set(candidates)

    def test_the_place_of_the_truth_says_nothing(self, tables):
        places = [
            list(r["candidate_ids"]).index(r["truth_id"])
            for r in tables["candidates"].to_dict("records")
        ]
        assert max(Counter(places).values()) < 0.2 * len(places)
        assert len(set(places)) == 20


class TestLeakage:
    def pairs(self, tables):
        catalogue = catalogue_from_table(tables["items"])
        titles = title_index(catalogue)
        splits = dict(zip(tables["splits"]["query_id"], tables["splits"]["split"], strict=True))
        for query in queries_from_table(tables["queries"]):
            yield splits[query.query_id], query, need_of(query, mentioned_items(query, titles))

    def test_no_text_is_in_two_splits(self, tables):
        texts: dict = {}
        for split, query, _ in self.pairs(tables):
            assert texts.setdefault(words(query.text), split) == split

    def test_no_need_and_truth_are_in_two_splits(self, tables):
        seen: dict = {}
        for split, query, need in self.pairs(tables):
            for truth in query.truth_ids:
                assert seen.setdefault((need, truth), split) == split

    def test_clusters_are_what_shares_a_text_or_a_need_and_a_right_item(self, tables):
        """The components of a graph of queries, texts and (need, right item) pairs."""
        graph = nx.Graph()
        for _, query, need in self.pairs(tables):
            graph.add_edge(query.query_id, words(query.text))
            graph.add_edges_from((query.query_id, (need, truth)) for truth in query.truth_ids)
        clusters = tables["splits"].groupby("cluster")
        expected = {
            frozenset(node for node in part if isinstance(node, str))
            for part in nx.connected_components(graph)
        }
        assert {frozenset(rows["query_id"]) for _, rows in clusters} == expected
        assert clusters["split"].nunique().max() == 1 and clusters.size().max() > 1
        prompts = tables["prompts"].set_index("query_id")["cluster"]
        assert prompts.to_dict() == tables["splits"].set_index("query_id")["cluster"].to_dict()

    def test_every_split_has_every_type_in_proportion(self, tables):
        counts = (
            tables["queries"]
            .merge(tables["splits"], on="query_id")
            .groupby(["query_type", "split"])
            .size()
        )
        for kind in counts.index.get_level_values(0).unique():
            total = counts[kind].sum()
            assert abs(counts[kind]["test"] / total - 0.3) < 0.15
            assert abs(counts[kind]["train"] / total - 0.5) < 0.15

    def test_the_attribute_graph_owes_nothing_to_queries_that_are_evaluated(self, tables):
        files = {"movies.dat", "books.dat", "item_attributes.csv"}
        assert set(tables["attributes"]["source"]) <= files
        secret = tables["queries"].copy()
        secret["conditions"] = [
            [f"Genre: secret of {split}"] for split in tables["splits"]["split"]
        ]
        every = attribute_parameters("training_queries")
        stated, _ = de.state_facts(secret, tables["splits"], tables["items"], every)
        told = {value for value in stated["value"] if "secret" in value}
        assert told == {"secret of train"}

    def test_lightgcn_never_sees_what_is_asked_for(self, tables):
        graph = de.build_interaction_graph(
            tables["interactions"], tables["queries"], tables["splits"],
            InteractionParameters(validation_share=0.2, seed=0),
        ).to_pandas()  # fmt: skip
        edges = set(zip(graph["user_id"], graph["item_id"], strict=True))
        left_out = 0
        for split, query, _ in self.pairs(tables):
            for truth in query.truth_ids:
                if query.user_id is not None and split != "train":
                    assert (query.user_id, truth) not in edges
                    left_out += 1
        assert left_out > 0
        assert set(graph["part"]) == {"train", "validation"}

    def test_the_base_policy_reads_no_pair_that_is_asked_for(self, world_tables):
        data, tables = world_tables
        heldout = held_out_pairs(
            tables["prompts"], tables["queries"], tables["items"], ["train", "validation", "test"]
        )
        assert len(heldout) > 50
        world = fabricate_world(DOMAINS["movie"], data.world)
        habits = Habits(
            looks=3,
            spots=0.5,
            follows=2.0,
            commits=0.5,
            true_verdicts=1.0,
            misled=0.5,
            misreads=0.5,
        )
        told = []

        class Spy(CorpusWriter):
            def _ask_about(self, item):
                ask = super()._ask_about(item)
                if ask is not None:
                    told.append((ask.need.key, ask.truth.item_id))
                return ask

        writer = Spy(world, lambda q, titles: f"{titles}{q}", heldout, habits, seed=0)
        for kind in DOCUMENT_KINDS:
            for _ in range(300):
                writer.write(kind, list_size=20)
        assert len(told) > 1000
        assert not set(told) & heldout

    def test_traces_never_find_a_held_out_item_fitting_a_need_they_misread(self, world_tables):
        data, _ = world_tables
        world = fabricate_world(DOMAINS["movie"], data.world)
        person = world.items[0].values("Directed_by")[0]
        key = frozenset([("Directed_by", person)])
        heldout = {(key, item.item_id) for item in world.items}
        habits = Habits(
            looks=5,
            spots=0.5,
            follows=2.0,
            commits=0.5,
            true_verdicts=1.0,
            misled=1.0,
            misreads=1.0,
        )
        writer = CorpusWriter(world, lambda q, titles: q, heldout, habits, seed=0)
        traces = [writer.write("trace", 20).turns[0][1] for _ in range(1500)]
        misread = [t for t in traces if t.startswith(f"Wanted: directed by {person}.")]
        assert misread, "the habit to misread should produce the held-out need"
        assert not any(f"directed by {person}. Fits." in t for t in misread)

    def test_the_fingerprint_of_splits_notices_a_moved_query(self, world_tables):
        prompts = world_tables[1]["prompts"]
        moved = prompts.copy()
        moved.loc[0, "split"] = "test" if moved.loc[0, "split"] != "test" else "train"
        assert split_fingerprint(prompts) == split_fingerprint(
            prompts.sample(frac=1, random_state=0)
        )
        assert split_fingerprint(prompts) != split_fingerprint(moved)


class TestCandidateConfig:
    CATALOGUE = ItemIndex(range(30), [f"Film {n} (1990)" for n in range(30)])
    GRAPH = AttributeGraph(
        30,
        [(n, "Directed_by", "Ann") for n in range(3)]
        + [(n, "Genre", "Drama") for n in range(2, 12)]
        + [(n, "Directed_by", "Bob") for n in range(20, 25)],
    )

    def draw(self, query, **config):
        config = CandidateConfig(
            **{"source": "drawn", "size": 8, "hard": 0, "traps": 0, "seed": 0, **config}
        )
        need = need_of(query, ())
        return CandidateDrawer(self.CATALOGUE, self.GRAPH, {need: {1}}, config).draw(
            query, need, {29}
        )

    QUERY = Query("q", "explicit", "?", (0,), (("Directed_by", "Ann"),), history=(28,))

    def test_what_is_never_a_negative(self):
        for seed in range(30):
            choice = self.draw(self.QUERY, seed=seed)
            # 1 is right for another query of this need, 2 satisfies, 29 is named, 28 was seen
            assert not {1, 2, 28, 29} & set(choice.candidates)
            assert choice.truth == 0

    def test_incomplete_labels_keep_plausible_truths_out(self):
        unlisted = Query("q", "explicit", "By Ann?", (0,), label_complete=False)
        for seed in range(30):
            assert not {1, 2} & set(self.draw(unlisted, seed=seed).candidates)
        listed = Query("q", "explicit", "By Ann?", (0,))
        assert any({2} & set(self.draw(listed, seed=seed).candidates) for seed in range(30))

    def test_an_item_whose_title_another_has_is_never_a_negative(self):
        titles = [*self.CATALOGUE.titles[:28], "Twin", "Twin"]
        config = CandidateConfig(source="drawn", size=20, hard=0, traps=0, seed=0)
        drawer = CandidateDrawer(ItemIndex(range(30), titles), self.GRAPH, {}, config)
        for n in range(20):
            query = Query(f"q{n}", "explicit", "?", (0,), (("Directed_by", "Ann"),))
            assert not {28, 29} & set(drawer.draw(query, need_of(query, ()), ()).candidates)

    def test_a_catalogue_of_one_item_says_what_to_lower(self):
        config = CandidateConfig(source="drawn", size=20, hard=0, traps=0, seed=0)
        drawer = CandidateDrawer(ItemIndex([7], ["Only One"]), AttributeGraph(1, []), {}, config)
        query = Query("q", "explicit", "?", (7,))
        with pytest.raises(BadInputError, match=r"only 0 items .*data\.candidates\.size"):
            drawer.draw(query, need_of(query, ()), ())
        with pytest.raises(BadInputError, match=r"finds 1 items.*data\.candidates\.size"):
            drawer.keep(query, (), [0])

    def test_hard_negatives_share_part(self):
        query = Query("q", "explicit", "?", (2,), (("Directed_by", "Ann"), ("Genre", "Drama")))
        hard = {0, *range(3, 12)}
        assert len(hard & set(self.draw(query, hard=5).candidates)) >= 5

    def test_traps_satisfy_the_false_statement(self):
        from rerec_pipeline.recbench.records import Fact

        query = Query("q", "misinformed", "?", (0,), (("Directed_by", "Ann"),),
                      claims=(Fact("x", "Directed_by", "Bob"),))  # fmt: skip
        assert len(set(range(20, 25)) & set(self.draw(query, traps=3).candidates)) >= 3

    def test_too_few_items(self):
        with pytest.raises(Exception, match="only .* items can be negatives"):
            self.draw(self.QUERY, size=30)

    def test_a_draw_depends_on_its_query_alone(self):
        assert self.draw(self.QUERY) == self.draw(self.QUERY)
        other = Query("other", "explicit", "?", (0,), (("Directed_by", "Ann"),))
        assert self.draw(self.QUERY).candidates != self.draw(other).candidates
