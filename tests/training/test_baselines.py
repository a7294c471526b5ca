"""REINFORCE++ and RLOO: their seams to TRL, their advantages by hand, resuming."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOTrainer, RLOOTrainer

from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.training import examples_to_dataset
from rerec_pipeline.training.arguments import ALGORITHMS, training_config
from rerec_pipeline.training.fine_tuning import passes_per_token
from tests.training.test_trainer import GROUP, PROMPTS, rft_parameters, tune, weights

BASELINES = ["reinforce_pp", "rloo"]
N = PROMPTS * GROUP
#: What the rollouts of a scripted generation are worth.
NDCG = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def baseline_parameters(folder, tmp_path, algorithm, **changes):
    return rft_parameters(
        folder, tmp_path, algorithm=algorithm, advantage={"w_penalty": 0.0}, **changes
    )


class TestContract:
    @pytest.mark.parametrize("method", ["_generate_and_score_completions", "_calculate_rewards"])
    def test_both_trainers_of_trl_have_the_same_methods(self, method):
        grpo, rloo = (getattr(t, method) for t in (GRPOTrainer, RLOOTrainer))
        assert (
            inspect.signature(grpo).parameters.keys() == inspect.signature(rloo).parameters.keys()
        )

    def test_the_methods_that_only_a_baseline_needs(self):
        turn = inspect.signature(RLOOTrainer._generate_single_turn).parameters
        assert list(turn) == ["self", "prompt_ids", "images", "multimodal_fields"]
        read = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
        assert list(read)[:6] == [
            "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size",
        ]  # fmt: skip

    def test_what_trl_gives_of_log_probabilities(self):
        source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
        for name in ("old_per_token_logps", "ref_per_token_logps"):
            assert f'output["{name}"] = {name}' in source


@pytest.fixture
def generation(material, warm_backbone, tmp_path, monkeypatch):
    """Makes a trainer whose policy is away from its reference, and whose rewards are ``NDCG``."""
    for kind in (GRPOTrainer, RLOOTrainer):
        terms = torch.tensor([[value, 0.0, 0.0, 0.0] for value in NDCG])
        monkeypatch.setattr(kind, "_calculate_rewards", lambda *_, terms=terms: terms)

    def make(algorithm, **optimizer):
        task, reward, examples = material
        rft = baseline_parameters(
            warm_backbone, tmp_path, algorithm, optimizer=optimizer, generation={"batch_size": 5}
        )
        backbone = load_backbone(warm_backbone)
        with torch.no_grad():  # away from the reference, so that there is a KL
            for weight in backbone.model.parameters():
                weight.add_(
                    0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
                )
        trainer = ALGORITHMS[algorithm][0](
            backbone.model,
            training_config(rft, 0, tmp_path / "t", 1),
            examples_to_dataset(examples),
            task=task,
            reward=reward.context,
            processing_class=backbone.tokenizer,
        )
        trainer.model.train()
        torch.manual_seed(0)
        return trainer

    return make


def log_probabilities(model, output):
    """Of the completions' tokens, without any of TRL."""
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    with torch.no_grad():
        logits = model(ids, attention_mask=mask).logits.log_softmax(-1)
    width = output["completion_ids"].size(1)
    picked = logits[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    return picked[:, -width:]


class TestReinforcePP:
    def test_the_advantages_of_a_generation(self, generation, warm_backbone):
        """Worked out again, token by token, from the two models' own log-probabilities."""
        trainer = generation("reinforce_pp", beta=0.1)
        output = trainer._generate_and_score_completions([{}] * N)
        policy = log_probabilities(trainer.model, output)
        reference = log_probabilities(load_backbone(warm_backbone).model, output)
        returns = []
        for row, length in enumerate(output["completion_mask"].sum(1).tolist()):
            kl = (policy - reference)[row, :length].tolist()
            returns.append([NDCG[row] - 0.1 * sum(kl[t:]) for t in range(length)])
        flat = torch.tensor([value for row in returns for value in row], dtype=torch.float64)
        assert flat.std() > 0.01
        for row, values in enumerate(returns):
            expected = (torch.tensor(values).double() - flat.mean()) / flat.std(unbiased=False)
            got = output["advantages"][row]
            assert torch.allclose(got[: len(values)].double(), expected, atol=1e-3)
            assert (got[len(values) :] == 0).all()

    def test_the_kl_is_in_the_reward_and_not_in_the_loss(self, generation):
        """With advantages of 0 nothing is left of the loss, however large beta is."""
        trainer = generation("reinforce_pp", beta=5.0)
        output = trainer._generate_and_score_completions([{}] * N)
        output["advantages"] = torch.zeros_like(output["advantages"])
        trainer.current_gradient_accumulation_steps = 1
        assert trainer._compute_loss(trainer.model, output).item() == 0
        assert trainer.beta == 5.0 and trainer._metrics["train"]["kl"][0] != 0

    def test_a_missing_reference_is_an_error(self, generation):
        trainer = generation("reinforce_pp")
        mask = torch.ones((2, 2), dtype=torch.bool)
        with pytest.raises(RuntimeError, match="ref_per_token_logps"):
            trainer._advantages({"completion_mask": mask}, SimpleNamespace(rewards=torch.ones(2)))


class TestRLOO:
    def test_the_advantage_by_hand(self, generation):
        """Rewards 1, 0, 0, 0 less the mean of the other three; 1, 1, 0, 0; all equal."""
        trainer = generation("rloo", beta=0.0)
        output = trainer._generate_and_score_completions([{}] * N)
        assert output["advantages"].tolist() == pytest.approx(
            [1, -1 / 3, -1 / 3, -1 / 3, 2 / 3, 2 / 3, -2 / 3, -2 / 3, 0, 0, 0, 0]
        )

    def test_the_kl_of_a_completion_is_part_of_its_reward(self, generation, warm_backbone):
        trainer = generation("rloo", beta=0.1)
        output = trainer._generate_and_score_completions([{}] * N)
        reference = log_probabilities(load_backbone(warm_backbone).model, output)
        kl = log_probabilities(trainer.model, output) - reference
        rewards = torch.tensor(NDCG) - 0.1 * (kl * output["completion_mask"]).sum(1)
        assert (rewards - torch.tensor(NDCG)).abs().min() > 1e-3
        others = (rewards.view(-1, GROUP).sum(1, keepdim=True) - rewards.view(-1, GROUP)) / 3
        expected = (rewards.view(-1, GROUP) - others).flatten()
        assert torch.allclose(output["advantages"], expected, atol=1e-3)


@pytest.mark.parametrize("algorithm", BASELINES)
def test_an_interrupted_run_resumes_to_the_same_result(
    material, warm_backbone, tmp_path, algorithm
):
    class PullThePlug(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1:
                raise KeyboardInterrupt

    rft = baseline_parameters(
        warm_backbone, tmp_path, algorithm, budget={"rollouts": 2 * N}, checkpoint_every=1,
        generation={"max_completion_tokens": 24},  # room for answers, some of which are right
    )  # fmt: skip
    whole = tune(material, warm_backbone, rft, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        tune(material, warm_backbone, rft, tmp_path / "cut", callbacks=[PullThePlug()])
    resumed = tune(material, warm_backbone, rft, tmp_path / "cut")
    assert all(torch.equal(w, weights(resumed)[n]) for n, w in weights(whole).items())
    columns = ["loss", "reward", "accuracy", "kl", "entropy", "curriculum/epoch"]
    assert resumed.log[columns].equals(whole.log[columns])
    before = load_backbone(warm_backbone).model.state_dict()
    assert any(not torch.equal(w, before[n]) for n, w in weights(whole).items())
    summary = whole.summary
    assert (summary["algorithm"], summary["steps"], summary["rollouts"]) == (algorithm, 2, 2 * N)
    assert summary["token_passes"] == 6 * summary["tokens"]


@pytest.mark.parametrize(
    ("algorithm", "beta", "updates", "passes"),
    [
        ("grpo", 0.01, 1, 5), ("grpo", 0.0, 1, 4), ("grpo", 0.01, 2, 6),
        ("reinforce_pp", 0.01, 1, 6), ("reinforce_pp", 0.01, 2, 6), ("reinforce_pp", 0.0, 1, 4),
        ("rloo", 0.01, 1, 6), ("rloo", 0.0, 1, 5),
    ],
)  # fmt: skip
def test_what_a_token_costs(tmp_path, algorithm, beta, updates, passes):
    rft = baseline_parameters(
        "nowhere", tmp_path, algorithm, optimizer={"beta": beta},
        budget={"updates": updates, "micro_batch": N // updates},
    )  # fmt: skip
    assert passes_per_token(rft) == passes


@pytest.mark.parametrize("algorithm", BASELINES)
def test_a_penalty_that_would_do_nothing_is_refused(tmp_path, algorithm):
    with pytest.raises(ValueError, match="w_penalty=0"):
        rft_parameters("nowhere", tmp_path, algorithm=algorithm)
