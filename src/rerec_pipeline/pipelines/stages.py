"""Nodes: how they are named, which stage they belong to, and which version of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

#: Packages whose nodes are shown within another stage.
_WITHIN = {"data_report": "data_engineering", "model_card": "evaluation"}

#: Stages whose code makes something else of the same inputs than it did at first, each with how
#: often that was changed, plus one. What an earlier version made is not used: it is made again.
VERSIONS: dict[str, int] = {"evaluation": 2, "transfer": 2}


def node(func: Callable[..., Any], inputs: Any, outputs: Any, **further: Any) -> Node:
    """A node that has the name of its function, unless ``further`` names it."""
    return Node(func, inputs, outputs, **{"name": func.__name__, **further})


def versions_behind(pipeline: Pipeline, dataset: str) -> dict[str, str]:
    """Stage -> its version, of all stages on the way to a data set."""
    stages = {stage_of(part) for part in pipeline.to_outputs(dataset).nodes}
    return {stage: str(VERSIONS.get(stage, 1)) for stage in sorted(stages)}


def stage_of(part: Node) -> str:
    """The namespace of a node, or else the package that defines it, e.g. ``graph_modeling``."""
    if part.namespace:
        return str(part.namespace).split(".", maxsplit=1)[0]
    package: str = part.func.__module__.split(".")[-2]
    return _WITHIN.get(package, package)
