"""Trains the built-in base policy on the built-in films for a few steps; prints its accuracy."""

from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from rerec_pipeline.configs import WorldSize
from rerec_pipeline.graphs.attributes import AttributeGraph
from rerec_pipeline.recbench.task import Example, PromptWording, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.rerec.reward import RewardData, unit_rows
from rerec_pipeline.sample.layout import fabricate_asks
from rerec_pipeline.training import ReRecConfig, ReRecTrainer, examples_to_dataset

ROOT = Path(__file__).parents[1]
data = OmegaConf.merge(
    OmegaConf.load(ROOT / "conf/base/parameters_data_engineering.yml").data,
    OmegaConf.load(ROOT / "conf/base/parameters/datasets.yml").datasets.sample_movie.data,
)
world, asks = fabricate_asks("movie", WorldSize(**data.world))
number = {item.item_id: n for n, item in enumerate(world.items)}
facts = [(n, *fact) for n, item in enumerate(world.items) for fact in sorted(item.attributes)]
watched = np.zeros((len(number), len(world.users) + 1))  # in place of LightGCN's embeddings
watched[[number[item] for _, item, *_ in world.ratings], [user for user, *_ in world.ratings]] = 1
reward = RewardData(AttributeGraph(len(number), facts).bits, unit_rows(watched))
task = RecTask(ItemIndex(number, [i.title for i in world.items]), PromptWording(**data.prompt))
draw, examples = np.random.default_rng(0), []
for text, ask in asks.items():  # the right item among 19 that do not fit what is asked for
    misfits = [n for n, item in enumerate(world.items) if not ask.need.fits(item)]
    right, others = number[ask.truth.item_id], draw.choice(misfits, 19, replace=False)
    listed = draw.permutation([right, *others]).tolist()
    prompt = task.messages(text, listed, history=())
    examples.append(Example(text, ask.query_type, prompt, right, tuple(listed)))
DATASET, POLICY = examples_to_dataset(examples), str(ROOT / "data/06_models/base_policy")
few = {"per_device_train_batch_size": 32, "max_completion_length": 80, "bf16": False}
if __name__ == "__main__":
    args = ReRecConfig("data/06_models/.example", max_steps=5, logging_steps=1, **few)
    (trainer := ReRecTrainer(POLICY, args, DATASET, task=task, reward=reward)).train()
    print(*(f"{step['accuracy']:.3f}" for step in trainer.state.log_history[:-1]))
