"""Evidence: what it says, what it may cost, and that it knows no right answer."""

from __future__ import annotations

import pytest

from rerec_pipeline.grounding.wording import gather_evidence
from rerec_pipeline.parameters import DataParameters
from rerec_pipeline.pipelines.data_engineering import prompts as dp

LOVED = "I loved Night Train (1991). Another film by the same director, please."


def gathered(linker, text, candidates, most=3, words=100):
    titles = linker.catalogue.titles
    return gather_evidence(linker.link(text), linker.facts, candidates, titles, most, words)


class TestWhatItSays:
    def test_a_shared_fact_names_the_item_that_shares_it(self, linker):
        found = gathered(linker, LOVED, [0, 3, 5])
        assert found.of_items == {
            0: ("directed by Ana Torv, as Night Train was",),
            3: ("directed by Ana Torv, as Night Train was",),
        }

    def test_a_fact_that_is_named_stands_alone(self, linker):
        found = gathered(linker, "A drama starring Mara Lind, please.", [0, 5])
        assert found.of_items == {0: ("starring Mara Lind", "Drama"), 5: ("starring Mara Lind",)}

    def test_what_the_request_gets_wrong(self, linker):
        found = gathered(
            linker, "I liked Ember (1994), which Otto Beck directed. More by him?", [2]
        )
        assert found.of_request == ("Ember: not directed by Otto Beck, but directed by Ana Torv",)

    def test_what_the_request_gets_right(self, linker):
        found = gathered(linker, "I liked Ember (1994), which Ana Torv directed. More by her?", [2])
        assert found.of_request == ("Ember: directed by Ana Torv is right",)

    @pytest.mark.parametrize("text", ["", "the of", "日本語", "x " * 5000])
    def test_nothing_is_known_of_a_request_that_says_nothing(self, linker, text):
        found = gathered(linker, text, [0, 1])
        assert found.of_items == {} and found.of_request == ()


class TestWhatItMayCost:
    def test_no_facts_as_in_the_paper(self, linker):
        assert gathered(linker, LOVED, [0], most=0).of_items == {}

    @pytest.mark.parametrize("words", [0, 1, 4, 5, 6, 9, 11, 100])
    def test_it_keeps_to_its_words_and_favours_no_place_in_the_list(self, linker, words):
        text = "A drama starring Mara Lind, please."
        found = gathered(linker, text, [0, 5], words=words)
        said = [phrase for row in found.of_items.values() for phrase in row]
        assert sum(len(phrase.split()) for phrase in said) <= words
        if words >= 6:  # "starring Mara Lind" twice
            assert len(found.of_items) == 2


@pytest.fixture(scope="module")
def with_evidence(world_tables) -> DataParameters:
    data = world_tables[0]
    user = "{candidates}\n\n{history}{query}{known}"
    return data.model_copy(
        update={"prompt": data.prompt.model_copy(update={"evidence": 3, "user": user})}
    )


def prompts(tables, data, **changed):
    names = ("queries", "splits", "mentions", "histories", "candidates", "items", "attribute_graph")
    return dp.build_prompts(*({**tables, **changed}[name] for name in names), data)


class TestPrompts:
    def test_the_truth_and_the_conditions_leave_no_trace(self, world_tables, with_evidence):
        """Another right candidate, no conditions, no claims: the very same prompts."""
        tables = world_tables[1]
        told = prompts(tables, with_evidence)
        candidates = tables["candidates"].copy()
        candidates["truth_id"] = [
            next(int(c) for c in row.candidate_ids if c != row.truth_id)
            for row in candidates.itertuples()
        ]
        queries = tables["queries"].copy()
        for name in ("conditions", "multihop", "claims"):
            queries[name] = [[] for _ in range(len(queries))]
        other = prompts(tables, with_evidence, candidates=candidates, queries=queries)
        assert told["user"].tolist() == other["user"].tolist()
        assert (told["truth_id"] != other["truth_id"]).all()

    def test_most_prompts_of_a_world_have_evidence(self, world_tables, with_evidence):
        plain, told = world_tables[1]["prompts"], prompts(world_tables[1], with_evidence)
        asked = told["query_type"].isin(["explicit", "implicit", "misinformed"])
        differs = told["user"] != plain["user"]
        assert differs[asked].mean() > 0.9

    def test_without_evidence_prompts_are_what_they_were(self, world_tables):
        data, tables = world_tables
        assert prompts(tables, data)["user"].tolist() == tables["prompts"]["user"].tolist()
        assert not tables["prompts"]["user"].str.contains("Known:").any()
