"""Data of a third domain, from the files of ``examples/own_data``: no line of source is touched."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.grounding.facts import Facts
from rerec_pipeline.grounding.linking import Linker
from rerec_pipeline.grounding.retrieval import Retriever
from rerec_pipeline.hooks.provenance import _check_backbone
from rerec_pipeline.parameters import AttributeParameters
from rerec_pipeline.recbench.relations import is_kind, is_maker, phrases_of, spellings, stems_of
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    examples_from_table,
    graph_from_table,
)
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.recbench.warmup import WarmupWriter
from rerec_pipeline.reporting.faithfulness import StatementReader
from tests.conftest import attribute_parameters, data_parameters, engineer

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples/own_data"


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    """What the project makes of the example's block, copied to conf/local as its README says."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT / "conf/base", project / "conf/base")
    (project / "conf/local/parameters").mkdir(parents=True)
    shutil.copy(EXAMPLE / "boardgames.yml", project / "conf/local/parameters")
    (project / "examples").symlink_to(PROJECT / "examples")
    loader = ChoicesConfigLoader(
        str(project / "conf"),
        base_env="base",
        default_run_env="local",
        runtime_params={"dataset": "boardgames"},
        merge_strategy={"parameters": "soft", "globals": "soft"},
    )
    return loader["parameters"]


@pytest.fixture(scope="module")
def tables(parameters):
    return engineer(parameters["data"], parameters["raw_dir"], every=parameters["attributes"])


class TestExample:
    def test_its_block_says_where_the_files_are(self, parameters):
        assert Path(parameters["raw_dir"]).resolve() == EXAMPLE
        assert parameters["data"].domain == "boardgame"

    def test_every_file_is_read(self, tables):
        assert len(tables["items"]) == 10 and len(tables["interactions"].to_pandas()) == 44
        counts = tables["queries"]["query_type"].value_counts().to_dict()
        assert counts == {"explicit": 12, "implicit": 4, "misinformed": 2}
        assert not tables["exclusions"]
        assert set(tables["splits"]["split"]) == {"train", "validation", "test"}
        assert tables["candidates"]["candidate_ids"].map(len).tolist() == [5] * 18

    def test_relations_have_the_names_of_the_configuration(self, tables):
        facts = tables["attributes"].query("item_id == 5")[["relation", "value"]]
        assert set(facts.itertuples(index=False, name=None)) == {
            ("Category", "Economic"), ("Category", "Strategy"), ("Designed_by", "Ines Okoro"),
            ("Published_by", "Tall Oak Games"), ("Mechanic", "Worker placement"),
            ("Mechanic", "Route building"),
        }  # fmt: skip

    def test_labels_are_what_the_facts_say(self, tables):
        """The example teaches by being right: each record lists all items with what it asks."""
        catalogue = catalogue_from_table(tables["items"])
        graph = graph_from_table(tables["attribute_graph"], catalogue)
        for example in examples_from_table(tables["prompts"], catalogue):
            satisfying = set(graph.satisfying(example.conditions).tolist())
            assert satisfying & set(example.candidates) == {example.truth}
        for row in tables["queries"].to_dict("records"):
            asked = [tuple(c.split(": ", 1)) for c in row["conditions"]]
            found = graph.satisfying(asked).tolist()
            assert sorted(catalogue.indices(row["truth_ids"])) == sorted(found)

    def test_its_reasoning_is_read(self, tables):
        catalogue = catalogue_from_table(tables["items"])
        graph = graph_from_table(tables["attribute_graph"], catalogue)
        task = RecTask(catalogue, data_parameters().prompt)
        (example,) = examples_from_table(tables["prompts"][:1], catalogue)
        facts = "designed by Ines Okoro; Worker placement; designed by Yuki Moreau"
        said = f"Iron Orchard (2016): {facts}."
        read = StatementReader(task, graph).read([said], example)
        assert [(s.claim, s.confirmed) for s in read if s.kind == "fact"] == [
            (("Designed_by", "Ines Okoro"), True),
            (("Mechanic", "Worker placement"), True),
            (("Designed_by", "Yuki Moreau"), False),
        ]

    def test_the_graph_alone_answers_it(self, tables):
        """Relations of the user's own are linked: words for them come from their names."""
        catalogue = catalogue_from_table(tables["items"])
        facts = Facts.of_table(tables["attribute_graph"], catalogue)
        retriever = Retriever(Linker(catalogue, facts), np.zeros(len(catalogue)))
        said = dict(zip(tables["queries"]["query_id"], tables["queries"]["text"], strict=True))
        wrong = [
            example.query_id
            for example in examples_from_table(tables["prompts"], catalogue)
            if retriever.choose(retriever.ask(said[example.query_id]), example.candidates)
            != example.truth
        ]
        assert len(wrong) <= 2, wrong

    def test_a_backbone_that_does_not_read_it_is_refused_before_anything_runs(self, parameters):
        node = SimpleNamespace(inputs=["prompts", "params:rft.backbone", "params:dataset"])
        tiny = SimpleNamespace(
            backbone=SimpleNamespace(name_or_path=str(PROJECT / "data/06_models/base_policy"))
        )
        run = SimpleNamespace(nodes=[node])
        with pytest.raises(BadInputError, match="only reads .* not boardgames.*backbone=scratch"):
            _check_backbone(run, {"rft": tiny, "dataset": "boardgames"})
        _check_backbone(run, {"rft": tiny, "dataset": "sample_movie"})
        node.inputs = ["raw_manifest", "params:dataset"]
        _check_backbone(run, {"rft": tiny, "dataset": "boardgames"})


class TestRelations:
    def test_what_is_known_of_an_added_one_follows_from_its_name(self):
        assert is_maker("Designed_by") and not is_kind("Designed_by")
        assert is_kind("Mechanic") and not is_maker("Mechanic")
        assert phrases_of("Designed_by") == ("designed by",) and phrases_of("Mechanic") == ()
        assert stems_of("Designed_by") == ("design",) and stems_of("Mechanic") == ("mechanic",)
        # of a built-in one, what is listed
        assert phrases_of("Directed_by") == ("directed by", "director")
        assert stems_of("Language") == phrases_of("Language") == () and not is_kind("Language")

    def test_spellings(self):
        known = spellings({"Designed_by": ["designer"], "Category": [], "Directed_by": ["regie"]})
        assert [known[name] for name in ("designer", "category", "regie", "director")] == [
            "Designed_by", "Category", "Directed_by", "Directed_by",
        ]  # fmt: skip
        with pytest.raises(ValueError, match="'maker' names both A_by and B_by"):
            spellings({"A_by": ["maker"], "B_by": ["Maker"]})

    @pytest.mark.parametrize(
        "wrong",
        [
            {"kinds": {"boardgame": "Category"}},
            {"relations": {"A: b": []}},
            {"relations": {"A": ["x"], "B": ["x"]}},
        ],
    )
    def test_wrong_ones_are_parameters_that_are_refused(self, wrong):
        with pytest.raises(ValueError, match="kinds|relations|names both"):
            attribute_parameters("items", **wrong)
        assert isinstance(attribute_parameters("items"), AttributeParameters)


def test_a_fabricated_world_has_a_domain_that_can_be_fabricated():
    with pytest.raises(ValueError, match="movie.* book"):
        data_parameters(domain="boardgame")
    with pytest.raises(ValueError, match="domain"):
        data_parameters(domain="../movie", source="published", world=None)


class TestSmallCatalogues:
    def writer(self, heldout=frozenset()):
        catalogue = ItemIndex([1, 2, 3], ["A (1990)", "B (1991)", "C (1992)"])
        facts = [(0, "Designed_by", "X"), (1, "Mechanic", "Tiles"), (2, "Mechanic", "Dice")]
        return WarmupWriter(
            catalogue, AttributeGraph(3, facts), heldout,
            lambda text, listed: f"{text} {len(listed)}", lambda text, listed, right: "", 0,
        )  # fmt: skip

    def test_a_list_has_no_more_titles_than_there_are(self):
        ((said, _),) = self.writer().write("reasoning", 20).turns
        assert said.endswith(" 3")
        assert self.writer().write("recite", 20).turns[0][0].count("\n") >= 3

    def test_without_anything_to_ask_for_it_stops(self):
        held = frozenset(
            {(("Designed_by", "X"), 0), (("Mechanic", "Tiles"), 1), (("Mechanic", "Dice"), 2)}
        )
        with pytest.raises(BadInputError, match="ask for every fact"):
            self.writer(held).write("reasoning", 3)
