"""The small part of the test bed; the whole is a table: ``make test-faults``."""

import re
from pathlib import Path

import pytest

from rerec_pipeline.storage.checkpoints import Checkpoints
from tests.faults.bed import Bed, damage_every_range

ROOT = Path(__file__).parents[2]


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


def test_the_tests_that_the_documentation_names_exist():
    text = (ROOT / "docs/reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    missing = [n for f, n in named if f"def {n}(" not in (ROOT / f).read_text()]
    assert len(named) > 40 and not missing


@pytest.mark.faults
def test_whole_runs_survive_kills(tmp_path):
    for _, tried, held, what in Bed(tmp_path, 1).kills(6):
        assert tried == held >= 6, what
