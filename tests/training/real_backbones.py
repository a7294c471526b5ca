"""Small random models of real architectures, with tokenizers of the kinds that those come with.

Weights can not be downloaded in tests, so each is made here, saved as ``save_pretrained`` saves a
published one, and loaded by the code that loads those.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

KINDS = ("qwen2.5", "llama3", "mistral", "smollm2")

#: Text in several scripts, with characters of one to four bytes.
MULTI_BYTE = [
    "L'Été Immobile (1960)\n",
    "Łukasz Kovács says “yes”.\n",
    "日本語の題名 (1999)\n",
    "😀 fine.\n\n",
]

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.1, "max_position_embeddings": 2048,
}  # fmt: skip

# ChatML: a header and an end for every turn, a system message where there is none.
CHATML = (
    "{%- if messages[0]['role'] != 'system' %}"
    "{{- '<|im_start|>system\nBe of help.<|im_end|>\n' }}{% endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"
)

# Llama 3: begins with the bos token, and the system header tells the date, today's if none is set.
LLAMA3 = (
    "{{- bos_token }}"
    "{%- if not date_string is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{%- if message['role'] == 'system' %}{{- 'Today Date: ' + date_string + '\n\n' }}{% endif %}"
    "{{- message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

# Llama 2 and Mistral: the system text is a part of the user's turn.
INST = (
    "{{- bos_token }}"
    "{%- set told = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}"
    "{{- '[INST] ' + (told + '\n\n' if told else '') + message['content'] + ' [/INST]' }}"
    "{%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }}"
    "{%- endif %}{%- endfor %}"
)


def make_backbone(kind: str, folder: Path, texts: Iterable[str]) -> str:
    """A folder with a model and a tokenizer that has seen some texts; gives its path."""
    torch.manual_seed(0)
    texts = [*texts, *MULTI_BYTE * 3]
    makers = {"qwen2.5": _qwen2, "llama3": _llama3, "mistral": _mistral, "smollm2": _smollm2}
    for part in makers[kind](texts):
        part.save_pretrained(folder)
    return str(folder)


def _qwen2(texts):
    trained = _byte_level(texts)
    tokenizer = Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(m) for m in trained["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False)])
    tokenizer.chat_template = CHATML
    # More rows than tokens, and own ideas of decoding, as Qwen2.5 has.
    model = Qwen2ForCausalLM(
        Qwen2Config(vocab_size=len(tokenizer) + 9, tie_word_embeddings=True, **SIZES)
    )
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.5,
    )  # fmt: skip
    return model, tokenizer


def _llama3(texts):
    trained = _byte_level(texts)
    raw = Tokenizer(
        models.BPE(trained["vocab"], [tuple(m) for m in trained["merges"]], ignore_merges=True)
    )
    words = pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}{1,3}|\s*[\r\n]+|[^\p{L}\p{N}]"), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    special = [
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
        "<|eom_id|>", "<|eot_id|>", "<|reserved_special_token_0|>",
    ]  # fmt: skip
    raw.add_special_tokens([AddedToken(token, special=True) for token in special])
    begin = raw.token_to_id("<|begin_of_text|>")
    raw.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )
    tokenizer.chat_template = LLAMA3
    scaled = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 512,
    }  # fmt: skip
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), tie_word_embeddings=True, rope_parameters=scaled, **SIZES
        )
    )
    ends = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]
    model.generation_config = GenerationConfig(
        bos_token_id=begin, eos_token_id=tokenizer.convert_tokens_to_ids(ends),
        do_sample=True, temperature=0.6, top_p=0.9,
    )  # fmt: skip
    return model, tokenizer


def _mistral(texts):
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    plain = [text for text in texts if text.isascii()]  # the rest is left to single bytes
    raw.train_from_iterator(plain, trainers.BpeTrainer(vocab_size=500, special_tokens=special))
    trained = json.loads(raw.to_str())["model"]
    tokenizer = LlamaTokenizer(vocab=trained["vocab"], merges=[tuple(m) for m in trained["merges"]])
    tokenizer.chat_template = INST
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer), tie_word_embeddings=False, sliding_window=None, **SIZES
        )
    )
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
    )
    return model, tokenizer


def _smollm2(texts):
    """Llama's architecture with a GPT-2 vocabulary in which every digit is a token of its own."""
    trained = _byte_level(texts)
    raw = Tokenizer(models.BPE(trained["vocab"], [tuple(m) for m in trained["merges"]]))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|im_start|>", eos_token="<|im_end|>",
        pad_token="<|im_end|>", unk_token="<|endoftext|>",
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **SIZES)
    )
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return model, tokenizer


def _byte_level(texts):
    """Vocabulary and merges of a byte-level BPE."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet))
    return json.loads(raw.to_str())["model"]
