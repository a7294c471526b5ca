"""Three independent choices, laid over defaults, and validated before anything runs."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.parameters import overlay
from rerec_pipeline.pipelines.rft.pipeline import create_pipeline
from rerec_pipeline.storage.provenance import parameters_read

PROJECT = Path(__file__).parents[1]
DATASETS = ["sample_movie", "sample_book", "recbench_movie", "recbench_book"]
BACKBONES = [
    "tiny", "qwen2.5-3b", "llama3.2-3b", "qwen2.5-3b-lora", "llama3.2-3b-lora", "qwen2.5-0.5b-lora",
    "smollm2-135m", "smollm2-135m-lora",
    "scratch",
]  # fmt: skip
OFFICIAL = ["qwen2.5-3b", "llama3.2-3b", "qwen2.5-3b-lora", "llama3.2-3b-lora"]
VARIANTS = [
    "rerec", "grpo", "reinforce_pp", "rloo", "wo_raae", "wo_qas", "wo_pas", "wo_curriculum", "sft",
    "sft_traces",
]  # fmt: skip
#: Those that take one number away are valid where rerec is.
CROSSED = [name for name in VARIANTS if name not in ("wo_raae", "wo_qas", "wo_pas")]
ON_ROLLOUTS = [name for name in VARIANTS if not name.startswith("sft")]


def parameters(**runtime):
    loader = ChoicesConfigLoader(
        str(PROJECT / "conf"),
        base_env="base",
        default_run_env="local",
        runtime_params=runtime,
        merge_strategy={"parameters": "soft", "globals": "soft"},
    )
    return loader["parameters"]


class TestChoices:
    @pytest.mark.parametrize("variant", CROSSED)
    @pytest.mark.parametrize("backbone", BACKBONES)
    @pytest.mark.parametrize("dataset", DATASETS)
    def test_every_combination_is_valid(self, dataset, backbone, variant):
        needed = {}
        if variant == "sft_traces" and dataset.startswith("recbench"):
            needed = {"rft": {"sft": {"traces": __file__}}}
        chosen = parameters(dataset=dataset, backbone=backbone, variant=variant, **needed)
        assert (chosen["dataset"], chosen["variant"]) == (dataset, variant)
        assert chosen["raw_dir"] == (PROJECT / "data/01_raw" / dataset).as_posix()

    def test_these_are_all(self):
        blocks = OmegaConf.load(PROJECT / "conf/base/parameters/backbones.yml")["backbones"]
        assert list(blocks) == BACKBONES
        blocks = OmegaConf.load(PROJECT / "conf/base/parameters/variants.yml")["variants"]
        assert sorted(blocks) == sorted(VARIANTS)

    @pytest.mark.parametrize("backbone", OFFICIAL)
    def test_the_papers_backbones_have_the_official_hyper_parameters(self, backbone):
        """Method notes, section on the objective."""
        rft = parameters(dataset="recbench_movie", backbone=backbone)["rft"]
        assert (rft.budget.prompts, rft.budget.group_size) == (512, 5)
        assert rft.budget.prompts // rft.budget.updates == 256
        assert (rft.optimizer.beta, rft.optimizer.epsilon) == (0.01, 0.2)
        assert rft.optimizer.lr == (5e-6 if rft.backbone.lora is None else 5e-5)
        assert (rft.backbone.lora is None) == (not backbone.endswith("-lora"))
        assert rft.generation.max_prompt_tokens == rft.generation.max_completion_tokens == 768
        assert (rft.reward.weights["qas"], rft.reward.weights["pas"]) == (0.01, 0.01)

    def test_weights_of_the_reward_are_the_data_sets(self):
        """So that the three choices are independent: no backbone sets one, samples do."""
        blocks = OmegaConf.load(PROJECT / "conf/base/parameters/backbones.yml")["backbones"]
        assert not [name for name, block in blocks.items() if "reward" in block.rft]
        for backbone in BACKBONES:
            for dataset, weight in (("sample_book", 0.2), ("recbench_book", 0.01)):
                weights = parameters(dataset=dataset, backbone=backbone)["rft"].reward.weights
                assert (weights["qas"], weights["pas"]) == (weight, weight)
        plain = parameters(dataset="sample_book", variant="grpo")["rft"].reward.weights
        assert (plain["qas"], plain["pas"]) == (0.0, 0.0)

    @pytest.mark.parametrize("backbone", ["llama3.2-3b", "llama3.2-3b-lora"])
    def test_prompts_of_llama_do_not_change_with_the_day(self, backbone):
        values = parameters(backbone=backbone)["rft"].backbone.template_values
        assert values == {"date_string": "26 Jul 2024"}

    @pytest.mark.parametrize("processes", [1, 2, 4, 8])
    @pytest.mark.parametrize("backbone", OFFICIAL)
    def test_generations_can_be_shared_out_to_gpus(self, backbone, processes):
        budget = parameters(backbone=backbone)["rft"].budget
        rollouts = budget.prompts * budget.group_size
        assert rollouts % (budget.updates * budget.micro_batch * processes) == 0

    def test_a_variant_takes_away_only_its_part(self):
        whole = parameters()["rft"]
        assert parameters(variant="wo_raae")["rft"].advantage.w_penalty == 0
        assert parameters(variant="wo_qas")["rft"].reward.weights == {
            **whole.reward.weights, "qas": 0.0,
        }  # fmt: skip
        assert parameters(variant="wo_pas")["rft"].reward.weights["pas"] == 0
        assert not parameters(variant="wo_curriculum")["rft"].curriculum.enabled
        grpo = parameters(variant="grpo")["rft"]
        assert (grpo.reward.weights["qas"], grpo.reward.weights["pas"]) == (0, 0)
        assert grpo.reward.weights["ndcg"] == whole.reward.weights["ndcg"]
        assert grpo.advantage.w_penalty == 0 and not grpo.curriculum.enabled
        assert grpo.budget == whole.budget and grpo.optimizer == whole.optimizer

    @pytest.mark.parametrize("variant", ["reinforce_pp", "rloo"])
    def test_a_baseline_differs_from_grpo_in_its_algorithm_alone(self, variant):
        grpo, baseline = (
            parameters(variant=v)["rft"].model_dump(exclude={"checkpoint_dir"})
            for v in ("grpo", variant)
        )
        assert baseline == {**grpo, "algorithm": variant}

    @pytest.mark.parametrize("backbone", ["tiny", "qwen2.5-3b"])
    def test_variants_that_learn_from_rollouts_have_one_budget(self, backbone):
        """The same prompts, rollouts, updates, sampling and optimizer: equal compute."""
        spent = [
            [rft.budget, rft.optimizer, rft.generation, rft.checkpoint_every]
            for variant in ON_ROLLOUTS
            for rft in [parameters(backbone=backbone, variant=variant)["rft"]]
        ]
        assert len(spent) == 8 and all(one == spent[0] for one in spent)

    def test_the_command_line_comes_last(self):
        chosen = parameters(variant="wo_qas", rft={"reward": {"weights": {"qas": 0.7}}})
        assert chosen["rft"].reward.weights["qas"] == 0.7

    def test_the_tiny_backbone_is_asked_about_its_own_world_only(self):
        assert parameters()["abilities"].tasks == [
            "sample_knowledge", "sample_instructions", "sample_reasoning",
        ]  # fmt: skip
        for backbone in (*OFFICIAL, "qwen2.5-0.5b-lora"):
            assert parameters(backbone=backbone)["abilities"].tasks == ["ifeval", "mmlu", "gsm8k"]

    @pytest.mark.parametrize("choice", ["dataset", "backbone", "variant"])
    def test_an_unknown_name_lists_those_that_exist(self, choice):
        with pytest.raises(BadParameterError, match=f"{choice}=nonsense names no block") as error:
            parameters(**{choice: "nonsense"})
        known = {"dataset": "sample_movie", "backbone": "tiny", "variant": "rerec"}[choice]
        assert known in str(error.value)


class TestTraces:
    def test_both_supervised_variants_may_spend_the_same(self):
        answers, traces = (parameters(variant=v)["rft"] for v in ("sft", "sft_traces"))
        assert not answers.teaches_traces and traces.teaches_traces
        assert traces.sft == answers.sft.model_copy(update={"teaches": "traces"})

    def test_real_data_needs_a_file_before_anything_runs(self):
        with pytest.raises(BadParameterError, match=r"'recbench_movie' has none.*traces=FILE"):
            parameters(variant="sft_traces", dataset="recbench_movie")
        parameters(variant="rerec", dataset="recbench_movie")

    def test_the_file_must_exist(self):
        with pytest.raises(BadParameterError, match="there is no file .*/nowhere.jsonl"):
            parameters(variant="sft_traces", rft={"sft": {"traces": "nowhere.jsonl"}})

    def test_its_place_is_relative_to_the_project(self):
        rft = parameters(variant="sft_traces", rft={"sft": {"traces": "README.md"}})["rft"]
        assert rft.sft.traces == (PROJECT / "README.md").as_posix()


class TestOnePlace:
    """A choice counts for parameters and for the catalog, whatever file it stands in."""

    @pytest.mark.parametrize("file", ["parameters.yml", "globals.yml"])
    def test_of_choices_in_conf_local(self, tmp_path, file):
        shutil.copytree(PROJECT / "conf/base", tmp_path / "conf/base")
        (tmp_path / "conf/local").mkdir()
        (tmp_path / "conf/local" / file).write_text(
            "{variant: grpo, dataset: sample_book, seed: 3}"
        )
        for runtime, variant in (({}, "grpo"), ({"variant": "rloo"}, "rloo")):
            loader = ChoicesConfigLoader(
                str(tmp_path / "conf"), base_env="base", default_run_env="local",
                runtime_params=runtime,
                merge_strategy={"parameters": "soft", "globals": "soft"},
            )  # fmt: skip
            policy = loader["catalog"]["training_log"]["filepath"]
            assert f"/sample_book/tiny/{variant}/seed-3/" in policy
            rft = loader["parameters"]["rft"]
            assert rft.checkpoint_dir.endswith(f"/sample_book/tiny/{variant}/seed-3/checkpoints")
            assert loader["parameters"]["variant"] == variant
            assert rft.curriculum.seed == loader["parameters"]["seed"] == 3
            assert rft.advantage.w_penalty == 0.0
            assert loader["globals"]["engines"]["duckdb"]["backend"] == "duckdb"


class TestValidation:
    @pytest.mark.parametrize(
        ("wrong", "key"),
        [
            ({"rft": {"advantage": {"w_penalty": 1.5}}}, "rft.advantage.w_penalty"),
            ({"rft": {"advantage": {"w_penatly": 0.3}}}, "rft.advantage.w_penatly"),
            ({"rft": {"advantage": {"scale": "groups"}}}, "rft.advantage.scale"),
            ({"rft": {"reward": {"k": 0}}}, "rft.reward.k"),
            ({"rft": {"reward": {"weights": {"qass": 1.0}}}}, "rft.reward.weights"),
            ({"rft": {"budget": {"rollouts": "many"}}}, "rft.budget.rollouts"),
            ({"rft": {"curriculum": {"tau": 2}}}, "rft.curriculum.tau"),
            ({"data": {"split": {"test": 0.9}}}, "data.split"),
            ({"data": {"candidates": {"size": 1}}}, "data.candidates.size"),
            ({"data": {"prompt": {"user": "no place for the query"}}}, "data.prompt"),
            ({"lightgcn": {"dim": -1}}, "lightgcn.dim"),
            ({"base_policy": {"hold_out": ["validation"]}}, "base_policy.hold_out"),
            ({"abilities": {"tasks": []}}, "abilities.tasks"),
            ({"abilities": {"tasks": ["gsm8k", "gsm8k"]}}, "abilities.tasks"),
            ({"abilities": {"limit": 0}}, "abilities.limit"),
            ({"seed": -1}, "seed"),
            ({"sed": 1}, "sed"),
        ],
    )
    def test_a_wrong_one_is_named(self, wrong, key):
        with pytest.raises(BadParameterError) as error:
            parameters(**wrong)
        assert key in str(error.value)

    def test_all_wrong_ones_are_named_at_once(self):
        with pytest.raises(BadParameterError) as error:
            parameters(rft={"reward": {"k": 0}, "optimizer": {"lr": -1}})
        assert "rft.reward.k" in str(error.value) and "rft.optimizer.lr" in str(error.value)

    def test_a_budget_that_cannot_be_spent_to_the_last_rollout_is_refused(self):
        with pytest.raises(BadParameterError, match="rft.budget"):
            parameters(rft={"budget": {"rollouts": 12801}})


def test_overlay_keeps_what_it_does_not_name():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 2}
    laid = overlay(base, {"a": {"y": [3]}}, {"c": 4})
    assert laid == {"a": {"x": 1, "y": [3]}, "b": 2, "c": 4}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 2}


class TestLaunch:
    @pytest.mark.parametrize(
        ("launch", "said"),
        [
            ({"preset": "dpp", "processes": 2}, "no preset 'dpp'; did you mean ddp"),
            ({"processes": 2}, "more than one process needs a launch.preset"),
            ({"preset": "deepspeed_zero2", "processes": 2}, "pip install deepspeed"),
            ({"preset": "ddp", "processes": 5}, "can not be shared out evenly to 5 processes"),
            ({"preset": "ddp", "process": 2}, "there is no such parameter"),
        ],
    )
    def test_what_can_not_be_launched_is_said_before_anything_runs(self, launch, said):
        if importlib.util.find_spec("deepspeed") and "deepspeed" in said:
            pytest.skip("deepspeed is installed")
        with pytest.raises(BadParameterError, match=said):
            parameters(launch=launch)

    @pytest.mark.parametrize("preset", ["ddp", "fsdp", "multi_node"])
    def test_how_something_is_launched_is_no_part_of_what_it_is_made_from(self, preset):
        chosen = parameters(launch={"preset": preset, "processes": 2})
        assert chosen["launch"].config_file.is_file() and chosen["label"] == ""
        nodes = create_pipeline()
        assert "launch" not in parameters_read(nodes)
        assert "params:launch" in nodes.inputs()
