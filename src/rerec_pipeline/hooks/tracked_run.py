"""What is logged of a run to MLflow; imports MLflow, so it is imported late."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import mlflow
from kedro.framework.context import KedroContext
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro_mlflow.config.kedro_mlflow_config import KedroMlflowConfig
from pydantic import ValidationError

from rerec_pipeline.errors import BadParameterError
from rerec_pipeline.hooks.suggested import suggested
from rerec_pipeline.parameters import explain, policy_name, run_choices
from rerec_pipeline.recbench.raw import manifest_hash
from rerec_pipeline.storage import provenance
from rerec_pipeline.tracking import RunNote, flat_numbers, git_commit
from rerec_pipeline.tracking.store import UTILITIES, Store, address, connect, without_password
from rerec_pipeline.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

#: Where runs leave what they tell MLflow, below the project.
FOLDER = Path("data/.tracking")

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
    "judged_answers": "judged",
    "conversations_baselines": "conversations_baselines",
    "conversations_report": "conversations",
    "likelihood_report": "likelihood",
    "next_item_likelihood_report": "next_item_likelihood",
}

#: A run that makes one of these trains or evaluates; others are in an experiment of utilities.
RESULTS = {
    *("policy", "base_policy", "metrics", "transfer.metrics"),
    *("abilities_report", "choice_report", "next_item_report", "next_item_baselines"),
    *("judged_answers", "likelihood_report", "next_item_likelihood_report"),
    *("conversations_baselines", "conversations_report"),
}


class TrackedRun:
    """Tells MLflow parameters, tags, numbers and files of a Kedro run.

    ``mlflow.yml`` is kedro-mlflow's, and so are ``kedro mlflow ui`` and ``context.mlflow``. What
    is sent goes through a ``Tracker``, so that MLflow never makes a run fail.

    Args:
        context: Kedro's.
    """

    def __init__(self, context: KedroContext):
        self._root = Path(context.project_path)
        self._env = context.env
        self._asked = dict(context.config_loader.runtime_params or {})
        self._config = _read_config(context)
        self._uri = str(self._config.server.mlflow_tracking_uri)
        self._catalog = DataCatalog()
        self._context = ""
        self._trains = False
        self._tracker: Tracker | None = None
        with _environment_kept():
            mlflow.set_tracking_uri(self._uri)
        context.__setattr__("mlflow", self._config)

    def begin(
        self, run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Starts the run and tells what it is and which parameters it works with."""
        names = run_params.get("pipeline_names") or ["__default__"]
        if set(names) & set(self._config.tracking.disable_tracking.pipelines):
            return
        self._catalog, outputs = catalog, pipeline.all_outputs()
        self._trains = "policy" in outputs
        self._context = "training" if self._trains else "evaluation"
        parameters = catalog.load("parameters")
        values = _values(pipeline, parameters, self._root)
        main = self._config.tracking.experiment.name
        experiment = main if RESULTS & outputs else f"{main}{UTILITIES}"
        chosen = run_choices(parameters)
        command = suggested("+".join(names), parameters, self._asked, self._env)
        told = json.dumps([names, sorted(node.name for node in pipeline.nodes), values, chosen])
        key = hashlib.sha256(told.encode()).hexdigest()[:16]
        # What is kept names the store from the project's folder: a clone may be moved.
        uri = provenance.plain(without_password(self._uri), self._root)
        tracker = Tracker(self._connect, self._root / FOLDER, key, uri)
        note, tags = RunNote.from_environment(), {**chosen, "command": command}
        if parameters["target"] is not None:
            tags["target"] = parameters["target"]
        tags |= {"processes": parameters["launch"].processes, "git_commit": git_commit(self._root)}
        begun = None
        with suppress(Exception):  # a store that does not answer: the tracker says so
            begun = note.find_begun() if note else None
        tracker.begin(
            experiment, run_name(chosen, "+".join(names), experiment != main), tags, begun
        )
        tracker.params(values)
        if note:
            tracker.guard(note.tag_active_run)
        self._tracker = tracker
        if "raw_manifest" not in outputs and "raw_manifest" in catalog:
            with suppress(Exception):  # no input of this run: it may not exist
                self._tell_data(catalog.load("raw_manifest"), parameters)

    def saved(self, name: str, data: Any) -> None:
        """Tells the numbers of a report, and the file that the catalog marks for MLflow."""
        if self._tracker is None:
            return
        if name == "raw_manifest":
            self._tell_data(data, self._catalog.load("parameters"))
        if name in REPORTED:
            prefix = REPORTED[name] or data["run"]["split"]
            self._tracker.metrics({**headlines(name, data), **flat_numbers(data, prefix)})
        if name == "training_summary":
            self._tracker.metrics({"seconds": data["seconds"]})
        dataset = self._catalog.get(name) if name in self._catalog else None
        place = (getattr(dataset, "metadata", None) or {}).get("mlflow")
        if place:
            self._tracker.artifact(Path(str(getattr(dataset, "_filepath"))), place)  # noqa: B009
        if place == "plots":
            self._tell_plot(name, data)

    def end(self, status: str) -> None:
        """Ends the run as ``FINISHED`` or ``FAILED``."""
        if self._tracker is not None:
            if status == "FINISHED" and self._trains and not self._tracker.problem:
                self._tell_assistant()
            self._tracker.end(status)
            self._tracker = None

    def _connect(self) -> Store:
        experiment = self._config.tracking.experiment
        artifacts = experiment.create_experiment_kwargs.artifact_location
        return connect(self._uri, experiment.name, artifacts)

    def _tell_data(self, manifest: Any, parameters: Mapping[str, Any]) -> None:
        assert self._tracker is not None
        digest, name = manifest_hash(manifest), parameters["target"] or parameters["dataset"]
        self._tracker.tags({"data_sha256": digest})
        source = json.dumps({"uri": provenance.plain(parameters["raw_dir"], self._root)})
        self._tracker.dataset(name, digest, source, self._context)

    def _tell_assistant(self) -> None:
        """The trained policy, and what the assistant needs beside it, as a model."""
        from rerec_pipeline.assistant.loading import NEEDED, Settings
        from rerec_pipeline.tracking.model import log_assistant

        try:
            parameters = self._catalog.load("parameters")
            files = {
                name: Path(str(getattr(self._catalog.get(name), "_filepath"))).resolve()  # noqa: B009
                for name in (*NEEDED, "policy")
            }
            retrieval, rft = parameters["retrieval"], parameters["rft"]
            settings = Settings(
                name=policy_name(parameters),
                wording=parameters["data"].prompt,
                pool=retrieval.pool,
                neighbours=retrieval.neighbours,
                max_new_tokens=rft.generation.max_completion_tokens,
                constrained=rft.constrained,
            )
            with _quiet():
                log_assistant(files, settings, self._catalog.load("queries")["text"].iloc[0])
        except Exception as exc:  # the policy is on the disk: no reason to fail
            logger.warning("MLflow is not given the assistant as a model: %s", exc)

    def _tell_plot(self, name: str, figure: Any) -> None:
        """A plot as a page without scripts: MLflow does not draw Plotly's JSON."""
        from rerec_pipeline.reporting.pages import plot_page

        assert self._tracker is not None
        try:
            text = plot_page(figure)
        except Exception as exc:  # a figure that our charts do not draw is no reason to end a run
            logger.warning("MLflow is not shown the plot '%s': %s", name, exc)
            return
        with TemporaryDirectory() as folder:
            page = Path(folder) / f"{name}.html"
            page.write_text(text, encoding="utf-8")
            self._tracker.artifact(page, "plots")


def run_name(chosen: Mapping[str, Any], pipeline: str, utility: bool = False) -> str:
    """What tells a run from others first: lists of runs cut names after some 25 letters."""
    part = "" if pipeline == "__default__" else pipeline
    run = f"{chosen['variant']} seed {chosen['seed']}"
    trained = [run, chosen.get("label"), part, chosen.get("split")]
    what = [part or "part of a run"] if utility else trained
    data = chosen["dataset"] if utility else f"{chosen['dataset']} {chosen['backbone']}"
    return f"{' '.join(filter(None, what))} · {data}"


def headlines(name: str, report: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers of an evaluation that runs are compared by, under names without a slash."""
    if name not in ("metrics", "transfer.metrics"):
        return {}
    after = report["after"]
    numbers = {
        "accuracy": after["accuracy"],
        "accuracy_low": after["interval"][0],
        "accuracy_high": after["interval"][1],
        "gain": report["gain"],
        "faithfulness": after["faithfulness"]["verdicts_confirmed"],
        "seconds": report["training"]["seconds"],
    }
    return {key: float(value) for key, value in numbers.items() if value is not None}


def _values(pipeline: Pipeline, parameters: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The parameters that the nodes of a pipeline read, flat."""
    names = provenance.parameters_read(pipeline)
    return provenance.make_stamp(names, parameters, root)


def _read_config(context: KedroContext) -> KedroMlflowConfig:
    """kedro-mlflow's configuration, with the environment's address before the file's.

    Raises:
        BadParameterError: If ``mlflow.yml`` can not be used.
    """
    try:
        config = KedroMlflowConfig.model_validate({**context.config_loader["mlflow"]})
    except ValidationError as exc:
        raise BadParameterError(f"mlflow.yml can not be used:\n{explain(exc)}") from None
    config._export_credentials(context)
    config._register_request_header_provider(context)
    local = f"sqlite:///{Path(context.project_path).as_posix()}/mlflow.db"
    config.server.mlflow_tracking_uri = address(config.server.mlflow_tracking_uri or local)
    return config


@contextmanager
def _quiet() -> Any:
    """Without what MLflow says of each part of a model that it writes."""
    said = logging.getLogger("mlflow")
    before = said.level
    said.setLevel(logging.ERROR)
    try:
        with patch.dict(os.environ, {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}):
            yield
    finally:
        said.setLevel(before)


@contextmanager
def _environment_kept() -> Any:
    """MLflow writes its address into the environment, where it would pass for the user's."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
