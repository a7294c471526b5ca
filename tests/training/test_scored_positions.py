"""What TRL scores on a CPU: the learned positions alone, with the same values."""

import pytest
import torch
import trl.trainer.utils
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.kernels import chunked_logprob

from rerec_pipeline.training.fine_tuning import learned_positions_alone

IDS = torch.arange(24).view(2, 12)
LABELS = IDS.masked_fill(torch.arange(12) < 8, -100)


def scored(monkeypatch):
    """Log-probabilities and gradients of labels, and how many positions were scored."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True,
        )
    )  # fmt: skip
    trl.trainer.utils.add_fused_lm_head(model)
    counts, apply = [], chunked_logprob.ChunkedLogProbFunction.apply

    def counting(hidden, *further):
        counts.append(len(hidden))
        return apply(hidden, *further)

    monkeypatch.setattr(trl.trainer.utils._ChunkedLogProbFunction, "apply", counting)
    told = model(input_ids=IDS, labels=LABELS, fused_lm_head=True).log_probs
    told.sum().backward()
    monkeypatch.undo()
    return told.detach(), model.lm_head.weight.grad, counts


def test_the_values_are_those_of_all_positions(monkeypatch):
    every, gradient, all_positions = scored(monkeypatch)
    with learned_positions_alone():
        alone, its_gradient, learned = scored(monkeypatch)
    torch.testing.assert_close(alone, every)
    torch.testing.assert_close(its_gradient, gradient)
    assert (all_positions, learned) == ([22], [8])


def test_afterwards_trl_is_as_it_was():
    before = trl.trainer.utils._use_triton
    with pytest.raises(KeyboardInterrupt), learned_positions_alone():
        raise KeyboardInterrupt
    assert trl.trainer.utils._use_triton is before
