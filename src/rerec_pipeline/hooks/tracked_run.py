"""What MLflow is told of a run; imports MLflow, so it is imported late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook

from rerec_pipeline import processes, provenance
from rerec_pipeline.parameters import CHOICES, run_choices
from rerec_pipeline.recbench.raw import manifest_hash
from rerec_pipeline.tracking import RunNote, flat_numbers, git_commit

#: Reports whose numbers become MLflow metrics -> the prefix they get; None: the split asked.
REPORTED = {
    "data_report": "data",
    "lightgcn_report": "lightgcn",
    "prompt_lengths": "prompts",
    "metrics": None,
    "diagnosis_findings": "diagnosis",
    "abilities_report": "abilities",
    "transfer.metrics": "transfer",
    "choice_report": "choices",
    "sasrec_report": "sasrec",
    "next_item_baselines": "next_item_baselines",
    "next_item_report": "next_item",
}


class TrackedRun(MlflowHook):
    """kedro-mlflow, told our parameters flat, our tags and the numbers of our reports."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Points MLflow at the project's store."""
        self._root = Path(context.project_path)
        super().after_context_created(context)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Starts the run and tags it with all that tells it from others."""
        note = RunNote.from_environment()
        if note is not None and (begun := note.find_begun()) is not None:
            self.mlflow_config.tracking.run.id = begun  # an interrupted cell stays one run
        super().before_pipeline_run(run_params, pipeline, catalog)
        if self._is_mlflow_enabled and note is not None:
            note.tag_active_run()
        if self._is_mlflow_enabled:
            parameters = catalog.load("parameters")
            chosen = run_choices(parameters)
            if parameters["target"] is not None:
                mlflow.set_tag("target", parameters["target"])
            mlflow.set_tags({k: str(v) for k, v in chosen.items()})
            mlflow.set_tag("processes", processes.count())
            mlflow.set_tag("git_commit", git_commit(Path(run_params["project_path"])))
            if (run := mlflow.active_run()) is not None:
                mlflow.set_tag("mlflow.runName", self._run_name(chosen, run.info.run_name))

    @staticmethod
    def _run_name(chosen: dict[str, Any], pipeline: str) -> str:
        """The choices, then the pipeline where it is not the whole: a list of runs can be read."""
        what = "/".join([*(str(chosen[key]) for key in CHOICES), f"seed-{chosen['seed']}"])
        what = f"{what}/{chosen['label']}" if "label" in chosen else what
        part = "" if pipeline == "__default__" else pipeline
        return " ".join(filter(None, [what, part, chosen.get("split")]))

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: DataCatalog, inputs: dict[str, Any], is_async: bool
    ) -> None:
        """Logs a node's parameters; validated ones as plain values, so that they are flattened."""
        plain = {
            name: provenance.plain(value, self._root)
            for name, value in inputs.items()
            if name.startswith("params:")
        }
        super().before_node_run(node, catalog, plain, is_async)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Turns the numbers of a report into metrics, and the raw files' hash into a tag."""
        if mlflow.active_run() is None:
            return
        if dataset_name == "raw_manifest":
            mlflow.set_tag("data_sha256", manifest_hash(data))
        if dataset_name in REPORTED:
            prefix = REPORTED[dataset_name] or data["run"]["split"]
            mlflow.log_metrics(flat_numbers(data, prefix))
