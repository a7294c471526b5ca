"""Node functions that are imported when they run, so that a pipeline is built without torch.

Kedro builds every registered pipeline before it runs one, and even to list their names. With
``nodes = LazyModule("rerec_pipeline.pipelines.rft.nodes")`` in place of an import, this takes
milliseconds, and a mistyped parameter is reported before anything slow is imported.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class LazyModule:
    """The functions of a module, read from its source and imported when they are called.

    Each has the name, module, signature, docstring and source of the function it stands for, which
    is what Kedro and Kedro-Viz look at. It has no annotations: they may name what is not imported.

    Args:
        name: Full name of the module.
    """

    def __init__(self, name: str):
        self._name = name
        self._functions: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self._functions:
            file, found = _definitions(self._name)
            if name not in found:
                raise AttributeError(f"{file} defines no function '{name}'")
            self._functions[name] = _stand_in(self._name, file, found[name])
        return self._functions[name]


@cache
def _definitions(module: str) -> tuple[str, dict[str, ast.FunctionDef]]:
    """The file of a module, and its functions by name."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {module}")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return spec.origin, {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _stand_in(module: str, file: str, definition: ast.FunctionDef) -> Callable[..., Any]:
    """A function that imports the module when it is called, and looks like the one in the file."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(module), definition.name)(*args, **kwargs)

    call.__module__ = module
    call.__name__ = call.__qualname__ = definition.name
    call.__doc__ = ast.get_docstring(definition)
    call.__annotations__ = {}
    call.__signature__ = _signature(definition.args)  # type: ignore[attr-defined]
    # Where inspect.getsource looks, so that Kedro-Viz shows the function itself.
    call.__code__ = call.__code__.replace(co_filename=file, co_firstlineno=definition.lineno)
    return call


def _signature(arguments: ast.arguments) -> inspect.Signature:
    """What ``inspect.signature`` gives, without annotations; defaults are source text."""
    kinds = inspect.Parameter
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    rows: list[tuple[ast.arg | None, Any, ast.expr | None]] = []
    for n, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        only = n < len(arguments.posonlyargs)
        kind = kinds.POSITIONAL_ONLY if only else kinds.POSITIONAL_OR_KEYWORD
        rows.append((argument, kind, default))
    rows.append((arguments.vararg, kinds.VAR_POSITIONAL, None))
    rows += [
        (argument, kinds.KEYWORD_ONLY, default)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    rows.append((arguments.kwarg, kinds.VAR_KEYWORD, None))
    return inspect.Signature(
        [
            kinds(
                argument.arg, kind, default=kinds.empty if default is None else ast.unparse(default)
            )
            for argument, kind, default in rows
            if argument is not None
        ]
    )
