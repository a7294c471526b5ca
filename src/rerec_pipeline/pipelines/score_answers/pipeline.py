"""Recorded answers of any model -> recall, precision, NDCG and format failures of each."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.score_answers.nodes")


def create_pipeline() -> Pipeline:
    """The score_answers pipeline."""
    return Pipeline(
        [
            node(
                nodes.read_labels,
                ["params:data.domain", "params:raw_dir", "params:query_type"],
                "labels",
            ),
            node(
                nodes.score_answers,
                ["recorded_answers", "labels", "params:answers", "params:query_type",
                 "params:score_cuts"],
                ["answer_scores", "answer_means"],
                name="score_recorded_answers",
            ),
        ]
    )  # fmt: skip
