"""Tables of the data -> what a person reads of them before anything is trained."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.data_report.nodes")


def create_pipeline() -> Pipeline:
    """The data report."""
    return Pipeline(
        [
            node(
                nodes.tabulate_data,
                ["queries", "splits", "attributes", "attribute_graph", "interaction_graph",
                 "exclusions", "graph_exclusions", "stated_exclusions"],
                ["query_counts", "exclusion_counts", "confirmed_conditions", "degrees"],
            ),
            node(
                nodes.report_data,
                ["raw_manifest", "queries", "splits", "candidates", "histories", "attributes",
                 "stated_facts", "attribute_graph", "interaction_graph", "exclusion_counts",
                 "confirmed_conditions", "degrees"],
                "data_report",
            ),
            node(
                nodes.plot_data,
                ["query_counts", "exclusion_counts", "confirmed_conditions", "degrees"],
                ["queries_plot", "exclusions_plot", "conditions_plot", "degrees_plot"],
            ),
        ]
    )  # fmt: skip
