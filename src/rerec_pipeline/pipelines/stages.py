"""Which stage a node belongs to."""

from __future__ import annotations

from kedro.pipeline import Node

#: A package whose nodes are shown within another stage.
_WITHIN = {"data_report": "data_engineering"}


def stage_of(node: Node) -> str:
    """The namespace of a node, or else the package that defines it, e.g. ``graph_modeling``."""
    if node.namespace:
        return str(node.namespace).split(".", maxsplit=1)[0]
    package: str = node.func.__module__.split(".")[-2]
    return _WITHIN.get(package, package)
