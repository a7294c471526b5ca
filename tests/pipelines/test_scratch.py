"""A model made from scratch on any data set, by the very run that fine-tunes it."""

import json

import pandas as pd
import pytest

from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.recbench.heldout import split_fingerprint
from tests.pipelines.conftest import copy_project, run

SMALL = {
    "vocabulary": 500,
    "phrases": 50,
    "architecture": {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32},
    "stages": [
        {
            "batches": 6, "list_sizes": [3, 6], "verdict_weight": 2.0,
            "documents": {"facts": 0.25, "recite": 0.25, "reasoning": 0.5},
        }
    ],
    "tokens_per_batch": 1024,
    "warmup_steps": 2,
}  # fmt: skip
CHANGES = {
    "backbone": "scratch",
    "rft": {
        "backbone": {"scratch": SMALL},
        "budget": {"rollouts": 128, "prompts": 4, "group_size": 4, "micro_batch": 16},
        "generation": {"max_completion_tokens": 12},
        "checkpoint_every": 4,
    },
}
FOLDER = "data/06_models/sample_book/scratch"


@pytest.fixture(scope="module")
def scratched(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("scratch") / "project")
    run(project, **CHANGES)
    return project


def test_it_is_made_for_the_split_and_says_so(scratched):
    record = json.loads((scratched / FOLDER / "backbone/made_by.json").read_text())
    prompts = pd.read_parquet(scratched / "data/05_model_input/sample_book/prompts.parquet")
    assert record["splits"] == {"sample_book": split_fingerprint(prompts)}
    text = (scratched / FOLDER / "backbone.json").read_text()
    assert str(scratched) not in text  # a clone that is moved finds it again
    told = json.loads(text.replace("{project}", str(scratched)))
    assert told["made_by"] == record["made_by"]
    backbone = load_backbone(told["name_or_path"])
    assert backbone.model.config.hidden_size == 16
    # byte-level: no text is unreadable
    text = "Amélie ★ 天"
    assert backbone.tokenizer.decode(backbone.tokenizer(text)["input_ids"]) == text


def test_the_evaluation_puts_it_beside_answers_that_need_no_model(scratched):
    metrics = json.loads((scratched / "data/08_reporting/metrics.json").read_text())
    assert metrics["run"]["backbone"] == "scratch"
    baselines = metrics["baselines"]
    assert baselines["random"]["accuracy"] == pytest.approx(1 / 20)
    assert baselines["popularity"]["n"] == metrics["after"]["n"]
    assert 0 < baselines["lightgcn"]["n"] <= metrics["after"]["n"]
    assert 0 <= baselines["lightgcn"]["policy_there"] <= 1
    plot = scratched / "data/08_reporting/sample_book/scratch/rerec/seed-0/baselines_plot.json"
    assert "popularity" in plot.read_text()


def test_it_is_not_made_twice(scratched):
    weights = scratched / FOLDER / "backbone/model.safetensors"
    made = weights.stat().st_mtime_ns
    run(scratched, "rft", **CHANGES)
    assert weights.stat().st_mtime_ns == made
    other = {**CHANGES["rft"], "backbone": {"scratch": {**SMALL, "seed": 1}}}
    run(scratched, "rft", **{**CHANGES, "rft": other, "label": "other"})
    assert weights.stat().st_mtime_ns != made
