"""``kedro plan`` says what a run would cost, from parameters alone."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from rerec_pipeline.commands.pretrained import plan_run
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.experiments.grid import read_params
from rerec_pipeline.models.cost import Architecture
from rerec_pipeline.parameters import BackboneParameters
from rerec_pipeline.runner.planning import architecture, card_of, work_of
from tests.pipelines.conftest import PROJECT, copy_project
from tests.test_parameters import parameters

PLAN = yaml.safe_load((PROJECT / "conf/base/plan.yml").read_text(encoding="utf-8"))["plan"]


def ask(project: Path, *options: str):
    bootstrap_project(project)
    project = SimpleNamespace(project_path=project)
    return CliRunner().invoke(plan_run, options, obj=project)


class TestCommand:
    def test_the_papers_backbone_on_a_card_that_is_too_small(self):
        told = ask(
            PROJECT, "--params", "backbone=qwen2.5-3b,dataset=recbench_movie",
            "--card", "a100-40gb", "--gpus", "2", "--prompt-tokens", "400",
        )  # fmt: skip
        assert told.exit_code == 0, told.output
        assert "3,085,938,688 parameters, all trained, 16-bit arithmetic" in told.output
        assert "does not fit" in told.output and 'rft.backbone.lora={"r": 16' in told.output
        [line] = [line for line in told.output.splitlines() if line.startswith("  --params ")]
        _, typed = shlex.split(line)  # one word for a shell, and what it says is read
        assert read_params(typed)["rft"]["backbone"]["lora"]["r"] == 16
        assert "2,000 steps on 2,560,000 rollouts" in told.output
        assert "prompts of 400 tokens on average, 768 at most" in told.output

    def test_a_cold_start_is_counted(self):
        asked = "backbone=smollm2-135m-lora,dataset=recbench_movie,rft.cold_start.traces=graph"
        told = ask(PROJECT, "--params", asked, "--card", "h100-80gb")
        assert told.exit_code == 0, told.output
        [line] = [line for line in told.output.splitlines() if "cold start" in line]
        assert line.endswith("hours: 0.6 M token passes, once for all variants and seeds")
        fewer = ask(PROJECT, "--params", asked.replace("graph", "none"), "--card", "h100-80gb")
        assert "cold start" not in fewer.output

    def test_lengths_of_an_earlier_run_are_used(self, tmp_path):
        project = copy_project(tmp_path / "project")
        report = project / "data/08_reporting/recbench_movie/qwen2.5-0.5b-lora"
        report.mkdir(parents=True)
        lengths = {
            "train": {"prompts": 3, "mean_tokens": 377.6, "max_tokens": 455},
            "test": {"prompts": 1139, "mean_tokens": 378.0, "max_tokens": 450},
        }
        (report / "prompt_lengths.json").write_text(json.dumps(lengths))
        told = ask(
            project, "--params", "backbone=qwen2.5-0.5b-lora,dataset=recbench_movie",
            "--card", "rtx4090",
        )  # fmt: skip
        assert "prompts of 378 tokens on average, 455 at most" in told.output
        assert ": fits" in told.output
        assert "hours: 1,139 queries, before and after" in told.output

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (
                ["--card", "abacus"],
                "there is no card 'abacus'; there are a100-40gb, cpu, h100-80gb",
            ),
            (["--params", "backbone=abacus"], "backbone=abacus names no block"),
            (["--params", "variant=sft"], "rft.sft.token_passes"),
        ],
    )
    def test_what_cannot_be_planned(self, options, said):
        told = ask(PROJECT, *options)
        assert told.exit_code == 1 and said in told.output


class TestArchitecture:
    def backbone(self, **given) -> BackboneParameters:
        block = parameters()["rft"].backbone
        return block.model_copy(update=given)

    def test_a_folder_comes_before_a_name(self):
        found = architecture(self.backbone(), {"base_policy": None})
        assert found.parameters == 357_312  # as its README says

    def test_a_recipe_from_scratch_says_its_own(self):
        rft = parameters(dataset="recbench_movie", backbone="scratch")["rft"]
        found = architecture(rft.backbone, {})
        assert (found.layers, found.hidden, found.vocabulary) == (4, 192, 26000)

    def test_one_that_is_not_known_says_what_to_do(self):
        with pytest.raises(BadParameterError, match="add them to conf/base/plan.yml"):
            architecture(self.backbone(name_or_path="some/model"), PLAN["architectures"])


class TestWork:
    def work(self, gpu=True, cards=1, **choices):
        rft = parameters(**choices)["rft"]
        model = Architecture.model_validate(PLAN["architectures"]["Qwen/Qwen2.5-3B-Instruct"])
        return work_of(rft, model, gpu, cards, 400, 768, None)

    def test_it_is_what_the_parameters_say(self):
        work = self.work(dataset="recbench_movie", backbone="qwen2.5-3b")
        assert (work.half, work.reference, work.read_again) == (True, True, True)
        assert (work.steps, work.group, work.micro_batch) == (2000, 5, 8)
        assert (work.prompt, work.completion_limit, work.batch_size) == (400, 768, 64)
        assert self.work(cards=4, dataset="recbench_movie", backbone="qwen2.5-3b").per_card == 640

    def test_only_an_adapters_base_is_16_bits_on_a_cpu(self):
        assert not self.work(False, dataset="recbench_movie", backbone="qwen2.5-3b").half
        assert self.work(False, dataset="recbench_movie", backbone="qwen2.5-3b-lora").half
        assert not self.work(backbone="tiny").half

    def test_vllm_takes_what_its_engine_is_given(self):
        choices = {"dataset": "recbench_movie", "backbone": "qwen2.5-3b-lora"}
        assert self.work(**choices).vllm is None
        assert self.work(**choices, rft={"generation": {"vllm": True}}).vllm == 0.3


def test_this_machine_is_measured():
    card = card_of(PLAN["cards"], "cpu")
    assert card.flops32 > 1e8 and card.bandwidth > 1e8 and card.memory > 1e8
