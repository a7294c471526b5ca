"""The grid of an experiment: cells, their names, and how they are told to a run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.framework.cli.utils import _split_params

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.experiments.grid import (
    Cell,
    Grid,
    make_cells,
    make_label,
    read_assignments,
    read_params,
    read_sweep,
    read_value,
    short_names,
    split_commas,
    write,
)

QAS, TAU = "rft.reward.weights.qas", "rft.curriculum.tau"


def grid(**parts):
    empty = {"variants": ["rerec"], "seeds": [0], "sweep": {}, "together": [], "params": {},
             "split": "test"}  # fmt: skip
    return Grid(**{**empty, **parts})


def cells(defaults=None, labels=None, **parts):
    return make_cells(
        "movies", "tiny", grid(**parts), lambda _: defaults or {}, lambda _: labels or {}
    )


class TestCells:
    def test_all_variants_with_the_first_seed_come_first(self):
        made = cells(variants=["rerec", "grpo"], seeds=[3, 1])
        assert [c.run for c in made] == [
            "movies/tiny/rerec/seed-3", "movies/tiny/grpo/seed-3",
            "movies/tiny/rerec/seed-1", "movies/tiny/grpo/seed-1",
        ]  # fmt: skip
        assert made[0].name == "rerec, seed 3"

    def test_sweeps_are_crossed(self):
        made = cells(sweep={QAS: [0.1, 0.5], TAU: [0, 1]})
        assert [c.label for c in made] == ["qas=0.1+tau=0", "qas=0.1+tau=1", "qas=0.5+tau=0",
                                           "qas=0.5+tau=1"]  # fmt: skip
        assert made[0].changes == ((QAS, 0.1), (TAU, 0))
        assert made[0].run == "movies/tiny/rerec/seed-0/qas=0.1+tau=0"

    def test_parameters_that_change_together_are_not_crossed(self):
        made = cells(together=[{"b.group_size": 4, "b.prompts": 16}, {"b.group_size": 8}])
        assert [c.label for c in made] == ["group_size=4+prompts=16", "group_size=8"]

    def test_a_value_that_the_variant_has_anyway_is_the_variant_itself(self):
        made = cells(defaults={QAS: 0.2}, sweep={QAS: [0.1, 0.2]})
        assert [c.label for c in made] == ["qas=0.1", ""]
        assert made[1].changes == ((QAS, 0.2),)
        assert made[1].run == "movies/tiny/rerec/seed-0"

    def test_the_same_cell_twice_is_refused(self):
        with pytest.raises(BadParameterError, match="more than once: movies/tiny/rerec/seed-0"):
            cells(variants=["rerec", "rerec"])
        with pytest.raises(BadParameterError, match="more than once"):
            cells(together=[{QAS: 0.1}, {QAS: 0.1}])

    def test_the_place_of_a_cell_is_no_change_to_it(self):
        with pytest.raises(BadParameterError, match=r"\['seed'\] place a cell"):
            cells(sweep={"seed": [0, 1]})

    def test_a_run_is_told_place_then_parameters_then_changes_then_compute(self):
        cell = Cell("m", "t", "sft", 2, "qas=0.5", ((QAS, 0.5),), (("lightgcn.epochs", 3),))
        assert cell.settings({"rft.sft.token_passes": 70}) == (
            "dataset=m,backbone=t,variant=sft,seed=2,label=qas=0.5,lightgcn.epochs=3,"
            "rft.reward.weights.qas=0.5,rft.sft.token_passes=70"
        )
        assert Cell("m", "t", "rerec", 0).settings() == "dataset=m,backbone=t,variant=rerec,seed=0"

    def test_a_cell_that_is_asked_validation_queries_has_a_run_of_its_own(self):
        own, changed = cells(defaults={QAS: 0.2}, sweep={QAS: [0.2, 0.1]}, split="validation")
        assert own.run == "movies/tiny/rerec/seed-0/on-validation"
        assert own.settings() == (
            "dataset=movies,backbone=tiny,variant=rerec,seed=0,label=on-validation,"
            "split=validation,rft.reward.weights.qas=0.2"
        )
        assert changed.run == "movies/tiny/rerec/seed-0/on-validation+qas=0.1"
        assert (own.name, changed.name) == ("rerec, seed 0", "rerec qas=0.1, seed 0")

    def test_what_all_cells_are_given_names_their_folders(self):
        [cell] = cells(labels={"label": "size=10", "data_label": "size=10"})
        assert cell.run == "movies+size-10/tiny/rerec/seed-0/size=10"
        told = {"label": "both", "data_label": "size=10", "prompt_label": "evidence=2"}
        assert cells(labels=told)[0].run == "movies+size-10+evidence-2/tiny/rerec/seed-0/both"
        [cell] = cells(labels={"label": "evidence=2", "prompt_label": "evidence=2"})
        assert cell.run == "movies+evidence-2/tiny/rerec/seed-0/evidence=2"


class TestNames:
    def test_the_shortest_endings_that_differ(self):
        assert short_names([QAS, "rft.sft.lr", "rft.optimizer.lr"]) == {
            QAS: "qas", "rft.sft.lr": "sft.lr", "rft.optimizer.lr": "optimizer.lr",
        }  # fmt: skip
        assert short_names(["lr", "rft.lr"]) == {"lr": "lr", "rft.lr": "rft.lr"}

    def test_labels_can_name_folders(self):
        names = {"a.dir": "dir", "a.flag": "flag", "a.none": "none"}
        assert make_label({"a.dir": "x/y z", "a.flag": True, "a.none": None}, names) == (
            "dir=x-y-z+flag=true+none=null"
        )


class TestText:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("0.1", 0.1), ("1e-05", 1e-5), ("3", 3), ("true", True), ("null", None), ("all", "all")],
    )
    def test_values_are_read_as_kedro_reads_them(self, text, value):
        assert read_value(text) == value and type(read_value(text)) is type(value)

    @settings(deadline=None)
    @given(
        st.one_of(
            st.booleans(), st.none(), st.integers(-(10**9), 10**9),
            st.floats(allow_nan=False, allow_infinity=False),
        )
    )  # fmt: skip
    def test_what_is_written_is_read_again(self, value):
        assert read_value(write({"a.b": value}).partition("=")[2]) == value

    def test_what_can_not_be_written_is_refused(self):
        for value in ([float("nan")], {"a": float("nan")}):
            with pytest.raises(BadParameterError, match="can not be written"):
                write({"x": value})

    @pytest.mark.parametrize(
        "value",
        ["a,b", "1", "[", "", " x", "null", "*x", "it's, 'so'", 'a "b", \\"c', "\\", "é, \u4f60",
         "a #b", ["x, y", "it's", None, "None"], float("inf"), [-float("inf")]],
    )  # fmt: skip
    def test_texts_that_need_quotes_are_written_in_them(self, value):
        assert read_params(write({"a.b": value, "c": 1})) == {"a": {"b": value}, "c": 1}

    def test_parameters_are_read_as_kedro_reads_them(self):
        text = "dataset=m,rft.reward.weights.qas=1e-05,rft.reward.k=3,label=qas=0.1,x=null"
        assert read_params(text) == _split_params(None, None, text) == {
            "dataset": "m", "rft": {"reward": {"weights": {"qas": 1e-5}, "k": 3}},
            "label": "qas=0.1", "x": None,
        }  # fmt: skip
        assert read_params("") == {}

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("a.b=[1,2],c=x", ["a.b=[1,2]", "c=x"]),
            ("a={b: [1, 2], c: 3}, d=1,", ["a={b: [1, 2], c: 3}", "d=1"]),
            ('a="x,[y",b=[\'p,q\',"]"]', ['a="x,[y"', "b=['p,q',\"]\"]"]),
            ("a=Bob's,b=x[1,c=it's", ["a=Bob's", "b=x[1", "c=it's"]),
            ("a=x:'y,b=x['1,c=:{", ["a=x:'y", "b=x['1", "c=:{"]),
            ("a={b:'x,y', 'c':[1,2]},d=1", ["a={b:'x,y', 'c':[1,2]}", "d=1"]),
            ("[1,2],[3]", ["[1,2]", "[3]"]),
            ("a='It''s, x',b=1", ["a='It''s, x'", "b=1"]),
            ('a="x\\",y\\\\",b=1', ['a="x\\",y\\\\"', "b=1"]),
        ],
    )
    def test_commas_inside_brackets_and_quotes_separate_nothing(self, text, parts):
        assert split_commas(text) == parts

    def test_what_is_not_closed_is_refused(self):
        with pytest.raises(BadParameterError, match="] is missing"):
            read_params("a=[1,2,b=3")

    @pytest.mark.parametrize("text", ["a=*x", "a=x: y: z", "a=@x"])
    def test_what_is_no_yaml_is_refused(self, text):
        with pytest.raises(BadParameterError, match="can not be read"):
            read_params(text)

    def test_a_sweep_without_a_value_is_refused(self):
        with pytest.raises(BadParameterError, match="has no value"):
            read_sweep("a.b=,")

    def test_lists_and_blocks(self):
        assert read_params("a.b=[1,2],c=x") == {"a": {"b": [1, 2]}, "c": "x"}
        assert read_assignments("a.b=[x,y],c={d: 1,e: 2}") == {
            "a.b": ["x", "y"], "c": {"d": 1, "e": 2},
        }  # fmt: skip
        assert read_sweep("a.b=[1,2],[3]") == ("a.b", [[1, 2], [3]])
        written = {"a": [1, "x y", None, True, 1e-5], "b": {"c": [0.1]}, "d": 1}
        assert read_params(write(written)) == written

    def test_assignments(self):
        assert read_assignments("a.b=1, c=x") == {"a.b": 1, "c": "x"}
        assert read_assignments("") == {}
        assert read_sweep("a.b=0.01,0.1") == ("a.b", [0.01, 0.1])

    @pytest.mark.parametrize("text", ["a.b", "=1", "a="])
    def test_what_assigns_nothing_is_refused(self, text):
        with pytest.raises(BadParameterError, match="not of the form parameter=value"):
            read_assignments(text)

    @pytest.mark.parametrize("text", ["a.b", "=1"])
    def test_nor_is_it_a_parameter(self, text):
        with pytest.raises(BadParameterError, match="not of the form parameter=value"):
            read_params(text)

    def test_places_have_options_of_their_own(self):
        with pytest.raises(BadParameterError, match="seed places a cell"):
            read_sweep("seed=1,2")

    def test_a_value_twice_is_refused(self):
        with pytest.raises(BadParameterError, match="has a value twice"):
            read_sweep("a=1,2,1")
