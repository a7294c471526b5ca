"""All four pipelines with the blocks of published backbones, small random models in their place."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from transformers import AutoModelForCausalLM

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.backbone import load_backbone, load_tokenizer
from tests.pipelines.conftest import copy_project, run
from tests.training.real_backbones import make_backbone

#: A world of a few books, so that most of the time goes to what depends on the backbone.
SMALL = {
    "data": {
        "world": {
            "items": 40,
            "queries": {"explicit": 20, "implicit": 20, "misinformed": 20, "interest": 20},
        },
        "candidates": {"size": 5, "hard": 1, "traps": 1},
        "prompt": {"system": "Recommend one."},
    },
    "evaluation": {"bootstrap_samples": 200, "batch_size": 32, "transcripts_per_type": 1},
}  # fmt: skip
BUDGET = {"rollouts": 24, "prompts": 3, "group_size": 4, "updates": 2, "micro_batch": 3}
SPLITS = ("train", "validation", "test")


def settings(folder, **generation):
    generation = {"max_prompt_tokens": 1000, "max_completion_tokens": 8, **generation}
    return {
        "backbone": {"name_or_path": folder},
        "budget": BUDGET,
        "generation": generation,
        "checkpoint_every": 4,
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("clone") / "project")


@pytest.fixture(
    scope="module", params=[("qwen2.5-3b", "qwen2.5"), ("llama3.2-3b-lora", "llama3")],
    ids=lambda p: p[0],
)  # fmt: skip
def finished(request, project, tmp_path_factory):
    """(project, name of the block, backbone's folder, what the run left under its choices)."""
    block, kind = request.param
    folder = make_backbone(kind, tmp_path_factory.mktemp(kind), ["Candidates: The Request"] * 3)
    # The second run takes data and LightGCN from the first.
    run(project, only_missing=True, backbone=block, rft=settings(folder), **SMALL)
    return project, block, folder, Path("sample_book") / block / "rerec/seed-0"


def read(finished, layer, name):
    project, _, _, folder = finished
    path = project / "data" / layer / folder / name
    return pd.read_parquet(path) if path.suffix == ".parquet" else json.loads(path.read_text())


class TestRun:
    def test_the_policy_is_a_hugging_face_folder(self, finished):
        project, block, folder, run_folder = finished
        place = project / "data/06_models" / run_folder / "policy"
        policy = load_backbone(str(place))
        assert (place / "adapter_config.json").is_file() == block.endswith("-lora")
        if block.endswith("-lora"):
            assert policy.model.peft_config["default"].base_model_name_or_path == folder
        else:
            model = AutoModelForCausalLM.from_pretrained(place)
            assert model.dtype == policy.model.dtype and str(model.dtype) == "torch.bfloat16"

    def test_the_budget_was_spent(self, finished):
        log = read(finished, "07_model_output", "training_log.parquet")
        assert len(log) == 4  # two generations of 12 rollouts, two updates each

    def test_answers_that_were_cut_are_counted(self, finished):
        metrics = read(finished, "08_reporting", "metrics.json")
        answers = read(finished, "07_model_output", "answers_after.parquet")
        _, _, folder, _ = finished
        tokenizer = load_tokenizer(folder)
        declared = load_backbone(folder).model.generation_config.eos_token_id
        cut = [ids[-1] not in {*declared, tokenizer.eos_token_id} for ids in answers["token_ids"]]
        assert metrics["after"]["truncated"] == sum(cut) / len(cut) > 0
        assert all(len(ids) == 8 for ids, c in zip(answers["token_ids"], cut, strict=True) if c)

    def test_and_so_are_rollouts_in_the_log_and_in_mlflow(self, finished):
        project, block, _, _ = finished
        logged = read(finished, "07_model_output", "training_log.parquet")
        name = "completions/clipped_ratio"
        share = logged[name].dropna()  # of a generation: told at the first of its two updates
        assert len(share) == 2 and share.between(0, 1).all() and share.max() > 0
        client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
        (found,) = client.search_runs(
            [client.get_experiment_by_name("rerec").experiment_id], f"tags.backbone = '{block}'"
        )
        history = client.get_metric_history(found.info.run_id, f"rft/{name}")
        assert [m.value for m in history] == share.tolist()
        assert found.data.metrics["prompts/train/over_limit"] == 0
        assert 0 <= found.data.metrics["test/after/truncated"] <= 1


class TestPromptLengths:
    def test_every_split_is_counted(self, finished):
        project, block, folder, _ = finished
        path = project / "data/08_reporting/sample_book" / block / "prompt_lengths.json"
        report = json.loads(path.read_text())
        prompts = pd.read_parquet(project / "data/05_model_input/sample_book/prompts.parquet")
        assert (report["limit"], report["on_long_prompt"]) == (1000, "error")
        for split in SPLITS:
            counted = report[split]
            assert counted["prompts"] == (prompts["split"] == split).sum()
            assert counted["mean_tokens"] <= counted["max_tokens"] <= 1000
            assert counted["over_limit"] == 0
        tokenizer = load_tokenizer(folder, {"date_string": "26 Jul 2024"})
        lengths = [
            len(
                tokenizer.apply_chat_template(
                    [{"role": "system", "content": s}, {"role": "user", "content": u}],
                    add_generation_prompt=True,
                )["input_ids"]
            )
            for s, u, split in prompts[["system", "user", "split"]].itertuples(index=False)
            if split == "test"
        ]
        assert report["test"]["max_tokens"] == max(lengths)
        assert report["test"]["mean_tokens"] == pytest.approx(sum(lengths) / len(lengths))

    def test_the_count_is_there_when_long_prompts_stop_the_run(self, project, tmp_path):
        block = "qwen2.5-0.5b-lora"
        folder = make_backbone("qwen2.5", tmp_path, ["Candidates: The Request"])
        short = settings(folder, max_prompt_tokens=30)
        with pytest.raises(BadInputError, match="prompts have more than 30 tokens"):
            run(project, "rft", only_missing=True, backbone=block, rft=short, **SMALL)
        path = project / "data/08_reporting/sample_book" / block / "prompt_lengths.json"
        report = json.loads(path.read_text())
        assert report["train"]["over_limit"] == report["train"]["prompts"] > 0
