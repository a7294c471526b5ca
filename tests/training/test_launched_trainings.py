"""Every kind of training on two ranks: what one process makes; an adapter in two parts."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rerec_pipeline.errors import TrainingInterrupted
from rerec_pipeline.parameters import LoraParameters
from rerec_pipeline.training.jobs import RolloutTraining, SupervisedTraining
from rerec_pipeline.training.launching import train
from tests.training.test_launching import CONFIGS, LORA, Follower, assert_same, launch
from tests.training.test_trainer import GROUP, PROMPTS, boxed, rft_parameters

pytestmark = pytest.mark.slow

ADAPTER = {"lora": LoraParameters(**{**LORA, "dropout": 0.0})}
PLAIN = {"advantage": {"w_penalty": 0.0}}
#: What a training on rollouts changes; those of GRPO on all weights are in test_launching.py.
ON_ROLLOUTS = {
    "rloo": {"algorithm": "rloo", **PLAIN},
    "reinforce_pp": {"algorithm": "reinforce_pp", **PLAIN},
    "adapter": {"backbone": ADAPTER, "optimizer": {"lr": 1e-2, "warmup_steps": 0}},
    "recomputed": {"optimizer": {"gradient_checkpointing": True}},
}


def on_rollouts(material, backbone, folder, steps, changes):
    task, reward, examples = material
    changes = {
        "generation": {"max_completion_tokens": 24},
        "budget": {"rollouts": steps * PROMPTS * GROUP},
        **changes,
    }
    rft = rft_parameters(backbone, folder, **changes)
    return RolloutTraining(backbone, 0, examples, task, reward.context, rft)


def on_lessons(material, backbone, folder, changes):
    """Wrong answers are taught, for the policy knows the right ones; twelve, in batches of four."""
    task, _, examples = material
    replies = [reply for _, reply in boxed(examples, task)]
    lessons = [*zip(examples, replies[1:] + replies[:1], strict=True)]
    plan = rft_parameters(backbone, folder, **changes).supervised
    plan = plan.model_copy(update={"batch_size": 4, "micro_batch": 4, "token_passes": 20_000})
    return SupervisedTraining(backbone, 0, (lessons * 2)[:12], plan)


@pytest.fixture(scope="module")
def works(material, warm_backbone, tmp_path_factory):
    """The trainings by name."""
    given = (material, warm_backbone, tmp_path_factory.mktemp("works"))
    found = {name: on_rollouts(*given, 4, changes) for name, changes in ON_ROLLOUTS.items()}
    lessons = {
        "sft": on_lessons(*given, {}),
        "sft_adapter": on_lessons(*given, {"backbone": ADAPTER}),
    }
    return {**found, **lessons}


@pytest.fixture(scope="module")
def alone(works, tmp_path_factory):
    """What one process makes of them."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: train(work, launch(), folder / name) for name, work in works.items()}


def run_on_two_ranks(preset, jobs):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        "--config_file", str(CONFIGS / f"{preset}.yaml"), "--num_machines", "1",
        "--num_processes", "2", "--main_process_port", str(port),
        str(Path(__file__).with_name("several_jobs.py")), *map(str, jobs),
    ]  # fmt: skip
    path = os.pathsep.join(entry for entry in sys.path if entry)
    own = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("preset", ["ddp", "fsdp"])
def test_two_ranks_train_what_one_process_does(works, alone, tmp_path, preset):
    for name, work in works.items():
        work.write(tmp_path / name)
    run_on_two_ranks(preset, [tmp_path / name for name in works])
    for name, work in works.items():
        several = work.read_result(tmp_path / name)
        assert_same(alone[name], several)
        assert several.summary["tokens"] == alone[name].summary["tokens"], name


@pytest.mark.parametrize("preset", ["ddp", "fsdp"])
def test_an_adapter_is_stopped_gone_on_with_and_saved_whole(works, alone, tmp_path, preset):
    """After step 1 of 4; the adapter alone is saved, and beside it nothing of the backbone."""
    work, stop = works["adapter"], Follower(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match=r"step [123] of 4"):
        train(work, launch(preset, 2), tmp_path, [stop])
    follower = Follower()
    several = train(work, launch(preset, 2), tmp_path, [follower])
    assert follower.began in (1, 2, 3)
    assert_same(alone["adapter"], several)
    settings = json.loads((tmp_path / "policy/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == work.name_or_path
    saved = load_file(tmp_path / "policy/adapter_model.safetensors")
    trained = [name for name in several.policy.model.state_dict() if ".lora_" in name]
    assert len(saved) == len(trained) and all(weight.any() for weight in saved.values())
    assert not (tmp_path / "policy/model.safetensors").exists()
