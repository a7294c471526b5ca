"""Policy before and after -> lm-evaluation-harness -> what else was changed; runs side by side."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.abilities.nodes")


def create_pipeline() -> Pipeline:
    """The abilities pipeline: one run, before and after."""
    asked = ["params:rft.backbone", "params:abilities"]
    return Pipeline(
        [
            node(
                nodes.write_questions,
                ["prompts", "queries", "items", "params:data", "params:abilities.questions"],
                "ability_questions",
            ),
            node(
                nodes.measure_before,
                ["ability_questions", "backbone_record", *asked],
                "abilities_before",
            ),
            node(nodes.measure_after, ["ability_questions", "policy", *asked], "abilities_after"),
            node(
                nodes.report_abilities,
                ["abilities_before", "abilities_after", "params:abilities", "params:evaluation",
                 "parameters"],
                "abilities_report",
            ),
            node(nodes.plot_abilities, "abilities_report", "abilities_plot"),
        ]
    )  # fmt: skip


def create_comparison_pipeline() -> Pipeline:
    """The abilities_comparison pipeline: all runs of one data set and backbone."""
    return Pipeline(
        [
            node(
                nodes.compare_abilities,
                ["ability_reports", "params:abilities", "parameters"],
                "abilities_table",
            ),
            node(
                nodes.plot_comparison,
                "abilities_table",
                "abilities_comparison_plot",
                name="plot_abilities_comparison",
            ),
        ]
    )  # fmt: skip
