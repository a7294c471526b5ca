"""Qwen2.5, Llama 3 and Mistral kinds of backbones, end to end through the code that loads weights.

The models are small and random (``real_backbones.py``); architectures, tokenizers and chat
templates are of the kinds that published ones have.
"""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from trl import GRPOTrainer, SFTConfig, SFTTrainer

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.backbone import chat_ids, load_backbone, load_tokenizer, prompt_ids
from rerec_pipeline.models.generation import answer, stop_ids
from rerec_pipeline.models.policy import PolicyDataset
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    examples_from_table,
    graph_from_table,
)
from rerec_pipeline.recbench.task import Example, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.rerec.reward import Reward, RewardContext, unit_rows
from rerec_pipeline.training.fine_tuning import fine_tune_rl, fine_tune_sft, tokenized_lessons
from rerec_pipeline.training.rollouts import RolloutScorer
from tests.conftest import data_parameters, engineer, small_world
from tests.training.real_backbones import KINDS, make_backbone
from tests.training.test_trainer import boxed, rft_parameters

DATE = {"date_string": "26 Jul 2024"}
LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
WEIGHTS = {"ndcg": 1.0, "qas": 0.2, "pas": 0.2, "format": 0.1}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(task, reward, examples, texts) of a film world with three candidates a query."""
    data = data_parameters(
        world=small_world(items=30, users=20),
        candidates={"size": 3, "hard": 1, "traps": 0, "seed": 0, "source": "drawn"},
    )
    tables = engineer(data, str(tmp_path_factory.mktemp("raw")))
    catalogue = catalogue_from_table(tables["items"])
    context = RewardContext(
        graph_from_table(tables["attribute_graph"], catalogue).bits,
        unit_rows(np.random.default_rng(0).normal(size=(len(catalogue), 8))),
        k=1,
        no_box_ndcg=-0.5,
    )
    prompts = tables["prompts"].query("split == 'train'").reset_index(drop=True)
    texts = [*prompts["user"], *(f"\\boxed{{{title}}}" for title in catalogue.titles)]
    examples = examples_from_table(prompts, catalogue)[:6]
    return RecTask(catalogue, data.prompt), Reward(context, WEIGHTS), examples, texts


@pytest.fixture(scope="module", params=KINDS)
def folder(request, world, tmp_path_factory):
    """A backbone as one is downloaded: a folder."""
    return make_backbone(request.param, tmp_path_factory.mktemp(request.param), world[3])


@pytest.fixture(scope="module")
def backbone(folder):
    return load_backbone(folder, "float32", DATE)


class TestPrompts:
    def test_they_are_what_the_tokenizers_own_template_gives(self, folder, backbone, world):
        own = AutoTokenizer.from_pretrained(folder)
        for example, ids in zip(world[2], prompt_ids(backbone.tokenizer, world[2]), strict=True):
            text = own.apply_chat_template(
                example.messages, add_generation_prompt=True, tokenize=False, **DATE
            )
            assert ids == own(text, add_special_tokens=False)["input_ids"]
            for message in example.messages:
                assert message["content"] in text

    def test_trl_asks_the_same(self, backbone, world):
        """Rollouts are made by TRL, answers by us: both from the same tokens."""
        trainer = SimpleNamespace(
            processing_class=backbone.tokenizer, chat_template=None, chat_template_kwargs={},
            environment_factories=None, tools=[], _is_vlm=False,
        )  # fmt: skip
        asked, _, _ = GRPOTrainer._tokenize_prompts(trainer, [e.messages for e in world[2]])
        assert asked == prompt_ids(backbone.tokenizer, world[2])

    def test_a_control_token_in_a_query_or_a_title_is_text(self, folder, backbone, world):
        tokenizer = backbone.tokenizer
        control = [tokenizer.eos_token, *tokenizer.all_special_tokens]
        control += ["<think>"] if "<think>" in tokenizer.chat_template else []
        words = {"query": " or ".join(control) + "?", "title": f"A {tokenizer.eos_token} (1999)"}
        plain = {"query": "or?", "title": "A (1999)"}

        def ids(texts):
            chat = [
                {"role": "system", "content": f"Be of help. {texts['title']}"},
                {"role": "user", "content": f"{texts['query']} Choose: {texts['title']}; B\n"},
            ]
            return chat_ids(tokenizer, [chat], True)[0]

        asked, usual = ids(words), ids(plain)
        for name in control:
            token = tokenizer.convert_tokens_to_ids(name)
            assert asked.count(token) == usual.count(token)
        said = tokenizer.decode(asked, skip_special_tokens=True).replace(" ", "")
        assert f"{words['query']}Choose:{words['title']};B".replace(" ", "") in said

    def test_only_what_is_given_is_text(self, backbone):
        """What the assistant says may place control tokens, as reasoning traces do."""
        eos = backbone.tokenizer.eos_token
        chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
        told = [*chat, {"role": "assistant", "content": f"a{eos}b"}]
        count = [
            chat_ids(backbone.tokenizer, [messages], False)[0].count(
                backbone.tokenizer.convert_tokens_to_ids(eos)
            )
            for messages in ([*told[:2], {"role": "assistant", "content": "ab"}], told)
        ]
        assert count[1] == count[0] + 1

    def test_trl_would_teach_the_same(self, backbone, world, tmp_path):
        """Of ordinary prompts; ours keep control tokens in queries as text."""
        examples = world[2]
        answers = [[{"role": "assistant", "content": f"So \\boxed{{{n}}}"}] for n in range(6)]
        given = {"prompt": [e.messages for e in examples], "completion": answers}
        ours = tokenized_lessons(backbone.tokenizer, examples, answers, 100)
        trained_on = [
            SFTTrainer(
                model=backbone.model, processing_class=backbone.tokenizer,
                args=SFTConfig(
                    str(tmp_path), completion_only_loss=True, max_length=None, report_to="none",
                    use_cpu=True,
                ),
                train_dataset=Dataset.from_dict(rows),
            ).train_dataset
            for rows in (given, ours)
        ]  # fmt: skip
        for column in ("input_ids", "labels"):
            assert trained_on[0][column] == trained_on[1][column]

    def test_they_begin_once(self, backbone, world):
        """ChatML of SmolLM2 begins every turn with the bos token, others the prompt."""
        tokenizer = backbone.tokenizer
        begin, turns = tokenizer.bos_token_id, 3 if tokenizer.bos_token == "<|im_start|>" else 1
        for ids in prompt_ids(tokenizer, world[2]):
            assert ids.count(begin) == (0 if begin is None else turns)
            assert begin is None or (ids[0] == begin and ids[1] != begin)

    def test_padding_is_on_the_left_and_is_not_read(self, backbone):
        padded = backbone.tokenizer.pad({"input_ids": [[5, 6], [7]]}, return_tensors="pt")
        pad = backbone.tokenizer.pad_token_id
        assert pad is not None
        assert padded["input_ids"].tolist() == [[5, 6], [pad, 7]]
        assert padded["attention_mask"].tolist() == [[1, 1], [0, 1]]


class TestTemplates:
    @pytest.fixture
    def llama3(self, world, tmp_path):
        return make_backbone("llama3", tmp_path / "llama3", world[3])

    def test_a_date_that_is_set_stays_in_the_saved_policy(self, llama3, world, tmp_path, caplog):
        load_tokenizer(llama3, DATE).save_pretrained(tmp_path / "saved")
        text = load_tokenizer(str(tmp_path / "saved")).apply_chat_template(
            world[2][0].messages, tokenize=False
        )
        assert "Today Date: 26 Jul 2024" in text
        assert "today's date" not in caplog.text

    def test_a_date_that_is_not_set_is_warned_of(self, llama3, caplog):
        with caplog.at_level(logging.WARNING):
            load_tokenizer(llama3)
        assert "today's date" in caplog.text

    def test_one_that_refuses_a_system_message_says_so(self, llama3, world):
        tokenizer = load_tokenizer(llama3, DATE)
        tokenizer.chat_template = "{{ raise_exception('no system role') }}"
        with pytest.raises(BadInputError, match="refuses a system message.*no system role"):
            prompt_ids(tokenizer, world[2])


class TestAnswers:
    def test_a_batch_gives_what_one_at_a_time_gives(self, backbone, world):
        one = answer(backbone, world[2], 6, 1, "test")
        assert one == answer(backbone, world[2], 6, 4, "test")

    def test_they_are_the_likeliest_tokens_whatever_the_model_declares(self, backbone, world):
        """Qwen2.5 declares a repetition penalty, which would change greedy answers."""
        ids = prompt_ids(backbone.tokenizer, world[2][:1])[0]
        expected = []
        with torch.no_grad():
            while len(expected) < 6 and not set(expected) & set(stop_ids(backbone)):
                logits = backbone.model(torch.tensor([ids + expected])).logits
                expected.append(int(logits[0, -1].argmax()))
        assert answer(backbone, world[2][:1], 6, 1, "test") == [expected]

    def test_every_declared_end_ends_them(self, backbone, world, monkeypatch):
        declared = backbone.model.generation_config.eos_token_id
        declared = declared if isinstance(declared, list) else [declared]
        assert set(stop_ids(backbone)) == {*declared, backbone.tokenizer.eos_token_id}
        whole = answer(backbone, world[2], 6, 4, "test")
        end = whole[0][1]  # some token that is written
        monkeypatch.setattr(backbone.model.generation_config, "eos_token_id", [*declared, end])
        for before, after in zip(whole, answer(backbone, world[2], 6, 4, "test"), strict=True):
            cut = before.index(end) + 1 if end in before else len(before)
            assert after == before[:cut]


class TestBytes:
    @settings(max_examples=60, deadline=None)
    @given(text=st.text(alphabet="ab é日😀\nŁ.?", max_size=30))
    def test_they_are_what_tokens_add_to_a_prompt(self, backbone, text):
        tokenizer = backbone.tokenizer
        prompt = tokenizer("ab", add_special_tokens=False)["input_ids"]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        read = TokenBytes(tokenizer).read(ids)
        whole = tokenizer.decode([*prompt, *ids], clean_up_tokenization_spaces=False)
        assert whole == tokenizer.decode(prompt) + read.text
        assert read.lengths.sum() == len(read.data)

    def test_ids_beyond_the_tokenizer_have_none(self, backbone):
        rows = backbone.model.get_input_embeddings().num_embeddings
        read = TokenBytes(backbone.tokenizer).read(
            [*range(len(backbone.tokenizer), rows), rows - 1]
        )
        assert set(read.lengths.tolist()) <= {0} or rows == len(backbone.tokenizer)

    def test_words_that_are_added_but_not_special_are_text(self, world, tmp_path):
        tokenizer = load_tokenizer(make_backbone("qwen2.5", tmp_path, world[3]))
        added = tokenizer.convert_tokens_to_ids("<tool_call>")
        assert TokenBytes(tokenizer).read([added]).text == "<tool_call>"


class TestSpans:
    def test_the_penalised_tokens_of_multi_byte_reasoning(self, backbone, world):
        """Each paragraph about the wrong film, to the token, between others of many bytes."""
        titles = ["日本語の題名 (1999)", "L'Été Immobile (1960)", "Łódź (1981)"]
        task = RecTask(ItemIndex(["1", "2", "3"], titles), world[0].wording)
        context = RewardContext(np.zeros((3, 1), dtype=np.uint64), np.eye(3), 1, -0.5)
        scorer = RolloutScorer(task, Reward(context, WEIGHTS), TokenBytes(backbone.tokenizer))
        example = Example("q", "explicit", task.messages("?", [0, 1, 2], []), 0, (0, 1, 2))
        told = (
            "Wanted: été 😀.\n\nŁódź (1981): “ja”.\n日本語の題名 (1999): 良い 😀.\n"
            "L'Été Immobile (1960): là 😀 ça.\n\nŁódź (1981) it is.\n\\boxed{Łódź (1981)}"
        )
        ids = backbone.tokenizer(told, add_special_tokens=False)["input_ids"]
        ids = [*ids, backbone.tokenizer.eos_token_id]
        scored = scorer.score([ids], [example])
        assert scored.penalised == [[1, 4]]
        marked = np.array(ids)[scored.penalised_tokens(len(ids))[0]].tolist()
        assert scorer.token_bytes.read(marked).text == "Łódź (1981): “ja”.\nŁódź (1981) it is.\n"


@pytest.fixture(scope="module")
def warm(folder, world, tmp_path_factory):
    """The backbone after it has learned to box titles, by SFT: its rewards differ."""
    place = tmp_path_factory.mktemp("warm")
    rft = parameters(folder, place, sft={"token_passes": 70_000, "batch_size": 6, "lr": 2e-2})
    untrained = load_backbone(folder, "float32", DATE)
    tuned = fine_tune_sft(untrained, boxed(world[2], world[0]), rft.supervised, 0, place / "sft")
    PolicyDataset(filepath=str(place / "policy")).save(tuned.policy)
    return str(place / "policy"), tuned


def parameters(folder, place, lora=None, dtype="float32", **changes):
    return rft_parameters(
        folder,
        place,
        backbone={"lora": lora, "dtype": dtype, "template_values": DATE},
        budget={"rollouts": 3 * 8, "prompts": 2, "group_size": 4, "micro_batch": 4},
        optimizer={"gradient_checkpointing": True, "warmup_steps": 0, "schedule": "constant"},
        generation={"max_completion_tokens": 24, "batch_size": 4, "temperature": 1.5},
        **changes,
    )


def grpo(world, folder, rft, place):
    task, reward, examples, _ = world
    backbone = load_backbone(folder, rft.backbone.dtype if rft.backbone.lora else "float32", DATE)
    return fine_tune_rl(backbone, examples, task, reward.context, rft, 0, place)


class TestFineTuning:
    def test_supervised(self, warm, world):
        """The answers of the control are learned, and the saved policy gives them."""
        folder, tuned = warm
        assert tuned.log["loss"].iloc[-1] < 0.5 * tuned.log["loss"].iloc[0]
        loaded = PolicyDataset(filepath=folder).load()
        told = answer(loaded, world[2], 24, 6, "test")
        assert told == answer(tuned.policy, world[2], 24, 6, "test")
        texts = [TokenBytes(loaded.tokenizer).read(ids).text for ids in told]
        assert sum("\\boxed{" in text for text in texts) >= 3
        for ids, text in zip(told, texts, strict=True):
            decoded = loaded.tokenizer.decode(ids, skip_special_tokens=True)
            # decoders of SentencePiece take the space away that a first word begins with
            assert text.lstrip() == decoded.lstrip()

    @pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
    def test_by_grpo(self, folder, warm, world, tmp_path, lora):
        """Weights move, and what is saved answers as what was trained."""
        start = load_backbone(warm[0], "float32")
        rft = parameters(warm[0], tmp_path, lora)
        tuned = grpo(world, warm[0], rft, tmp_path / "run")
        assert tuned.summary["steps"] == 3 and len(tuned.log) == 3
        assert tuned.log["frac_reward_zero_std"].min() < 1
        saved = PolicyDataset(filepath=str(tmp_path / "policy"))
        saved.save(tuned.policy)
        assert (tmp_path / "policy/adapter_config.json").is_file() == (lora is not None)
        assert (tmp_path / "policy/model.safetensors").is_file() == (lora is None)
        loaded = saved.load()
        ids = torch.tensor([prompt_ids(loaded.tokenizer, world[2])[0]])
        with torch.no_grad():
            logits = loaded.model(ids).logits
            assert torch.allclose(logits, tuned.policy.model(ids).logits, atol=1e-5)
            assert (logits - start.model(ids).logits).abs().max() > 1e-4
        assert answer(loaded, world[2], 8, 6, "a") == answer(tuned.policy, world[2], 8, 6, "b")
        assert stop_ids(loaded) == stop_ids(load_backbone(folder))

    def test_in_16_bits(self, world, tmp_path):
        """Trained in 32, kept in 16, and loaded as it was kept."""
        folder = make_backbone("qwen2.5", tmp_path / "model", world[3])
        sft = {"token_passes": 6_000, "batch_size": 6, "lr": 1e-3}
        rft = parameters(folder, tmp_path, dtype="bfloat16", sft=sft)
        untrained = load_backbone(folder, "float32", DATE)
        lessons = boxed(world[2], world[0])
        tuned = fine_tune_sft(untrained, lessons, rft.supervised, 0, tmp_path / "run")
        saved = PolicyDataset(filepath=str(tmp_path / "policy"))
        saved.save(tuned.policy)
        loaded = saved.load()
        assert loaded.model.dtype == tuned.policy.model.dtype == torch.bfloat16
        assert answer(loaded, world[2], 8, 6, "a") == answer(tuned.policy, world[2], 8, 6, "b")

    def test_supervised_in_micro_batches_is_the_same(self, world, tmp_path):
        """Two times three examples give the update of six."""
        folder = make_backbone("llama3", tmp_path / "model", world[3])
        sft = {"token_passes": 4_000, "batch_size": 6, "lr": 1e-3}
        weights = []
        for micro_batch in (6, 3):
            budget = {"rollouts": 24, "prompts": 3, "group_size": 4, "micro_batch": micro_batch}
            rft = rft_parameters(
                folder, tmp_path, backbone={"template_values": DATE}, sft=sft, budget=budget
            )
            untrained = load_backbone(folder, "float32", DATE)
            lessons = boxed(world[2], world[0])
            place = tmp_path / f"run-{micro_batch}"
            tuned = fine_tune_sft(untrained, lessons, rft.supervised, 0, place)
            weights.append(tuned.policy.model.state_dict())
        for name, whole in weights[0].items():
            assert torch.allclose(whole, weights[1][name], atol=1e-5), name
