"""The whole way with the real SmolLM2-135M: minutes on two cores (make test-real)."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from trl import GRPOTrainer

from rerec_pipeline.models.backbone import load_backbone, load_tokenizer, prompt_ids
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.pipelines.rft.nodes import build_task
from rerec_pipeline.recbench.tables import catalogue_from_table, examples_from_table
from rerec_pipeline.training.rollouts import RolloutScorer
from tests.pipelines.conftest import PROJECT, copy_project, run
from tests.test_parameters import parameters
from tests.training.test_shared_prompts import (
    SharingGRPO,
    assert_same_step,
    read,
    rollouts,
    trainer,
)

FOLDER = PROJECT / "data/06_models/backbones/smollm2-135m"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="make smollm2 has not been run"),
]

#: A few books and short prompts: what is tested does not depend on how many there are.
SMALL = {
    "backbone": "smollm2-135m",
    "data": {
        "world": {
            "items": 40,
            "queries": {"explicit": 20, "implicit": 20, "misinformed": 20, "interest": 20},
        },
        "candidates": {"size": 4, "hard": 1, "traps": 1},
        "prompt": {"system": "Recommend one: end with its title in \\boxed{}."},
    },
    "evaluation": {"bootstrap_samples": 200, "batch_size": 16, "transcripts_per_type": 1},
}  # fmt: skip
#: Three generations of two prompts with four short completions.
RFT = {
    "budget": {"rollouts": 24, "prompts": 2, "group_size": 4, "micro_batch": 4},
    "generation": {"max_completion_tokens": 24},
    "optimizer": {"lr": 1e-5},
    "checkpoint_every": 1,
}
TEXTS = [
    "Toy Story (1995)\n\n  12 Monkeys", "L'Été Immobile (1960): là 😀 ça.\n", "日本語の題名 (1999)",
    "\\boxed{Łódź (1981)}\t\r\n", "x  1\n\n\n2", "<|im_start|>user\nhello<|im_end|>",
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("clone") / "project")


def tune(project, start, **changes):
    rft = {**RFT, "backbone": {"name_or_path": str(start)}, **changes.pop("rft", {})}
    run(project, "rft", only_missing=True, rft=rft, **SMALL, **changes)


def place(project, variant, *label):
    return project / "data/06_models/sample_book/smollm2-135m" / variant / Path("seed-0", *label)


@pytest.fixture(scope="module")
def taught(project):
    """SmolLM2 after a few examples of the form: it boxes titles, so its rewards differ."""
    sft = {"token_passes": 16_000, "batch_size": 4, "lr": 3e-4}
    tune(project, FOLDER, variant="sft", rft={"sft": sft})
    return place(project, "sft") / "policy"


@pytest.fixture(scope="module")
def tuned(project, taught):
    """ReRec from there, without an interruption."""
    tune(project, taught)
    return place(project, "rerec") / "policy"


def outputs(project, *label):
    folder = (
        project / "data/07_model_output/sample_book/smollm2-135m/rerec" / Path("seed-0", *label)
    )
    log = pd.read_parquet(folder / "training_log.parquet")
    return log, json.loads((folder / "training_summary.json").read_text())


class TestTokens:
    @pytest.fixture(scope="class")
    def tokenizer(self):
        return load_tokenizer(str(FOLDER))

    @pytest.mark.parametrize("text", TEXTS)
    def test_bytes_are_exact(self, tokenizer, text):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        read = TokenBytes(tokenizer).read(ids)
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        assert read.lengths.sum() == len(read.data)
        if "<|im" not in text:  # bytes of special tokens are none
            assert bytes(read.data).decode() == text

    def test_every_digit_is_a_token(self, tokenizer):
        assert tokenizer.tokenize("\n\n1995") == ["ĊĊ", "1", "9", "9", "5"]

    def test_the_template_is_chatml_with_a_system_message_of_its_own(self, tokenizer):
        chat = [{"role": "user", "content": "hi"}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert text == (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        )


def test_it_knows_what_a_pretrained_model_knows():
    backbone = load_backbone(str(FOLDER), "float32")
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    asked = backbone.tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    told = backbone.model.generate(**asked, do_sample=False, max_new_tokens=8)
    assert "Paris" in backbone.tokenizer.decode(told[0, asked["input_ids"].shape[1] :])


def test_answers_of_its_tokens_are_resolved(project, taught):
    """What is boxed in its own tokens is found among the candidates, right or wrong."""
    data = project / "data"
    items = pd.read_parquet(data / "02_intermediate/sample_book/items.parquet")
    prompts = pd.read_parquet(data / "05_model_input/sample_book/prompts.parquet")
    task = build_task(items, parameters(dataset="sample_book", **SMALL)["data"])
    catalogue = catalogue_from_table(items)
    examples = examples_from_table(prompts[:6], catalogue)
    tokenizer = load_tokenizer(str(FOLDER))
    chosen = [
        example.truth if n % 2 else example.candidates[0] for n, example in enumerate(examples)
    ]
    said = [f"Wanted: a book.\n\n\\boxed{{{catalogue.titles[choice]}}}" for choice in chosen]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in said]
    texts = TokenBytes(tokenizer).read_batch([[*row, tokenizer.eos_token_id] for row in ids]).texts
    graded = task.grade(texts, examples)
    assert graded.ranked[:, 0].tolist() == chosen
    expected = [choice == example.truth for choice, example in zip(chosen, examples, strict=True)]
    assert graded.correct.tolist() == expected


def test_it_learns_the_form_and_then_by_reward(project, taught, tuned):
    log, summary = outputs(project)
    assert (summary["steps"], summary["rollouts"]) == (3, 24)
    assert log["frac_reward_zero_std"].min() < 1
    before = load_backbone(str(taught)).model.state_dict()
    after = load_backbone(str(tuned)).model.state_dict()
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())


def test_an_interrupted_run_goes_on_to_the_same_policy(project, taught, tuned, monkeypatch):
    scored, count = RolloutScorer.score, []

    def score(self, *given):
        count.append(given)
        if len(count) == 3:
            raise KeyboardInterrupt
        return scored(self, *given)

    monkeypatch.setattr(RolloutScorer, "score", score)
    with pytest.raises(KeyboardInterrupt):
        tune(project, taught, label="cut")
    tune(project, taught, label="cut")
    assert len(count) == 4  # the third generation, once more, and no other
    whole, _ = outputs(project)
    resumed, _ = outputs(project, "cut")
    assert resumed["reward"].equals(whole["reward"])
    expected = load_backbone(str(tuned)).model.state_dict()
    found = load_backbone(str(place(project, "rerec", "cut") / "policy")).model.state_dict()
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_prompts_read_once_give_trls_log_probabilities_and_gradient(tmp_path):
    backbone = load_backbone(str(FOLDER), "float32")
    ours, theirs = (trainer(kind, backbone, tmp_path) for kind in (SharingGRPO, GRPOTrainer))
    batch = rollouts(ours.model)
    with torch.no_grad():
        shared, apart = (read(made, batch)[0] for made in (ours, theirs))
    torch.testing.assert_close(shared, apart, atol=1e-4, rtol=0)
    assert_same_step(ours, theirs, batch)


def test_prompts_are_as_long_as_was_reported(project, taught):
    report = json.loads(
        (project / "data/08_reporting/sample_book/smollm2-135m/prompt_lengths.json").read_text()
    )
    items = pd.read_parquet(project / "data/02_intermediate/sample_book/items.parquet")
    prompts = pd.read_parquet(project / "data/05_model_input/sample_book/prompts.parquet")
    train = prompts[prompts["split"] == "train"].reset_index(drop=True)
    examples = examples_from_table(train, catalogue_from_table(items))
    lengths = [len(ids) for ids in prompt_ids(load_tokenizer(str(FOLDER)), examples)]
    assert report["train"]["max_tokens"] == max(lengths)
