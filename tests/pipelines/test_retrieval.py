"""Retrieval on the small fabricated world, by the nodes of its pipeline."""

import ibis
import numpy as np
import pandas as pd
import pytest
import torch

from rerec_pipeline.parameters import EvaluationParameters
from rerec_pipeline.pipelines.data_engineering import nodes as de
from rerec_pipeline.pipelines.retrieval import nodes
from rerec_pipeline.recbench.schemas import GroupPopularity, Retrieved
from rerec_pipeline.recbench.tables import queries_from_table
from tests.conftest import RETRIEVAL

EVALUATION = EvaluationParameters(
    batch_size=8, bootstrap_samples=200, confidence=0.95, seed=0, transcripts_per_type=1, limit=None
)


@pytest.fixture(scope="module")
def tables(world_tables):
    known = dict(world_tables[1])
    edges = known["interactions"].select("user_id", "item_id").mutate(part=ibis.literal("train"))
    known["interaction_graph"] = edges
    known["item_popularity"] = de.count_popularity(edges, known["items"])
    known["group_popularity"] = de.count_by_groups(edges, known["users"])
    return known


def build(tables, **changes):
    known = {**tables, **changes}
    names = ("items", "attribute_graph", "item_popularity")
    size = len(known["items"])
    embeddings = {"items": torch.eye(size)[:, :8]}
    more = (known[name] for name in ("group_popularity", "queries", "splits"))
    return nodes.build_retriever(*(known[n] for n in names), embeddings, *more, RETRIEVAL)


@pytest.fixture(scope="module")
def retriever(tables):
    return build(tables)


@pytest.fixture(scope="module")
def ranker(tables, retriever):
    return train(tables, retriever)


def train(tables, retriever):
    names = ("queries", "splits", "attribute_graph")
    return nodes.train_ranker(retriever, *(tables[n] for n in names), RETRIEVAL)


@pytest.fixture(scope="module")
def report(tables, retriever, ranker):
    found, times = nodes.retrieve_items(
        retriever, ranker, tables["queries"], tables["prompts"], "test"
    )
    Retrieved.validate(found)
    return found, nodes.report_retrieval(
        found, times, tables["prompts"], tables["queries"], "test", EVALUATION
    )


def test_groups_of_users_are_counted(tables):
    table = GroupPopularity.validate(tables["group_popularity"])
    sizes = table[table["item_id"].isna()]
    assert sizes["interactions"].sum() == len(tables["users"])
    counts = table[table["item_id"].notna()]
    assert counts["interactions"].sum() == tables["interactions"].count().execute()


def test_the_graph_finds_more_than_text_and_popularity(report):
    _, told = report
    graph = told["overall"]
    assert graph["recall@20"] > told["bm25"]["recall@20"] > told["popularity"]["recall@20"]
    assert graph["choice_accuracy"] > max(
        told[name]["choice_accuracy"] for name in ("bm25", "popularity")
    )


def test_the_report_has_everything(report, tables):
    found, told = report
    test = tables["prompts"].query("split == 'test'")
    assert told["split"] == "test" and told["overall"]["n"] == len(test)
    assert set(told["by_type"]) == set(test["query_type"])
    metrics = {*(f"recall@{k}" for k in (1, 5, 10, 20, 50)), "hit@20", "choice_accuracy"}
    for row in (told["overall"], *told["by_type"].values(), told["bm25"], told["popularity"]):
        assert metrics | {"n", "clusters", "ms_per_query", "intervals"} <= set(row)
        assert all(low <= row[m] <= high for m, (low, high) in row["intervals"].items())
    assert set(found["query_id"]) == set(test["query_id"])


def test_named_items_are_not_recommended(report, tables):
    named = tables["mentions"].set_index("query_id")["mentioned_ids"]
    for row in report[0].itertuples():
        assert not set(row.item_ids) & set(named[row.query_id])
        assert len(set(row.item_ids)) == len(row.item_ids)


def test_answers_of_test_queries_change_nothing(tables, ranker, report):
    """Whatever test queries are answered: the ranker and what is found stay the same."""
    queries = tables["queries"].copy()
    test = tables["splits"].query("split == 'test'")["query_id"]
    at = queries["query_id"].isin(test)
    other = int(tables["items"]["item_id"].iloc[0])
    queries["truth_ids"] = [
        [other] if hidden else truths
        for hidden, truths in zip(at, queries["truth_ids"], strict=True)
    ]
    changed = {**tables, "queries": queries}
    again = build(changed)
    assert train(changed, again) == ranker
    found, _ = nodes.retrieve_items(again, ranker, queries, tables["prompts"], "test")
    pd.testing.assert_frame_equal(found, report[0])


def test_the_baseline_is_what_retrieval_chooses(tables, retriever, ranker, report):
    prompts = tables["prompts"].query("split == 'test'")
    of_query = {query.query_id: query for query in queries_from_table(tables["queries"])}
    records = [of_query[name] for name in prompts["query_id"]]
    catalogue = retriever.linker.catalogue
    listed = [catalogue.indices(ids) for ids in prompts["candidate_ids"]]
    chosen = nodes.choose_by_graph(retriever, ranker, records, listed)
    table = report[0].query("system == 'graph'")
    assert [catalogue.item_ids[n] for n in chosen] == table["chosen_id"].tolist()


def test_without_profiles_and_facts(tables):
    users = tables["users"].iloc[:0]
    groups = GroupPopularity.validate(de.count_by_groups(tables["interaction_graph"], users))
    bare = tables["attribute_graph"].iloc[:0]
    retriever = build(tables, group_popularity=groups, attribute_graph=bare)
    assert retriever.groups is None
    assert len(retriever.top(retriever.ask("a film like no other"), 5)) == 5


def test_the_whole_pipeline_on_a_graph_without_edges(tables):
    bare = {**tables, "attribute_graph": tables["attribute_graph"].iloc[:0]}
    retriever = build(bare)
    found, times = nodes.retrieve_items(
        retriever, train(bare, retriever), bare["queries"], bare["prompts"], "test"
    )
    known = (found, times, bare["prompts"], bare["queries"], "test", EVALUATION)
    told = nodes.report_retrieval(*known)
    assert told["overall"]["recall@20"] >= told["popularity"]["recall@20"] > 0
    of_graph = found[found["system"] == "graph"]
    assert len(of_graph) == told["overall"]["n"] == (bare["prompts"]["split"] == "test").sum()
    assert all(len(set(items)) == len(items) == 50 for items in of_graph["item_ids"])
    recalls = [told["overall"][f"recall@{k}"] for k in (1, 5, 10, 20, 50)]
    assert recalls == sorted(recalls) and recalls[-1] > 0.7  # 50 of 60 films


def test_plots(ranker, report):
    assert len(nodes.plot_ranker(ranker).data[0].x) == 25
    figure = nodes.plot_retrieval(report[1])
    assert [bar.name for bar in figure.data] == ["graph", "bm25", "popularity"]
    assert np.isclose(figure.data[0].y[0], report[1]["overall"]["recall@1"])
