"""Which stage a node belongs to, and which version of its code makes what it makes."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

#: A package whose nodes are shown within another stage.
_WITHIN = {"data_report": "data_engineering"}

#: Stages whose code makes something else of the same inputs than it did at first, each with how
#: often that was changed, plus one. What an earlier version made is not used: it is made again.
VERSIONS: dict[str, int] = {"evaluation": 2, "transfer": 2}


def versions_behind(pipeline: Pipeline, dataset: str) -> dict[str, str]:
    """Stage -> its version, of all stages on the way to a data set."""
    stages = {stage_of(node) for node in pipeline.to_outputs(dataset).nodes}
    return {stage: str(VERSIONS.get(stage, 1)) for stage in sorted(stages)}


def stage_of(node: Node) -> str:
    """The namespace of a node, or else the package that defines it, e.g. ``graph_modeling``."""
    if node.namespace:
        return str(node.namespace).split(".", maxsplit=1)[0]
    package: str = node.func.__module__.split(".")[-2]
    return _WITHIN.get(package, package)
