"""The base policy: made by its pipeline, and shipped as that pipeline makes it."""

import json

import pandas as pd
import pytest

from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.recbench.heldout import split_fingerprint
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.storage.records import problem_of
from tests.pipelines.conftest import PROJECT, copy_project, run

SHIPPED = PROJECT / "data/06_models/base_policy"
DOCUMENTS = {"facts": 0.2, "judge": 0.2, "among": 0.1, "recite": 0.1, "session": 0.2, "trace": 0.2}


@pytest.fixture(scope="module")
def settings():
    """The settings in conf, as a base policy's record holds them."""
    loader = ChoicesConfigLoader(str(PROJECT / "conf"), base_env="base", default_run_env="base")
    parameters = loader["parameters"]["base_policy"]
    return parameters, {"checkpoint_dir", "raw_dir"}


class TestShipped:
    def test_it_is_what_the_settings_in_conf_make(self, settings):
        parameters, places = settings
        record = json.loads((SHIPPED / "made_by.json").read_text())
        assert record["settings"] == parameters.model_dump(mode="json", exclude=places)
        assert record["made_by"] == fingerprint(record["settings"])

    def test_it_is_what_its_record_says(self):
        for output in (SHIPPED, SHIPPED / "made_by.json", SHIPPED / "README.md"):
            assert problem_of(output) == ""

    def test_it_is_small_and_has_a_card(self):
        assert (SHIPPED / "model.safetensors").stat().st_size < 8 * 2**20
        assert "from random weights" in (SHIPPED / "README.md").read_text()

    def test_it_held_out_the_very_queries_that_are_evaluated(self, finished):
        record = json.loads((SHIPPED / "made_by.json").read_text())
        prompts = pd.read_parquet(finished / "data/05_model_input/sample_book/prompts.parquet")
        assert record["splits"]["sample_book"] == split_fingerprint(prompts)
        assert {"validation", "test"} <= set(record["settings"]["hold_out"])

    def test_titles_are_single_tokens(self):
        tokenizer = load_backbone(str(SHIPPED)).tokenizer
        assert len(tokenizer("\\boxed{Toy}", add_special_tokens=False)["input_ids"]) > 1
        pieces = tokenizer.get_added_vocab()
        title = next(piece for piece in pieces if piece.endswith("(1951)"))
        assert len(tokenizer(title, add_special_tokens=False)["input_ids"]) == 1


def test_the_pipeline_makes_one_from_nothing(tmp_path):
    project = copy_project(tmp_path / "project")
    stage = {"batches": 12, "list_sizes": [4, 6], "verdict_weight": 2.0, "documents": DOCUMENTS}
    small = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
    run(
        project,
        "base_policy",
        base_policy={"stages": [stage], "architecture": small, "warmup_steps": 2},
    )
    made = project / "data/06_models/base_policy"
    record = json.loads((made / "made_by.json").read_text())
    assert record["settings"]["architecture"]["hidden"] == 16
    assert set(record["validation_accuracy"]) == {"sample_movie", "sample_book"}
    assert load_backbone(str(made)).model.config.hidden_size == 16
    assert f"{record['parameters']:,} parameters" in (made / "README.md").read_text()
    assert not (project / "data/06_models/.base_policy_checkpoints").exists() or not any(
        (project / "data/06_models/.base_policy_checkpoints").iterdir()
    )
