"""Any Hugging Face causal LM is loaded by one piece of code, and refused with a clear reason."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.backbone import (
    Backbone,
    check_pretraining,
    length_report,
    load_backbone,
    load_tokenizer,
    merged,
    prompt_ids,
    too_long,
)
from rerec_pipeline.models.chat import EOS
from rerec_pipeline.models.generation import answer
from rerec_pipeline.recbench.tables import catalogue_from_table, examples_from_table


@pytest.fixture(scope="module")
def examples(world_tables):
    _, tables = world_tables
    return examples_from_table(tables["prompts"][:7], catalogue_from_table(tables["items"]))


class TestLoading:
    def test_a_missing_folder(self, tmp_path):
        with pytest.raises(BadInputError, match="there is no such model folder"):
            load_backbone(str(tmp_path / "nowhere"))

    def test_a_name_that_hugging_face_does_not_give(self, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(BadInputError, match=r"nobody/nothing: .*rft\.backbone\.name_or_path"):
            load_tokenizer("nobody/nothing")

    def test_a_folder_without_weights(self, tiny_backbone, tmp_path):
        AutoTokenizer.from_pretrained(tiny_backbone).save_pretrained(tmp_path)
        AutoConfig.from_pretrained(tiny_backbone).save_pretrained(tmp_path)
        with pytest.raises(BadInputError, match="this model can not be loaded: "):
            load_backbone(str(tmp_path))

    def test_a_tokenizer_without_chat_template(self, tiny_backbone, tmp_path):
        tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
        tokenizer.chat_template = None
        tokenizer.save_pretrained(tmp_path)
        with pytest.raises(BadInputError, match="no chat template"):
            load_tokenizer(str(tmp_path))

    def test_a_server_finds_the_answer_of_a_saved_policy(self, tmp_path):
        """As ``transformers serve`` reads it, which has Qwen's marks for a model of its kind."""
        load_tokenizer("data/06_models/base_policy").save_pretrained(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        messages = [{"role": "user", "content": "A drama, please."}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for end in ("", EOS):
            ids = tokenizer.encode(f"It fits.\n\\boxed{{Boat}}{end}")
            read = tokenizer.parse_response(ids, prefix=prompt)
            assert read["content"] == "It fits.\n\\boxed{Boat}"

    def test_another_architecture_goes_the_same_way(self, bpe_tokenizer, examples, tmp_path):
        torch.manual_seed(0)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(bpe_tokenizer), hidden_size=16, intermediate_size=32,
                num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            )
        ).save_pretrained(tmp_path)  # fmt: skip
        bpe_tokenizer.save_pretrained(tmp_path)
        backbone = load_backbone(str(tmp_path))
        assert type(backbone.model).__name__ == "LlamaForCausalLM"
        assert len(answer(backbone, examples[:2], 3, 2, "test")) == 2


class TestPromptLimit:
    def test_a_prompt_at_the_limit_is_kept_and_one_above_stops_the_run(
        self, tiny_backbone, examples
    ):
        tokenizer = load_tokenizer(tiny_backbone)
        longest = max(len(ids) for ids in prompt_ids(tokenizer, examples))
        assert too_long(tokenizer, examples, longest, "error") == []
        with pytest.raises(BadInputError, match=f"more than {longest - 1} tokens") as error:
            too_long(tokenizer, examples, longest - 1, "error")
        assert "rft.generation.max_prompt_tokens" in str(error.value)

    def test_what_is_over_it_is_counted(self):
        report = length_report([3, 5, 10], 5)
        assert report == {"prompts": 3, "mean_tokens": 6.0, "max_tokens": 10, "over_limit": 1}
        assert length_report([], 5) == {
            "prompts": 0, "mean_tokens": None, "max_tokens": None, "over_limit": 0,
        }  # fmt: skip

    def test_or_is_left_out_and_counted(self, tiny_backbone, examples, caplog):
        tokenizer = load_tokenizer(tiny_backbone)
        lengths = [len(ids) for ids in prompt_ids(tokenizer, examples)]
        limit = sorted(lengths)[3]
        left_out = too_long(tokenizer, examples, limit, "exclude")
        assert left_out == [e.query_id for e, n in zip(examples, lengths, strict=True) if n > limit]
        assert f"{len(left_out)} prompts have more than {limit} tokens" in caplog.text


class TestPretrainingRecord:
    def record(self, folder, splits):
        (folder / "made_by.json").write_text(json.dumps({"splits": splits}))

    def test_a_backbone_without_a_record_is_taken(self, tmp_path):
        check_pretraining(str(tmp_path), "anything", "abc")

    def test_the_same_queries_were_held_out(self, tmp_path):
        self.record(tmp_path, {"sample_movie": "abc"})
        check_pretraining(str(tmp_path), "sample_movie", "abc")

    def test_other_queries_were_held_out(self, tmp_path):
        self.record(tmp_path, {"sample_movie": "abc"})
        with pytest.raises(BadInputError, match="may know answers that are asked for"):
            check_pretraining(str(tmp_path), "sample_movie", "abd")

    def test_it_has_never_read_this_data_set(self, tmp_path):
        self.record(tmp_path, {"sample_movie": "abc"})
        with pytest.raises(BadInputError, match="only reads sample_movie, not recbench_movie"):
            check_pretraining(str(tmp_path), "recbench_movie", "abc")


class TestAnswers:
    def test_they_do_not_depend_on_the_batch_size(self, tiny_backbone, examples):
        backbone = load_backbone(tiny_backbone)
        one = answer(backbone, examples, 8, 1, "test")
        assert one == answer(backbone, examples, 8, 7, "test")
        assert all(1 <= len(tokens) <= 8 for tokens in one)

    def test_they_are_what_greedy_decoding_by_hand_gives(self, tiny_backbone, examples):
        backbone = load_backbone(tiny_backbone)
        ids = prompt_ids(backbone.tokenizer, examples[:1])[0]
        expected = []
        with torch.no_grad():
            for _ in range(5):
                logits = backbone.model(torch.tensor([ids + expected])).logits
                expected.append(int(logits[0, -1].argmax()))
                if expected[-1] == backbone.tokenizer.eos_token_id:
                    break
        assert answer(backbone, examples[:1], 5, 1, "test") == [expected]

    def test_drawn_answers_follow_torchs_seed(self, tiny_backbone, examples):
        backbone = load_backbone(tiny_backbone)
        drawn = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            drawn.append(answer(backbone, examples, 8, 7, "test", temperature=1.0))
        assert drawn[0] == drawn[1] != drawn[2]


def test_what_an_adapter_has_learned_goes_into_the_weights(tiny_backbone):
    backbone = load_backbone(tiny_backbone)
    lora = LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules="all-linear", init_lora_weights=False
    )
    adapted = get_peft_model(backbone.model, lora).eval()
    ids = torch.tensor([[1, 2, 3]])
    expected = adapted(ids).logits.detach()
    whole = merged(Backbone(adapted, backbone.tokenizer)).model
    assert not any("lora" in name for name, _ in whole.named_parameters())
    torch.testing.assert_close(whole(ids).logits.detach(), expected)
    assert merged(Backbone(whole, backbone.tokenizer)).model is whole
