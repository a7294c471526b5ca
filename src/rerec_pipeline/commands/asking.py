"""``kedro ask`` and ``kedro serve``; what they need is imported when they run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import ClickException
from kedro.framework.startup import ProjectMetadata

from rerec_pipeline.commands.params import ParamsOption
from rerec_pipeline.commands.shown import errors_shown
from rerec_pipeline.errors import BadInputError

if TYPE_CHECKING:
    from rerec_pipeline.assistant.assistant import Answer, Assistant
    from rerec_pipeline.assistant.conversation import Turn

#: Where ``kedro serve`` looks for the token that requests must bring.
TOKEN = "REREC_TOKEN"

_SIGNS = {"confirmed": ("✓", "green"), "contradicted": ("✗", "red"), "unknown": ("?", "yellow")}

_PARAMS = click.option(
    "--params",
    cls=ParamsOption,
    help="As of kedro run: dataset=...,backbone=...,variant=...,seed=...",
)
_POLICY = click.option(
    "--policy",
    type=click.Choice(["trained", "base", "graph"]),
    help="Who answers: the trained policy, the backbone before training, or retrieval alone.  "
    "[default: the trained policy if there is one, else the backbone]",
)
_URL = click.option(
    "--policy-url",
    help="An OpenAI-compatible server that has the policy (http://HOST:PORT/v1); linking, "
    "retrieval and checks stay here. A token for it is taken from REREC_POLICY_TOKEN.",
)
_MODEL = click.option(
    "--policy-model",
    help="What that server calls the policy.  [default: the first model that it names]",
)


@click.command()
@click.argument("words", nargs=-1)
@click.option("--history", default="", help='Titles that you know, separated by ";".')
@click.option("--candidates", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A file of titles to choose from, one a line.")  # fmt: skip
@click.option("--top", default=1, show_default=True, type=click.IntRange(1, 100))
@click.option("--json", "as_json", is_flag=True, help="Prints one JSON object and nothing else.")
@_PARAMS
@_POLICY
@_URL
@_MODEL
@click.pass_obj
def ask(
    metadata: ProjectMetadata,
    words: tuple[str, ...],
    history: str,
    candidates: Path | None,
    top: int,
    as_json: bool,
    params: str,
    policy: str | None,
    policy_url: str | None,
    policy_model: str | None,
) -> None:
    """Asks the assistant; without WORDS it is a conversation, which an empty line ends.

    Under the recommendation stand the facts that the reasoning states, each with what the
    attribute graph says of it: confirmed, contradicted or not known.
    """
    from rerec_pipeline.errors import BadInputError
    from rerec_pipeline.recbench.reading import decode
    from rerec_pipeline.runner.answering import load_assistant

    if words and not " ".join(words).strip():
        raise ClickException("there is nothing to answer: WORDS are empty")
    _check_policy(policy, policy_url, policy_model)
    with errors_shown():
        assistant = load_assistant(
            Path(metadata.project_path), params, policy, _tell, policy_url, policy_model
        )
        options: dict[str, Any] = {
            "history": assistant.indices(_titles(history.split(";")), "--history"),
            "top": top,
        }
        if candidates is not None:
            listed = _titles(decode(candidates.read_bytes(), candidates).splitlines())
            if not listed:
                raise BadInputError(candidates, "names no title")
            options["candidates"] = assistant.indices(listed, str(candidates))
        if words:
            from rerec_pipeline.assistant.conversation import Turn, read_conversation

            wish = read_conversation([Turn("user", " ".join(words))], assistant)
            answer = assistant.ask(wish.request, exclude=wish.exclude, **options)
            click.echo(json.dumps(_plain(answer), ensure_ascii=False) if as_json else _said(answer))
        else:
            _converse(assistant, options, as_json)


def _check_policy(policy: str | None, url: str | None, model: str | None) -> None:
    if policy is not None and url is not None:
        raise ClickException("--policy is for a policy here, --policy-url for another: give one")
    if model is not None and url is None:
        raise ClickException("--policy-model names a policy of --policy-url: give that, too")


def _check_run(run: str, others: Mapping[str, str | None]) -> None:
    if given := [name for name, value in others.items() if value]:
        raise ClickException(
            f"--run {run} serves what that run has logged, with its parameters: "
            f"leave out {', '.join(given)}"
        )


def _address(host: str, port: int) -> str:
    """The URL of a host, which may be an IPv6 address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _titles(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _converse(assistant: Assistant, options: dict[str, Any], as_json: bool) -> None:
    """Reads wishes until an empty line; what was said before counts.

    A person who types what cannot be answered is told why, and goes on.
    """
    from rerec_pipeline.assistant.conversation import Turn, read_conversation
    from rerec_pipeline.assistant.words import recommendation

    turns: list[Turn] = []
    typed = sys.stdin.isatty()
    while True:
        if typed:
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        asked = Turn("user", line)
        try:
            wish = read_conversation([*turns, asked], assistant)
            answer = assistant.ask(wish.request, exclude=wish.exclude, **options)
        except BadInputError as error:
            if not typed:
                raise
            click.echo(f"Error: {error}", err=True)
            continue
        turns += [asked, Turn("assistant", recommendation(answer))]
        click.echo(json.dumps(_plain(answer), ensure_ascii=False) if as_json else _said(answer))


def _plain(answer: Answer) -> dict[str, Any]:
    everything = answer.as_dict()
    return {
        key: everything[key] for key in ("items", "reasoning", "facts", "request_facts", "policy")
    }


def _said(answer: Answer) -> str:
    """An answer for a terminal."""
    from rerec_pipeline.assistant.words import recommendation

    parts = [answer.reasoning] if answer.reasoning else []
    parts.append(click.style(recommendation(answer), bold=True))
    for item in answer.items[1:]:
        parts.append(f"Then {item.title}.")
    for item in answer.items[:1]:
        parts += [f"  {reason}" for reason in item.reasons]
    for head, facts in (("You said:", answer.request_facts), ("Stated:", answer.facts)):
        if facts:
            parts.append(head)
        for fact in facts:
            sign, colour = _SIGNS[fact.status]
            parts.append(f"  {click.style(sign, fg=colour)} {fact.text} ({fact.status})")
    return "\n".join(parts)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--waiting", default=32, show_default=True, type=click.IntRange(min=1),
              help="Requests that may wait; one more gets 429.")  # fmt: skip
@click.option("--batch", default=8, show_default=True, type=click.IntRange(min=1),
              help="Requests that are answered at once; memory depends on it.")  # fmt: skip
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(min=1),
              help="Time that a request has, its waiting included.")  # fmt: skip
@click.option("--run", metavar="RUN", help="The id of an MLflow run: serves the policy it trained.")
@click.option("--trace", is_flag=True,
              help="Leaves traces of answers in MLflow, texts of users included.")  # fmt: skip
@_PARAMS
@_POLICY
@_URL
@_MODEL
@click.pass_obj
def serve(
    metadata: ProjectMetadata,
    host: str,
    port: int,
    waiting: int,
    batch: int,
    seconds: float,
    params: str,
    policy: str | None,
    policy_url: str | None,
    policy_model: str | None,
    run: str | None,
    trace: bool,
) -> None:
    """Serves the assistant: a page, OpenAI's chat form, /recommend, /metrics, /docs.

    Any other address than the loopback's wants a token, in the environment variable REREC_TOKEN;
    requests then bring it as "Authorization: Bearer TOKEN". Open without it are the page, /health
    and the description (/docs, /redoc, /openapi.json). Texts of users are not logged.
    """
    token = os.environ.get(TOKEN) or None
    if host not in ("127.0.0.1", "localhost", "::1") and token is None:
        raise ClickException(f"--host {host} lets others in: set a token in {TOKEN} first")
    if run is not None:
        _check_run(
            run,
            {"--params": params, "--policy": policy, "--policy-url": policy_url,
             "--policy-model": policy_model},
        )  # fmt: skip
    _check_policy(policy, policy_url, policy_model)
    import uvicorn

    from rerec_pipeline.assistant.server import create_app
    from rerec_pipeline.runner.answering import load_assistant
    from rerec_pipeline.runner.project import Project

    with errors_shown():
        project = Path(metadata.project_path)
        mlflow_config = Project(project).read("mlflow")
        if run is None:
            assistant = load_assistant(project, params, policy, _tell, policy_url, policy_model)
        else:
            from rerec_pipeline.tracking.logged import load_logged

            assistant = load_logged(mlflow_config, run)
        answer = None
        if trace:
            from rerec_pipeline.tracking.logged import traced_here

            answer = traced_here(mlflow_config, assistant)
        app = create_app(assistant, token, waiting, seconds, batch, answer)
    # A client that waits as long as Retry-After says finds its connection still open: uvicorn's 5 s
    # close some in the moment in which the next request is sent.
    config = uvicorn.Config(
        app, host, port, log_level="warning", access_log=False, timeout_keep_alive=75
    )
    with config.bind_socket() as bound:  # port 0 takes one that is free
        bound.listen()  # so that whoever reads the address can connect at once
        port = bound.getsockname()[1]
        click.echo(f"The assistant is at {_address(host, port)} (Ctrl-C ends it)", err=True)
        uvicorn.Server(config).run(sockets=[bound])
