"""Kedro's own ``kedro run``, with errors that a user is meant to read in one sentence."""

from __future__ import annotations

import copy
import logging
import os
import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from rerec_pipeline.commands.params import ParamsOption
from rerec_pipeline.commands.shown import errors_shown
from rerec_pipeline.errors import BadParameterError, did_you_mean

_VERBOSE = click.Option(
    ["--verbose"],
    is_flag=True,
    help="Show every node, and where an error arose (REREC_TRACEBACK=1 does the latter alone).",
)
#: What conf/logging.yml keeps quiet.
_QUIET = ("kedro", "kedro.pipeline.node", "kedro.runner", "kedro_mlflow", "mlflow")


def _run(verbose: bool, **options: Any) -> Any:
    os.environ.setdefault("TQDM_LEAVE", "1" if verbose else "")  # else a bar goes when it is full
    if verbose:
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.INFO)
    else:  # what libraries say of one another's code
        warnings.simplefilter("ignore", FutureWarning)
    with errors_shown(traceback=verbose), _ended_like_ctrl_c():
        _check_names(options)
        assert kedro_run.callback is not None
        return kedro_run.callback(**options)


def _read_params(_context: click.Context, _option: click.Parameter, text: Any) -> Any:
    """As the other commands read them: Kedro's own cuts lists at their commas."""
    from rerec_pipeline.experiments.grid import read_params

    with errors_shown():
        return read_params(text) if isinstance(text, str) else text


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Lets SIGTERM do what Ctrl-C does, so that a run that is stopped is not taken for running."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_names(options: dict[str, Any]) -> None:
    """Makes sure that pipelines, nodes and data sets that the command line names exist.

    A node may be named without its stage.

    Raises:
        BadParameterError: If one does not.
    """
    asked = [*filter(None, [options["pipeline"], *(options["pipelines"] or [])])]
    _check("--pipelines", "pipeline", asked, pipelines.keys())
    whole = sum((pipelines[name] for name in asked or ["__default__"]), Pipeline([]))
    short = {node.name.rsplit(".", 1)[-1]: node.name for node in whole.nodes}
    for option in ("node_names", "from_nodes", "to_nodes"):
        options[option] = [short.get(name, name) for name in options[option] or ()]
    nodes = {node.name for node in whole.nodes}
    tags = {tag for node in whole.nodes for tag in node.tags}
    for option, what, key, known in (
        ("--nodes", "node", "node_names", nodes),
        ("--from-nodes", "node", "from_nodes", nodes),
        ("--to-nodes", "node", "to_nodes", nodes),
        ("--from-inputs", "data set", "from_inputs", whole.datasets()),
        ("--to-outputs", "data set", "to_outputs", whole.datasets()),
        ("--tags", "tag", "tags", tags),
    ):
        _check(option, f"{what} in this pipeline", options[key], known)


def _check(option: str, what: str, asked: Iterable[str] | None, known: Iterable[str]) -> None:
    known = {*known}
    for name in asked or ():
        if name not in known:
            hint = did_you_mean(name, known)
            raise BadParameterError(f"{option}: there is no {what} called '{name}'{hint}")


#: In place of Kedro's, whose help describes another way of writing them.
_PARAMS = ParamsOption(
    ["--params"],
    callback=_read_params,
    help="Choices and parameters of this run, e.g. dataset=sample_book,rft.budget.rollouts=64 "
    "(docs/parameters.md has them all). May be given several times; the last value counts.",
)
#: The command; a copy, so that Kedro's own stays as it is.
run = copy.copy(kedro_run)
run.params = [*map(copy.copy, kedro_run.params), _VERBOSE]
run.params = [_PARAMS if option.name == "params" else option for option in run.params]
run.callback = _run
