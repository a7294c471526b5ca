"""Policy before and after -> lm-evaluation-harness -> what else was changed; runs side by side."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from rerec_pipeline.lazy import LazyModule

nodes = LazyModule("rerec_pipeline.pipelines.abilities.nodes")


def create_pipeline() -> Pipeline:
    """The abilities pipeline: one run, before and after."""
    asked = ["params:rft.backbone", "params:abilities"]
    return Pipeline(
        [
            Node(
                nodes.write_questions,
                ["prompts", "queries", "items", "params:data", "params:abilities.questions"],
                "ability_questions",
                name="write_questions",
            ),
            Node(
                nodes.measure_before,
                ["ability_questions", "backbone_record", *asked],
                "abilities_before",
                name="measure_before",
            ),
            Node(
                nodes.measure_after,
                ["ability_questions", "policy", *asked],
                "abilities_after",
                name="measure_after",
            ),
            Node(
                nodes.report_abilities,
                [
                    "abilities_before",
                    "abilities_after",
                    "params:abilities",
                    "params:evaluation",
                    "parameters",
                ],
                "abilities_report",
                name="report_abilities",
            ),
            Node(nodes.plot_abilities, "abilities_report", "abilities_plot", name="plot_abilities"),
        ]
    )


def create_comparison_pipeline() -> Pipeline:
    """The abilities_comparison pipeline: all runs of one data set and backbone."""
    return Pipeline(
        [
            Node(
                nodes.compare_abilities,
                ["ability_reports", "params:abilities", "parameters"],
                "abilities_table",
                name="compare_abilities",
            ),
            Node(
                nodes.plot_comparison,
                "abilities_table",
                "abilities_comparison_plot",
                name="plot_abilities_comparison",
            ),
        ]
    )
