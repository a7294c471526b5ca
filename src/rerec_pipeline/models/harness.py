"""EleutherAI's lm-evaluation-harness over our backbones: its tasks, its model adapter, its scoring.

The harness is an extra (``pip install 'rerec_pipeline[abilities]'``) and slow to import: import
this module where it is used, not at the top of a module that every command loads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset

from rerec_pipeline.errors import BadInputError, BadParameterError, ReRecError
from rerec_pipeline.models.backbone import Backbone, ControlTokens
from rerec_pipeline.models.devices import device

try:
    from lm_eval.api.metrics import mean
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
except ImportError as error:
    raise ReRecError(
        f"measuring abilities needs lm-evaluation-harness ({error}). Install it with: "
        "pip install 'rerec_pipeline[abilities]'"
    ) from None

#: Seed of the examples that a task shows before a question; the harness's own default.
_FEWSHOT_SEED = 1234

#: Question of each task that has no data set of its own: task -> its documents.
Questions = Mapping[str, Sequence[Mapping[str, Any]]]


class BackboneLM(HFLM):
    """The harness's own adapter to Hugging Face models, over a backbone that is loaded.

    Args:
        backbone: The policy; it is moved to this process's accelerator if there is one.
        batch_size: Requests at once.
    """

    def __init__(self, backbone: Backbone, batch_size: int):
        model: Any = backbone.model.to(device())  # type: ignore[arg-type]
        with _only_errors():  # it warns of arguments that a loaded model makes needless
            super().__init__(model, tokenizer=backbone.tokenizer, batch_size=batch_size)
        self._control = ControlTokens(backbone.tokenizer)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Fills in the template; what a task says is text, also where it spells a control token."""
        masked = [self._control.masked(message) for message in chat_history]
        return str(super().apply_chat_template(masked, add_generation_prompt))

    def tok_encode(self, string: str, *args: Any, **kwargs: Any) -> list[int]:
        """Token ids of a text whose control tokens may be masked."""
        return self._control.ids(
            string, lambda t: super(BackboneLM, self).tok_encode(t, *args, **kwargs)
        )

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids of several texts, padded, and which of them are not padding."""
        longest = left_truncate_len or 0
        rows = {"input_ids": [self.tok_encode(string)[-longest:] for string in strings]}
        padded = self.tokenizer.pad(rows, padding_side=padding_side, return_tensors="pt")
        return padded["input_ids"], padded["attention_mask"]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return super()._encode_pair(context, self._control.mask(continuation))

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **options: Any
    ) -> torch.Tensor:
        """Generates; a model's declared repetition penalty would change greedy answers."""
        plain = {"repetition_penalty": 1.0, "num_beams": 1}
        return super()._model_generate(context, max_length, stop, **{**plain, **options})


class Tasks:
    """Tasks of the harness by their names, loaded with their data.

    Args:
        names: Tasks, groups or tags: of the harness, or of ``folder``.
        folder: More task files in the harness's format.
        questions: Documents of tasks whose ``custom_dataset`` is ``questions_of``.

    Raises:
        BadParameterError: If a name is not known.
        BadInputError: If the data of a task cannot be had.
    """

    def __init__(self, names: Sequence[str], folder: str, questions: Questions):
        with _only_errors():
            self._manager = _manager(names, folder, questions)
            self._members = {name: self._load(name) for name in names}

    def _load(self, name: str) -> dict[str, Any]:
        try:
            return self._manager.load([name])["tasks"]
        except ReRecError:
            raise
        except Exception as error:  # each loader of data sets fails in its own way
            raise BadInputError(
                name,
                f"its data set cannot be loaded ({type(error).__name__}: {error})",
                remedy="Data sets are downloaded from the Hugging Face Hub when they are first "
                "used; without a network, bring its cache (HF_HOME) along",
            ) from error

    def measure(self, lm: LM, limit: int | None = None) -> pd.DataFrame:
        """Asks a model everything.

        Args:
            lm: A model, or whatever answers for one.
            limit: Only the first so many questions of each task; null asks all.

        Returns:
            One row for each question and metric: ``name`` (as asked for), ``task`` (the member of
            it, where it is a group), ``doc_id``, ``metric`` (with the harness's filter, where it
            has one) and ``score``. Metrics that are not a mean over questions are left out.
        """
        rows: list[dict[str, Any]] = []
        for name, members in self._members.items():
            for task in members.values():
                _zero_shot_unless_told(task)
            with _only_errors():
                results = evaluate(
                    lm,
                    {"tasks": members, "groups": {}, "group_map": {}},
                    limit=limit,
                    bootstrap_iters=0,
                    apply_chat_template=True,
                    fewshot_as_multiturn=True,
                )
            for task, samples in results["samples"].items():
                rows += _rows(name, task, samples, _means(members[task]))
        return pd.DataFrame(rows)


def questions_of(asked_by: str, questions: Questions, **_: Any) -> dict[str, Dataset]:
    """The data set of a task that asks about a fabricated world; named by its task file.

    Args:
        asked_by: Name of the task.
        questions: Task -> its documents.

    Raises:
        BadParameterError: If there are no questions for it.
    """
    if not questions.get(asked_by):
        raise BadParameterError(
            f"abilities.tasks: {asked_by} asks about a fabricated world, and this data set is not "
            "one. Choose other tasks, by --params 'abilities.tasks=[ifeval,mmlu,gsm8k]'"
        )
    return {"test": Dataset.from_list([dict(doc) for doc in questions[asked_by]])}


def _manager(names: Sequence[str], folder: str, questions: Questions) -> TaskManager:
    """An index of task files; of all the harness's thousands only where they are asked for."""
    manager = TaskManager(include_path=folder, include_defaults=False)
    own = list(manager.all_tasks)
    metadata: Any = {"questions": questions}
    if not set(names) <= set(own):
        manager = TaskManager(include_path=folder, metadata=metadata)
        if unknown := sorted(set(names) - set(manager.all_tasks)):
            near = [m for name in unknown for m in get_close_matches(name, manager.all_tasks)]
            raise BadParameterError(
                f"abilities.tasks: no task of these names: {', '.join(unknown)}. "
                f"{Path(folder).name}/ has {', '.join(own)}; the harness has "
                f"{len(manager.all_tasks) - len(own)} (lm_eval ls tasks)"
                + (f", among them {', '.join(near)}" if near else "")
            )
        return manager
    return TaskManager(include_path=folder, include_defaults=False, metadata=metadata)


def _zero_shot_unless_told(task: Any) -> None:
    """What the harness does before it evaluates: no examples by default, and a seed for them."""
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)


def _means(task: Any) -> set[str]:
    """Metrics that the harness takes the mean of: only these can be compared by question."""
    return {metric for metric, aggregate in task.aggregation().items() if aggregate is mean}


def _rows(
    name: str, task: str, samples: Sequence[Mapping[str, Any]], means: set[str]
) -> Iterator[dict[str, Any]]:
    for sample in samples:
        filtered = "" if sample["filter"] == "none" else f"/{sample['filter']}"
        for metric in sample["metrics"]:
            if metric in means:
                yield {
                    "name": name,
                    "task": task,
                    "doc_id": int(sample["doc_id"]),
                    "metric": f"{metric}{filtered}",
                    "score": float(sample[metric]),
                }


@contextmanager
def _only_errors() -> Iterator[None]:
    """Lets the harness tell of errors only: it warns of what is meant to be so."""
    harness = logging.getLogger("lm_eval")
    level = harness.level
    harness.setLevel(logging.ERROR)
    try:
        yield
    finally:
        harness.setLevel(level)
