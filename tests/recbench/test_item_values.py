"""Numbers about items that a reward term reads from a user's file."""

import pandas as pd
import pytest

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.parameters import RewardParameters
from rerec_pipeline.pipelines.rft.nodes import build_reward
from rerec_pipeline.recbench.tables import item_values
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from tests.conftest import data_parameters

CATALOGUE = ItemIndex([1, 2], ["A", "B"], ["x", "7"])


def values(**columns):
    return item_values(pd.DataFrame(columns), "f.csv", CATALOGUE)


def test_they_are_in_the_order_of_the_catalogue():
    assert values(item=["7", "x", "other"], seen=[3, 1, 9]).tolist() == [1.0, 3.0]
    assert values(item=["7", "x"], a=["3", "1"], b=[0.5, 2]).tolist() == [[1.0, 2.0], [3.0, 0.5]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item": ["x"], "seen": [1]}, "f.csv, field 'item': has no row for item 7"),
        ({"item": ["x", "7", "x"], "seen": [1, 2, 3]}, "item x occurs twice"),
        ({"item": ["x", "7"], "seen": ["1", "many"]}, "a finite number for every item"),
        ({"item": ["x", "7"], "seen": [1, None]}, "a finite number for every item"),
        ({"item": ["x", "7"]}, "a finite number for every item"),
    ],
)
def test_what_cannot_be_used_is_named(columns, message):
    with pytest.raises(BadInputError, match=message):
        values(**columns)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_term_finds_them_under_the_name_in_conf(tmp_path, suffix):
    file = tmp_path / f"seen.{suffix}"
    table = pd.DataFrame({"item": ["x", "7"], "seen": [5.0, 6.0]})
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    graph = pd.DataFrame({"item_id": [1], "relation": ["r"], "value": ["v"]})
    import torch

    weights = {"ndcg": 1.0}
    for name, path in (("seen", file), ("other", tmp_path / "none.csv")):
        given = RewardParameters(k=1, no_box_ndcg=-0.5, weights=weights, data={name: str(path)})
        embeddings = {"items": torch.eye(2)}
        task = RecTask(CATALOGUE, data_parameters().prompt)
        if name == "other":
            with pytest.raises(BadInputError, match="none.csv: there is no such file"):
                build_reward(task, graph, embeddings, given)
        else:
            context = build_reward(task, graph, embeddings, given).context
            assert context.array("seen").tolist() == [5.0, 6.0]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_that_can_not_be_read_is_named(tmp_path, suffix):
    import torch

    file = tmp_path / f"seen.{suffix}"
    file.write_bytes(b"\xff\xfe\x00PAR")
    graph = pd.DataFrame({"item_id": [1], "relation": ["r"], "value": ["v"]})
    rule = {"k": 1, "no_box_ndcg": -0.5, "weights": {"ndcg": 1.0}, "data": {"seen": str(file)}}
    task = RecTask(CATALOGUE, data_parameters().prompt)
    with pytest.raises(BadInputError, match=rf"seen\.{suffix}: can not be read.*reward\.data"):
        build_reward(task, graph, {"items": torch.eye(2)}, RewardParameters.model_validate(rule))
