"""What TRL is told: batches over processes, micro-batches, precision, vLLM; what is refused."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from trl import GRPOTrainer, RLOOTrainer

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.models.backbone import cast_weights, load_backbone
from rerec_pipeline.parameters import explain
from rerec_pipeline.training import arguments, examples_to_dataset
from rerec_pipeline.training.arguments import sft_config, training_config
from rerec_pipeline.training.jobs import load_trained
from rerec_pipeline.training.shared_prompts import SharesPrompts
from rerec_pipeline.training.trainer import ReRecTrainer
from tests.training.test_trainer import rft_parameters

LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}

#: The released code's: 512 prompts of 5 rollouts, two updates of 256 prompts, 8 in memory at once.
OFFICIAL = {
    "rollouts": 25_600, "prompts": 512, "group_size": 5, "updates": 2, "micro_batch": 8,
}  # fmt: skip


def official(tmp_path, **changes):
    return rft_parameters("nowhere", tmp_path, budget=OFFICIAL, checkpoint_every=2, **changes)


class TestProcesses:
    @pytest.mark.parametrize(("processes", "accumulation"), [(1, 160), (2, 80), (4, 40)])
    def test_a_generation_and_an_update_are_the_same_for_any_number(
        self, tmp_path, processes, accumulation
    ):
        """512 x 5 = 2560 rollouts a generation, 2560 / 2 = 1280 an update, 10 generations."""
        config = training_config(official(tmp_path), 0, tmp_path, processes)
        assert config.gradient_accumulation_steps == accumulation
        assert config.steps_per_generation == 2 * accumulation
        assert config.max_steps == 20
        on_each = config.per_device_train_batch_size * config.gradient_accumulation_steps
        assert on_each * processes == 1280
        assert config.per_device_train_batch_size * config.steps_per_generation * processes == 2560

    @pytest.mark.parametrize(("processes", "on_each"), [(1, 64), (2, 32), (4, 16), (8, 8)])
    def test_a_micro_batch_is_the_most_not_the_least(self, tmp_path, processes, on_each):
        """What one process does in one portion, more do without another setting."""
        budget = {
            "rollouts": 640, "prompts": 8, "group_size": 8, "updates": 1, "micro_batch": 64,
        }  # fmt: skip
        rft = rft_parameters("nowhere", tmp_path, budget=budget)
        config = training_config(rft, 0, tmp_path, processes)
        assert config.per_device_train_batch_size == on_each
        assert config.gradient_accumulation_steps == config.steps_per_generation == 1
        assert config.max_steps == 10

    def test_what_can_not_be_shared_out_is_refused(self, tmp_path):
        with pytest.raises(BadParameterError, match="1280 samples .* to 3 processes"):
            training_config(official(tmp_path), 0, tmp_path, 3)
        with pytest.raises(BadParameterError, match="64 samples .* to 3 processes"):
            sft_config(supervised(tmp_path, 64).supervised, 0, tmp_path, 1, 3)
        with pytest.raises(BadParameterError, match="2 samples .* to 4 processes"):
            sft_config(supervised(tmp_path, 2).supervised, 0, tmp_path, 1, 4)

    @pytest.mark.parametrize(
        ("batch", "processes", "per_device", "accumulation"),
        [(64, 1, 8, 8), (64, 2, 8, 4), (64, 4, 8, 2), (6, 1, 6, 1), (36, 2, 6, 3), (14, 1, 7, 2)],
    )
    def test_supervised_batches_keep_their_size(
        self, tmp_path, batch, processes, per_device, accumulation
    ):
        config = sft_config(supervised(tmp_path, batch).supervised, 0, tmp_path, 1, processes)
        assert config.per_device_train_batch_size == per_device
        assert config.gradient_accumulation_steps == accumulation


def supervised(tmp_path, batch_size):
    sft = {"token_passes": 1, "batch_size": batch_size, "lr": 1e-3}
    return official(tmp_path, algorithm="sft", sft=sft)


class TestLimits:
    def test_nothing_is_cut_from_what_is_taught(self, tmp_path):
        assert sft_config(supervised(tmp_path, 64).supervised, 0, tmp_path, 1, 1).max_length is None

    def test_vllm_is_told_how_long_texts_are(self, tmp_path):
        generation = {"max_prompt_tokens": 768, "max_completion_tokens": 768, "vllm": True}
        config = training_config(official(tmp_path, generation=generation), 0, tmp_path, 1)
        assert config.use_vllm and config.vllm_mode == "colocate"
        assert config.vllm_max_model_length == 1536
        assert config.max_completion_length == 768
        assert config.vllm_gpu_memory_utilization == 0.3 and config.vllm_enable_sleep_mode

    def test_a_password_of_the_vllm_server_is_refused_and_not_repeated(self, tmp_path):
        engine = {"mode": "server", "gpu_memory": 0.3, "tensor_parallel": 1, "sleep": True}
        with pytest.raises(ValidationError) as refused:
            address = "http://me:s3cret@gpu-box:8000"
            official(tmp_path, generation={"vllm_engine": {**engine, "server": address}})
        assert "netrc" in explain(refused.value) and "s3cret" not in explain(refused.value)

    def test_a_vllm_server_has_an_address(self, tmp_path):
        engine = {"mode": "server", "gpu_memory": 0.3, "tensor_parallel": 1, "sleep": True}
        with pytest.raises(ValueError, match="server must be given"):
            official(tmp_path, generation={"vllm_engine": {**engine, "server": None}})
        engine["server"] = "http://gpu-box:8000"
        rft = official(tmp_path, generation={"vllm_engine": engine})
        assert training_config(rft, 0, tmp_path, 1).vllm_server_base_url == "http://gpu-box:8000"


class TestAtOnce:
    @pytest.mark.parametrize(
        ("batch_size", "vllm", "sizes"),
        [(None, False, [7]), (3, False, [3, 3, 1]), (7, False, [7]), (3, True, [7])],
    )
    def test_completions_are_made_in_portions_and_stay_in_order(
        self, monkeypatch, batch_size, vllm, sizes
    ):
        asked, drawn, constrained = [], [], []

        def generate(self, prompt_ids, images, fields, group, draws, constraint):
            asked.append(len(prompt_ids))
            constrained.extend(constraint)
            drawn.append(draws)
            return [[ids[0] * 10] for ids in prompt_ids], None

        monkeypatch.setattr(SharesPrompts, "_generate_single_turn", generate)
        trainer = self.bare(max_concurrent_completions=batch_size)
        trainer.use_vllm = vllm
        trainer._forms = [f"form {n}" for n in range(7)]
        trainer._form_reader = SimpleNamespace(constraint=list)
        made, logprobs = trainer._generate_single_turn([[n] for n in range(7)], None, {}, 4)
        assert made == [[10 * n] for n in range(7)] and logprobs is None
        assert asked == sizes and constrained == trainer._forms
        if vllm:
            assert drawn == [None]
        else:
            assert torch.equal(torch.cat(drawn), trainer._draws(7))

    def bare(self, rank=0, ranks=1, step=3, **args):
        """A trainer that knows no more than what draws and portions depend on."""
        trainer = ReRecTrainer.__new__(ReRecTrainer)
        trainer.model = torch.nn.Linear(1, 1)
        trainer.accelerator = SimpleNamespace(process_index=rank, num_processes=ranks)
        trainer.state = SimpleNamespace(global_step=step)
        settings = {"seed": 0, "max_completion_length": 5, "bf16": False, "fp16": False}
        trainer.args = SimpleNamespace(**settings, **args)
        return trainer

    def test_draws_follow_from_seed_step_and_row(self):
        whole = self.bare()._draws(6)
        assert whole.shape == (6, 5) and whole.min() >= 0 and whole.max() < 1
        for ranks in (2, 3):
            shares = [self.bare(rank, ranks)._draws(6 // ranks) for rank in range(ranks)]
            assert torch.equal(torch.cat(shares), whole)
        assert not torch.equal(self.bare(step=4)._draws(6), whole)


class TestPrecision:
    @pytest.mark.parametrize("kind", [GRPOTrainer, RLOOTrainer])
    def test_rollouts_are_made_in_the_precision_of_the_arithmetic(
        self, material, tiny_backbone, tmp_path, monkeypatch, kind
    ):
        """Not by float32 weights that autocast casts for every token; training keeps its own."""
        task, reward, examples = material
        algorithm = "grpo" if kind is GRPOTrainer else "rloo"
        changes = {} if algorithm == "grpo" else {"advantage": {"w_penalty": 0.0}}
        rft = rft_parameters(tiny_backbone, tmp_path, algorithm=algorithm, **changes)
        args = training_config(rft, 0, tmp_path / "t", 1)
        args.bf16 = True
        backbone = load_backbone(tiny_backbone, "float32")
        trainer = arguments.ALGORITHMS[algorithm][0](
            backbone.model, args, examples_to_dataset(examples), task=task,
            reward=reward.context, processing_class=backbone.tokenizer,
        )  # fmt: skip
        model, seen = trainer.model, []
        before = {name: (weight, weight.clone()) for name, weight in model.named_parameters()}
        original = SharesPrompts._generate_single_turn

        def spy(self, *given, **more):
            seen.extend({w.dtype for w in model.parameters()})
            tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
            seen.append(tied)
            return original(self, *given, **more)

        monkeypatch.setattr(SharesPrompts, "_generate_single_turn", spy)
        ids = [backbone.tokenizer("a film")["input_ids"]] * 4
        trainer._generate_single_turn(ids, None, {}, *([4] if algorithm == "grpo" else []))
        assert seen == [torch.bfloat16, True]
        for name, weight in model.named_parameters():
            assert weight is before[name][0] and torch.equal(weight, before[name][1])
            assert weight.dtype == torch.float32

    def test_why_trained_weights_are_not_kept_in_16_bits(self):
        weight = torch.tensor(0.02, dtype=torch.bfloat16)
        assert weight - 5e-6 == weight
        assert weight.float() - 5e-6 < weight.float()

    @pytest.mark.parametrize(("lora", "expected"), [(None, torch.float32), (LORA, torch.bfloat16)])
    def test_what_is_trained_is_loaded_in_32(self, tiny_backbone, tmp_path, lora, expected):
        rft = rft_parameters(tiny_backbone, tmp_path, backbone={"lora": lora, "dtype": "bfloat16"})
        assert load_trained(tiny_backbone, rft.backbone).model.dtype == expected

    def test_casting_gives_what_loading_in_that_precision_gives(self, tiny_backbone):
        """Rotary frequencies stay float32: rounding them shifts far positions."""
        cast = load_backbone(tiny_backbone, "float32").model
        cast_weights(cast, "bfloat16")
        loaded = load_backbone(tiny_backbone, "bfloat16").model
        for (name, one), (_, two) in zip(
            [*cast.named_parameters(), *cast.named_buffers()],
            [*loaded.named_parameters(), *loaded.named_buffers()],
            strict=True,
        ):
            assert one.dtype == two.dtype and torch.equal(one, two), name

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_a_gpu_computes_in_the_precision_that_was_asked_for(self, tmp_path, monkeypatch, dtype):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        rft = official(tmp_path, backbone={"dtype": dtype})
        told = arguments._shared_arguments(rft.backbone, 1, 0, tmp_path)
        assert (told["bf16"], told["fp16"]) == (dtype == "bfloat16", dtype == "float16")
        assert not told["use_cpu"]
