import numpy as np
import pytest

from rerec_pipeline.grounding.evidence import Reason
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.features import FEATURES
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.grounding.signals import Asked, Examples
from rerec_pipeline.grounding.wording import gather_evidence
from rerec_pipeline.recbench.titles import ItemIndex


class TestExplain:
    def test_shared_with_a_named_item(self, retriever):
        links = retriever.linker.link("I loved the direction of The Harbor")
        assert retriever.explain(links, 1) == [
            Reason(("Directed_by", "Ana Torv"), "held_free", (0,))
        ]

    def test_shared_by_several(self, retriever):
        links = retriever.linker.link("The Harbor and Night Train have the same director")
        (reason, kind) = retriever.explain(links, 3)
        assert reason == Reason(("Directed_by", "Ana Torv"), "shared_free", (0, 1))
        assert kind == Reason(("Genre", "Drama"), "kind_held", (0,))

    def test_named_by_the_request(self, retriever):
        links = retriever.linker.link("a drama directed by Ana Torv")
        assert retriever.explain(links, 3) == [
            Reason(("Directed_by", "Ana Torv"), "said_near"), Reason(("Genre", "Drama"), "kind"),
        ]  # fmt: skip

    def test_what_is_not_wanted(self, retriever):
        links = retriever.linker.link("Like Night Train in its direction, but not by Ana Torv")
        assert [r.aspect for r in retriever.explain(links, 3)] == ["refuted"]

    def test_a_false_claim_is_put_right(self, retriever):
        links = retriever.linker.link("I liked Das Boot, directed by Ana Torv.")
        assert retriever.explain(links, 1) == [Reason(("Directed_by", "Ana Torv"), "refuted")]
        links = retriever.linker.link("I liked The Harbor, directed by Otto Beck.")
        assert retriever.explain(links, 1)[0] == Reason(
            ("Directed_by", "Ana Torv"), "instead", (0,)
        )

    def test_nothing_in_common(self, retriever):
        assert retriever.explain(retriever.linker.link("anything"), 7) == []


class TestScores:
    def test_what_is_asked_comes_first_and_named_items_not_at_all(self, retriever):
        asked = retriever.ask("More films directed by Ana Torv, like The Harbor")
        assert set(retriever.top(asked, 2)) == {1, 3}
        assert 0 not in retriever.top(asked, 8)
        scores = retriever.scores(asked)
        assert scores[0] == -np.inf and np.isfinite(np.delete(scores, 0)).all()
        assert set(np.argsort(-scores)[:2]) == {1, 3}

    def test_chosen_among_candidates(self, retriever):
        asked = retriever.ask("a film starring Mara Lind")
        assert retriever.choose(asked, [6, 5, 3]) == 5

    def test_excluded_items(self, retriever):
        asked = retriever.ask("directed by Ana Torv")
        assert 1 not in retriever.top(asked, 7, exclude=[1]) and len(retriever.top(asked, 9)) == 8

    def test_a_batch_is_what_each_request_is_by_itself(self, retriever):
        texts = ["", "starring Mara Lind", "I saw Night Train", "a comedy of the 1960s"]
        asked = [retriever.ask(text) for text in texts]
        together = retriever.retrieve(asked, 5)
        for request, found in zip(asked, together, strict=True):
            assert retriever.retrieve([request], 5)[0].tolist() == found.tolist()

    def test_behind_a_small_pool_all_items_follow(self, linker):
        small = Retriever(linker, np.ones(8), pool=2)
        asked = small.ask("directed by Ana Torv")
        assert sorted(small.top(asked, 8)) == list(range(8))
        order = np.argsort(-small.scores(asked), kind="stable")
        assert set(order[:2].tolist()) == set(small.top(asked, 2))

    def test_features_have_names(self, retriever):
        asked = retriever.ask("a drama starring Mara Lind of the 1990s")
        table = retriever.features([asked], [np.array([0, 6])])
        column = {name: table[:, n].tolist() for n, name in enumerate(FEATURES)}
        assert table.shape == (2, len(FEATURES))
        assert column["names_covered"] == [1, 0] and column["kinds_covered"] == [1, 0]
        assert column["in_years"] == [1, 0] and column["said_names"] == [1, 1]
        assert column["names_covered_rank"] == [0, 1]
        assert column["popularity"] == pytest.approx([np.log(9), np.log(3)])


class TestExamples:
    def test_similar_requests_and_never_their_own_cluster(self, linker):
        examples = Examples(["cosy winter evening", "fast cars"], [[6], [1]], [4, 5], 8)
        links = linker.link("for a winter evening")
        scores = examples.scores([Asked(links), Asked(links, cluster=4)]).toarray()
        assert scores[0, 6] > 0 and scores[0, 1] == 0
        assert not scores[1].any()

    def test_without_any(self, linker):
        assert Examples([], [], [], 8).scores([Asked(linker.link("x"))]).shape == (1, 8)


class TestUnusualInput:
    @pytest.mark.parametrize(
        "text", ["", "the of and", "映画をお勧めしてください", "word " * 20000]
    )
    def test_a_request_that_says_nothing_gets_what_is_popular(self, retriever, text):
        assert retriever.top(retriever.ask(text), 3) == [0, 1, 2]

    def test_one_item_without_facts(self):
        linker = Linker(ItemIndex([7], ["Only One (1990)"]), Facts(1, []))
        retriever = Retriever(linker, np.zeros(1))
        assert retriever.top(retriever.ask("anything"), 5) == [0]
        named = retriever.ask("I saw Only One")
        assert retriever.top(named, 5) == [] and retriever.choose(named, [0]) == 0
        assert retriever.scores(named).tolist() == [-np.inf]

    def test_titles_without_words(self):
        linker = Linker(ItemIndex([1, 2], ["?", "!!"]), Facts(2, []))
        retriever = Retriever(linker, np.array([1, 2]))
        assert retriever.top(retriever.ask("anything"), 2) == [1, 0]

    def test_an_item_without_attributes(self, retriever):
        """It has no evidence and no reasons, and is found by its title's words and popularity."""
        asked = retriever.ask("a lonely lind of this kind, directed by Ana Torv")
        assert retriever.explain(asked.links, 7) == []
        assert 7 in retriever.top(asked, 8) and np.isfinite(retriever.scores(asked)[7])
        features = retriever.features([asked], [np.array([7])])[0]
        missing = {FEATURES[n] for n in np.flatnonzero(~np.isfinite(features))}
        assert missing <= {"from_year"}  # the request names no year and no item to be away from

    def test_a_graph_without_edges(self, catalogue):
        bare = Retriever(Linker(catalogue, Facts(8, [])), np.arange(8, 0, -1, dtype=np.float64))
        asked = bare.ask("I loved Night Train, by Ana Torv. Anything like Long Winter?")
        assert asked.links.items == (1, 6) and not asked.links.values
        assert set(bare.top(asked, 8)) == {0, 2, 3, 4, 5, 7}
        assert bare.explain(asked.links, 0) == []

    @pytest.mark.parametrize("text", ["", "the of and", "映画", "word " * 20000])
    def test_nothing_is_said_of_a_catalogue_of_one(self, text):
        linker = Linker(ItemIndex([7], ["Only One (1990)"]), Facts(1, []))
        retriever = Retriever(linker, np.zeros(1))
        links = retriever.ask(text).links
        found = gather_evidence(links, linker.facts, [0], linker.catalogue.titles, 3, 100)
        assert found.of_items == {} and found.of_request == ()
