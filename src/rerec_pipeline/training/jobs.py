"""What is trained or answered, as an object and as a JOB: a folder of files that ranks read.

A JOB holds everything but the backbone, which it names: ``settings.json``, queries and items as
tables, what the reward knows as safetensors. A training's JOB is also where its checkpoints are.
The process that runs Kedro writes it; ``rerec_pipeline.training.worker`` runs it, on one rank or
many, started from here or by a cluster (docs/scaling.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer, TrainerCallback

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.backbone import (
    Backbone,
    as_folder,
    cast_weights,
    load_backbone,
    save_backbone,
)
from rerec_pipeline.models.generation import answer
from rerec_pipeline.parameters import BackboneParameters, RFTParameters, SupervisedPlan
from rerec_pipeline.recbench.task import Example, PromptWording, RecTask
from rerec_pipeline.recbench.titles import ItemIndex
from rerec_pipeline.rerec.reward import RewardData
from rerec_pipeline.storage.records import problem_of, replacing
from rerec_pipeline.storage.writing import write_bytes
from rerec_pipeline.training import ranks
from rerec_pipeline.training.data import examples_from_dataset, examples_to_dataset
from rerec_pipeline.training.fine_tuning import FineTuned, fine_tune_rl, fine_tune_sft

SETTINGS = "settings.json"
RESULT = "result.json"
_QUERIES, _ITEMS, _REWARD = "queries.parquet", "items.parquet", "reward.safetensors"
_POLICY, _LOG, _EPOCHS = "policy", "training_log.parquet", "curriculum_log.parquet"
_EXTRA = "extra/"


def load_trained(name_or_path: str, backbone: BackboneParameters) -> Backbone:
    """What is to be trained: any Hugging Face causal LM, by name or folder.

    Weights that are trained are float32: in bfloat16, with 8 bits of precision, an update of 5e-6
    to a weight of 0.02 is rounded to nothing. An adapter's base stays in the backbone's precision.
    """
    dtype = "float32" if backbone.lora is None else backbone.dtype
    return load_backbone(name_or_path, dtype, backbone.template_values)


@dataclass(frozen=True)
class Training:
    """A fine-tuning: ``RolloutTraining`` or ``SupervisedTraining``.

    Attributes:
        name_or_path: The backbone.
        seed: Of everything drawn in training.
    """

    name_or_path: str
    seed: int

    kind: ClassVar[str]

    def run(self, folder: Path, callbacks: Sequence[TrainerCallback] = ()) -> FineTuned:
        """Trains, from the last checkpoint in a folder if there is one; all ranks call it."""
        raise NotImplementedError

    def write(self, job: Path) -> None:
        """Writes the JOB."""
        raise NotImplementedError

    def _write_settings(self, job: Path, **settings: Any) -> None:
        name = as_folder(self.name_or_path)  # a GGUF file is converted once, here
        write_settings(job, kind=self.kind, name_or_path=name, seed=self.seed, **settings)

    def write_result(self, job: Path, tuned: FineTuned) -> None:
        """Writes what came of it; ``RESULT`` comes last."""
        save_backbone(tuned.policy, job / _POLICY)
        for name, table in ((_LOG, tuned.log), (_EPOCHS, tuned.epochs)):
            with replacing(job / name) as beside:
                table.to_parquet(beside)
        write_bytes(job / RESULT, json.dumps(tuned.summary).encode())

    @staticmethod
    def read_result(job: Path) -> FineTuned | None:
        """What came of it; None while there is nothing, or nothing whole."""
        if not (job / RESULT).is_file() or problem_of(job / _POLICY, reread=True):
            return None
        return FineTuned(
            load_backbone(str(job / _POLICY)),
            pd.read_parquet(job / _LOG),
            pd.read_parquet(job / _EPOCHS),
            json.loads((job / RESULT).read_text()),
        )


@dataclass(frozen=True)
class RolloutTraining(Training):
    """A fine-tuning on rollouts.

    Attributes:
        examples: Training queries.
        task: Reads answers and knows titles.
        reward: What the reward terms know about the items.
        rft: The parameters.
    """

    examples: Sequence[Example]
    task: RecTask
    reward: RewardData
    rft: RFTParameters

    kind: ClassVar[str] = "rollouts"

    def run(self, folder: Path, callbacks: Sequence[TrainerCallback] = ()) -> FineTuned:
        """See ``Training``."""
        backbone = load_trained(self.name_or_path, self.rft.backbone)
        rest = (self.rft, self.seed, folder, callbacks)
        return fine_tune_rl(backbone, self.examples, self.task, self.reward, *rest)

    def write(self, job: Path) -> None:
        """See ``Training``."""
        catalogue = self.task.catalogue
        write_queries(job, self.examples)
        with replacing(job / _ITEMS) as beside:
            items = {"item_id": catalogue.item_ids, "title": catalogue.titles}
            pd.DataFrame(items).to_parquet(beside)
        arrays = {"bits": self.reward.bits, "embeddings": self.reward.embeddings}
        extra = {f"{_EXTRA}{name}": array for name, array in self.reward.extra.items()}
        with replacing(job / _REWARD) as beside:
            save_file({**arrays, **extra}, beside)
        wording = self.task.wording.model_dump(mode="json")
        self._write_settings(job, wording=wording, rft=self.rft.model_dump(mode="json"))

    @classmethod
    def read(cls, job: Path) -> RolloutTraining:
        """The training behind ``write``."""
        settings = read_settings(job, cls.kind)
        items = pd.read_parquet(job / _ITEMS)
        index = ItemIndex(items["item_id"].tolist(), items["title"].tolist())
        arrays = load_file(job / _REWARD)
        bits, embeddings = arrays.pop("bits"), arrays.pop("embeddings")
        extra = {name.removeprefix(_EXTRA): array for name, array in arrays.items()}
        return cls(
            settings["name_or_path"],
            settings["seed"],
            read_queries(job)[0],
            RecTask(index, PromptWording(**settings["wording"])),
            RewardData(bits, embeddings, extra=extra),
            RFTParameters(**settings["rft"]),
        )


@dataclass(frozen=True)
class SupervisedTraining(Training):
    """A supervised fine-tuning.

    Attributes:
        lessons: Training queries, each with the response that is taught.
        plan: What it may spend, and how.
    """

    lessons: Sequence[tuple[Example, str]]
    plan: SupervisedPlan

    kind: ClassVar[str] = "lessons"

    def run(self, folder: Path, callbacks: Sequence[TrainerCallback] = ()) -> FineTuned:
        """See ``Training``."""
        backbone = load_trained(self.name_or_path, self.plan.backbone)
        return fine_tune_sft(backbone, self.lessons, self.plan, self.seed, folder, callbacks)

    def write(self, job: Path) -> None:
        """See ``Training``."""
        examples, responses = zip(*self.lessons, strict=True)
        write_queries(job, examples, responses)
        self._write_settings(job, plan=self.plan.model_dump(mode="json"))

    @classmethod
    def read(cls, job: Path) -> SupervisedTraining:
        """The training behind ``write``."""
        settings = read_settings(job, cls.kind)
        lessons = [*zip(*read_queries(job), strict=True)]
        plan = SupervisedPlan(**settings["plan"])
        return cls(settings["name_or_path"], settings["seed"], lessons, plan)


@dataclass(frozen=True)
class Answering:
    """Greedy answers of a policy to many prompts.

    Attributes:
        policy: What answers.
        examples: What it is asked.
        max_new_tokens: Most tokens of a completion.
        batch_size: Prompts at once, on each rank.
        dtype: Precision of the weights.
        label: Words before the progress bar.
    """

    policy: Backbone
    examples: Sequence[Example]
    max_new_tokens: int
    batch_size: int
    dtype: str
    label: str

    kind: ClassVar[str] = "answering"

    def run(self) -> list[list[int]]:
        """Completion tokens of each example; of several ranks, each answers a share of them."""
        cast_weights(self.policy.model, self.dtype)
        n, of = ranks.rank(), ranks.count()
        limits = (self.max_new_tokens, self.batch_size, self.label)
        share = answer(self.policy, self.examples[n::of], *limits) if self.examples[n::of] else []
        answers: list[list[int]] = [[] for _ in self.examples]
        for start, part in enumerate(ranks.gather(share)):
            answers[start::of] = part
        return answers

    def write(self, job: Path) -> None:
        """Writes the JOB; a policy that is nowhere on the disk is written, too."""
        source = self.policy.source
        if source is None:
            source = str(job / _POLICY)
            save_backbone(self.policy, job / _POLICY)
        with replacing(job / "tokenizer") as beside:  # with the values of its template
            self.policy.tokenizer.save_pretrained(beside)
        write_queries(job, self.examples)
        settings = {
            name: getattr(self, name) for name in ("max_new_tokens", "batch_size", "dtype", "label")
        }
        write_settings(job, kind=self.kind, source=source, **settings)

    @classmethod
    def read(cls, job: Path) -> Answering:
        """The work behind ``write``."""
        settings = read_settings(job, cls.kind)
        model = load_backbone(settings.pop("source")).model
        tokenizer = AutoTokenizer.from_pretrained(job / "tokenizer", padding_side="left")
        examples, _ = read_queries(job)
        return cls(Backbone(model, tokenizer), examples, **settings)

    def write_result(self, job: Path, answers: list[list[int]]) -> None:
        """Writes the answers."""
        write_bytes(job / RESULT, json.dumps(answers).encode())

    @staticmethod
    def read_result(job: Path) -> list[list[int]]:
        """The answers."""
        answers: list[list[int]] = json.loads((job / RESULT).read_text())
        return answers


def write_queries(
    job: Path, examples: Sequence[Example], responses: Sequence[str] | None = None
) -> None:
    """Writes queries as a table, with the responses that are taught if there are any."""
    table = examples_to_dataset(examples)
    if responses is not None:
        table = table.add_column("response", list(responses))
    with replacing(job / _QUERIES) as beside:
        pq.write_table(table.with_format("arrow")[:], beside)


def read_queries(job: Path) -> tuple[list[Example], list[str]]:
    """The queries behind ``write_queries``, and the responses that are taught."""
    rows = pq.read_table(job / _QUERIES).to_pylist()
    taught = [row["response"] for row in rows if "response" in row]
    return examples_from_dataset(rows), taught


def write_settings(job: Path, **settings: Any) -> None:
    """Writes the settings of a JOB, which comes last."""
    write_bytes(job / SETTINGS, json.dumps(settings, indent=1).encode())


def read_settings(job: Path, kind: str | None = None) -> dict[str, Any]:
    """The settings of a JOB; without its kind where that is given.

    Raises:
        BadInputError: If the folder is no JOB, or one of another kind.
    """
    file = job / SETTINGS
    if not file.is_file():
        remedy = "kedro run --params launch.preset=... makes one"
        raise BadInputError(job, "is no JOB", remedy=remedy)
    settings: dict[str, Any] = json.loads(file.read_text())
    if kind is not None and settings.pop("kind") != kind:
        raise BadInputError(file, f"is of another kind than '{kind}'", field="kind")
    return settings


#: kind -> what a JOB of that kind is.
KINDS: Mapping[str, Any] = {
    work.kind: work for work in (RolloutTraining, SupervisedTraining, Answering)
}
