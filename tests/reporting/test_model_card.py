"""The card of a policy, as the Hub reads it."""

from huggingface_hub import ModelCard

from rerec_pipeline.parameters import EvaluationParameters
from rerec_pipeline.pipelines.model_card.nodes import write_card

FOUND = {"accuracy": 0.5, "interval": [0.4, 0.6], "n": 100}
METRICS = {
    "run": {"split": "test"},
    "before": {**FOUND, "accuracy": 0.25},
    "after": {**FOUND, "faithfulness": {"verdicts_confirmed": 0.75}},
    "baselines": {"random": {"accuracy": 0.05}, "graph": {**FOUND, "n": 90}},
}
CHOSEN = {"dataset": "d", "backbone": "b", "variant": "rerec", "seed": 3, "label": "",
          "data_label": "", "prompt_label": ""}  # fmt: skip
EVALUATION = EvaluationParameters(
    batch_size=8, bootstrap_samples=100, confidence=0.95, seed=0, transcripts_per_type=1, limit=None
)


class Tuned:
    algorithm = "grpo"


def card(name, **changes):
    chosen = {**CHOSEN, **changes}
    return ModelCard(write_card(METRICS, {"name_or_path": name}, Tuned(), EVALUATION, chosen))


def test_it_has_figures_with_intervals_and_what_the_hub_asks_for():
    made = card("Qwen/Qwen2.5-3B-Instruct")
    assert made.data.library_name == "transformers" and made.data.pipeline_tag == "text-generation"
    assert made.data.base_model == "Qwen/Qwen2.5-3B-Instruct"
    assert "| before fine-tuning | 0.250 | 0.400 to 0.600 | 100 |" in made.text
    assert "| graph | 0.500 | 0.400 to 0.600 | 90 |" in made.text
    assert "Chance is 0.050" in made.text and "0.750 are true" in made.text
    assert "--params dataset=d,backbone=b,variant=rerec,seed=3" in made.text


def test_a_folder_of_a_machine_is_not_named_as_a_base_model(tmp_path):
    made = card(str(tmp_path))
    assert made.data.base_model is None and str(tmp_path) not in made.text


def test_the_command_finds_a_run_with_labels_and_says_what_is_missing():
    made = card("m", label="qas=0.1", data_label="size=10")
    command = "--params dataset=d,backbone=b,variant=rerec,seed=3,label=qas=0.1,data_label=size=10 "
    assert command in made.text
    assert "add what else its training was given" in made.text
    assert "add what else" not in card("m").text
