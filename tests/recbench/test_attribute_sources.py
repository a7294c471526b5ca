"""Facts from a GEXF graph and from training queries, and what a query plausibly asks for."""

import io

import networkx as nx
import pytest

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.recbench.attribute_sources import read_gexf, stated_facts
from rerec_pipeline.recbench.needs import NeedReader
from rerec_pipeline.recbench.records import Exclusions, Fact, Query
from rerec_pipeline.recbench.titles import ItemIndex

TITLES = ["Heat (1995)", "Ronin (1998)", "Amélie (2001)", "Big Fish (2003)"]
CATALOGUE = ItemIndex([10, 11, 12, 13], TITLES)


def gexf(graph):
    buffer = io.BytesIO()
    nx.write_gexf(graph, buffer)
    return buffer.getvalue()


def read(graph, exclusions=None):
    rows = read_gexf(gexf(graph), "g.gexf", CATALOGUE, exclusions or Exclusions())
    return {(row["item_id"], row["relation"], row["value"]) for row in rows}


class TestGexf:
    def test_titles_are_items_and_edges_name_relations(self):
        graph = nx.Graph()
        graph.add_edge("Heat (1995)", "Michael_Mann", relation="Directed_by")
        graph.add_edge("Drama", "Amélie (2001)", relation="genre")
        assert read(graph) == {(10, "Directed_by", "Michael Mann"), (12, "Genre", "Drama")}

    def test_the_relation_may_be_the_attributes_type(self):
        graph = nx.Graph()
        graph.add_node("n0", label="Ronin (1998)", type="movie")
        graph.add_node("n1", label="Robert De Niro", type="actor")
        graph.add_edge("n0", "n1")
        assert read(graph) == {(11, "Starring", "Robert De Niro")}

    def test_an_edge_that_names_no_relation_is_related(self):
        graph = nx.Graph([("Heat (1995)", "Michael Mann")])
        assert read(graph) == {(10, "Related_to", "Michael Mann")}

    def test_a_name_like_a_title_without_its_year_is_an_attribute(self):
        graph = nx.Graph([("Ronin (1998)", "Heat")])
        assert read(graph) == {(11, "Related_to", "Heat")}

    def test_edges_that_join_no_item_and_attribute_are_counted(self):
        exclusions = Exclusions()
        graph = nx.Graph([("Unknown (1901)", "A"), ("Heat (1995)", "Ronin (1998)")])
        assert read(graph, exclusions) == set()
        assert exclusions.counts == {
            "GEXF edge: no end is an item of the catalogue": 1,
            "GEXF edge: both ends are items": 1,
        }

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            (b"", "not a GEXF graph"),
            (b"<html></html>", "not a GEXF graph"),
            (gexf(nx.Graph()), "no edges"),
        ],
    )
    def test_malformed(self, data, problem):
        with pytest.raises(BadInputError, match=problem):
            read_gexf(data, "g.gexf", CATALOGUE, Exclusions())

    def test_an_unknown_relation_names_the_edge(self):
        graph = nx.Graph()
        graph.add_edge("Heat (1995)", "X", relation="hairdresser")
        with pytest.raises(BadInputError, match="unknown relation 'hairdresser'") as caught:
            read(graph)
        assert caught.value.record == "edge Heat (1995) - X"


class TestStatedFacts:
    def test_conditions_hold_for_every_truth_and_hops_are_facts(self):
        query = Query(
            "q", "misinformed", "?", (10, 11), (("Starring", "Robert De Niro"),),
            multihop=(Fact("Big_Fish (2003)", "Starring", "Ewan"), Fact("Nope", "Starring", "X")),
            claims=(Fact("Big Fish (2003)", "Starring", "Not Ewan"),),
        )  # fmt: skip
        exclusions = Exclusions()
        rows = stated_facts([query], CATALOGUE, exclusions)
        assert [(r["item_id"], r["relation"], r["value"]) for r in rows] == [
            (10, "Starring", "Robert De Niro"),
            (11, "Starring", "Robert De Niro"),
            (13, "Starring", "Ewan"),
        ]
        assert {row["source"] for row in rows} == {"training queries: misinformed"}
        assert list(exclusions.counts.values()) == [1]


GRAPH = AttributeGraph(
    4,
    [
        (0, "Directed_by", "Michael Mann"), (0, "Starring", "Robert De Niro"),
        (0, "Genre", "Crime"),
        (1, "Starring", "Robert De Niro"), (1, "Genre", "Crime"), (1, "Genre", "Action"),
        (2, "Genre", "Romance"), (2, "Music_by", "Yann Tiersen"),
        (3, "Genre", "Action"), (3, "Genre", "Crime"), (3, "Written_by", "Robert De Niro"),
    ],
)  # fmt: skip


def ask(text, truths, **more):
    return Query("q", "explicit", text, truths, **{"label_complete": False, **more})


class TestNeeds:
    READER = NeedReader(CATALOGUE, GRAPH)

    def test_a_value_in_the_text_that_the_truths_share_is_plausible(self):
        query = ask("A crime film with Robert De Niro, or Michael Mann?", (10, 11))
        asked = {("Genre", "Crime"), ("Starring", "Robert De Niro")}
        assert self.READER.plausible_conditions(query, ()) == asked

    def test_who_made_a_named_item_is_a_sign_but_its_genre_is_not(self):
        query = ask("More like Ronin, please", (10,))
        assert self.READER.plausible_conditions(query, {1}) == {("Starring", "Robert De Niro")}

    def test_nobody_says_what_an_encyclopedia_puts_in_brackets(self):
        graph = AttributeGraph(4, [(0, "Directed_by", "Ann Lee (filmmaker)")])
        query = ask("Something by Ann Lee?", (10,))
        asked = NeedReader(CATALOGUE, graph).plausible_conditions(query, ())
        assert asked == {("Directed_by", "Ann Lee (filmmaker)")}

    def test_plausible_truths_have_what_defines_the_need(self):
        query = ask("Something with Robert De Niro", (10,))
        assert self.READER.plausible_truths(query, ()).tolist() == [0, 1]
        assert self.READER.plausible_truths(ask("?", (10,), label_complete=True), ()).tolist() == []

    def test_with_only_kinds_asked_all_of_them_count_and_so_do_shared_makers(self):
        query = ask("An action crime film", (11,))
        # 3 is action and crime, 0 shares Robert De Niro as star with the known truth
        assert self.READER.plausible_truths(query, ()).tolist() == [0, 1, 3]
