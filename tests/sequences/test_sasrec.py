"""SASRec: its loss by hand, causality, padding, that it learns, that it can be interrupted."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rerec_pipeline.configs import SASRecConfig
from rerec_pipeline.sequences.choices import draw_candidates
from rerec_pipeline.sequences.sasrec import (
    Choices,
    SASRec,
    SASRecTrainer,
    next_item_loss,
    padded,
    score_candidates,
)


def config(**changes) -> SASRecConfig:
    values = {
        "dim": 16, "blocks": 2, "heads": 2, "length": 6, "dropout": 0.1, "lr": 0.01,
        "batch_size": 16, "epochs": 6, "evaluate_every": 2, "patience": 3, "seed": 0,
    }  # fmt: skip
    return SASRecConfig(**{**values, **changes})


class TestLoss:
    def test_by_hand(self):
        """sigma(0) = 1/2; sigma(log 3) = 3/4; the third place is padding."""
        positive = torch.tensor([[0.0, math.log(3), 99.0]])
        negative = torch.tensor([[math.log(3), 0.0, 99.0]])
        real = torch.tensor([[True, True, False]])
        # -(log 1/2 + log 1/4 + log 3/4 + log 1/2) / 2
        expected = (math.log(2) + math.log(4) + math.log(4 / 3) + math.log(2)) / 2
        assert next_item_loss(positive, negative, real).item() == pytest.approx(expected)

    def test_is_torchs_binary_cross_entropy(self):
        torch.manual_seed(0)
        positive, negative = torch.randn(2, 3, 5)
        both = torch.stack([positive, negative])
        labels = torch.stack([torch.ones(3, 5), torch.zeros(3, 5)])
        reference = torch.nn.functional.binary_cross_entropy_with_logits(both, labels)
        everywhere = torch.ones(3, 5, dtype=torch.bool)
        assert next_item_loss(positive, negative, everywhere).item() == pytest.approx(
            2 * reference.item()
        )


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SASRec(20, config()).eval()


class TestModel:
    def test_a_later_item_changes_nothing_before_it(self, model):
        one = torch.tensor([[3, 1, 4, 1, 5, 9]])
        two = one.clone()
        two[0, 4] = 7
        before, after = model(one), model(two)
        assert torch.equal(before[:, :4], after[:, :4])
        assert not torch.allclose(before[:, 4:], after[:, 4:])

    def test_an_earlier_item_changes_what_follows(self, model):
        one, two = torch.tensor([[3, 1, 4], [2, 1, 4]])
        assert not torch.allclose(model(one[None])[0, -1], model(two[None])[0, -1])

    def test_padding_is_not_looked_at(self, model):
        """What stands in for padding has no say: another vector there gives the same scores."""
        row = padded([np.array([3, 1])], 6)
        before = model(row)[:, -2:]
        with torch.no_grad():
            model.items.weight[0] = 5.0
        assert torch.equal(before, model(row)[:, -2:])

    def test_more_padding_changes_nothing(self, model):
        row = np.array([3, 1, 4])
        short, long = model(padded([row], 3)), model(padded([row], 6))
        assert torch.allclose(short, long[:, -3:], atol=1e-6)

    def test_the_newest_items_are_kept_on_the_right(self):
        rows = [np.array([1, 2, 3, 4]), np.array([5]), np.array([], dtype=np.int64)]
        assert padded(rows, 3).tolist() == [[2, 3, 4], [0, 0, 5], [0, 0, 0]]

    def test_scores_are_products_with_the_items_own_embeddings(self, model):
        states = model(padded([np.array([3, 1])], 6))[:, -1]
        scores = model.score(states, torch.tensor([[2, 9]]))
        assert scores[0, 1].item() == pytest.approx((states[0] @ model.items.weight[9]).item())

    def test_heads_must_divide_the_embedding(self):
        with pytest.raises(ValidationError, match="dim=16 is not a multiple of heads=3"):
            config(heads=3)


def cyclic(n_users=96, n_items=24):
    """Users go round a circle of items, each from and as far as drawn; the next one is certain."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, n_items // 2, size=n_users)
    starts = rng.integers(n_items, size=n_users)
    histories = [1 + (np.arange(n) + s) % n_items for n, s in zip(lengths, starts, strict=True)]

    def choices(back):
        pool = np.arange(1, n_items + 1)
        candidates = np.stack(
            [draw_candidates(f"{n}", h[-back], h, pool, 9, 0) for n, h in enumerate(histories)]
        )
        right = [row.tolist().index(h[-back]) for row, h in zip(candidates, histories, strict=True)]
        return Choices([h[:-back] for h in histories], candidates, np.array(right))

    return histories, n_items, choices(2), choices(1)


class TestTraining:
    def test_it_learns_a_circle(self):
        histories, n_items, validation, test = cyclic()
        trainer = SASRecTrainer(histories, n_items, validation, config(epochs=40, evaluate_every=5))
        result = trainer.fit()
        trainer.model.load_state_dict(result.weights)
        scores = score_candidates(trainer.model, test)
        assert (scores.argmax(axis=1) == test.right).mean() > 0.95
        assert result.history[-1]["loss"] < result.history[0]["loss"]

    def test_a_seed_repeats_it_and_an_interruption_changes_nothing(self):
        data = cyclic(n_users=20)[:3]
        states = []
        whole = SASRecTrainer(*data, config()).fit(
            on_validation=lambda s: states.append(_frozen(s))
        )
        again = SASRecTrainer(*data, config()).fit(states[0])
        for other in (again, SASRecTrainer(*data, config()).fit()):
            assert other.history == whole.history and other.best_epoch == whole.best_epoch
            assert all(torch.equal(other.weights[k], whole.weights[k]) for k in whole.weights)
        done = SASRecTrainer(*data, config()).fit(states[-1])
        assert done.history == whole.history

    def test_it_stops_when_validation_no_longer_improves(self, monkeypatch):
        data = cyclic(n_users=20)[:3]
        trainer = SASRecTrainer(*data, config(epochs=100, evaluate_every=1, patience=2))
        values = iter([0.3, 0.5, 0.4, 0.5, 0.9])
        monkeypatch.setattr(trainer, "validate", lambda: next(values))
        result = trainer.fit()
        assert result.best_epoch == 2 and len(result.history) == 4

    def test_held_out_items_are_not_learned_from(self):
        """Other items in the two last places give the same weights."""
        histories, n_items, validation, _ = cyclic(n_users=20)
        changed = [np.append(h[:-2], [1, 1]) for h in histories]
        one, two = (
            SASRecTrainer(h, n_items, validation, config(epochs=2)) for h in (histories, changed)
        )
        assert one.train_epoch(1) == two.train_epoch(1)
        weights = zip(one.model.parameters(), two.model.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in weights)


def _frozen(state):
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
