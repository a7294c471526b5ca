"""Candidates ranked by likelihood: exact against a plain forward pass, for other tokenizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.choosing import BOX, reason, title_scores, until_box
from rerec_pipeline.models.reasoner import PolicyReasoner
from rerec_pipeline.models.token_bytes import TokenBytes

TITLES = ["The Boat (1981)", "Boat", "The Boat (1981) II", "Ünder the Sea (1990)"]


@pytest.fixture(scope="module")
def backbone(tiny_backbone):
    return load_backbone(tiny_backbone)


@pytest.fixture(scope="module")
def table(backbone):
    return TokenBytes(backbone.tokenizer)


class TestScores:
    @pytest.mark.parametrize("titles", [TITLES, TITLES[:1], ["Boat", "Boat"]])
    def test_they_are_log_probabilities_of_title_and_brace(self, backbone, titles):
        context = backbone.tokenizer.encode("A sea film, please.\n")
        scores = title_scores(backbone, context, titles)
        alone = [self.plain(backbone, context, f"{BOX}{title}}}") for title in titles]
        np.testing.assert_allclose(scores - scores[0], np.array(alone) - alone[0], atol=1e-4)

    @staticmethod
    @torch.no_grad()
    def plain(backbone, context, text):
        tail = backbone.tokenizer.encode(text, add_special_tokens=False)
        ids = torch.tensor([[*context, *tail]])
        logits = backbone.model(ids).logits[0].log_softmax(-1)
        at = range(len(context) - 1, ids.shape[1] - 1)
        return sum(float(logits[n, ids[0, n + 1]]) for n in at)


class TestReasoning:
    def test_the_reasoning_ends_in_front_of_the_box(self, backbone, table):
        ids = backbone.tokenizer.encode("It fits.\n\\boxed{The Boat}", add_special_tokens=False)
        head, boxed = until_box(ids, table)
        assert boxed and table.read(head).text == "It fits.\n"

    def test_without_a_box_it_is_all_reasoning(self, backbone, table):
        ids = backbone.tokenizer.encode("It fits.", add_special_tokens=False)
        assert until_box(ids, table) == (ids, False)

    def test_writing_stops_where_a_box_opens(self, backbone, table, monkeypatch):
        """Whatever the model wants to write, nothing is written behind the opening."""
        wanted = backbone.tokenizer.encode(
            "So:\n\\boxed{The Boat} and more", add_special_tokens=False
        )

        def forward(input_ids, past_key_values=None, **_):
            step = forward.step
            forward.step += 1
            logits = torch.full((*input_ids.shape, len(backbone.tokenizer)), -9.0)
            logits[..., wanted[min(step, len(wanted) - 1)]] = 9.0
            return backbone.model.original(
                input_ids, past_key_values=past_key_values, **_
            ).__class__(logits=logits, past_key_values=past_key_values)

        forward.step = 0
        monkeypatch.setattr(backbone.model, "original", backbone.model.forward, raising=False)
        monkeypatch.setattr(backbone.model, "forward", forward)
        written = table.read(reason(backbone, wanted[:2], table, 40)).text
        assert written.startswith("So:\n\\boxed{") and "and more" not in written

    def test_a_policy_gives_words_and_probabilities(self, backbone):
        said: list[str] = []
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
        text, beliefs = PolicyReasoner(backbone, "p", 12).reason(messages, TITLES, said.append)
        assert beliefs.shape == (4,) and beliefs.sum() == pytest.approx(1)
        assert "".join(said).strip() == text and BOX not in text
