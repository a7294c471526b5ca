"""The cost of a fine-tuning, against sizes and sums that are known."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.cost import (
    AROUND,
    Architecture,
    Card,
    Speed,
    Workload,
    activations,
    answering,
    architecture_of,
    cache,
    forward,
    generating,
    logits,
    memory,
    passes,
    seconds,
    supervised,
    what_makes_it_fit,
)

PLAN = yaml.safe_load(Path("conf/base/plan.yml").read_text(encoding="utf-8"))["plan"]

#: Two layers: q 8x8, k and v 8x4, o 8x8, three MLP maps 8x16; ten entries of the vocabulary.
SMALL = Architecture(
    layers=2, hidden=8, mlp=16, vocabulary=10, heads=2, kv_heads=1, head=4, tied=True
)  # fmt: skip
TRUNK = 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16)
WORK = Workload(
    model=SMALL, lora=None, half=False, reference=True, read_again=False, checkpointing=False,
    share_prompts=False, vllm=None, vllm_sleeps=True, rollouts=240, prompts=3, group=4, updates=1,
    micro_batch=4, batch_size=12, prompt=10, completion=5, prompt_limit=10, completion_limit=5,
)  # fmt: skip
CARD = Card(
    memory=1e6, flops32=1e6, flops16=4e6, bandwidth=1e6, training=(0.5, 1.0), decoding=(0.5, 1.0),
    launch=(0.0, 0.0), process=0,
)  # fmt: skip
FULL = Speed(1e6, 4e6, 1e6, 0.0)


class TestArchitecture:
    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
            ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
            ("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688),
            ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
            ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400),
            ("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824),
            ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
        ],
    )
    def test_published_models_have_as_many_parameters_as_they_say(self, name, parameters):
        assert Architecture.model_validate(PLAN["architectures"][name]).parameters == parameters

    def test_a_model_that_is_here_is_read_from_its_config(self, tiny_backbone):
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(tiny_backbone)
        found = architecture_of(config.to_dict(), tiny_backbone)
        assert found.parameters == AutoModelForCausalLM.from_config(config).num_parameters()

    def test_an_adapter_has_two_matrices_for_each(self):
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        model = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=8, intermediate_size=16, num_hidden_layers=2, vocab_size=10,
                num_attention_heads=2, num_key_value_heads=1,
            )
        )  # fmt: skip
        adapted = get_peft_model(model, LoraConfig(r=3, target_modules="all-linear"))
        assert adapted.get_nb_trainable_parameters()[0] == SMALL.adapter(3)
        assert SMALL.trunk == TRUNK

    def test_another_kind_is_not_guessed(self):
        with pytest.raises(BadInputError, match="the cost of 'mamba' is not known, only of llama"):
            architecture_of({"model_type": "mamba"}, "config.json")


class TestMemory:
    def test_by_hand(self):
        held = memory(WORK, CARD)
        parameters = TRUNK + 2 * 2 * 8 + 8 + 10 * 8
        assert held["weights"] == held["gradients"] == held["reference"] == 4 * parameters
        assert held["optimizer"] == 8 * parameters
        # 4 completions of 15 tokens: a token and layer 10 hidden and 4 MLP sizes
        assert held["activations"] == 2 * 60 * 4 * (10 * 8 + 4 * 16)
        assert held["logits"] == 2 * 4 * 4 * 5 * 10

    def test_shared_prompts_leave_less_to_keep(self):
        shared = replace(WORK, share_prompts=True)
        assert activations(shared) / activations(WORK) == pytest.approx((10 + 4 * 5) / (4 * 15))

    def test_checkpointing_keeps_inputs_of_layers_and_one_layer(self):
        kept = activations(replace(WORK, checkpointing=True))
        assert kept == 60 * 4 * (10 * 8 + 4 * 16) + 2 * 60 * 8 * 4

    def test_an_adapter_needs_no_reference_and_little_else(self):
        held = memory(replace(WORK, lora=3, half=True), CARD)
        assert "reference" not in held and "16-bit copy" not in held
        assert held["weights"] == 2 * SMALL.parameters + 4 * SMALL.adapter(3)
        assert held["optimizer"] == 8 * SMALL.adapter(3)

    def test_16_bits_copy_the_weights_that_are_trained(self):
        assert memory(replace(WORK, half=True), CARD)["16-bit copy"] == 2 * SMALL.parameters

    def test_the_cache_counts_where_it_is_the_larger(self):
        assert cache(WORK) == 12 * (15 * 2 * 2 * 4 * 4 + 10 * 4)
        generating = replace(
            WORK, micro_batch=1, batch_size=12, prompt_limit=1000, share_prompts=True
        )
        many = replace(generating, batch_size=12_000, prompts=3_000)
        assert "keys and values" in memory(many, CARD) and "activations" in memory(WORK, CARD)

    def test_vllm_takes_its_share_beside_or_in_turn(self):
        large = replace(WORK, vllm=0.9)
        assert memory(large, CARD)["vLLM"] == 0.9e6 and "activations" not in memory(large, CARD)
        awake = memory(replace(WORK, vllm=0.1, vllm_sleeps=False), CARD)
        assert awake["vLLM"] == 0.1e6 and "activations" in awake

    def test_the_tile_of_logits_has_an_end(self):
        model = Architecture.model_validate(PLAN["architectures"]["Qwen/Qwen2.5-3B-Instruct"])
        work = replace(WORK, model=model, micro_batch=64, completion_limit=768)
        assert logits(work) == 2 * 4 * 4096 * 32768

    @pytest.mark.parametrize(
        ("backbone", "told"),
        [("Qwen/Qwen2.5-3B-Instruct", 75), ("meta-llama/Llama-3.2-3B-Instruct", 79)],
    )
    def test_the_papers_backbones_come_to_what_their_blocks_say(self, backbone, told):
        model = Architecture.model_validate(PLAN["architectures"][backbone])
        work = replace(
            WORK, model=model, half=True, checkpointing=True, read_again=True, prompts=512, group=5,
            updates=2, micro_batch=8, batch_size=64, prompt_limit=768, completion_limit=768,
        )  # fmt: skip
        card = Card.model_validate(PLAN["cards"]["h100-80gb"])
        assert sum(memory(work, card).values()) / 1e9 == pytest.approx(told, rel=0.1)


class TestSeconds:
    def test_a_forward_pass_by_hand(self):
        attention = 4 * 2 * 8 * 12 * 15**2
        assert forward(WORK) == 2 * TRUNK * 12 * 15 + 2 * 80 * 12 * 5 + attention
        shared = replace(WORK, share_prompts=True)
        pairs = 3 * 10**2 + 12 * 5 * 15
        assert forward(shared) == 2 * TRUNK * (3 * 10 + 12 * 5) + 2 * 80 * 60 + 4 * 2 * 8 * pairs

    def test_a_group_in_several_micro_batches_has_its_prompt_read_in_each(self):
        shared = replace(WORK, share_prompts=True)
        assert [replace(shared, micro_batch=n).prompts_of(12) for n in (1, 2, 4, 12)] == [
            12,
            6,
            3,
            3,
        ]
        assert replace(shared, micro_batch=1).read(12, 10, 5) == WORK.read(12, 10, 5)

    def test_passes(self):
        assert passes(WORK) == 4
        assert passes(replace(WORK, reference=False)) == 3
        assert passes(replace(WORK, lora=3, checkpointing=True, read_again=True)) == 5

    def test_decoding_reads_weights_or_computes_whichever_is_slower(self):
        one = replace(WORK, prompts=1, batch_size=1)
        weights, kept = 4 * (TRUNK + 80), (10 + 2.5) * 16 * 4
        prefill = 2 * TRUNK * 4 * 10 / 1e6
        assert generating(one, FULL) == pytest.approx(4 * 5 * (weights + kept) / 1e6 + prefill)
        slow = replace(FULL, flops32=1.0)
        assert generating(one, slow) == pytest.approx(4 * 5 * 2 * (TRUNK + 80) + 1e6 * prefill)

    def test_answering_makes_each_answer_once_whatever_the_budget(self):
        alone = replace(WORK, prompts=7, group=1, batch_size=7)
        assert answering(WORK, FULL, 7, 32) == answering(replace(WORK, group=2), FULL, 7, 32)
        assert answering(WORK, FULL, 7, 32) == generating(alone, FULL)

    def test_a_supervised_training_by_hand(self):
        """3,000 token passes are 1,000 tokens, each worth three forward passes or two."""
        each = 2 * (WORK.model.trunk + WORK.model.embedding) * 1_000 / FULL.flops32
        one = replace(WORK, lora=None, half=False, processes=1)
        assert supervised(one, FULL, 3_000, False) == pytest.approx(3 * each)
        assert supervised(one, FULL, 3_000, True) == pytest.approx(4 * each)
        adapter = replace(one, lora=8, processes=2)
        assert supervised(adapter, FULL, 3_000, False) == pytest.approx(2 * each / 2)

    def test_layers_take_time_of_their_own_but_in_vllm(self):
        waits = replace(FULL, launch=1.0)
        extra = generating(WORK, waits) - generating(WORK, FULL)
        assert extra == pytest.approx(5 * (2 + AROUND))
        assert generating(replace(WORK, vllm=0.3), waits) == generating(WORK, FULL)
        assert seconds(WORK, waits)["training"] - seconds(WORK, FULL)["training"] == (
            pytest.approx(4 * 3 * (2 + AROUND))
        )

    def test_the_budget_and_the_cards(self):
        assert (WORK.generations, replace(WORK, updates=2).steps) == (20, 40)
        assert replace(WORK, processes=3).per_card == 4
        worst, best = CARD.worst_and_best
        assert seconds(WORK, worst)["training"] == 2 * seconds(WORK, best)["training"]

    @given(group=st.integers(2, 16), prompt=st.integers(1, 900), completion=st.integers(1, 900))
    def test_sharing_never_costs_more(self, group, prompt, completion):
        work = replace(WORK, group=group, micro_batch=group, prompt=prompt, completion=completion)
        shared = replace(work, share_prompts=True)
        assert forward(shared) <= forward(work)
        assert activations(shared) <= activations(work)


class TestWhatMakesItFit:
    def need(self, work):
        return sum(memory(work, CARD).values())

    def test_what_fits_is_left_alone(self):
        assert what_makes_it_fit(WORK, CARD) == (WORK, {})

    def test_smaller_portions_come_first_then_checkpointing_then_an_adapter(self):
        half = replace(WORK, micro_batch=2, batch_size=6)
        room = CARD.model_copy(update={"memory": self.need(half)})
        assert what_makes_it_fit(WORK, room) == (
            half, {"rft.budget.micro_batch": 2, "rft.generation.batch_size": 6},
        )  # fmt: skip
        least = self.need(replace(WORK, micro_batch=1, batch_size=3))
        found = what_makes_it_fit(WORK, CARD.model_copy(update={"memory": least - 1}))
        assert found is not None
        assert found[1]["rft.optimizer.gradient_checkpointing"] is True
        smollm2 = Architecture.model_validate(PLAN["architectures"]["smollm2-135m"])
        small = CARD.model_copy(update={"memory": 16.0 * smollm2.parameters})
        adapted = what_makes_it_fit(replace(WORK, model=smollm2), small)
        assert adapted is not None and adapted[1]["rft.backbone.lora"]["r"] == 16

    def test_nothing_may_be_enough(self):
        assert what_makes_it_fit(WORK, CARD.model_copy(update={"memory": 10})) is None
