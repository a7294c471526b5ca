"""Candidates ranked by likelihood: exact against a plain forward pass, for other tokenizers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.models import choosing
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.choosing import BOX, ReasoningCriteria, reason, title_scores, until_box
from rerec_pipeline.models.reasoner import PolicyReasoner
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.pipelines.likelihood.nodes import rank_candidates
from rerec_pipeline.recbench.task import Prompt, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.reporting.likelihood import report_ranks
from tests.assistant.conftest import WORDING

TITLES = ["The Boat (1981)", "Boat", "The Boat (1981) II", "Ünder the Sea (1990)"]


@pytest.fixture(scope="module")
def backbone(tiny_backbone):
    return load_backbone(tiny_backbone)


@pytest.fixture(scope="module")
def table(backbone):
    return TokenBytes(backbone.tokenizer)


def tell(said, row, text):
    said[row] += text


def script(backbone, monkeypatch, texts):
    """Lets the model write given texts, one for each row, token by token; then the first token."""
    wanted = [backbone.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    original, step = backbone.model.forward, iter(range(1000))

    def forward(*args, **details):
        output, n = original(*args, **details), next(step)
        output.logits[:] = -9.0
        for row, ids in enumerate(wanted):
            output.logits[row, -1, ids[min(n, len(ids) - 1)]] = 9.0
        return output

    monkeypatch.setattr(backbone.model, "forward", forward)


class TestScores:
    @pytest.mark.parametrize("titles", [TITLES, TITLES[:1], ["Boat", "Boat"]])
    def test_they_are_log_probabilities_of_title_and_brace(self, backbone, titles):
        context = backbone.tokenizer.encode("A sea film, please.\n")
        scores = title_scores(backbone, context, titles)
        alone = [self.plain(backbone, context, f"{BOX}{title}}}") for title in titles]
        np.testing.assert_allclose(scores - scores[0], np.array(alone) - alone[0], atol=1e-4)

    @pytest.mark.parametrize("n", [1, 32, 33, 200])
    def test_many_titles_are_read_in_portions_and_the_context_once(self, backbone, monkeypatch, n):
        titles = [f"{'The ' * (k % 5)}Boat {k} ({1900 + k})" for k in range(n)]
        context = backbone.tokenizer.encode("A sea film, please.\n") * 4
        original, read = backbone.model.forward, []

        def forward(ids, **details):
            read.append(tuple(ids.shape))
            return original(ids, **details)

        monkeypatch.setattr(backbone.model, "forward", forward)
        scores = title_scores(backbone, context, titles)
        assert [rows for rows, _ in read] == [1, *[32] * (n // 32), *filter(None, [n % 32])]
        assert [width for _, width in read if width >= len(context)] == [read[0][1]]
        monkeypatch.setattr(choosing, "_AT_ONCE", n)
        np.testing.assert_allclose(scores, title_scores(backbone, context, titles), atol=1e-5)

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
        script(backbone, monkeypatch, ["So:\n\\boxed{The Boat} and more", "No box, but words; a"])
        said = ["", ""]
        prompts = [Prompt([], TITLES, lambda text, n=n: tell(said, n, text)) for n in range(2)]
        ids = backbone.tokenizer.encode("So", add_special_tokens=False)
        one, other = reason(backbone, [ids, ids * 2], ReasoningCriteria(table, prompts), 40)
        assert table.read(until_box(one, table)[0]).text == said[0] == "So:\n"
        assert "and more" not in table.read(one).text
        assert table.read(other).text.startswith("No box, but words")
        assert said[1] == table.read(other).text

    def test_a_completion_ends_where_nobody_waits(self, backbone, table, monkeypatch):
        script(
            backbone, monkeypatch, ["one two three four five six", "one two three four five six"]
        )
        said = ["", ""]
        prompts = [
            Prompt([], TITLES, lambda text: tell(said, 0, text), lambda: len(said[0]) > 8),
            Prompt([], TITLES, lambda text: tell(said, 1, text)),
        ]
        reason(backbone, [[5], [5]], ReasoningCriteria(table, prompts), 40)
        assert len(said[0]) < 20 < len(said[1])

    def test_a_batch_gives_what_each_gives_alone(self, backbone):
        policy = PolicyReasoner(backbone, "p", 12)
        prompts = [
            Prompt([{"role": "user", "content": text}], TITLES[:n])
            for text, n in (("q", 4), ("something longer, with a comma", 2), ("q", 3))
        ]
        for (text, scores), prompt in zip(policy.reason(prompts), prompts, strict=True):
            ((alone, its),) = policy.reason([prompt])
            assert text == alone
            np.testing.assert_allclose(scores, its, atol=1e-4)
        assert policy.reason([]) == []

    def test_a_policy_gives_words_and_probabilities(self, backbone):
        said: list[str] = []
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
        prompt = Prompt(messages, TITLES, said.append)
        ((text, beliefs),) = PolicyReasoner(backbone, "p", 12).reason([prompt])
        assert beliefs.shape == (4,) and beliefs.sum() == pytest.approx(1)
        assert "".join(said).strip() == text and BOX not in text


def test_a_right_item_that_retrieval_has_not_found_has_no_place(backbone):
    """Its place is 0, which is no hit, as among retrieved lists it is a miss."""
    catalogue = ItemIndex(range(1, 4), TITLES[:3])
    rows = [("found", 1, [1, 2]), ("missed", 3, [1, 2])]
    prompts = pd.DataFrame(
        [
            {
                "query_id": name, "query_type": "explicit", "system": "s", "user": "u",
                "truth_id": truth, "candidate_ids": listed, "mentioned_ids": [], "conditions": [],
            }
            for name, truth, listed in rows
        ]
    )  # fmt: skip
    answers = pd.DataFrame({"token_ids": [[5, 6], [5, 6]], "completion": ["x", "x"]})
    rft = SimpleNamespace(backbone=SimpleNamespace(dtype="float32"))
    found = rank_candidates(prompts, answers, backbone, RecTask(catalogue, WORDING), rft)
    assert found["place"].tolist()[1] == 0 and found["place"].tolist()[0] in (1, 2)
    clusters = np.arange(2)
    report = report_ranks(
        found["place"].to_numpy(), found["correct"].to_numpy(), clusters, Bootstrap(50, 0.95, 0)
    )
    assert report["hit@5"]["mean"] == 0.5
