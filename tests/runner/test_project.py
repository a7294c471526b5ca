"""An experiment is laid out and checked against the real configuration before anything runs."""

from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

import rerec_pipeline
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.experiments.grid import DATA, PROMPTS
from rerec_pipeline.hooks.provenance import STAGES
from rerec_pipeline.parameters import DataParameters
from rerec_pipeline.runner.experiment import make_plan, read_grid
from rerec_pipeline.runner.project import Project
from rerec_pipeline.storage.provenance import parameters_behind
from rerec_pipeline.storage.sources import imported_files

PROJECT = Path(__file__).parents[2]
QAS = "rft.reward.weights.qas"


@pytest.fixture(scope="module")
def project():
    bootstrap_project(PROJECT)
    return Project(PROJECT)


@pytest.fixture(scope="module")
def presets(project):
    return project.read("experiments")


def plan(project, presets, preset="evidence", **options):
    return make_plan(project, "e", read_grid(presets, preset, options), "sample_movie", "tiny")


class TestPlan:
    def test_every_variant_of_the_ablation_is_resolved(self, project, presets):
        made = plan(project, presets, "ablation", seeds=[0])
        assert len(made.cells) == 8
        assert {made_for.variant: spender.variant for made_for, spender in made.needs.items()} == {
            "sft": "rerec"
        }
        files = [set(project.outputs(cell)) for cell in made.cells]
        assert not set.intersection(*files) and all(len(f) >= 12 for f in files)

    @pytest.mark.parametrize("preset", ["w_qas", "w_pas", "w_penalty", "tau", "G", "K"])
    def test_sweeps_can_be_run_and_hold_the_variant_itself(self, project, presets, preset):
        made = plan(project, presets, preset, seeds=[0])
        assert len(made.cells) >= 3
        assert made.shared["split"] == "validation"  # settings can be chosen by what they find
        labels = [cell.label for cell in made.cells]
        assert labels.count("") == 1 and len(set(labels)) == len(labels)
        budgets = [project.parameters(c.settings())["rft"].budget for c in made.cells]
        assert len({b.rollouts for b in budgets}) == 1
        assert len({b.rollouts // b.samples_per_update for b in budgets}) == 1

    def test_the_pair_about_evidence_differs_in_nothing_else(self, project, presets):
        pair = [
            make_plan(
                project, name, read_grid(presets, name, {"seeds": [0]}), "recbench_movie", "scratch"
            ).cells
            for name in ("without_evidence", "with_evidence")
        ]
        for cells in zip(*pair, strict=True):
            without, told = (project.flat_parameters(cell.settings()) for cell in cells)
            differ = {key for key in without if without[key] != told[key]}
            places = {"label", "prompt_label", "rft.backbone.name_or_path"}  # folders
            places |= {key for key in differ if key.endswith("checkpoint_dir")}
            assert differ - places == {"data.prompt.evidence"}
            assert cells[0].run != cells[1].run
            files = [project.files(cell.settings()) for cell in cells]
            same = {name for name in files[0] if files[0][name] == files[1][name]}
            assert {"raw_manifest", "splits", "lightgcn_embeddings", "ranker"} <= same
            assert not {"prompts", "backbone_record", "policy", "metrics"} & same

    def test_a_labels_files_are_its_own(self, project, presets):
        made = plan(project, presets, sweep={QAS: [0.5]}, variants=["rerec"], seeds=[0])
        [cell] = made.cells
        folder = "sample_movie/tiny/rerec/seed-0/qas=0.5"
        assert PROJECT / "data/08_reporting" / folder / "metrics.json" in project.outputs(cell)
        assert project.checkpoints(cell) == PROJECT / "data/06_models" / folder / "checkpoints"

    def test_other_data_parameters_have_folders_of_their_own(self, project, presets):
        """Of tables, graphs, raw files and checkpoints, also where the run has a label by hand."""
        text = "dataset=sample_movie,data.candidates.size=10"
        usual, files = project.files("dataset=sample_movie"), project.files(text)
        for name in ("items", "splits", "lightgcn_embeddings", "ranker", "policy", "raw_manifest"):
            other = str(usual[name]).replace("/sample_movie/", "/sample_movie+size-10/")
            other = other.replace("seed-0/", "seed-0/size=10/")
            assert str(files[name]) == other, name
        named = project.files(f"{text},label=small")
        assert named["splits"] == files["splits"] and named["policy"] != files["policy"]
        assert project.parameters(text)["raw_dir"].endswith("01_raw/sample_movie+size-10")
        assert "/sample_movie+size-10/" in project.parameters(text)["lightgcn"].checkpoint_dir
        same = project.files("dataset=sample_movie,data.candidates.size=20,rft.reward.k=1")
        assert same["splits"] == usual["splits"] and same["policy"] == usual["policy"]
        made = plan(project, presets, params={"data.candidates.size": 10}, seeds=[0])
        for cell in made.cells:
            assert project.files(cell.settings())["policy"].parent == (
                PROJECT / "data/06_models" / cell.run
            )

    @pytest.mark.parametrize("change", ["data.prompt.evidence_words=9", "data.history=true"])
    def test_other_prompts_stand_on_the_same_tables_graphs_and_lightgcn(self, project, change):
        """Nothing that they share was made with a parameter that tells them apart."""
        usual, other = "dataset=recbench_movie", f"dataset=recbench_movie,{change}"
        files = [project.files(text) for text in (usual, other)]
        same = {name for name in files[0] if files[0][name] == files[1][name]}
        shared = same & pipelines["shared_stages"].all_outputs()
        assert {"raw_manifest", "items", "interaction_graph", "candidate_pools"} <= shared
        assert {"lightgcn_embeddings", "ranker"} <= shared
        assert not {"prompts", "arranged_prompts", "answers_before", "policy", "metrics"} & same
        stamps = [project._stamp(shared, project.parameters(text)) for text in (usual, other)]
        assert stamps[0] == stamps[1] and not [key for key in stamps[0] if "prompt" in key]
        assert project.labels(other) == dict.fromkeys(
            ("label", "prompt_label"), change.removeprefix("data.").removeprefix("prompt.")
        )
        whole = sum((pipelines[stage] for stage in STAGES), Pipeline([]))
        read = {name: parameters_behind(whole, name) for name in whole.all_outputs() & same}
        of_prompts = {name for name, names in read.items() if names & {"data", *PROMPTS}}
        assert not of_prompts - {"latest_metrics"} - pipelines["base_policy"].all_outputs()
        both = project.files(f"{other},data.candidates.size=9")
        folder = f"recbench_movie+size-9+{project.labels(other)['label'].replace('=', '-')}"
        assert both["prompts"].parent == PROJECT / "data/05_model_input" / folder
        assert both["ranker"].parent == PROJECT / "data/06_models/recbench_movie+size-9"

    def test_every_parameter_of_data_names_one_folder(self):
        blocks = [f"data.{name}" for name in DataParameters.model_fields]
        assert all((block in DATA) != (block in PROMPTS) for block in blocks)

    def test_what_is_asked_of_validation_queries_does_not_replace_what_test_queries_were(
        self, project, presets
    ):
        test, validation = (
            {
                path
                for cell in plan(project, presets, split=split).cells
                for path in project.outputs(cell)
            }
            for split in ("test", "validation")
        )
        assert test and validation and not test & validation
        names = ("evaluation_prompts", "answers_before", "baseline_choices", "policy")
        files = [
            project.files(f"dataset=sample_movie{split}") for split in ("", ",split=validation")
        ]
        assert [files[0][name] == files[1][name] for name in names] == [False, False, False, True]

    def test_without_the_reference_the_parameters_compute_is_taken(self, project, presets):
        made = plan(project, presets, variants=["sft", "grpo"], seeds=[0])
        assert made.needs == {} and made.unmatched == ["sft"]

    def test_compute_that_was_asked_for_is_not_matched(self, project, presets):
        made = plan(project, presets, params={"rft.sft.token_passes": 1000}, seeds=[0])
        assert made.needs == {} and made.unmatched == []

    def test_compute_is_part_of_the_fingerprint(self, project, presets):
        [_, _, sft] = plan(project, presets, seeds=[0]).cells
        flat = project.flat_parameters(sft.settings({"rft.sft.token_passes": 1234}))
        assert flat["rft.sft.token_passes"] == 1234


class TestRefusal:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"variants": ["rerec", "nonesuch"]}, "variant=nonesuch names no block; .* grpo"),
            ({"sweep": {"rft.reward.w_qas": [0.1]}}, "rft.reward.w_qas: there is no such"),
            ({"sweep": {"rft.curriculum.tau": [2]}}, "rft.curriculum.tau"),
            ({"params": {"rft.budget.rollouts": 100}}, "not a multiple"),
            ({"sweep": {"data.split.seed": [1, 2]}}, "data.split.seed: .* shared by all cells"),
            ({"seeds": []}, "seeds"),
            ({"split": "train"}, "split"),
        ],
    )
    def test_before_anything_runs(self, project, presets, options, said):
        with pytest.raises(BadParameterError, match=said):
            plan(project, presets, **{"seeds": [0], **options})

    def test_an_unknown_preset_names_those_there_are(self, presets):
        with pytest.raises(BadParameterError, match="preset=x names none; .* ablation, evidence"):
            read_grid(presets, "x", {})
        with pytest.raises(BadParameterError, match="ablatoin names none; did you mean ablation"):
            read_grid(presets, "ablatoin", {})

    def test_a_name_is_a_folder(self, project, presets):
        with pytest.raises(BadParameterError, match="'../x' can not name an experiment"):
            make_plan(project, "../x", read_grid(presets, "evidence", {}), None, None)

    def test_a_label_is_a_folder_beside_others(self, project):
        for label in ("../up", "policy", "validation", "metrics.json", "1"):
            with pytest.raises(BadParameterError, match="label"):
                project.parameters(f"label={label}")


class TestParts:
    def test_shared_stages_and_single_run_are_the_whole_and_share_no_output(self, project):
        shared, cell = pipelines["shared_stages"], pipelines["single_run"]
        made = (shared.all_outputs() & cell.all_outputs()) - {"task"}
        assert not made
        whole = pipelines["__default__"].all_outputs()
        assert whole - shared.all_outputs() - cell.all_outputs() == {"latest_metrics"}

    def test_variants_share_the_shared_stages(self, project):
        texts = [f"variant={name},seed=1" for name in ("rerec", "grpo", "sft", "wo_curriculum")]
        first, *others = [project.shared_parameters(text) for text in texts]
        assert all(other == first for other in others)


class TestSources:
    def test_what_a_report_is_made_of_is_no_part_of_a_training(self):
        package = Path(rerec_pipeline.__file__).parent
        found = imported_files(package, ["rerec_pipeline.pipelines.rft.nodes"])
        names = {path.relative_to(package).as_posix() for path in found}
        assert {"training/trainer.py", "rerec/reward.py", "pipelines/rft/__init__.py"} <= names
        assert not {"cli.py", "reporting/by_seed.py", "runner/experiment.py"} & names

    def test_every_form_of_import_is_followed(self, tmp_path):
        package = tmp_path / "pkg"
        (package / "sub").mkdir(parents=True)
        for name, text in {
            "__init__": "", "a": "import pkg.b\nimport os", "b": "from pkg import c",
            "c": "from pkg.sub.d import f", "sub/__init__": "", "sub/d": "", "e": "",
        }.items():  # fmt: skip
            (package / f"{name}.py").write_text(text)
        found = [p.relative_to(package).as_posix() for p in imported_files(package, ["pkg.a"])]
        assert found == ["__init__.py", "a.py", "b.py", "c.py", "sub/__init__.py", "sub/d.py"]
