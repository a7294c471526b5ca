"""The small part of the test bed; the whole is a table: ``make test-faults``."""

import pytest

from rerec_pipeline.storage.checkpoints import Checkpoints
from tests.faults.bed import damage_every_range


def test_no_damage_to_a_checkpoint_is_overlooked(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        for name, size in (("model", 1000), ("optimizer", 777), ("state.json", 31)):
            part = tmp_path / f"checkpoint-{step}" / name
            part.parent.mkdir(exist_ok=True)
            part.write_bytes(bytes(n % 251 for n in range(size)))
        checkpoints.seal(step)
    found = damage_every_range(tmp_path, 16, 0)
    assert found["damaged"] == found["noticed"] == 3 * 16 * 2
    assert checkpoints.newest() == tmp_path / "checkpoint-2"


@pytest.mark.faults
def test_whole_runs_survive_kills(tmp_path):
    from tests.faults import bed
    from tests.pipelines.conftest import copy_project

    projects = (copy_project(tmp_path / f"{n}") for n in range(100))
    whole = next(projects)
    assert bed.finish(bed.start(whole, whole / "log")) == 0
    found = bed.kill_at_random(lambda: next(projects), bed.results(whole), 6, 60.0, 1)
    assert found["unusable"] == 0 and found["same"] == found["runs"]
