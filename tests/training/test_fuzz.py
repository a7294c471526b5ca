"""Ten thousand completions that no policy should write: from tokens to reward and advantages."""

import itertools

import numpy as np
import pytest
import torch

from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.task import Example, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.rerec.advantage import reasoning_aware_advantages
from rerec_pipeline.rerec.reward import Reward, RewardContext, unit_rows
from rerec_pipeline.training.rollouts import RolloutScorer
from tests.conftest import data_parameters, train_byte_level_bpe

TITLES = [
    "Toy Story (1995)", "Toy Story 2 (1999)", "Sex; Lies (1989)", ";", "?!", "____", "$ (1971)",
    "L'Été 😀 (1960)", "Off (1970)", "A}", "\u202eelttiL (2001)", "Sabrina (1954)",
    "Sabrina (1995)", "Harbor, The (1987)",
]  # fmt: skip
LISTED, TRUTH = (0, 1, 2, 6, 7, 10, 11), 0
#: Boxes and halves of them, blanks, controls, direction marks, titles and what looks like them.
PIECES = [
    "\\boxed{", "\\boxed{", "}", "}", "{", "\\boxed{}", "\\boxed{;}", "\\boxed{ }", "\\boxed{\n}",
    "\\boxed{____}", "\\boxed{\\text{", "\\text{", "\\boxed{\\boxed{", ";", "; ;", " ", "\t",
    "\n", "\n\n\n", "\r\n", "\r", "\0", "\u200f", "\u202e", "\u200b", "\ufeff", "\u2028", "\u00a0",
    "\\", "\\boxed", "boxed{", "_", "é", "日本", "😀", "\u0301", "It", "(1995)", "Toy", *TITLES,
]  # fmt: skip
#: What would be seen of a title; nothing of it, no reward for being right.
RIGHT = ("toy", "story")
BLANK = set("{}; \t\n\r\0\u200f\u202e\u200b\ufeff\u2028\u00a0")


LONG = [
    "\n" * 100_000 + "\\boxed{Toy Story}" + "\n" * 100_000,
    "\\boxed{" * 10_000,
    "\\boxed{" * 5_000 + "}" * 5_000,
    "\\boxed{" + ";" * 20_000 + "}",
    "\\boxed{Toy Story 2}" * 500,
    "Toy Story 2.\n" * 3_000 + "\\boxed{Toy Story 2}",
]


def adversarial():
    """Texts by a seed, after some that are known to have done harm."""
    yield from ("", "\\boxed{____}", "\\boxed{_}", "\\boxed{;}", "\\boxed{}", "}" * 100)
    rng = np.random.default_rng(0)
    while True:
        text = "".join(PIECES[n] for n in rng.integers(0, len(PIECES), rng.integers(1, 14)))
        title = TITLES[rng.integers(len(TITLES))]
        yield f"{title} fits.\n\\boxed{{{title}}}{text}" if rng.random() < 0.1 else text


@pytest.fixture(scope="module")
def scored():
    """(texts, what they are worth), of the short ones and of the long ones."""
    task = RecTask(ItemIndex(range(len(TITLES)), TITLES), data_parameters().prompt)
    rng = np.random.default_rng(1)
    edges = [(n, "r", str(v)) for n in range(len(TITLES)) for v in rng.integers(0, 6, 3)]
    context = RewardContext(
        AttributeGraph(len(TITLES), edges).bits,
        unit_rows(rng.normal(size=(len(TITLES), 4))),
        k=1,
        no_box_ndcg=-0.5,
    )
    reward = Reward(context, {"ndcg": 1.0, "qas": 0.2, "pas": 0.2, "format": 0.1})
    tokenizer = train_byte_level_bpe([*TITLES, *PIECES] * 3)
    scorer = RolloutScorer(task, reward, TokenBytes(tokenizer))
    example = Example("q", "explicit", [], TRUTH, LISTED)
    batches = []
    for texts in (list(itertools.islice(adversarial(), 10_000)), LONG):
        ids = [encoded.ids for encoded in tokenizer.backend_tokenizer.encode_batch(texts)]
        batches.append((texts, scorer.score(ids, [example] * len(texts))))
    return batches


def test_what_is_long_is_read_and_in_time(scored):
    """Seconds, not minutes: no step looks at all of it for each box or break."""
    _, found = scored[1]
    assert found.graded.ranked[:, 0].tolist() == [0, -1, -1, -1, 1, 1]
    assert found.graded.boxed.tolist() == [True, False, False, False, True, True]
    assert len(found.penalised[-1]) == 3_000


def test_nothing_is_paid_for_nothing(scored):
    texts, found = scored[0]
    assert len(texts) == 10_000
    graded, total = found.graded, found.scored.total
    assert np.isfinite(total).all()
    wrong_listed = [n for n in LISTED if n != TRUTH]
    worst = min(total[graded.ranked[:, 0] == n].min() for n in wrong_listed)
    for text, answer, ranked, right, worth in zip(
        texts, graded.answers, graded.ranked[:, 0], graded.correct, total, strict=True
    ):
        if right:
            assert all(word in text.casefold() for word in RIGHT)
        if not answer.boxed:
            assert worth <= -0.55
            assert answer.titles == () and ranked == -1
        else:
            assert answer.titles and not set("".join(answer.titles)) <= BLANK
            start, end = answer.span
            assert text[start:end].startswith("\\boxed{") and text[start:end].endswith("}")
        if ranked == -1:
            assert worth <= worst + 1e-12
    # each kind was there: right, wrong and listed, off the list, nothing
    listed = graded.ranked[:, 0] >= 0
    kinds = (graded.correct, listed & ~graded.correct, graded.boxed & ~listed, ~graded.boxed)
    assert min(int(kind.sum()) for kind in kinds) > 50


def test_every_token_gets_an_advantage(scored):
    _, found = scored[0]
    mask = torch.from_numpy(found.penalised_tokens(int(found.completions.n_tokens.max())))
    total = torch.from_numpy(found.scored.total)
    advantages = reasoning_aware_advantages(total, mask, 8, 0.3)
    assert torch.isfinite(advantages).all()
    assert int(mask.any(dim=1).sum()) > 50
    for n, paragraphs in enumerate(found.penalised):
        assert not set(paragraphs) & set(found.graded.answers[n].paragraphs)
        assert all(0 <= p < len(found.paragraphs[n]) for p in paragraphs)
