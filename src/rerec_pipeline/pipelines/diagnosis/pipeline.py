"""Log and answers of a finished run -> findings, plots and a page: why it did (not) learn."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines import evaluation
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.diagnosis.nodes")

#: Plots of the page, by the names of ``reporting.diagnosis_plots.PANELS``.
PANELS = (
    "reward", "groups", "terms", "variance", "penalty", "form", "entropy", "kl", "clipping",
    "gradient", "length", "difficulty", "visits", "supervised", "token_accuracy",
)  # fmt: skip

#: Answers are scored again, by the very nodes of the evaluation: scores are not kept in files.
SCORING = ("build_task", "build_reward", "score_answers")


def create_pipeline() -> Pipeline:
    """The diagnosis pipeline."""
    panels = {name: f"diagnosis_{name}_plot" for name in PANELS}
    return evaluation.create_pipeline().only_nodes(*SCORING) + Pipeline(
        [
            node(
                nodes.examine_run,
                ["training_log", "scored_answers", "evaluation_prompts", "params:rft",
                 "params:diagnosis"],
                "found",
            ),
            node(nodes.plot_training, ["training_log", "params:diagnosis"], panels),
            node(
                nodes.report_findings,
                ["found", "scored_answers", "evaluation_prompts", "params:diagnosis", "parameters"],
                "diagnosis_findings",
            ),
            node(
                nodes.write_diagnosis,
                {
                    "found": "found",
                    "scored": "scored_answers",
                    "evaluation_prompts": "evaluation_prompts",
                    "task": "task",
                    "curriculum_log": "curriculum_log",
                    "run_pages": "run_pages",
                    "diagnosis": "params:diagnosis",
                    "parameters": "parameters",
                    **panels,
                },
                "diagnosis_page",
            ),
        ]
    )  # fmt: skip
