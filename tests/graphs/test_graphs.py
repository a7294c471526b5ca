"""Both graphs: bits, adjacency, negatives, LightGCN's propagation, loss and ranking."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import LightGCN

from rerec_pipeline.configs import LightGCNConfig
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.lightgcn import LightGCNTrainer, SymmetricLightGCN
from rerec_pipeline.graphs.ranking import rank_all

RULE = LightGCNConfig(
    dim=16,
    layers=3,
    lr=0.01,
    l2=1e-4,
    batch_size=64,
    epochs=60,
    evaluate_every=5,
    patience=4,
    k=5,
    seed=0,
)


class TestAttributeGraph:
    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 5), st.sampled_from("RS"), st.integers(0, 80).map(str)),
            max_size=60,
        )
    )
    def test_against_sets(self, edges):
        graph = AttributeGraph(6, edges)
        sets = [{(r, v) for i, r, v in edges if i == item} for item in range(6)]
        for item in range(6):
            assert graph.attributes_of(item) == sets[item]
            assert int(np.bitwise_count(graph.bits[item]).sum()) == len(sets[item])
        for attribute in graph.attributes:
            with_it = [i for i in range(6) if attribute in sets[i]]
            assert graph.items_with(attribute).tolist() == with_it
            assert [i for i in range(6) if graph.has(i, attribute)] == with_it
        pair = graph.attributes[:2]
        assert graph.satisfying(pair).tolist() == [i for i in range(6) if set(pair) <= sets[i]]

    def test_edges(self):
        graph = AttributeGraph(2, [])
        assert graph.bits.shape == (2, 0)
        assert graph.satisfying([("R", "x")]).tolist() == []
        assert graph.satisfying([]).tolist() == [0, 1]
        with pytest.raises(IndexError):
            AttributeGraph(2, [(2, "R", "x")])


class TestInteractionGraph:
    GRAPH = InteractionGraph(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 2, 2]), 3, 4)

    def test_pairs_are_distinct_and_sorted(self):
        assert list(zip(self.GRAPH.users, self.GRAPH.items, strict=True)) == [
            (0, 0),
            (0, 1),
            (1, 1),
            (1, 2),
        ]

    def test_adjacency_by_hand(self):
        dense = self.GRAPH.adjacency().to_dense()
        assert torch.allclose(dense, dense.T)
        assert dense[0, 3].item() == pytest.approx(1 / math.sqrt(2 * 1))  # user 0 (2), item 0 (1)
        assert dense[0, 4].item() == pytest.approx(1 / math.sqrt(2 * 2))  # user 0 (2), item 1 (2)
        assert dense[2].abs().sum() == 0  # user 2 has seen nothing

    def test_indices_are_what_mkl_takes(self):
        adjacency = self.GRAPH.adjacency()
        assert adjacency.crow_indices().dtype == adjacency.col_indices().dtype == torch.int32

    def test_more_nodes_than_int32_are_refused(self):
        graph = InteractionGraph(np.array([0]), np.array([0]), 2**31, 1)
        with pytest.raises(ValueError, match="too many for int32"):
            graph.adjacency()

    def test_negatives_are_never_positives(self):
        users = np.repeat([0, 1, 2], 500)
        negatives = self.GRAPH.sample_negatives(users, np.random.default_rng(0))
        assert not self.GRAPH.contains(users, negatives).any()
        assert set(negatives[users == 0]) == {2, 3}
        assert set(negatives[users == 2]) == {0, 1, 2, 3}

    def test_a_user_who_has_seen_everything(self):
        graph = InteractionGraph(np.array([0, 0]), np.array([0, 1]), 1, 2)
        with pytest.raises(ValueError, match="every item"):
            graph.sample_negatives(np.array([0]), np.random.default_rng(0))

    @pytest.mark.parametrize(("users", "items"), [([], []), ([3], [0]), ([0], [4]), ([-1], [0])])
    def test_bad_indices(self, users, items):
        with pytest.raises(ValueError, match="interaction"):
            InteractionGraph(np.array(users, dtype=int), np.array(items, dtype=int), 3, 4)


def pyg_twin(model: SymmetricLightGCN, graph: InteractionGraph) -> tuple[LightGCN, torch.Tensor]:
    """Stock PyG LightGCN with the same weights, and the graph as edge_index."""
    twin = LightGCN(graph.n_users + graph.n_items, model.embedding_dim, model.num_layers)
    twin.load_state_dict(model.state_dict())
    users, items = torch.from_numpy(graph.users), torch.from_numpy(graph.items) + graph.n_users
    return twin, torch.stack([torch.cat([users, items]), torch.cat([items, users])])


class TestLightGCN:
    @pytest.mark.parametrize("layers", [0, 1, 3])
    def test_propagation_and_gradient_equal_pyg(self, layers):
        graph = TestInteractionGraph.GRAPH
        model = SymmetricLightGCN(7, 8, layers)
        twin, edge_index = pyg_twin(model, graph)
        weights = torch.randn(7, 8)
        ours = model.get_embedding(graph.adjacency())
        theirs = twin.get_embedding(edge_index)
        assert torch.allclose(ours, theirs, atol=1e-6)
        (ours * weights).sum().backward()
        (theirs * weights).sum().backward()
        assert torch.allclose(model.embedding.weight.grad, twin.embedding.weight.grad, atol=1e-6)

    def test_one_layer_by_hand(self):
        # one user, one item: each becomes the mean of itself and the other (alpha = 1/2)
        graph = InteractionGraph(np.array([0]), np.array([0]), 1, 1)
        model = SymmetricLightGCN(2, 1, 1)
        with torch.no_grad():
            model.embedding.weight.copy_(torch.tensor([[1.0], [3.0]]))
            assert model.get_embedding(graph.adjacency()).flatten().tolist() == [2.0, 2.0]

    def test_loss_by_hand(self):
        """BPR plus 0.5 * l2 * squared norms per occurrence, averaged over the batch."""
        graph = InteractionGraph(np.array([0, 1]), np.array([0, 1]), 2, 3)
        config = RULE.model_copy(update={"layers": 0, "dim": 1, "l2": 0.5})
        trainer = LightGCNTrainer(graph, graph, config)
        with torch.no_grad():
            trainer.model.embedding.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]))
        # pairs (u0, i0=3, neg i2=5) and (u1, i1=4, neg i2=5)
        loss = trainer.step(torch.tensor([[0, 1], [0, 1], [2, 2]]))
        bpr = [-math.log(1 / (1 + math.exp(-(3 - 5)))), -math.log(1 / (1 + math.exp(-(8 - 10))))]
        norms = (1 + 4) + (9 + 16) + (25 + 25)
        assert loss == pytest.approx(sum(bpr) / 2 + 0.5 * 0.5 * norms / 2)

    def test_gradient_of_a_step_equals_pyg(self):
        """Users and items that occur several times in a batch included."""
        graph = TestInteractionGraph.GRAPH
        trainer = LightGCNTrainer(graph, graph, RULE.model_copy(update={"l2": 0.1}))
        twin, edge_index = pyg_twin(trainer.model, graph)
        users, positives, negatives = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [3, 3, 0, 3]])
        embedding = twin.get_embedding(edge_index)
        twin.recommendation_loss(
            (embedding[users] * embedding[positives + 3]).sum(dim=1),
            (embedding[users] * embedding[negatives + 3]).sum(dim=1),
            node_id=torch.cat([users, positives + 3, negatives + 3]),
            lambda_reg=0.05,
        ).backward()
        trainer.step(torch.stack([users, positives, negatives]))
        wanted, found = twin.embedding.weight.grad, trainer.model.embedding.weight.grad
        assert (found - wanted).norm() < 1e-5 * wanted.norm()

    def world(self):
        """Two tastes: users 0-9 like items 0-9, users 10-19 items 10-19."""
        rng = np.random.default_rng(0)
        users = np.repeat(np.arange(20), 7)
        items = np.concatenate(
            [10 * (u // 10) + rng.choice(10, 7, replace=False) for u in range(20)]
        )
        held = np.tile(np.arange(7) == 0, 20)
        return [InteractionGraph(users[p], items[p], 20, 20) for p in (~held, held)]

    def test_it_learns_and_a_seed_repeats_it(self):
        train, validation = self.world()
        first, second = (LightGCNTrainer(train, validation, RULE).fit() for _ in range(2))
        assert first.best["recall"] > 0.9  # chance: 5 of 15 unseen items
        assert first.history == second.history
        assert torch.equal(first.items, second.items)
        unit = torch.nn.functional.normalize(first.items, dim=1)
        cosines = unit @ unit.T
        assert cosines[:10, :10].mean() > 0.5 > cosines[:10, 10:].mean()

    def test_a_seed_repeats_it_with_several_threads(self):
        """Large enough that the gradient of a lookup is added up by both threads."""
        rng = np.random.default_rng(0)
        pairs = np.unique(rng.integers(0, [[240], [160]], size=(2, 6000)), axis=1)
        graph = InteractionGraph(pairs[0], pairs[1], 240, 160)
        config = RULE.model_copy(update={"dim": 64, "batch_size": 2048})

        def weights():
            trainer = LightGCNTrainer(graph, graph, config)
            for _ in range(3):
                trainer.train_epoch()
            return trainer.model.embedding.weight.detach().clone()

        assert torch.get_num_threads() > 1
        first = weights()
        assert all(torch.equal(first, weights()) for _ in range(4))

    def test_from_any_validation_it_goes_on_to_the_same_result(self, tmp_path):
        """Through a file, as an interrupted training would leave it."""
        train, validation = self.world()
        states = []

        def keep(state):
            torch.save(state, tmp_path / f"{len(states)}.pt")
            states.append(tmp_path / f"{len(states)}.pt")

        whole = LightGCNTrainer(train, validation, RULE).fit(on_validation=keep)
        assert len(states) == len(whole.history) > 3
        for file in states:
            trainer = LightGCNTrainer(train, validation, RULE)
            again = trainer.fit(torch.load(file, weights_only=True))
            assert (again.history, again.best_epoch) == (whole.history, whole.best_epoch)
            assert torch.equal(again.users, whole.users) and torch.equal(again.items, whole.items)

    def test_the_best_epoch_is_kept_and_patience_stops(self):
        train, validation = self.world()
        result = LightGCNTrainer(train, validation, RULE).fit()
        recalls = [row["recall"] for row in result.history]
        assert result.best["recall"] == max(recalls)
        assert result.best_epoch == result.history[recalls.index(max(recalls))]["epoch"]
        assert len(recalls) <= recalls.index(max(recalls)) + 1 + RULE.patience


class TestRanking:
    def test_by_hand(self):
        users = torch.tensor([[1.0]])
        items = torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0]])
        seen = InteractionGraph(np.array([0]), np.array([0]), 1, 5)
        wanted = InteractionGraph(np.array([0, 0]), np.array([2, 4]), 1, 5)
        # item 0 is seen; the list at 2 is [1, 2]: one of two found, at rank 2
        scores = rank_all(users, items, seen, wanted, k=2)
        assert scores["recall"] == 0.5
        assert scores["ndcg"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 8))
    def test_against_plain_python(self, seed, k):
        rng = np.random.default_rng(seed)
        user_vectors, item_vectors = rng.normal(size=(6, 3)), rng.normal(size=(8, 3))
        pairs = np.argwhere(rng.random((6, 8)) < 0.5)
        if len(pairs) < 2:
            return
        half = rng.random(len(pairs)) < 0.5
        half[0], half[1] = True, False
        seen = InteractionGraph(pairs[half][:, 0], pairs[half][:, 1], 6, 8)
        wanted = InteractionGraph(pairs[~half][:, 0], pairs[~half][:, 1], 6, 8)
        fast = rank_all(
            torch.tensor(user_vectors), torch.tensor(item_vectors), seen, wanted, k, users_at_once=2
        )
        recalls = []
        for user in np.unique(wanted.users):
            truth = set(wanted.items[wanted.users == user])
            barred = set(seen.items[seen.users == user])
            ranked = sorted(
                set(range(8)) - barred, key=lambda i: -user_vectors[user] @ item_vectors[i]
            )
            recalls.append(len(set(ranked[:k]) & truth) / len(truth))
        assert fast["recall"] == pytest.approx(float(np.mean(recalls)))
