"""Small GGUF files as llama.cpp's converter writes them, from a Llama model and its tokenizer."""

import json

import gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

#: llama.cpp's names of a layer's matrices.
LAYER = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
CONTROL, NORMAL = 3, 1


def write_gguf(folder, file):
    """Writes a stand-in of SmolLM2 (real_backbones.py) with weights in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config, writer = model.config, gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _write_tokenizer(writer, tokenizer)
    for name, weight in model.model.state_dict().items():
        writer.add_tensor(*_tensor(name, weight.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(writer, tokenizer):
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in special else NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _tensor(name, weight, config):
    if name == "embed_tokens.weight":
        return "token_embd.weight", weight
    if name == "norm.weight":
        return "output_norm.weight", weight
    _, number, *middle, ending = name.split(".")
    part = LAYER[".".join(middle)]
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    if part in heads:  # llama.cpp turns pairs of neighbours, transformers halves
        halves = weight.reshape(heads[part], 2, -1, weight.shape[1])
        weight = halves.swapaxes(1, 2).reshape(weight.shape).copy()
    return f"blk.{number}.{part}.{ending}", weight
