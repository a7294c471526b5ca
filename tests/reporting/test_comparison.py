"""An experiment's cells compared: figures by hand, what the page says, and what is refused."""

import json
import math

import pandas as pd
import pytest
from kedro.io import DatasetError

from rerec_pipeline.errors import BadInputError, BadParameterError
from rerec_pipeline.pipelines.comparison import nodes
from rerec_pipeline.recbench.schemas import Comparison, Outcomes
from rerec_pipeline.reporting import comparison_plots
from rerec_pipeline.reporting.comparison import arms_of, check_queries, compare
from rerec_pipeline.reporting.comparison_report import headline, p_text, published, sensitivity
from rerec_pipeline.storage.reports import CellTablesDataset
from tests.pipelines import fabricated
from tests.reporting.test_pages import check_page
from tests.test_parameters import parameters

FILES = {
    "cell_outcomes": ("data/07_model_output", "outcomes.parquet"),
    "cell_logs": ("data/07_model_output", "training_log.parquet"),
    "cell_summaries": ("data/07_model_output", "training_summary.json"),
    "cell_metrics": ("data/08_reporting", "metrics.json"),
}
ACCURACY = {"rerec": 0.6, "grpo": 0.6, "sft": 0.85, "wo_raae": 0.35}
#: Three seeds of four variants, one of which failed once.
CELLS = [
    {"variant": variant, "seed": seed, "accuracy": accuracy}
    for variant, accuracy in ACCURACY.items()
    for seed in range(3)
] + [{"variant": "wo_pas", "seed": 0, "state": "failed", "error": "OutOfMemory: <GPU> is full"}]
SWEEP = [
    {"variant": "rerec", "seed": seed, "label": f"qas-{weight}", "accuracy": 0.5 + weight,
     "changes": {"rft.reward.weights.qas": weight}}
    for weight in (0.01, 0.1, 0.3) for seed in (0, 1)
]  # fmt: skip

#: Pages that exist, as their data set lists them: of one finished run, and of no run of ours.
RUN = "sample_book/tiny/grpo/seed-0"
PAGES = {f"{run}/transcripts.html": f"../../{run}/transcripts.html" for run in (RUN, "other")}


@pytest.fixture(scope="module")
def config():
    return parameters(comparison={"bootstrap_samples": 500, "permutations": 999})["comparison"]


def dataset(listed, name) -> CellTablesDataset:
    folder, file = FILES[name]
    root = listed.parents[4]
    return CellTablesDataset(
        filepath=str(listed),
        path=str(root / folder),
        file=file,
        follows_split=name in ("cell_outcomes", "cell_metrics"),
    )


def told(project, config, cells, **setting):
    """What the pipeline's nodes make of fabricated cells."""
    listed = fabricated.write(project, cells, **setting)
    experiment = json.loads(listed.read_text())
    tables = {name: dataset(listed, name).load() for name in FILES}
    logs, outcomes = tables.pop("cell_logs"), tables["cell_outcomes"]
    table = Comparison.validate(nodes.compare_cells(experiment, outcomes, config))
    report = nodes.report_comparison(experiment, table, **tables, comparison=config)
    report = json.loads(json.dumps(report, allow_nan=False))  # as it comes back from its file
    figures = nodes.plot_comparison(report, logs, tables["cell_summaries"], config)
    return table, report, figures, nodes.write_comparison(report, experiment, PAGES, *figures)


@pytest.fixture(scope="module")
def compared(tmp_path_factory, config):
    return told(tmp_path_factory.mktemp("experiment"), config, CELLS)


def small(right, stage="after", kinds=("explicit", "interest"), clusters=None) -> pd.DataFrame:
    """Outcomes of cells: (variant, label, seed) -> whether each query was answered rightly."""
    return pd.DataFrame(
        {"variant": v, "label": label, "seed": seed, "query_id": f"q{n}", "stage": at,
         "query_type": kinds[n % len(kinds)], "cluster": n if clusters is None else clusters[n],
         "correct": hit if at == stage else False,
         "boxed": True, "facts_stated": 2, "facts_confirmed": 1, "verdicts_stated": 0,
         "verdicts_true": 0}
        for (v, label, seed), hits in right.items()
        for at in ("before", "after") for n, hit in enumerate(hits)
    )  # fmt: skip


class TestTable:
    def test_by_hand(self, config):
        """rerec: (1, 0, 0, 0) and (1, 1, 0, 0); grpo, one seed: (1, 1, 1, 1)."""
        cells = {
            ("grpo", "", 0): [True] * 4,
            ("rerec", "", 0): [True, False, False, False],
            ("rerec", "", 1): [True, True, False, False],
        }
        table = compare(*arms_of(small(cells), "rerec"), config)
        rows = table.set_index(["variant", "query_type"])
        assert rows.loc[("rerec", "all"), "accuracy"] == 3 / 8
        assert rows.loc[("rerec", "explicit"), "accuracy"] == 2 / 4
        assert rows.loc[("untrained", "all"), "accuracy"] == 0
        grpo = rows.loc[("grpo", "all")]
        assert (grpo["seeds"], grpo["queries"], grpo["difference"]) == (1, 4, 5 / 8)
        # Differences of the queries: 0, 1/2, 1, 1. Of 8 sign flips two reach 2.5: p = 1/4.
        # untrained: -1, -1/2, 0, 0: of 4 flips two: p = 1/2. Holm: 2 x 1/4, and not below it.
        assert (grpo["p_value"], grpo["p_corrected"]) == (1 / 4, 1 / 2)
        assert rows.loc[("untrained", "all"), "p_value"] == 1 / 2
        assert rows.loc[("untrained", "all"), "p_corrected"] == 1 / 2
        assert grpo["facts_confirmed"] == 1 / 2 and math.isnan(grpo["verdicts_true"])
        assert set(table["finding"]) == {"reference", "not significant"}
        assert table["variant"].tolist()[:3] == ["rerec", "untrained", "grpo"]

    def test_queries_of_a_cluster_are_one_piece_of_evidence(self, config):
        """Differences 1 1 1 0 in clusters 7 7 7 3: of 2 sign flips of (3, 0) both reach 3."""
        cells = {("rerec", "", 0): [False] * 4, ("grpo", "", 0): [True, True, True, False]}
        for clusters, p, low in (([0, 1, 2, 3], 2 / 8, 0.25), ([7, 7, 7, 3], 1.0, 0.0)):
            outcomes = small(cells, kinds=("explicit",), clusters=clusters)
            row = (
                compare(*arms_of(outcomes, "rerec"), config)
                .set_index("variant")
                .loc["grpo"]
                .iloc[0]
            )
            assert (row["queries"], row["clusters"]) == (4, len(set(clusters)))
            assert (row["accuracy"], row["p_value"]) == (3 / 4, p)
            assert row["difference_low"] == low

    def test_every_arm_and_query_type_has_a_row(self, compared):
        table = compared[0]
        kinds = ["all", "explicit", "implicit", "misinformed", "interest"]
        assert list(dict.fromkeys(table["query_type"])) == kinds
        arms = ["rerec", "untrained", "grpo", "sft", "wo_raae"]
        assert table["variant"].tolist() == arms * len(kinds)
        assert (table["accuracy_low"] <= table["accuracy"]).all()
        assert (table["accuracy"] <= table["accuracy_high"]).all()
        assert table["seeds"].tolist() == [3, 1, 3, 3, 3] * len(kinds)

    def test_what_differs_is_found_and_what_does_not_is_not(self, compared):
        rows = compared[0].query("query_type == 'all'").set_index("variant")["finding"]
        assert rows.to_dict() == {
            "rerec": "reference", "untrained": "worse", "grpo": "not significant", "sft": "better",
            "wo_raae": "worse",
        }  # fmt: skip

    def test_a_difference_that_one_seed_makes_depends_on_seeds(self, config):
        """One of two seeds is right on all, the other as the reference: the test is sure."""
        alike = [n % 2 == 0 for n in range(60)]
        cells = {("rerec", "", 0): alike, ("grpo", "", 0): alike, ("grpo", "", 1): [True] * 60}
        table = compare(*arms_of(small(cells), "rerec"), config).set_index(
            ["variant", "query_type"]
        )
        row = table.loc[("grpo", "all")]
        assert row["p_corrected"] < 0.05 and row["difference_low"] == 0
        assert row["finding"] == "depends on seeds"

    def test_the_same_cells_in_another_order_have_the_same_figures(self, config):
        cells = {("rerec", "", s): [s == 0, True, False, True] for s in (0, 1)}
        outcomes = small(cells)
        one = compare(*arms_of(outcomes, "rerec"), config)
        shuffled = outcomes.sample(frac=1, random_state=1)
        two = compare(*arms_of(shuffled, "rerec"), config)
        points = ["variant", "query_type", "accuracy", "difference"]
        assert one[points].equals(two[points])

    def test_the_made_up_outcomes_are_such_as_evaluation_writes(self):
        cell = {"variant": "sft", "run": "x"}
        Outcomes.validate(fabricated.outcomes(cell, 0.5, 8))


class TestRefusals:
    def test_cells_of_other_queries_are_named(self, tmp_path, config):
        cells = [*CELLS[:4], {"variant": "sft", "seed": 7, "queries": 59, "label": "x"}]
        with pytest.raises(BadInputError) as error:
            told(tmp_path, config, cells)
        text = str(error.value)
        assert "experiment experiment: not all cells" in text
        assert "sft (x) seed 7 on others than rerec seed 0" in text

    def test_a_query_of_another_type_is_another_query(self):
        outcomes = small({("rerec", "", 0): [True], ("grpo", "", 1): [True]})
        check_queries(outcomes, "x")
        outcomes.loc[outcomes["variant"] == "grpo", "query_type"] = "implicit"
        with pytest.raises(BadInputError, match="grpo seed 1 on others than rerec seed 0"):
            check_queries(outcomes, "x")

    def test_a_query_in_another_cluster_is_another_query(self):
        outcomes = small({("rerec", "", 0): [True], ("grpo", "", 1): [True]})
        outcomes.loc[outcomes["variant"] == "grpo", "cluster"] = 9
        with pytest.raises(BadInputError, match="grpo seed 1 on others than rerec seed 0"):
            check_queries(outcomes, "x")

    def test_no_finished_cell(self, tmp_path):
        listed = fabricated.write(tmp_path, [{**CELLS[0], "state": "waiting"}])
        with pytest.raises(DatasetError, match="no cell is finished. Run the experiment first"):
            dataset(listed, "cell_outcomes").load()

    def test_a_finished_cell_without_its_file(self, tmp_path):
        listed = fabricated.write(tmp_path, CELLS[:2])
        lost = tmp_path / "data/07_model_output/sample_book/tiny/rerec/seed-1/outcomes.parquet"
        lost.unlink()
        with pytest.raises(DatasetError, match="seed-1/outcomes.parquet: the list of cells says"):
            dataset(listed, "cell_outcomes").load()

    def test_cells_are_not_written(self, tmp_path):
        with pytest.raises(DatasetError, match="written by their own runs"):
            dataset(fabricated.write(tmp_path, CELLS[:1]), "cell_outcomes").save(pd.DataFrame())

    @pytest.mark.parametrize(
        ("wrong", "key"),
        [
            ({"experiment": "../elsewhere"}, "experiment"),
            ({"comparison": {"confidence": 1.0}}, "comparison.confidence"),
            ({"comparison": {"published": {"accuracy": {"x": {"y": {"easy": 0.1}}}}}}, "easy"),
            ({"comparison": {"published": {"accuracy": {"x": {"y": {"explicit": 74.8}}}}}},
             "comparison.published.accuracy.x.y.explicit"),
        ],
    )  # fmt: skip
    def test_wrong_parameters(self, wrong, key):
        with pytest.raises(BadParameterError, match=key):
            parameters(**wrong)


class TestCellTables:
    def test_rows_say_which_cell_they_are_of(self, tmp_path):
        listed = fabricated.write(tmp_path, [*CELLS[:2], SWEEP[0], CELLS[-1]])
        outcomes, summaries = (dataset(listed, n) for n in ("cell_outcomes", "cell_summaries"))
        assert outcomes.exists()
        loaded = summaries.load()
        assert loaded[["variant", "label", "seed"]].to_numpy().tolist() == [
            ["rerec", "", 0], ["rerec", "", 1], ["rerec", "qas-0.01", 0],
        ]  # fmt: skip
        assert loaded["seconds"].tolist() == [150, 151, 150]
        assert len(outcomes.load()) == 3 * 2 * 60
        preview = outcomes.preview(2)
        assert preview["columns"][:3] == ["variant", "label", "seed"] and len(preview["data"]) == 2

    def test_there_is_nothing_before_there_is_an_experiment(self, tmp_path):
        assert not dataset(tmp_path / "a/b/c/d/cells.json", "cell_outcomes").exists()


class TestReport:
    def test_the_headline_says_which_differences_are_shown(self, compared):
        first, *others = compared[1]["headline"]
        assert first["text"].startswith("rerec has an accuracy of 0.")
        assert first["text"].endswith("over 60 queries and 3 seeds.")
        told_by = {sentence["finding"]: sentence["text"] for sentence in others}
        assert told_by["better"].startswith("Significantly better than rerec: sft (+0.")
        assert "wo_raae (-0." in told_by["worse"] and "untrained (-0." in told_by["worse"]
        assert told_by["not significant"].startswith("No significant difference to rerec: ")
        assert "grpo" in told_by["not significant"]

    def test_costs_are_means_over_seeds_and_memory_the_largest(self, compared):
        rerec = compared[1]["cost"][0]
        assert (rerec["variant"], rerec["seeds"], rerec["steps"]) == ("rerec", 3, 30)
        assert (rerec["seconds"], rerec["cell_seconds"]) == (151, 200)
        assert rerec["peak_memory_bytes"] == 10**9 + 2
        assert compared[1]["without_rollouts"] == ["sft"]

    def test_what_is_not_known_is_none(self, tmp_path, config):
        listed = fabricated.write(tmp_path, CELLS[:1])
        experiment = json.loads(listed.read_text())
        summaries = dataset(listed, "cell_summaries").load().drop(columns="peak_memory_bytes")
        experiment["cells"][0]["seconds"] = None
        (cost,) = nodes.reports.costs(summaries, experiment["cells"])
        assert cost["peak_memory_bytes"] is None and cost["cell_seconds"] is None

    def test_answers_without_a_language_model(self, compared):
        assert compared[1]["baselines"] == {
            "random": {"all": 0.05}, "popularity": {"all": 0.2, "explicit": 0.2},
        }  # fmt: skip

    def test_without_the_reference_the_first_takes_its_place(self, tmp_path, config):
        table, report, _, page = told(
            tmp_path, config, [c for c in CELLS if c["variant"] != "rerec"]
        )
        assert report["reference"] == {"variant": "grpo", "label": ""}
        note = "There is no finished run of rerec without a label: differences are to grpo"
        assert note in report["notes"][0] and note in page
        assert table["finding"][0] == "reference" and "Differences to grpo" in page

    def test_one_seed_is_said_to_be_one(self, tmp_path, config):
        _, report, _, _ = told(tmp_path, config, [CELLS[0], CELLS[3], CELLS[4]])
        assert report["notes"][0].startswith("One seed only: rerec.")
        assert report["notes"][1] == "Not all variants have the same number of finished seeds."

    def test_cells_that_began_differently_are_named(self, config):
        outcomes = small({("rerec", "", 0): [True, False], ("grpo", "", 3): [True, True]})
        begun = (outcomes["stage"] == "before") & (outcomes["variant"] == "grpo")
        outcomes.loc[begun, "correct"] = True
        table = compare(*arms_of(outcomes, "rerec"), config)
        said = nodes.reports.notes(table, outcomes, config)
        assert "differently in grpo seed 3 than in rerec seed 0" in said[-1]

    @pytest.mark.parametrize(
        ("value", "text"), [(0.0004, "< 0.001"), (0.0412, "= 0.041"), (1.0, "= 1.000")]
    )
    def test_p_values_as_they_are_read(self, value, text):
        assert p_text(value) == text

    def test_nothing_compared_is_no_sentence(self, config):
        table = compare(*arms_of(small({("rerec", "", 0): [True, False]}), "rerec"), config)
        assert [s["finding"] for s in headline(table)] == ["reference", "not significant"]


class TestPublished:
    @staticmethod
    def setting(dataset, backbone, split="test"):
        return {"dataset": dataset, "backbone": backbone, "split": split}

    def test_only_the_same_setting_stands_beside_ours(self, config):
        same = published(config.published, self.setting("recbench_book", "llama3.2-3b"))
        assert same["same_setting"] and list(same["accuracy"]) == ["recbench_book"]
        assert same["accuracy"]["recbench_book"]["rerec"]["misinformed"] == 0.75
        for setting in (
            self.setting("recbench_movie", "qwen2.5-3b"),
            self.setting("sample_movie", "llama3.2-3b"),
            self.setting("recbench_book", "llama3.2-3b", "validation"),
        ):
            other = published(config.published, setting)
            assert not other["same_setting"] and len(other["accuracy"]) == 2

    def test_on_the_page(self, compared, tmp_path, config):
        note = "Not to be compared with the figures above"
        assert note in compared[3] and "paper 0." not in compared[3]
        setting = {"dataset": "recbench_movie", "backbone": "llama3.2-3b"}
        page = told(tmp_path, config, CELLS[:6], **setting)[3]
        assert note not in page and "<small>paper 0.748</small>" in page
        assert "gpt-4o (published)" in page and "grpo (published)" not in page


class TestSplit:
    def test_cells_that_were_asked_validation_queries_are_read_and_told_as_such(
        self, tmp_path, config
    ):
        for split, queries in (("validation", 40), ("test", 60)):
            cells = [{**cell, "queries": queries} for cell in CELLS[:6]]
            _, report, _, page = told(tmp_path / split, config, cells, split=split)
            assert report["experiment"]["split"] == split
            assert (
                f"6 finished runs, {queries} queries of the {split} split in {queries} clusters"
                in page
            )
            assert f"all<small>n = {queries}<br>{queries} clusters</small>" in page


class TestSensitivity:
    def test_points_of_a_sweep(self, tmp_path, config):
        _, report, figures, page = told(tmp_path, config, [*CELLS[:3], *SWEEP])
        (entry,) = report["sensitivity"]
        assert entry["parameter"] == "rft.reward.weights.qas"
        assert [p["value"] for p in entry["points"]] == [0.01, 0.1, 0.3]
        assert {p["line"] for p in entry["points"]} == {"rerec"}
        assert [row["label"] for row in entry["unchanged"]] == [""]
        accuracy = [p["accuracy"] for p in entry["points"]]
        assert list(figures[4].data[0].y) == accuracy == sorted(accuracy)
        assert figures[4].layout.xaxis.type == "log"
        assert "<h2>Sensitivity</h2>" in page

    def test_a_value_that_is_the_variants_own_is_a_point_too(self, config):
        """Such a cell has no label, but says what it was run with."""
        right = {("rerec", label, 0): [True, False] for label in ("k=1", "", "k=4")}
        cells = [
            {"variant": "rerec", "seed": 0, "label": label, "state": "finished",
             "changes": {"k": k, "of_k": -k}}
            for label, k in (("k=1", 1), ("", 2), ("k=4", 4))
        ]  # fmt: skip
        entries = sensitivity(compare(*arms_of(small(right), "rerec"), config), cells)
        assert [e["parameter"] for e in entries] == ["k", "of_k"]  # changed together
        assert [p["value"] for p in entries[0]["points"]] == [1, 2, 4]
        assert {p["line"] for p in entries[0]["points"]} == {"rerec"}
        assert entries[0]["unchanged"] == []

    def test_a_grid_has_a_line_for_each_other_value(self, config):
        cells, right = [], {}
        for qas in (0, 1):
            for tau in (0.1, 0.2):
                label = f"{qas}-{tau}"
                changes = {"qas": qas, "tau": tau, "same": 5, "of_seed": qas + tau}
                cells.append({"variant": "rerec", "seed": 0, "label": label, "changes": changes,
                              "state": "finished"})  # fmt: skip
                cells.append({**cells[-1], "seed": 1, "changes": {**changes, "of_seed": 9}})
                right |= {("rerec", label, seed): [True, False] for seed in (0, 1)}
        table = compare(*arms_of(small(right), "rerec"), config)
        entries = sensitivity(table, cells)
        assert [entry["parameter"] for entry in entries] == ["qas", "tau"]
        assert [p["line"] for p in entries[0]["points"]] == ["rerec, tau=0.1", "rerec, tau=0.2"] * 2

    @pytest.mark.parametrize(
        ("values", "axis"),
        [
            ([0.1, 0.2], "linear"),
            ([0.01, 0.5], "log"),
            ([0, 0.01, 0.5], "category"),
            ([0, 0.1], "linear"),
            ([0], "linear"),
            (["group", "batch"], "category"),
            ([True, False], "category"),
            ([None, 2], "category"),
        ],
    )
    def test_axes(self, values, axis):
        assert comparison_plots._axis(values) == axis
        points = [{"value": v, "line": "rerec", "variant": "rerec", "accuracy": 0.5,
                   "accuracy_low": 0.4, "accuracy_high": 0.6} for v in values]  # fmt: skip
        entry = {"parameter": "x", "points": points, "unchanged": points[:1]}
        figure = comparison_plots.sensitivity([entry])
        assert figure.layout.xaxis.type == axis and len(figure.data[0].x) == len(values)

    def test_plots_side_by_side_have_one_scale(self):
        points = [{"value": v, "line": "rerec", "variant": "rerec", "accuracy": 0.5,
                   "accuracy_low": 0.4, "accuracy_high": 0.6} for v in (1, 2)]  # fmt: skip
        entries = [{"parameter": f"p{n}", "points": points, "unchanged": []} for n in range(3)]
        figure = comparison_plots.sensitivity(entries, columns=2)
        titles = [figure.layout[f"xaxis{n}"].title.text for n in ("", 2, 3)]
        assert titles == ["p0", "p1", "p2"] and not figure.layout.annotations  # none to overlap
        assert [trace.yaxis for trace in figure.data] == ["y", "y2", "y3"]
        assert figure.layout.yaxis3.matches == "y"
        left, right, below = (figure.layout[f"xaxis{n}"].domain for n in ("", 2, 3))
        assert left == below and left[1] < right[0]

    def test_without_a_sweep_there_is_no_section(self, compared):
        assert compared[1]["sensitivity"] == [] and "Sensitivity" not in compared[3]
        assert compared[2][4].layout.annotations[0].text == "no parameter was swept"


class TestPlots:
    def test_learning_bands_by_hand(self):
        logs = pd.DataFrame(
            {"variant": "rerec", "label": "", "seed": [0, 0, 1, 1], "accuracy": [0, 1, 1, 1.0]}
        )
        told_by = {"variant": "rerec", "label": "", "seed": [0, 1], "samples": 128, "steps": 2}
        bands = comparison_plots.learning_bands(logs, pd.DataFrame(told_by), window=2)
        assert bands["rollouts"].tolist() == [64, 128]
        assert bands["mean"].tolist() == [0.5, 0.75]
        assert bands["low"].tolist() == [0, 0.5] and bands["high"].tolist() == [1, 1]

    def test_long_curves_are_thinned_and_supervised_ones_left_out(self):
        logs = pd.DataFrame({"variant": "grpo", "label": "", "seed": 0, "accuracy": [0.5] * 1000})
        told_by = pd.DataFrame(
            {"variant": ["grpo"], "label": "", "seed": 0, "samples": 1000, "steps": 1000}
        )
        bands = comparison_plots.learning_bands(logs, told_by, window=1)
        assert 100 < len(bands) <= comparison_plots.CURVE_POINTS
        nothing = comparison_plots.learning_bands(logs.drop(columns="accuracy"), told_by, 1)
        assert nothing.empty
        figure = comparison_plots.learning(nothing, [])
        assert figure.layout.annotations[0].text == "no finished run made rollouts"

    def test_a_variant_has_one_colour_and_findings_theirs(self, compared):
        _, report, (accuracy, differences, faithful, learned, _), _ = compared
        colours = comparison_plots.colours_of(report["rows"])
        assert len(set(colours.values())) == 5
        assert {t.name: t.marker.color for t in accuracy.data} == colours
        lines = {t.name: t.line.color for t in learned.data if t.name}
        assert lines == {n: c for n, c in colours.items() if n not in ("untrained", "sft")}
        found = {t.name: list(t.y) for t in differences.data}
        assert found == {
            "better": ["sft"], "worse": ["untrained", "wo_raae"], "not significant": ["grpo"],
        }  # fmt: skip
        assert "sft" not in faithful.data[0].y  # it states nothing

    def test_too_many_labels_for_one_plot_are_left_to_the_tables(self):
        row = {"query_type": "all", "queries": 4, "accuracy": 0.5, "accuracy_low": 0.4,
               "accuracy_high": 0.6}  # fmt: skip
        rows = [{**row, "variant": "rerec", "label": label} for label in ("", *"abcdefghijk")]
        assert [t.name for t in comparison_plots.accuracy_by_arm(rows).data] == [
            "untrained", "rerec",
        ]  # fmt: skip
        assert comparison_plots.distinguishable(rows[:4]) == rows[:4]


class TestPage:
    def test_it_is_a_page_like_the_others(self, compared):
        page = compared[3]
        links = {f"../../{RUN}/transcripts.html", compared[1]["published"]["address"]}
        check_page(page, "Variants compared: experiment", links)
        for name in ("accuracy", "differences", "faithfulness", "learning"):
            assert page.count(f'id="plot-{name}"') == 1

    def test_it_says_what_failed_and_escapes_it(self, compared):
        page = compared[3]
        assert "1 run of this experiment is not finished" in page
        assert "OutOfMemory: &lt;GPU&gt; is full" in page and "<GPU>" not in page

    def test_the_table_has_every_variant_with_its_interval(self, compared):
        table, _, _, page = compared
        row = table.query("variant == 'grpo' and query_type == 'implicit'").iloc[0]
        assert (
            f"<td>{row['accuracy']:.3f}<small>{row['accuracy_low']:.3f} to "
            f"{row['accuracy_high']:.3f}</small></td>"
        ) in page
        assert "states none" in page  # sft

    def test_it_is_the_same_each_time(self, compared, tmp_path, config):
        assert told(tmp_path, config, CELLS)[3] == compared[3]
