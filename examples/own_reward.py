"""Trains with a reward term, an advantage and a reward function of one's own."""

import numpy as np
from train_without_kedro import DATASET, POLICY, few, reward, task, watched

from rerec_pipeline.rerec.advantage import advantage
from rerec_pipeline.rerec.reward import RewardContext, RewardData, term
from rerec_pipeline.training import ReRecConfig, ReRecTrainer


@term("novelty")
def novelty(context: RewardContext, batch) -> np.ndarray:
    """1 for an answer that nobody has seen, 0 for the most seen one and for no known item."""
    seen, first = context.array("times_seen"), batch.ranked[:, 0]
    return np.where(first >= 0, 1 - seen[first] / seen.max(), 0.0)


@advantage("clipped")
def clipped(rewards, penalised, group_size: int, w_penalty: float, most: float):
    """Rewards less the mean of their group, within [-most, most]; penalised paragraphs lose."""
    groups = rewards.view(-1, group_size)
    plain = (groups - groups.mean(1, keepdim=True)).clamp(-most, most).view(-1, 1)
    return plain - w_penalty * most * penalised


def brevity(completion_ids, terms, **_) -> list[float]:
    """A reward function as TRL takes it; it also gets the values of our terms."""
    return [of["ndcg"] / len(ids) for ids, of in zip(completion_ids, terms, strict=True)]


if __name__ == "__main__":
    args = ReRecConfig(
        "data/06_models/.example",
        term_weights={"ndcg": 1.0, "qas": 0.2, "format": 0.1, "novelty": 0.05},
        reward_weights=[0.5],  # of reward_funcs
        advantage="clipped",
        advantage_settings={"most": 0.5},
        max_steps=3,
        logging_steps=1,
        **few,
    )
    data = RewardData(reward.bits, reward.embeddings, extra={"times_seen": watched.sum(axis=1)})
    trainer = ReRecTrainer(POLICY, args, DATASET, task=task, reward=data, reward_funcs=[brevity])
    trainer.train()
    for step in trainer.state.log_history[:-1]:
        print(step["accuracy"], step["rewards/novelty/mean"], step["rewards/brevity/mean"])
