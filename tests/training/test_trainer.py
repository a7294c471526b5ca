"""The TRL seam and the trainer that stands on it, with a random model and real text."""

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import trl
from trl import GRPOTrainer

from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.parameters import RFTParameters
from rerec_pipeline.storage.records import seal
from rerec_pipeline.training import ReRecTrainer, examples_to_dataset
from rerec_pipeline.training.arguments import training_config
from rerec_pipeline.training.fine_tuning import boxed_answer, fine_tune_rl, fine_tune_sft

GROUP, PROMPTS = 4, 3


class TestContract:
    """What the subclass relies on; if TRL moves it, this says so before anything trains."""

    def test_the_pinned_version(self):
        assert trl.__version__ == "1.16.0", (
            "TRL has changed: read GRPOTrainer again, check the methods below, move the pin"
        )

    @pytest.mark.parametrize(
        ("method", "parameters"),
        [
            ("_generate_and_score_completions", ["self", "inputs"]),
            (
                "_calculate_rewards",
                ["self", "inputs", "prompts", "completions", "completion_ids_list"],
            ),
            (
                "_generate_single_turn",
                [
                    "self",
                    "prompt_ids",
                    "images",
                    "multimodal_fields",
                    "num_generations",
                    "has_tool_images",
                ],
            ),
            ("_compute_loss", ["self", "model", "inputs"]),
            ("_save_checkpoint", ["self", "model", "trial"]),
            ("_load_optimizer_and_scheduler", ["self", "checkpoint"]),
        ],
    )
    def test_methods(self, method, parameters):
        assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == parameters

    def test_the_loss_takes_token_level_advantages(self):
        source = inspect.getsource(GRPOTrainer._compute_loss)
        assert (
            "if advantages.dim() == 1:\n            advantages = advantages.unsqueeze(1)" in source
        )

    def test_advantages_come_from_generation_and_scoring(self):
        source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
        assert '"advantages": advantages,' in source
        assert "rewards_per_func = self._calculate_rewards(" in source


def rft_parameters(name_or_path, tmp_path, **changes):
    values = {
        "algorithm": "grpo",
        "backbone": {
            "name_or_path": name_or_path, "dtype": "float32", "lora": None, "scratch": None,
            "template_values": {},
        },
        "reward": {
            "k": 1, "no_box_ndcg": -0.5,
            "weights": {"ndcg": 1.0, "qas": 0.2, "pas": 0.2, "format": 0.1}, "data": {},
        },
        "advantage": {"name": "raae", "w_penalty": 0.3, "scale": "group", "min_std": 0.0},
        "curriculum": {"enabled": True, "tau": 0.1, "review_after": 2, "seed": 0},
        "difficulty": "reward",
        "budget": {
            "rollouts": 6 * PROMPTS * GROUP, "prompts": PROMPTS, "group_size": GROUP,
            "updates": 1, "micro_batch": PROMPTS * GROUP,
        },
        "optimizer": {
            "lr": 1e-3, "schedule": "linear", "warmup_steps": 2, "weight_decay": 0.0,
            "max_grad_norm": 1.0, "beta": 0.01, "reward_kl": "k1", "epsilon": 0.2,
            "gradient_checkpointing": False,
        },
        "generation": {
            "max_prompt_tokens": 1000, "on_long_prompt": "error", "max_completion_tokens": 12,
            "temperature": 1.0, "batch_size": None, "vllm": False,
            "vllm_engine": {
                "mode": "colocate", "gpu_memory": 0.3, "tensor_parallel": 1, "sleep": True,
                "server": None,
            },
        },
        "share_prompts": True,
        "constrained": False,
        "sft": {
            "teaches": "answers", "traces": None, "token_passes": 30_000, "batch_size": 4,
            "lr": 1e-3,
        },
        "cold_start": {
            "traces": "none", "token_budget": 30_000, "batch_size": 4, "micro_batch": 4,
            "lr": 1e-3, "gradient_checkpointing": False, "seed": 0, "checkpoint_every": 2,
            "checkpoint_dir": str(tmp_path / "cold_start"),
        },
        "checkpoint_every": 2,
        "checkpoint_dir": str(tmp_path / "checkpoints"),
    }  # fmt: skip
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(values[key], dict) else value
    return RFTParameters(**values)


def boxed(examples, task):
    """Lessons that teach the right answers alone."""
    return [(e, boxed_answer(e, task.catalogue.titles)) for e in examples]


def spend(seconds, trainer_state):
    """Makes a checkpoint say that training has taken longer."""
    content = json.loads(trainer_state.read_text())
    content["stateful_callbacks"]["Stopwatch"]["attributes"]["seconds"] += seconds
    trainer_state.write_text(json.dumps(content))
    seal(trainer_state.parent)


def tune(material, backbone_folder, rft, folder, seed=0, callbacks=()):
    task, reward, examples = material
    backbone = load_backbone(backbone_folder)
    data = reward.context
    return fine_tune_rl(backbone, examples, task, data, rft, seed, folder, callbacks)


def weights(tuned):
    return {name: p.detach().clone() for name, p in tuned.policy.model.state_dict().items()}


UNTIMED = ["step_time"]


class TestTraining:
    def test_it_spends_the_whole_budget_and_moves_the_weights(
        self, material, warm_backbone, tmp_path
    ):
        rft = rft_parameters(warm_backbone, tmp_path)
        before = load_backbone(warm_backbone).model.state_dict()
        tuned = tune(material, warm_backbone, rft, tmp_path / "a")
        assert tuned.summary["steps"] == 6
        assert tuned.summary["rollouts"] == rft.budget.rollouts
        assert len(tuned.log) == 6
        # 18 visits of 7 queries: two epochs of 9 (7 and 2 of padding)
        assert tuned.epochs["visited"].tolist() == [9, 9]
        after = weights(tuned)
        assert any(not torch.equal(before[name], after[name]) for name in before)

    def test_what_is_logged_is_what_happened(self, material, warm_backbone, tmp_path):
        tuned = tune(
            material, warm_backbone, rft_parameters(warm_backbone, tmp_path), tmp_path / "a"
        )
        log = tuned.log
        total = sum(w * log[f"rewards/{t}/mean"] for t, w in material[1].weights.items())
        assert np.allclose(log["reward"], total, atol=1e-5)
        assert (log["accuracy"] <= log["rewards/ndcg/mean"] + 0.5).all()
        assert log["frac_reward_zero_std"].min() < 1
        assert (log["kl"] >= -1e-6).all()
        assert log["learning_rate"].iloc[-1] < log["learning_rate"].max()  # one schedule throughout

    def test_rollouts_keep_to_the_form_of_their_query(self, material, warm_backbone, tmp_path):
        task, reward, examples = material
        titles = task.catalogue.titles
        boxes = [" | ".join(json.dumps(f"\\boxed{{{titles[i]}}}") for i in e.candidates)
                 for e in examples]  # fmt: skip
        formed = [
            replace(e, form=f"start: BOX\nBOX: {box}")
            for e, box in zip(examples, boxes, strict=True)
        ]
        rft = rft_parameters(warm_backbone, tmp_path, generation={"max_completion_tokens": 200})
        free = tune(material, warm_backbone, rft, tmp_path / "a").log
        kept = tune((task, reward, formed), warm_backbone, rft, tmp_path / "b").log
        missed = ["diagnosis/not_boxed", "diagnosis/not_listed"]
        assert (kept[missed] == 0).all(axis=None)
        assert (free[missed].sum(axis=1) > 0).all()

    def test_a_seed_repeats_the_run_to_the_last_metric(self, material, warm_backbone, tmp_path):
        rft = rft_parameters(warm_backbone, tmp_path)
        one = tune(material, warm_backbone, rft, tmp_path / "a")
        two = tune(material, warm_backbone, rft, tmp_path / "b")
        other = tune(material, warm_backbone, rft, tmp_path / "c", seed=1)
        assert one.log.drop(columns=UNTIMED).equals(two.log.drop(columns=UNTIMED))
        assert all(torch.equal(w, weights(two)[n]) for n, w in weights(one).items())
        assert not one.log["loss"].equals(other.log["loss"])

    @pytest.mark.parametrize("updates", [1, 2])
    def test_an_interrupted_run_resumes_to_the_same_result(
        self, material, warm_backbone, tmp_path, updates
    ):
        from transformers import TrainerCallback

        class PullThePlug(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == 3 * updates:
                    raise KeyboardInterrupt

        rft = rft_parameters(
            warm_backbone, tmp_path,
            budget={"updates": updates, "micro_batch": PROMPTS * GROUP // updates},
            checkpoint_every=2 * updates,
        )  # fmt: skip
        whole = tune(material, warm_backbone, rft, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            tune(material, warm_backbone, rft, tmp_path / "cut", callbacks=[PullThePlug()])
        state = json.loads((tmp_path / f"cut/checkpoint-{2 * updates}/curriculum.json").read_text())
        assert state["visits"] == 2 * PROMPTS
        spend(1000, tmp_path / f"cut/checkpoint-{2 * updates}/trainer_state.json")
        resumed = tune(material, warm_backbone, rft, tmp_path / "cut")
        assert all(torch.equal(w, weights(resumed)[n]) for n, w in weights(whole).items())
        assert resumed.epochs.equals(whole.epochs)
        columns = ["loss", "reward", "accuracy", "learning_rate", "curriculum/epoch"]
        assert resumed.log[columns].equals(whole.log[columns])
        assert 0 < whole.summary["seconds"] < 1000 < resumed.summary["seconds"] < 2000

    def test_lora_trains_an_adapter_only(self, material, warm_backbone, tmp_path):
        from rerec_pipeline.models.policy import PolicyDataset

        lora = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
        rft = rft_parameters(warm_backbone, tmp_path, backbone={"lora": lora})
        tuned = tune(material, warm_backbone, rft, tmp_path / "a")
        PolicyDataset(filepath=str(tmp_path / "policy")).save(tuned.policy)
        assert (tmp_path / "policy/adapter_config.json").is_file()
        assert not (tmp_path / "policy/model.safetensors").exists()
        loaded = load_backbone(str(tmp_path / "policy"))
        ids = torch.tensor([[5, 6, 7]])
        with torch.no_grad():
            difference = loaded.model(ids).logits - tuned.policy.model(ids).logits
            base = load_backbone(warm_backbone).model(ids).logits
            assert difference.abs().max() < 1e-5
            assert (loaded.model(ids).logits - base).abs().max() > 1e-4

    def test_the_supervised_control_spends_its_passes(self, material, tiny_backbone, tmp_path):
        task, _, examples = material
        rft = rft_parameters(tiny_backbone, tmp_path, algorithm="sft")
        backbone = load_backbone(tiny_backbone)
        tuned = fine_tune_sft(backbone, boxed(examples, task), rft.supervised, 0, tmp_path / "a")
        spent = tuned.summary["token_passes"]
        assert spent == 3 * tuned.summary["tokens"]  # what was spent, not what was allowed
        assert tuned.summary["steps"] > 3
        assert abs(spent - rft.sft.token_passes) < 0.25 * rft.sft.token_passes
        assert tuned.log["loss"].iloc[-1] < tuned.log["loss"].iloc[0]


class TestObjective:
    def test_the_kl_is_the_papers_k3(self, material, warm_backbone, tmp_path):
        """k3 as it is; TRL would multiply it by the ratio of a policy that has moved on."""
        task, reward, examples = material
        rft = rft_parameters(warm_backbone, tmp_path, optimizer={"beta": 0.5})
        backbone = load_backbone(warm_backbone)
        trainer = ReRecTrainer(
            backbone.model, training_config(rft, 0, tmp_path / "t", 1),
            examples_to_dataset(examples), task=task, reward=reward.context,
            processing_class=backbone.tokenizer,
        )  # fmt: skip
        trainer.model.train()
        torch.manual_seed(0)
        output = trainer._generate_and_score_completions([{}] * (PROMPTS * GROUP))
        mask, reference = output["completion_mask"], output["ref_per_token_logps"]
        generator = torch.Generator().manual_seed(0)
        moved = 0.3 * torch.randn(reference.shape, generator=generator)
        output["ref_per_token_logps"] = reference + moved
        output["old_per_token_logps"] = reference - 0.5  # the ratio is e^.5 everywhere
        output["advantages"] = torch.zeros_like(output["advantages"])
        trainer.current_gradient_accumulation_steps = 1
        k3 = torch.exp(moved) - 1 - moved  # the policy has not moved from its reference
        expected = 0.5 * (k3 * mask).sum() / mask.sum()
        assert expected > 0.01
        loss = trainer._compute_loss(trainer.model, output)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


class TestAdvantagesInTheTrainer:
    def trainer(self, material, tiny_backbone, tmp_path, w_penalty):
        task, reward, examples = material
        rft = rft_parameters(tiny_backbone, tmp_path, advantage={"w_penalty": w_penalty})
        backbone = load_backbone(tiny_backbone)
        return ReRecTrainer(
            backbone.model,
            training_config(rft, 0, tmp_path / "t", 1),
            examples_to_dataset(examples),
            task=task,
            reward=reward.context,
            processing_class=backbone.tokenizer,
        )

    def generate(self, trainer, monkeypatch):
        """One generation: what TRL is given back, and what it was worth."""
        kept = []
        original = trainer._advantages

        def spy(output, rollouts):
            kept.append(rollouts)
            return original(output, rollouts)

        monkeypatch.setattr(trainer, "_advantages", spy)
        return trainer._generate_and_score_completions([{}] * (PROMPTS * GROUP)), kept[0]

    def scripted(self, trainer, material, monkeypatch):
        """Replaces generation by completions with known answers and reasoning."""
        task, _, examples = material
        titles = task.catalogue.titles
        encode = trainer.processing_class
        queue = trainer.curriculum

        def generate(prompts):
            batch = queue.plans[-1].order[:PROMPTS]
            texts = []
            for query in batch:
                right = titles[examples[query].truth]
                wrong = titles[
                    next(c for c in examples[query].candidates if c != examples[query].truth)
                ]
                texts += [
                    f"{right}: good.\n\\boxed{{{right}}}",
                    f"Wanted.\n{wrong}: good.\n\\boxed{{{wrong}}}",
                    "nothing",
                    f"{right}: no.\n{wrong}: yes 😀.\n\\boxed{{{wrong}}}",
                ]
            ids = [
                [*encode(t, add_special_tokens=False)["input_ids"], encode.eos_token_id]
                for t in texts
            ]
            prompt_ids = [[5, 6]] * len(ids)
            completions = [[{"role": "assistant", "content": t}] for t in texts]
            return prompt_ids, ids, None, completions, None, {}, None, []

        monkeypatch.setattr(trainer, "_generate", generate)

    def test_the_penalised_tokens_of_a_known_batch(
        self, material, tiny_backbone, tmp_path, monkeypatch
    ):
        trainer = self.trainer(material, tiny_backbone, tmp_path, w_penalty=0.3)
        trainer.model.train()
        self.scripted(trainer, material, monkeypatch)
        output, rollouts = self.generate(trainer, monkeypatch)
        advantages, ids = output["advantages"], output["completion_ids"]
        assert advantages.shape == ids.shape
        rewards = (rollouts.terms * trainer.reward_weights).nansum(dim=1)
        assert torch.equal(rewards, rollouts.rewards)
        read = TokenBytes(trainer.processing_class)
        for row in range(PROMPTS * GROUP):
            group = rewards[row // GROUP * GROUP :][:GROUP]
            plain = (rewards[row] - group.mean()) / (group.std() + 1e-4)
            lower = (rewards[row] - 0.3 * rewards[row].abs() - group.mean()) / (group.std() + 1e-4)
            marked = ~torch.isclose(advantages[row], plain.expand_as(advantages[row]), atol=1e-4)
            text = read.read(ids[row][marked].tolist()).text
            if row % GROUP in (1, 3) and rewards[row] != 0:
                wrong_paragraph = rollouts.scored.paragraphs[row][1]
                assert text == f"{wrong_paragraph}\n"
                assert torch.allclose(
                    advantages[row][marked], lower.expand(int(marked.sum())), atol=1e-4
                )
            elif row % GROUP in (0, 2):
                assert text == ""

    def test_without_penalty_it_is_trls_own_advantage(
        self, material, tiny_backbone, tmp_path, monkeypatch
    ):
        trainer = self.trainer(material, tiny_backbone, tmp_path, w_penalty=0.0)
        trainer.model.train()
        self.scripted(trainer, material, monkeypatch)
        kept = {}
        original = GRPOTrainer._generate_and_score_completions

        def spy(self, inputs):
            output = original(self, inputs)
            kept["advantages"] = output["advantages"].clone()
            return output

        monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", spy)
        ours = trainer._generate_and_score_completions([{}] * (PROMPTS * GROUP))["advantages"]
        assert kept["advantages"].shape == (PROMPTS * GROUP,)
        assert torch.equal(ours, kept["advantages"][:, None].expand_as(ours))
        assert kept["advantages"].abs().max() > 0.5

    def test_each_process_serves_its_own_slice(
        self, material, tiny_backbone, tmp_path, monkeypatch
    ):
        """Two processes of six rollouts each together hold the batch, groups unbroken."""
        trainer = self.trainer(material, tiny_backbone, tmp_path, 0.3)
        batch = trainer.curriculum.next_batch()
        shares = []
        for rank in (0, 1):
            monkeypatch.setattr(type(trainer.accelerator), "process_index", rank)
            shares += [row["query_id"] for row in trainer._local_rows(batch, 6)]
        ids = [example.query_id for example in material[2]]
        assert shares == [ids[query] for query in batch for _ in range(GROUP)]
