"""Both graphs -> a retriever and its ranker -> items for each request of a split."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.retrieval.nodes")


def create_retriever_pipeline() -> Pipeline:
    """What links and retrieves, for all that answer or prepare requests."""
    return Pipeline(
        [
            node(
                nodes.build_retriever,
                ["items", "attribute_graph", "item_popularity", "lightgcn_embeddings",
                 "group_popularity", "queries", "splits", "params:retrieval"],
                "retriever",
            ),
        ]
    )  # fmt: skip


def create_ranker_pipeline() -> Pipeline:
    """The retriever, and the ranker that orders what it finds."""
    return create_retriever_pipeline() + Pipeline(
        [
            node(
                nodes.train_ranker,
                ["retriever", "queries", "splits", "attribute_graph", "params:retrieval"],
                "ranker",
            ),
            node(nodes.plot_ranker, "ranker", "ranker_plot"),
            node(
                nodes.arrange_candidates,
                ["candidates", "retriever", "ranker", "queries", "splits", "attribute_graph",
                 "params:data", "params:retrieval"],
                "arranged_candidates",
            ),
            node(
                nodes.arrange_prompts,
                ["prompts", "queries", "splits", "mentions", "histories", "arranged_candidates",
                 "items", "attribute_graph", "params:data"],
                "arranged_prompts",
            ),
        ]
    )  # fmt: skip


def create_pipeline() -> Pipeline:
    """The retrieval pipeline: the ranker, and what it finds for the requests of a split."""
    return create_ranker_pipeline() + Pipeline(
        [
            node(
                nodes.retrieve_items,
                ["retriever", "ranker", "queries", "prompts", "params:split"],
                ["retrieved", "retrieval_times"],
            ),
            node(
                nodes.report_retrieval,
                ["retrieved", "retrieval_times", "prompts", "queries", "params:split",
                 "params:evaluation"],
                "retrieval_report",
            ),
            node(nodes.plot_retrieval, "retrieval_report", "retrieval_plot"),
        ]
    )  # fmt: skip
