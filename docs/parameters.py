"""Writes docs/parameters.md: every parameter with its type, its default and what it is.

    python docs/parameters.py

Types and limits are those of the pydantic models, meanings what their docstrings say of each
attribute, defaults those of ``conf/base`` before a choice of data set, backbone and variant.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.parameters import Parameters

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "parameters.md"
OPENING = """# All parameters

Written by `python docs/parameters.py`; a test fails where this page is not what the code says.
Every parameter can be given as `--params name=value`. The defaults are those of
`conf/base/parameters*.yml`. The chosen data set, backbone and variant (`conf/base/parameters/`) are
laid over them, and what these alone give has no default here; `--params` comes last. An unknown
name or a value outside its limits stops the run before anything is read, with the names that are
similar.
"""
_LONGEST = 60
_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def read_defaults() -> dict[str, Any]:
    """What ``conf/base`` says before a choice is laid over it."""
    loader = ChoicesConfigLoader(str(PROJECT / "conf"), base_env="base", default_run_env="base")
    _ = loader["parameters"]
    return loader._defaults


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring of a model, or of one that it extends, says of each attribute."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        names: list[str] = []
        doc = inspect.cleandoc(kind.__doc__ or "")
        for line in doc.partition("Attributes:\n")[2].partition("\n\n")[0].splitlines():
            if match := re.match(r" {4}(\w[\w, ]*): (.*)", line):
                names = match[1].split(", ")
                found.update(dict.fromkeys(names, match[2]))
            else:
                found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return {name: text.replace("``", "`") for name, text in found.items()}


def say_type(annotation: Any) -> str:
    """A type as one writes its values: ``whole number``, ``a, b or null``."""
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false",
             type(None): "null", Any: "any"}  # fmt: skip
    if annotation in plain:
        return plain[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(map(say_type, inner))
    if origin in (list, dict, Mapping):
        said = say_type(inner[-1])
        return f"list of: {said}" if origin is list else f"name -> {said}"
    return say_type(inner[0]) if inner else "block"


def say_limits(field: FieldInfo) -> str:
    """Limits of a number, as ``, >= 0``."""
    limits = [
        f", {sign} {getattr(data, name)}"
        for data in field.metadata
        for name, sign in _LIMITS.items()
        if getattr(data, name, None) is not None
    ]
    return "".join(limits)


def say_default(value: Any) -> str:
    """A default as YAML has it, without the place of the project, and no longer than a line."""
    text = json.dumps(value, ensure_ascii=False).replace(f"{PROJECT.as_posix()}/", "")
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"`{text.replace('|', chr(92) + '|')}`"


def block_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is a block, or a block or null."""
    kinds = annotation.__args__ if isinstance(annotation, types.UnionType) else (annotation,)
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def rows(model: type[BaseModel], prefix: str, defaults: Any) -> Iterator[str]:
    """A row of the table for each parameter, blocks before what is in them."""
    known = meanings(model)
    for name, field in model.model_fields.items():
        given = isinstance(defaults, Mapping) and name in defaults
        value = defaults[name] if given else None
        inner = block_of(field.annotation)
        default = say_default(value) if given and not (inner and value is not None) else ""
        kind = say_type(field.annotation) + say_limits(field)
        cells = (f"`{prefix}{name}`", kind, default, known[name])
        yield f"| {' | '.join(cells)} |"
        if inner:
            yield from rows(inner, f"{prefix}{name}.", value)


def write_page() -> str:
    """The page as it should be."""
    defaults, parts = read_defaults(), [OPENING]
    head = "| parameter | type | default | |\n|---|---|---|---|"
    top = meanings(Parameters)
    blocks = {n: block_of(f.annotation) for n, f in Parameters.model_fields.items()}
    plain = [
        f"| `{name}` | {say_type(field.annotation)}{say_limits(field)} "
        f"| {say_default(defaults.get(name))} | {top[name]} |"
        for name, field in Parameters.model_fields.items()
        if blocks[name] is None
    ]
    parts += ["## The run\n", "\n".join([head, *plain]), ""]
    for name, model in blocks.items():
        if model is not None:
            about = inspect.cleandoc(model.__doc__ or "").partition("\n\nAttributes:")[0]
            listed = rows(model, f"{name}.", defaults.get(name))
            parts += [f"## {name}\n", about.replace("``", "`"), "", "\n".join([head, *listed]), ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
