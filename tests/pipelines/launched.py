"""What each process of a launch does in ``test_launch.py``: a run, and a look at what it holds."""

import hashlib
import json
import os
import sys
from pathlib import Path

from kedro.framework.hooks import hook_impl
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project


def fingerprint(model) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.float().numpy().tobytes())
    return digest.hexdigest()


class Witness:
    """Writes down what this process trained, and what it saved."""

    def __init__(self, place: Path):
        self.place = place
        self.seen: dict = {"nodes": []}

    @hook_impl
    def after_node_run(self, node, outputs) -> None:
        self.seen["nodes"].append(node.name)
        if "policy" in outputs:
            self.seen["policy"] = fingerprint(outputs["policy"].model)
            self.seen["curriculum"] = outputs["curriculum_log"].to_json()

    @hook_impl
    def after_pipeline_run(self) -> None:
        (self.place / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(self.seen))


if __name__ == "__main__":
    project, place, pipeline, parameters = sys.argv[1:]
    bootstrap_project(Path(project))
    with KedroSession.create(project, runtime_params=json.loads(parameters)) as session:
        session._hook_manager.register(Witness(Path(place)))
        session.run(pipeline_names=[pipeline])
