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
    # paid for being right, for shared facts and for being liked by the same; -0.5 without a box
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
    assert np.allclose(grpo["GRPO where all are paid 0.3"], 0)
    # mastered in epoch 2, set aside in 3, looked at again in 4, where it is forgotten
    assert visits["epoch"].tolist() == [0, 1, 2, 4, 5, 7]
    assert visits["mastered"].tolist() == [False, False, True, False, True, True]
    assert plans["reviewed"].tolist() == [0, 0, 0, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("name", ["one_query.ipynb", "compare_experiment.ipynb"])
def test_outputs_and_paths_of_a_machine_are_not_kept(name):
    text = (FOLDER / name).read_text()
    notebook = nbformat.reads(text, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert "/home/" not in text and "/tmp/" not in text and "/work/" not in text
