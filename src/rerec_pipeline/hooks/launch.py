"""A run that a launcher started in several processes."""

from __future__ import annotations

import logging
from functools import partialmethod
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from tqdm import tqdm

from rerec_pipeline import processes
from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.parameters import portions


class LaunchHooks:
    """Lets a run that a launcher started in several processes leave one set of results.

    All processes run the same nodes; only the main one saves. The others read what it has saved.
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Connects the processes, and lets only the main one tell what happens."""
        rft = context.config_loader["parameters"]["rft"]
        # Refuses what does not fit.
        portions(rft.samples_per_step, processes.count(), rft.budget.micro_batch)
        processes.join()
        if not processes.is_main():
            for name in ("kedro", "rerec_pipeline"):
                logging.getLogger(name).setLevel(logging.WARNING)
            tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Takes from all but the main process what it takes to write."""
        if processes.count() > 1 and "base_policy" in pipeline.all_outputs():
            raise BadParameterError("the base policy is made in one process: without a launcher")
        if not processes.is_main():
            for name in pipeline.all_outputs():
                if not isinstance(dataset := catalog.get(name), MemoryDataset | None):
                    dataset.save = _leave_it_to_main  # type: ignore[method-assign]

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Begins a node in all processes at once."""
        processes.wait_for_all(f"before {node.name}")

    @hook_impl(trylast=True)
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Goes on when the main process has written an output."""
        processes.wait_for_all(f"after {dataset_name}")


def _leave_it_to_main(data: Any) -> None:
    """Stands in for a data set's ``save``."""
