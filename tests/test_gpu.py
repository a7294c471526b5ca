"""What only a CUDA device can show; skipped without one (make test-gpu)."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
from trl import GRPOTrainer

from rerec_pipeline.configs import LightGCNConfig, SASRecConfig
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.lightgcn import LightGCNTrainer
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.parameters import LaunchParameters
from rerec_pipeline.sequences.sasrec import Choices, SASRecTrainer, score_candidates
from rerec_pipeline.training.jobs import Answering, RolloutTraining
from rerec_pipeline.training.launching import answer_all, train
from tests.training.real_backbones import make_backbone
from tests.training.test_launching import training
from tests.training.test_shared_prompts import G, N, SharingGRPO, gradient, read, rollouts, trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
HERE = LaunchParameters(preset=None, processes=1, configs=".", jobs=".")


@pytest.mark.parametrize("architecture", ["qwen2.5", "llama3"])
def test_shared_prompts_in_bfloat16_give_what_trl_gives(architecture, tmp_path):
    """Within what bfloat16 itself is off: TRL's own numbers in bfloat16 against float32."""
    backbone = load_backbone(make_backbone(architecture, tmp_path / "model", ["a film"]))
    settings = {"use_cpu": False, "bf16": True}
    ours = trainer(SharingGRPO, backbone, tmp_path / "a", **settings)
    theirs = trainer(GRPOTrainer, backbone, tmp_path / "b", **settings)
    exact = trainer(GRPOTrainer, backbone, tmp_path / "c", use_cpu=False)
    batch = {name: value.cuda() for name, value in rollouts(backbone.model.cpu()).items()}
    mask = batch["completion_mask"].bool()
    with torch.no_grad():
        mine, plain, true = (read(made, batch)[0][mask] for made in (ours, theirs, exact))
    assert ours._unshared is None
    error = (plain - true).abs().max()
    assert (mine - true).abs().max() < 2 * error + 1e-3
    (loss, steps), (expected, expected_steps) = gradient(ours, batch), gradient(theirs, batch)
    assert loss == pytest.approx(expected, rel=2e-2, abs=1e-3)
    assert torch.cosine_similarity(steps.float(), expected_steps.float(), dim=0) > 0.999
    assert len(mask) == N * G


def test_twenty_steps_train_and_answer(material, warm_backbone, tmp_path):
    work = training(material, warm_backbone, tmp_path, 20)
    tuned = train(work, HERE, tmp_path / "run")
    assert len(tuned.log) == 20 and np.isfinite(tuned.log["loss"]).all()
    assert tuned.summary["peak_memory_bytes"] == torch.cuda.max_memory_allocated() > 0
    assert tuned.log["reward_std"].max() > 0.1 and tuned.log["grad_norm"].max() > 0
    assert {weight.device.type for weight in tuned.policy.model.parameters()} == {"cpu"}
    answers = answer_all(Answering(tuned.policy, material[2], 24, 4, "float32", "test"), HERE)
    assert [len(ids) > 0 for ids in answers] == [True] * len(material[2])


def test_lightgcn_learns_what_it_learns_on_a_cpu():
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, [40, 30], size=(500, 2)), axis=0)
    config = LightGCNConfig(
        dim=16, layers=2, lr=1e-2, l2=1e-4, batch_size=128, epochs=6, evaluate_every=2,
        patience=9, k=10, seed=0,
    )  # fmt: skip
    held = rng.random(len(pairs)) < 0.2
    graphs = [InteractionGraph(pairs[part, 0], pairs[part, 1], 40, 30) for part in (~held, held)]
    cpu, gpu = (
        LightGCNTrainer(*graphs, config, torch.device(name)).fit() for name in ("cpu", "cuda")
    )
    assert gpu.items.device.type == "cpu"
    for one, other in ((cpu.users, gpu.users), (cpu.items, gpu.items)):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)
    assert cpu.best == pytest.approx(gpu.best, abs=1e-3)


def test_sasrec_learns_what_it_learns_on_a_cpu():
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 31, size=n) for n in rng.integers(3, 12, size=40)]
    candidates = np.stack([rng.permutation(30)[:9] + 1 for _ in histories])
    choices = Choices([h[:-2] for h in histories], candidates, rng.integers(0, 9, len(histories)))
    # Dropout is drawn by the device that applies it.
    rule = SASRecConfig(
        dim=16, blocks=2, heads=1, length=8, dropout=0.0, lr=1e-2, batch_size=16, epochs=6,
        evaluate_every=2, patience=9, seed=0,
    )  # fmt: skip
    made = [SASRecTrainer(histories, 30, choices, rule, torch.device(d)) for d in ("cpu", "cuda")]
    cpu, gpu = (trainer.fit() for trainer in made)
    assert {weight.device.type for weight in gpu.weights.values()} == {"cpu"}
    assert made[1].model.items.weight.device.type == "cuda"
    scores = [score_candidates(trainer.model, choices) for trainer in made]
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-3)
    assert [row["loss"] for row in cpu.history] == pytest.approx(
        [row["loss"] for row in gpu.history], rel=1e-3
    )


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_makes_the_rollouts(material, warm_backbone, tmp_path):
    """Five steps: its samples are scored, and its log-probabilities are close to the policy's."""
    plain = training(material, warm_backbone, tmp_path, 5)
    generation = plain.rft.generation.model_copy(update={"vllm": True})
    rft = plain.rft.model_copy(update={"generation": generation})
    work = RolloutTraining(plain.name_or_path, 0, plain.examples, plain.task, plain.reward, rft)
    tuned = train(copy.copy(work), HERE, tmp_path / "run")
    assert len(tuned.log) == 5 and np.isfinite(tuned.log["loss"]).all()
    assert (tuned.log["sampling/sampling_logp_difference/mean"] < 0.05).all()
