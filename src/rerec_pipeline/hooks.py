"""Hooks: inputs that are missing or stale, MLflow, and where a run's results are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from tqdm import tqdm

from rerec_pipeline import processes, provenance
from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadParameterError, MissingStageError
from rerec_pipeline.parameters import CHOICES, run_choices
from rerec_pipeline.pipelines.transfer.pipeline import TRAINED
from rerec_pipeline.recbench.raw import manifest_hash
from rerec_pipeline.tracking import RunNote, flat_numbers, git_commit

logger = logging.getLogger(__name__)

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

#: The stage that makes a data set, in the order in which stages are run.
STAGES = (
    "data_engineering",
    "graph_modeling",
    "rft",
    "evaluation",
    "diagnosis",
    "base_policy",
    "score_answers",
    "export_prompts",
    "score_choices",
    "comparison",
    "abilities",
    "abilities_comparison",
    "next_item_baselines",
    "next_item",
    "transfer",
)


class LaunchHooks:
    """Lets a run that a launcher started in several processes leave one set of results.

    All processes run the same nodes; only the main one saves. The others read what it has saved.
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Connects the processes, and lets only the main one tell what happens."""
        rft = context.config_loader["parameters"]["rft"]
        rft.budget.portions(rft.samples_per_step, processes.count())  # refuses what does not fit
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


class ProvenanceHooks:
    """Stops a run whose inputs are missing or were made with other parameters."""

    def __init__(self) -> None:
        self._root = Path()
        self._parameters: dict[str, Any] = {}
        self._trained_with: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._catalog: DataCatalog | None = None
        self._whole: Pipeline | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Validates all parameters before anything else is done."""
        self._root = Path(context.project_path)
        self._parameters = dict(context.config_loader["parameters"])
        assert isinstance(context.config_loader, ChoicesConfigLoader)  # settings.py says so
        self._trained_with = context.config_loader.parameters_of_training()
        self._asked = dict(context.config_loader.runtime_params or {})

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Checks every input that this run does not make itself."""
        _check_target(pipeline, self._parameters["target"])
        self._catalog = catalog
        self._whole = sum((pipelines[name] for name in STAGES), Pipeline([]))
        for name in sorted(pipeline.inputs()):
            if not name.startswith("params:") and name != "parameters":
                self._check(name, catalog)
        if run_params.get("only_missing_outputs"):
            if processes.is_main():
                self._set_stale_aside(pipeline, catalog)
            processes.wait_for_all("stale outputs")

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Stamps an output with the parameters it was made with."""
        path = self._path(dataset_name)
        if path is not None and processes.is_main():
            provenance.write_stamp(path, self._stamp(dataset_name))

    def _check(self, name: str, catalog: DataCatalog) -> None:
        if not catalog.exists(name):
            raise MissingStageError(self._missing(name, catalog))
        path = self._path(name)
        changed = provenance.differences(path, self._stamp(name)) if path else []
        if name in TRAINED:  # where the raw files of the other data set lay is of no account
            changed = [change for change in changed if not change.startswith("raw_dir ")]
        if changed:
            raise MissingStageError(
                f"'{name}' ({path}) was made with other parameters: {'; '.join(changed)}. "
                f"Make it again with: {self._command(name)}"
            )

    def _missing(self, name: str, catalog: DataCatalog) -> str:
        assert self._whole is not None
        if TRAINED.get(name, name) in self._whole.all_outputs():
            return (
                f"'{name}' has not been made yet for this choice of data set, backbone and "
                f"variant. Make it with: {self._command(name)}"
            )
        return (
            f"'{name}': there is no file {getattr(catalog.get(name), '_filepath', '')}. No "
            "pipeline makes it: give it with --params, by the name that its entry in "
            "conf/base/catalog.yml shows"
        )

    def _set_stale_aside(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """With --only-missing-outputs, an output made with other parameters counts as missing."""
        for name in sorted(pipeline.all_outputs()):
            path = self._path(name)
            if path is None or not path.exists():
                continue
            changed = provenance.differences(path, self._stamp(name))
            if changed:
                logger.warning("'%s' is stale (%s) and is made again", name, "; ".join(changed))
                path.rename(path.with_name(f"{path.name}.stale"))

    def _stamp(self, name: str) -> provenance.Stamp:
        assert self._whole is not None
        behind = provenance.parameters_behind(self._whole, TRAINED.get(name, name))
        parameters = self._trained_with if name in TRAINED else self._parameters
        return provenance.make_stamp(behind, parameters, self._root)

    def _path(self, name: str) -> Path | None:
        """File or folder of a data set that a pipeline makes; None for the rest."""
        assert self._catalog is not None and self._whole is not None
        made = TRAINED.get(name, name) in self._whole.all_outputs()
        if not made or name not in self._catalog:
            return None
        filepath = getattr(self._catalog.get(name), "_filepath", None)
        path = Path(filepath) if filepath is not None else None
        # A file that the user asked for elsewhere is left alone.
        return path if path is not None and path.is_relative_to(self._root) else None

    def _command(self, name: str) -> str:
        asked = {**run_choices(self._parameters), **provenance.flatten(self._asked)}
        stage = _stage_of(TRAINED.get(name, name))
        if stage != "transfer":  # other stages know one data set
            target = asked.pop("target", None)
            asked["dataset"] = asked["dataset"] if name in TRAINED else target or asked["dataset"]
        chosen = ",".join(f"{key}={value}" for key, value in asked.items())
        return f"kedro run --pipelines {stage} --params {chosen}"


def _check_target(pipeline: Pipeline, target: str | None) -> None:
    """A run that tests on another data set says on which; no other run names one."""
    tests = any(name.startswith("transfer.") for name in pipeline.all_outputs())
    if tests and target is None:
        raise BadParameterError(
            "the transfer pipeline tests a policy on another data set: name it with --params "
            "target=NAME (and with dataset=NAME the one that the policy was trained on)"
        )
    if target is not None and not tests:
        raise BadParameterError("target is of the transfer pipeline alone: leave it out")


def _stage_of(name: str) -> str:
    """The smallest registered pipeline that makes a data set."""
    return next((s for s in STAGES if name in pipelines[s].all_outputs()), "__default__")


class MlflowHooks(MlflowHook):
    """kedro-mlflow, told our parameters flat, our tags and the numbers of our reports.

    Of several processes, the main one alone talks to MLflow.
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Points MLflow at the project's store."""
        if processes.is_main():
            self._root = Path(context.project_path)
            super().after_context_created(context)

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Starts the run and tags it with all that tells it from others."""
        if not processes.is_main():
            self._is_mlflow_enabled = False
            return
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
        if not processes.is_main():
            return
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


class SummaryHooks:
    """Says at the end of a run where its results are."""

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Prints accuracy and paths, as far as this run made them."""
        if not processes.is_main():
            return
        made = pipeline.all_outputs()
        lines = list(self._accuracies(made, catalog))
        root = Path(run_params["project_path"])
        for name, label in (
            ("metrics", "Report"),
            ("transcripts_page", "Transcripts"),
            ("diagnosis_page", "Diagnosis"),
            ("policy", "Policy"),
            ("prompts_export", "Prompts"),
            ("choice_report", "Report"),
            ("comparison_page", "Comparison"),
            ("abilities_report", "Report"),
            ("abilities_table", "Table"),
            ("transfer.metrics", "Report"),
            ("transfer.transcripts_page", "Transcripts"),
            ("next_item_baselines", "Report"),
            ("next_item_report", "Report"),
        ):
            if name in made:
                path = Path(getattr(catalog.get(name), "_filepath"))  # noqa: B009
                lines.append(f"{label:<12} {path.relative_to(root)}")
        run = mlflow.last_active_run()
        if run is not None and lines:
            lines.append(f"{'MLflow run':<12} {run.info.run_id} (make ui)")
        for line in lines:
            logger.info(line)

    @staticmethod
    def _accuracies(made: set[str], catalog: DataCatalog) -> Iterator[str]:
        for name in ("metrics", "transfer.metrics"):
            if name in made:
                yield _before_and_after(catalog.load(name))
        for name in ("next_item_baselines", "next_item_report"):
            if name in made:
                yield _next_item(catalog.load(name))
        if "choice_report" in made:
            report = catalog.load("choice_report")
            yield (
                f"Test accuracy of the recorded answers {report['accuracy']:.3f} "
                f"({report['n']} queries; {report['unanswered']['n']} without an answer)"
            )
        if "abilities_report" in made:
            for task, metrics in catalog.load("abilities_report")["tasks"].items():
                yield from (_ability(task, metric, row) for metric, row in metrics.items())


def _ability(task: str, metric: str, row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{task} {metric} {row['before']:.3f} before, {row['after']:.3f} after "
        f"(change {row['change']:+.3f}, interval {low:+.3f} to {high:+.3f}, {row['n']} questions)"
    )


def _before_and_after(metrics: dict[str, Any]) -> str:
    before, after = metrics["before"], metrics["after"]
    low, high = after["interval"]
    where = f" on {metrics['run']['target']}" if "target" in metrics["run"] else ""
    split = metrics["run"]["split"].capitalize()
    return (
        f"{split} accuracy{where} {before['accuracy']:.3f} before, {after['accuracy']:.3f} after "
        f"(95% interval {low:.3f} to {high:.3f}, {after['n']} queries)"
    )


def _next_item(report: dict[str, Any]) -> str:
    found = [f"{name} {row['hit@1']['mean']:.3f}" for name, row in report["models"].items()]
    return f"Next item, Hit@1 of {report['users']} users: {', '.join(found)}"
