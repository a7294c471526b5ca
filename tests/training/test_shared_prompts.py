"""Prompts read once for a group give what TRL gives, which reads them for every rollout."""

import copy
import inspect
import logging
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessorList,
    MistralConfig,
    MistralForCausalLM,
    SuppressTokensLogitsProcessor,
)
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.generation import generate
from rerec_pipeline.models.shared_prompts import PackedGroups, group_size
from rerec_pipeline.training.arguments import CHECKPOINTING
from rerec_pipeline.training.shared_prompts import SharesPrompts, whole_groups
from tests.training.real_backbones import make_backbone
from tests.training.test_trainer import GROUP, PROMPTS, rft_parameters, tune

BASE_POLICY = Path(__file__).parents[2] / "data" / "06_models" / "base_policy"
N, G, P, R = 3, 4, 11, 7
LORA = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")


class SharingGRPO(SharesPrompts, GRPOTrainer):
    pass


class SharingRLOO(SharesPrompts, RLOOTrainer):
    pass


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {kind: make_backbone(kind, folder / kind, ["a film"]) for kind in ("qwen2.5", "llama3")}
    return {**made, "base_policy": str(BASE_POLICY)}


def trainer(kind, folder, tmp_path, **changes):
    """A trainer of TRL, away from its reference where it has an adapter."""
    backbone = load_backbone(folder) if isinstance(folder, str) else folder
    config = GRPOConfig if issubclass(kind, GRPOTrainer) else RLOOConfig
    peft = changes.pop("peft_config", None)
    settings = {
        "beta": 0.1, "per_device_train_batch_size": N * G, "num_generations": G, "use_cpu": True,
        "report_to": [], "temperature": 0.7, "bf16": False, CHECKPOINTING: False,
        "max_completion_length": R,
    }  # fmt: skip
    made = kind(
        model=copy.deepcopy(backbone.model),
        processing_class=backbone.tokenizer,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config(output_dir=str(tmp_path), **{**settings, **changes}),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * 8}),
        peft_config=peft,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if peft is not None and "lora_" in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    made.model.train()
    return made


def rollouts(model):
    """A generation as TRL hands it to its loss: left padded prompts, right padded completions."""
    torch.manual_seed(0)
    size = model.config.vocab_size
    # Neither the longest prompt nor the longest completion fills its columns.
    prompt_mask = (torch.arange(P) >= P - torch.randint(2, P, (N, 1))).long()
    prompt_mask = prompt_mask.repeat_interleave(G, dim=0)
    prompts = torch.randint(0, size, (N, P)).repeat_interleave(G, dim=0) * prompt_mask
    with torch.no_grad():
        whole = model.generate(
            input_ids=prompts, attention_mask=prompt_mask, do_sample=True, top_k=0,
            max_new_tokens=R, min_new_tokens=R, use_cache=True,
        )  # fmt: skip
    completion_mask = (torch.arange(R) < torch.randint(1, R, (N * G, 1))).long()
    return {
        "prompt_ids": prompts,
        "prompt_mask": prompt_mask,
        "completion_ids": whole[:, P:] * completion_mask,
        "completion_mask": completion_mask,
        "advantages": torch.randn(N * G),
        "num_items_in_batch": completion_mask.sum(),
    }


def read(made, batch, model=None, **details):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    length = batch["completion_ids"].shape[1]
    return made._get_per_token_logps_and_entropies(
        model or made.model, ids, mask, length, **details
    )


def gradient(made, batch):
    """Loss and gradient, all weights in one vector."""
    made.model.zero_grad()
    made.current_gradient_accumulation_steps = 1
    loss = made.compute_loss(made.model, batch)
    loss.backward()
    parts = [w.grad.flatten() for w in made.model.parameters() if w.grad is not None]
    return loss.item(), torch.cat(parts)


def assert_same_step(ours, theirs, batch):
    batch = dict(batch)
    with torch.no_grad():
        old = read(theirs, batch)[0] + 0.1 * torch.randn(N * G, R)
    batch |= {
        "old_per_token_logps": old, "ref_per_token_logps": old + 0.1 * torch.randn(N * G, R),
        "old_logps": (old * batch["completion_mask"]).sum(dim=1),
    }  # fmt: skip
    (loss, steps), (expected, expected_steps) = gradient(ours, batch), gradient(theirs, batch)
    assert ours._unshared is None
    assert loss == pytest.approx(expected, rel=1e-5)
    assert (steps - expected_steps).norm() < 1e-5 * expected_steps.norm()


class TestContract:
    """What the mixin relies on in TRL and transformers."""

    @pytest.mark.parametrize("kind", [GRPOTrainer, RLOOTrainer])
    def test_methods_of_trl(self, kind):
        asked = inspect.signature(kind._get_per_token_logps_and_entropies).parameters
        assert list(asked)[:8] == [
            "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size",
            "compute_entropy", "compute_aux_loss",
        ]  # fmt: skip
        source = inspect.getsource(kind._prepare_inputs)
        assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in source
        assert "unwrapped_model.generate(" in inspect.getsource(kind._generate_single_turn)


@pytest.mark.parametrize("name", ["qwen2.5", "llama3", "base_policy"])
class TestModels:
    def test_log_probabilities_and_entropies_are_those_of_trl(self, name, folders, tmp_path):
        ours, theirs = (trainer(k, folders[name], tmp_path) for k in (SharingGRPO, GRPOTrainer))
        batch = rollouts(ours.model)
        got = read(ours, batch, compute_entropy=True)
        expected = read(theirs, batch, compute_entropy=True)
        assert ours._unshared is None
        torch.testing.assert_close(got[0], expected[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(got[1], expected[1], atol=1e-5, rtol=0)
        assert got[2] is None

    @pytest.mark.parametrize("kinds", [(SharingGRPO, GRPOTrainer), (SharingRLOO, RLOOTrainer)])
    def test_loss_and_gradient_are_those_of_trl(self, name, kinds, folders, tmp_path):
        ours, theirs = (trainer(kind, folders[name], tmp_path) for kind in kinds)
        assert_same_step(ours, theirs, rollouts(ours.model))

    @pytest.mark.parametrize("sampled", [False, True])
    def test_generation_gives_the_tokens_of_generate(self, name, sampled, folders):
        model = load_backbone(folders[name]).model
        batch = rollouts(model)
        asked = {"input_ids": batch["prompt_ids"], "attention_mask": batch["prompt_mask"]}
        details = {"max_new_tokens": 12, "do_sample": sampled, "top_k": 0, "eos_token_id": None}
        torch.manual_seed(3)
        expected = model.generate(**asked, **details)
        torch.manual_seed(3)
        seen = tokens_read(model)
        got = generate(model, **asked, **details)
        assert got.tolist() == expected.tolist()
        assert seen[:2] == [N * (P - 1), N * G]  # the prompts once, then their last tokens

    @pytest.mark.parametrize("sampled", [False, True])
    def test_rows_that_have_ended_are_left_out(self, name, sampled, folders):
        """The same tokens, padding included, as each row has alone, and fewer of them computed."""
        model = load_backbone(folders[name]).model
        batch = rollouts(model)
        asked = {"input_ids": batch["prompt_ids"], "attention_mask": batch["prompt_mask"]}
        free = generate(model, **asked, max_new_tokens=24, do_sample=False, eos_token_id=None)
        # Two of the three groups end early if tokens are the likeliest, and most rows if drawn.
        drawn = range(0, model.config.vocab_size, 9) if sampled else ()
        stops = sorted({*free[: 2 * G : G, P + 3].tolist(), *drawn})
        config = GenerationConfig(
            max_new_tokens=24, do_sample=sampled, temperature=0.9, eos_token_id=stops,
            pad_token_id=stops[0],
        )  # fmt: skip
        draws = torch.rand(N * G, 24, dtype=torch.float64) if sampled else None
        seen = tokens_read(model)
        got = generate(model, **asked, draws=draws, generation_config=config)
        assert seen[1] == N * G and seen[-1] < N * G
        for n, row in enumerate(got):
            alone = generate(
                model, **{key: value[n : n + 1] for key, value in asked.items()}, share=False,
                draws=None if draws is None else draws[n : n + 1], generation_config=config,
            )[0]  # fmt: skip
            assert row[: len(alone)].tolist() == alone.tolist()
            assert set(row[len(alone) :].tolist()) <= {stops[0]}

    def test_what_else_chooses_tokens_is_left_to_generate(self, name, folders):
        """A processor of a caller's own may keep something of each row."""
        model = load_backbone(folders[name]).model
        batch = rollouts(model)
        asked = {"input_ids": batch["prompt_ids"], "attention_mask": batch["prompt_mask"]}
        chooses = LogitsProcessorList([SuppressTokensLogitsProcessor([5])])
        details = {"max_new_tokens": 12, "do_sample": False, "logits_processor": chooses}
        free = model.generate(**asked, **details, eos_token_id=None)
        # Two of the three groups end early.
        stops = free[: 2 * G : G, P + 3].tolist()
        details |= {"eos_token_id": stops, "pad_token_id": stops[0]}
        expected = model.generate(**asked, **details)
        assert generate(model, **asked, **details).tolist() == expected.tolist()


def tokens_read(model):
    """Counts, in a list, the tokens of every call of a model's embedding."""
    seen = []
    model.get_input_embeddings().register_forward_hook(
        lambda _module, given, _output: seen.append(given[0].numel())
    )
    return seen


class TestTraining:
    def test_a_prompt_is_read_once(self, folders, tmp_path):
        made = trainer(SharingGRPO, folders["llama3"], tmp_path)
        batch = rollouts(made.model)
        seen = tokens_read(made.model)
        read(made, batch)
        # Neither padding nor the last token of a completion, which predicts nothing.
        prompts = int(batch["prompt_mask"][::G].sum())
        assert seen == [prompts + int(batch["completion_mask"].sum()) - N * G]

    def test_an_adapter_and_its_reference(self, folders, tmp_path):
        ours, theirs = (
            trainer(k, folders["qwen2.5"], tmp_path, peft_config=copy.deepcopy(LORA))
            for k in (SharingGRPO, GRPOTrainer)
        )
        batch = rollouts(ours.model)
        assert_same_step(ours, theirs, batch)
        policy = read(ours, batch)[0]
        with ours.model.disable_adapter(), theirs.model.disable_adapter():
            got, expected = read(ours, batch)[0], read(theirs, batch)[0]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        assert (policy - got).abs().max() > 0.01

    def test_gradient_checkpointing(self, folders, tmp_path):
        ours, theirs = (trainer(k, folders["llama3"], tmp_path) for k in (SharingGRPO, GRPOTrainer))
        ours.model.activation_checkpointing_enable()
        batch = rollouts(theirs.model)
        entered = []
        layer = ours.model.model.layers[0].input_layernorm
        layer.register_forward_hook(lambda *_: entered.append(1))
        assert_same_step(ours, theirs, batch)
        assert len(entered) == 2  # once forward, and once more in the backward pass

    def test_autocast_rounds_as_it_does_for_trl(self, folders, tmp_path):
        exact = trainer(GRPOTrainer, folders["llama3"], tmp_path)
        ours, theirs = (
            trainer(k, folders["llama3"], tmp_path, bf16=True) for k in (SharingGRPO, GRPOTrainer)
        )
        batch = rollouts(exact.model)
        wanted = read(exact, batch)[0]
        errors = [(read(t, batch)[0] - wanted).abs().max().item() for t in (ours, theirs)]
        assert ours._unshared is None
        assert 0 < errors[0] < 2 * errors[1]

    @pytest.mark.parametrize("size", [1, 2, 4, 6, 8])
    def test_micro_batches_of_any_size(self, size, folders, tmp_path):
        ours, theirs = (trainer(k, folders["llama3"], tmp_path) for k in (SharingGRPO, GRPOTrainer))
        batch = rollouts(ours.model)
        got, expected = (read(t, batch, batch_size=size)[0] for t in (ours, theirs))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)

    def test_completions_of_one_token_and_rows_without_any(self, folders, tmp_path):
        ours, theirs = (trainer(k, folders["llama3"], tmp_path) for k in (SharingGRPO, GRPOTrainer))
        batch = rollouts(ours.model)
        batch["completion_mask"][:, 1:] = 0
        batch["completion_mask"][2] = 0
        got, expected = read(ours, batch)[0], read(theirs, batch)[0]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        batch["completion_mask"][:] = 0  # as mask_truncated_completions can leave it
        got = read(ours, batch)[0]
        got.sum().backward()
        assert got.tolist() == [[0.0] * R] * (N * G)


class TestFallback:
    @pytest.fixture
    def windowed(self, folders):
        backbone = load_backbone(folders["llama3"])
        config = MistralConfig(
            vocab_size=backbone.model.config.vocab_size, hidden_size=32, intermediate_size=48,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, sliding_window=4,
        )  # fmt: skip
        backbone.model = MistralForCausalLM(config)
        return backbone

    def test_a_sliding_window_is_read_as_trl_does_and_the_log_says_so_once(
        self, windowed, tmp_path, caplog
    ):
        ours, theirs = (
            trainer(k, windowed, tmp_path, beta=0.0) for k in (SharingGRPO, GRPOTrainer)
        )
        batch = rollouts(ours.model)
        with caplog.at_level(logging.WARNING):
            got, expected = read(ours, batch)[0], read(theirs, batch)[0]
            read(ours, batch)
        torch.testing.assert_close(got, expected, atol=0, rtol=0)
        assert [r.message for r in caplog.records if "share_prompts" in r.message] == [
            "Each completion's prompt is read again (share_prompts): its attention does not reach "
            "back to the prompt everywhere"
        ]

    def test_a_sliding_window_generates_as_it_does(self, windowed):
        batch = rollouts(windowed.model)
        asked = {"input_ids": batch["prompt_ids"], "attention_mask": batch["prompt_mask"]}
        details = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
        expected = windowed.model.generate(**asked, **details)
        assert generate(windowed.model, **asked, **details).tolist() == expected.tolist()

    def test_positions_that_are_learned(self, folders, tmp_path):
        backbone = load_backbone(folders["llama3"])
        backbone.model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=backbone.model.config.vocab_size,
                n_embd=32,
                n_layer=2,
                n_head=4,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
        ours, theirs = (
            trainer(k, backbone, tmp_path, beta=0.0) for k in (SharingGRPO, GRPOTrainer)
        )
        batch = rollouts(ours.model)
        ours.model.eval()
        theirs.model.eval()
        got, expected = read(ours, batch)[0], read(theirs, batch)[0]
        assert ours._unshared is None
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


class TestGroups:
    @pytest.mark.parametrize(
        ("prompts", "size"),
        [
            ([1, 1, 2, 2], 2),
            ([1, 1, 1, 1, 2, 2], 2),  # a group, and half of one
            ([1, 1, 1, 2, 2], 1),
            ([1, 2, 1, 2], 1),
            ([1, 1, 1], 3),
        ],
    )
    def test_size(self, prompts, size):
        ids = torch.tensor(prompts)[:, None].repeat(1, 3)
        assert group_size(ids, torch.ones_like(ids)) == size

    def test_padding_that_looks_like_a_token_tells_prompts_apart(self):
        ids = torch.zeros(2, 3, dtype=torch.long)
        assert group_size(ids, torch.tensor([[0, 0, 1], [0, 1, 1]])) == 1

    @given(st.permutations(range(12)), st.sampled_from([1, 2, 3, 6]))
    def test_whole_groups_are_dealt_out(self, order, parts):
        ids = torch.arange(N)[:, None].repeat_interleave(G, dim=0)
        batch = {
            "prompt_ids": ids, "prompt_mask": torch.ones_like(ids), "row": torch.arange(N * G),
            "num_items_in_batch": torch.tensor(5),
        }  # fmt: skip
        mixed = {k: v[torch.tensor(order)] if v.dim() else v for k, v in batch.items()}
        size = N * G // parts
        split = [
            {k: v[n * size : (n + 1) * size] if v.dim() else v for k, v in mixed.items()}
            for n in range(parts)
        ]
        dealt = whole_groups(split)
        rows = torch.cat([part["row"] for part in dealt])
        assert sorted(rows.tolist()) == list(range(N * G))
        assert torch.equal(torch.cat([part["prompt_ids"] for part in dealt]), ids[rows])
        assert torch.equal((rows // G).view(N, G), (rows // G).view(N, G)[:, :1].expand(N, G))
        for part in dealt:
            assert len(part["row"]) == size
            assert part["num_items_in_batch"] == batch["num_items_in_batch"]

    def test_a_packed_row_by_hand(self):
        #            prompt       completion
        ids = torch.tensor([[0, 5, 6, 7, 8, 0], [0, 5, 6, 9, 0, 0]])
        mask = torch.tensor([[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]])
        packed = PackedGroups.of(ids, mask, 3)
        assert packed.shape == (1, 2, 2, 1)
        assert packed.input_ids.tolist() == [[5, 6, 7]]  # 8 and 9 are last: they predict nothing
        assert packed.position_ids.tolist() == [[1, 2, 3]]
        assert packed.labels.tolist() == [[7, 9, 8]]  # firsts first
        assert packed.spread(torch.tensor([[0.1, 0.2, 0.3]]), 3).tolist() == [
            pytest.approx([0.1, 0.3, 0.0]), pytest.approx([0.2, 0.0, 0.0]),
        ]  # fmt: skip
        assert packed.prompt_mask.int().tolist() == [[[[1, 0], [1, 1]]]]
        assert packed.completion_mask.int().tolist() == [[[[1, 1, 1]]], [[[1, 1, 1]]]]


class TestFineTuning:
    # The two others take a minute each and differ in what is done with log-probabilities alone.
    @pytest.mark.parametrize(
        "algorithm",
        [
            "grpo",
            pytest.param("reinforce_pp", marks=pytest.mark.slow),
            pytest.param("rloo", marks=pytest.mark.slow),
        ],
    )
    def test_a_run_is_what_it_would_be_with_prompts_read_for_each_completion(
        self, algorithm, material, warm_backbone, tmp_path
    ):
        half = PROMPTS * GROUP // 2
        rft = rft_parameters(
            warm_backbone,
            tmp_path,
            algorithm=algorithm,
            advantage={"w_penalty": 0.3 if algorithm == "grpo" else 0.0},
            budget={"rollouts": 3 * PROMPTS * GROUP, "micro_batch": half},
            # Room for whole answers: where no reward differs, Adam would make steps of rounding.
            generation={"max_completion_tokens": 24},
        )
        logs = {}
        for shared in (True, False):
            told = rft.model_copy(update={"share_prompts": shared})
            logs[shared] = tune(material, warm_backbone, told, tmp_path / str(shared)).log
        # Not the entropy: TRL logs the mean of micro-batches, and groups are dealt out otherwise.
        for measure in ("loss", "reward", "completions/mean_length"):
            torch.testing.assert_close(
                *(torch.tensor(logs[shared][measure].to_numpy()) for shared in (True, False)),
                atol=1e-4, rtol=1e-4,
            )  # fmt: skip
