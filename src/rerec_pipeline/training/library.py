"""Data of the pipelines and evaluation for scripts that train without Kedro."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rerec_pipeline.models.backbone import Backbone
from rerec_pipeline.models.generation import answer
from rerec_pipeline.models.token_bytes import TokenBytes
from rerec_pipeline.recbench.task import Example, Graded, RecTask
from rerec_pipeline.training.jobs import RolloutTraining


def load_job(folder: str | Path) -> RolloutTraining:
    """Reads what a fine-tuning begins with: ``examples``, ``task``, ``reward`` and ``rft``.

    ``kedro run --pipelines rft --params launch.preset=multi_node,...`` writes such a folder, a JOB,
    from any data set (docs/scaling.md).

    Args:
        folder: The JOB.

    Raises:
        BadInputError: If the folder is no JOB of a fine-tuning on rollouts.
    """
    return RolloutTraining.read(Path(folder))


def evaluate(
    policy: Backbone,
    examples: Sequence[Example],
    task: RecTask,
    *,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    label: str = "Answering",
) -> Graded:
    """Lets a policy answer greedily, and grades it as training and evaluation do.

    Args:
        policy: See ``models.backbone.load_backbone``; of a trainer,
            ``Backbone(trainer.model, trainer.processing_class)``.
        examples: What it is asked, N examples.
        task: Reads the answers.
        max_new_tokens: Most tokens of a completion.
        batch_size: Prompts at once; memory, not results, depends on it.
        label: Words before the progress bar.

    Returns:
        The answers, graded: accuracy is ``correct.mean()``.
    """
    token_ids = answer(policy, examples, max_new_tokens, batch_size, label)
    table = TokenBytes(policy.tokenizer)
    return task.grade([table.read(ids).text for ids in token_ids], examples)
