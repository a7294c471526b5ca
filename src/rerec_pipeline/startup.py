"""What Kedro calls before any command, by the entry point ``kedro.init`` in pyproject.toml."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import click

#: Where kedro-mlflow defines its commands. Kedro imports it for every command of a project, and it
#: imports MLflow, which takes longer than everything else that ``kedro --help`` does.
_COMMANDS = "kedro_mlflow.framework.cli.cli"


class _MlflowCommands(click.Group):
    """``kedro mlflow``, whose subcommands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._imported().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._imported().get_command(ctx, cmd_name)

    @staticmethod
    def _imported() -> click.Group:
        stand_in = sys.modules.get(_COMMANDS)
        if stand_in is not None and stand_in.__spec__ is None:
            del sys.modules[_COMMANDS]
        commands: click.Group = import_module(_COMMANDS).mlflow_commands
        return commands


def defer_mlflow_commands() -> None:
    """Lets Kedro list kedro-mlflow's commands without importing MLflow."""
    if _COMMANDS not in sys.modules:
        stand_in = ModuleType(_COMMANDS)
        group = _MlflowCommands("mlflow", help="Use mlflow-specific commands inside kedro project.")
        stand_in.commands = click.Group("Mlflow", commands={"mlflow": group})  # type: ignore[attr-defined]
        sys.modules[_COMMANDS] = stand_in
