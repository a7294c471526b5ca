"""The finished cells of an experiment -> a table, plots and one page that compare them."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.comparison.nodes")


PLOTS = [
    "comparison_accuracy_plot",
    "comparison_differences_plot",
    "comparison_faithfulness_plot",
    "comparison_learning_plot",
    "comparison_sensitivity_plot",
]


def create_pipeline() -> Pipeline:
    """The comparison pipeline."""
    return Pipeline(
        [
            node(
                nodes.compare_cells,
                ["experiment_cells", "cell_outcomes", "params:comparison"],
                "comparison_table",
            ),
            node(
                nodes.report_comparison,
                ["experiment_cells", "comparison_table", "cell_outcomes", "cell_summaries",
                 "cell_metrics", "params:comparison"],
                "comparison_report",
            ),
            node(
                nodes.plot_comparison,
                ["comparison_report", "cell_logs", "cell_summaries", "params:comparison"],
                PLOTS,
            ),
            node(
                nodes.write_comparison,
                ["comparison_report", "experiment_cells", "html_pages", *PLOTS],
                "comparison_page",
            ),
        ]
    )  # fmt: skip
