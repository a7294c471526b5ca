"""A task with its reward, and a small model that has learned to box something."""

import numpy as np
import pytest

from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.recbench.tables import (
    catalogue_from_table,
    examples_from_table,
    graph_from_table,
)
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.rerec.reward import Reward, RewardContext, unit_rows
from rerec_pipeline.training.fine_tuning import fine_tune_sft


@pytest.fixture(scope="session")
def material(world_tables, tiny_backbone):
    """(task, reward, examples) of the small world."""
    data, tables = world_tables
    catalogue = catalogue_from_table(tables["items"])
    task = RecTask(catalogue, data.prompt)
    rng = np.random.default_rng(0)
    context = RewardContext(
        graph_from_table(tables["attribute_graph"], catalogue).bits,
        unit_rows(rng.normal(size=(len(catalogue), 8))),
        k=1,
        no_box_ndcg=-0.5,
    )
    reward = Reward(context, {"ndcg": 1.0, "qas": 0.2, "pas": 0.2, "format": 0.1})
    train = tables["prompts"].query("split == 'train'").reset_index(drop=True)
    return task, reward, examples_from_table(train, catalogue)[:7]


@pytest.fixture(scope="session")
def warm_backbone(material, tiny_backbone, tmp_path_factory):
    """The random backbone after it has learned to box something: its rewards differ."""
    from tests.training.test_trainer import boxed, rft_parameters

    folder = tmp_path_factory.mktemp("warm")
    task, _, examples = material
    backbone = load_backbone(tiny_backbone)
    rft = rft_parameters(
        tiny_backbone, folder, sft={"token_passes": 600_000, "batch_size": 7, "lr": 1e-2}
    )
    fine_tune_sft(backbone, boxed(examples, task), rft.supervised, 0, folder / "sft")
    backbone.model.save_pretrained(folder / "model")
    backbone.tokenizer.save_pretrained(folder / "model")
    return str(folder / "model")
