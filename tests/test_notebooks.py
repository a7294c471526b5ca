"""The notebook that needs no run, executed; the others are executed in tests/pipelines."""

import nbformat
import numpy as np
import pandas as pd
import pytest

from tests.notebooks import FOLDER, execute


@pytest.fixture
def shown(monkeypatch):
    """What the cells of one_query show."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setenv("TQDM_DISABLE", "1")  # the notebook sets it: taken back afterwards
    with pd.option_context("display.max_colwidth", 50):
        return execute("one_query.ipynb")


def test_one_query_from_its_reward_to_the_curriculum(shown):
    worth, paragraphs, grpo, visits, plans = shown[4:]
    # reward for being right, for shared facts and for users in common; -0.5 without a box
    assert worth.loc["right", "reward"] == pytest.approx(1 + 0.2 + 0.2 + 0.05)
    off_list = worth.loc["gives up", "reward"] + 0.55  # 0.2 x PAS of the worst candidate
    assert -0.2 <= off_list <= 0
    assert worth.loc["near", "reward"] > worth.loc["far", "reward"] > 0
    # 'near' brings its film up once, 'far' twice
    marked = paragraphs[paragraphs["penalised"]]
    assert marked["answer"].tolist() == ["near", "far", "far"]
    for name in ("near", "far"):
        own = paragraphs[paragraphs["answer"] == name]
        assert own["advantage"][own["penalised"]].max() < own["advantage"][~own["penalised"]].min()
    assert np.allclose(grpo["GRPO where all get 0.3"], 0)
    # mastered in epoch 2, set aside in 3, looked at again in 4, where it is forgotten
    assert visits["epoch"].tolist() == [0, 1, 2, 4, 5, 7]
    assert visits["mastered"].tolist() == [False, False, True, False, True, True]
    assert plans["reviewed"].tolist() == [0, 0, 0, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("name", "silent"),
    [
        ("one_answer.ipynb", 0),
        ("one_query.ipynb", 0),
        ("compare_experiment.ipynb", 1),  # imports alone
    ],
)
def test_outputs_are_stored_whole_and_without_paths_of_a_machine(name, silent):
    text = (FOLDER / name).read_text()
    cells = [c for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "code"]
    assert [bool(cell.outputs) for cell in cells] == [n >= silent for n in range(len(cells))]
    assert [c.execution_count for c in cells] == [n + 1 for n in range(len(cells))]
    assert len(text) < 100_000
    assert not any(path in text for path in ("/home/", "/tmp/", "/work/", "/root/"))
