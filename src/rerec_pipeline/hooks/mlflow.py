"""Kedro's hooks for MLflow, which is imported when a run has been checked."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

if TYPE_CHECKING:
    from rerec_pipeline.hooks.tracked_run import TrackedRun


class MlflowHooks:
    """Passes Kedro's events on to ``TrackedRun``.

    Importing MLflow takes seconds, which a mistyped parameter need not wait for.
    """

    #: The name of kedro-mlflow's own hook, so that this one is registered in its place.
    __name__ = "mlflow_hook"

    def __init__(self) -> None:
        self._run: TrackedRun | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Reads mlflow.yml."""
        with warnings.catch_warnings(record=True):  # of MLflow, about kedro-mlflow's code
            from rerec_pipeline.hooks.tracked_run import TrackedRun

        self._run = TrackedRun(context)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Starts the run."""
        if self._run is not None:
            self._run.begin(run_params, pipeline, catalog)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tells what was saved."""
        if self._run is not None:
            self._run.saved(dataset_name, data)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Ends the run."""
        if self._run is not None:
            self._run.end("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Ends the run as failed."""
        if self._run is not None:
            self._run.end("FAILED")
