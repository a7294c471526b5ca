"""All parameters of a run together, and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from rerec_pipeline.configs import Config, EvaluatedSplit
from rerec_pipeline.errors import BadParameterError, did_you_mean
from rerec_pipeline.parameters.base_policy import BasePolicyParameters
from rerec_pipeline.parameters.choices import EXPERIMENT, check_label
from rerec_pipeline.parameters.data import (
    AttributeParameters,
    DataParameters,
    FixedParameters,
    HistoryParameters,
    InteractionParameters,
    LightGCNParameters,
)
from rerec_pipeline.parameters.launch import LaunchParameters
from rerec_pipeline.parameters.next_item import NextItemParameters, SASRecParameters
from rerec_pipeline.parameters.open_ended import OpenEndedParameters
from rerec_pipeline.parameters.reports import (
    AbilityParameters,
    ComparisonParameters,
    DiagnosisParameters,
    EvaluationParameters,
)
from rerec_pipeline.parameters.retrieval import RetrievalParameters
from rerec_pipeline.parameters.rft import RFTParameters, portions
from rerec_pipeline.recbench.records import QueryType


class Parameters(Config):
    """All parameters of a run.

    Attributes:
        dataset: Name of a block of ``conf/base/parameters/datasets.yml``.
        backbone: Name of a block of ``conf/base/parameters/backbones.yml``.
        variant: Name of a block of ``conf/base/parameters/variants.yml``.
        target: Data set that a policy trained on ``dataset`` is tested on (``transfer``). Blocks
            of data and graphs are then those of the target.
        engine: Engine for the tables of interactions (``engines`` in ``globals.yml``). Results do
            not depend on it, so records do not contain it.
        launch: Processes that train and answer. Results do not depend on it either.
        seed: Seed of rollouts, curriculum and adapters; data, LightGCN and evaluation have others.
        label: Names the folder of a run that differs from its variant by further parameters.
        data_label: Names the folder of tables and graphs that differ from those of ``dataset``.
        prompt_label: Names the folder of prompts that differ, and of what follows from them.
        split: The queries that policies are evaluated on.
        raw_dir: Folder that holds ``dataset/<domain>/...``.
        query_type: Query type of the recorded answers that ``score_answers`` reads.
        answers: File of recorded answers, read by ``score_answers`` and ``score_choices``.
        scores: Parquet file to which their scores are written.
        requests: File of requests that ``recommend`` answers.
        recommendations: Parquet file to which ``recommend`` writes its answers.
        score_cuts: Ranks at which ``score_answers`` and ``open_ended`` also give means.
        questions: Number of queries that ``judge_answers`` asks.
        conversations: Number of goals that ``conversations`` draws.
        experiment: Name of the experiment whose cells ``comparison`` compares.
    """

    dataset: str
    backbone: str
    variant: str
    target: str | None
    engine: str
    launch: LaunchParameters
    seed: int = Field(ge=0)
    label: Annotated[str, AfterValidator(check_label)]
    data_label: Annotated[str, AfterValidator(check_label)]
    prompt_label: Annotated[str, AfterValidator(check_label)]
    split: EvaluatedSplit
    raw_dir: str
    data: DataParameters
    attributes: AttributeParameters
    fixed: FixedParameters
    histories: HistoryParameters
    interactions: InteractionParameters
    lightgcn: LightGCNParameters
    rft: RFTParameters
    evaluation: EvaluationParameters
    diagnosis: DiagnosisParameters
    comparison: ComparisonParameters
    abilities: AbilityParameters
    base_policy: BasePolicyParameters
    next_item: NextItemParameters
    retrieval: RetrievalParameters
    open_ended: OpenEndedParameters
    sasrec: SASRecParameters
    query_type: QueryType
    answers: str | None
    scores: str | None
    score_cuts: list[Annotated[int, Field(ge=1)]]
    requests: str | None
    recommendations: str | None
    questions: int = Field(ge=1)
    conversations: int = Field(ge=1)
    experiment: str = Field(pattern=f"^{EXPERIMENT}$")

    @model_validator(mode="after")
    def _traces_come_from_somewhere(self) -> Parameters:
        traces = self.rft.sft.traces
        if self.rft.teaches_traces and traces is None and self.data.source != "fabricated":
            raise ValueError(
                f"rft.sft.traces: the variant '{self.variant}' imitates reasoning, and '"
                f"{self.dataset}' has none: give a file of JSON lines with id and response "
                "(--params rft.sft.traces=FILE)"
            )
        if self.rft.teaches_traces and traces is not None and not Path(traces).is_file():
            raise ValueError(f"rft.sft.traces: there is no file {traces}")
        start = self.rft.cold_start.traces
        if start not in ("none", "graph") and not Path(start).is_file():
            raise ValueError(
                f"rft.cold_start.traces: there is no file {start}; or give none, or graph"
            )
        return self

    @model_validator(mode="after")
    def _every_process_has_a_share(self) -> Parameters:
        try:
            rft, ranks = self.rft, self.launch.processes
            portions(rft.samples_per_step, ranks, rft.budget.micro_batch)
            if rft.cold_start.enabled:
                portions(rft.cold_start.batch_size, ranks, rft.cold_start.micro_batch)
        except BadParameterError as exc:
            raise ValueError(f"launch.processes: {exc}") from None
        return self


def validate(parameters: Mapping[str, Any]) -> Parameters:
    """Checks all parameters.

    Raises:
        BadParameterError: Naming every key that is unknown, missing or wrong.
    """
    try:
        return Parameters.model_validate(dict(parameters))
    except ValidationError as exc:
        said = explain(exc, Parameters)
        many = f"these parameters cannot be used:\n{said}"
        raise BadParameterError(many if "\n" in said else said.strip()) from None


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """What pydantic found wrong, a line for each key, by the name that a user knows it by.

    Args:
        error: What it found.
        model: Where similar names are looked for in place of an unknown one.
    """
    known = [*_names(model)] if model else []
    found = ((_key(dict(e)), _reason(dict(e), known)) for e in error.errors())
    # What concerns several blocks has no key of its own: the reason names them.
    return "\n".join(f"  {key}: {reason}" if key else f"  {reason}" for key, reason in found)


def _key(error: dict[str, Any]) -> str:
    within = getattr(error.get("ctx", {}).get("error"), "key", None)
    return ".".join(map(str, (*error["loc"], *([within] if within else []))))


def _reason(error: dict[str, Any], known: Sequence[str]) -> str:
    if error["type"] == "extra_forbidden":
        return f"there is no such parameter{_meant(_key(error), known)}"
    if error["type"] == "missing":
        return "is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{message}, got {error['input']!r}"


def _meant(key: str, known: Sequence[str]) -> str:
    """A parameter of the same name in another block, or one whose name is similar."""
    last = key.rsplit(".", 1)[-1]
    same = [name for name in known if name.endswith(f".{last}")]
    return f"; did you mean {' or '.join(same)}?" if 0 < len(same) < 4 else did_you_mean(key, known)


def check_blocks(
    given: Mapping[str, Any], model: type[BaseModel] = Parameters, prefix: str = ""
) -> None:
    """Makes sure that no block of parameters is replaced by a value: what is in it is needed.

    Args:
        given: What the command line gives.
        model: What it is part of.
        prefix: Where.

    Raises:
        BadParameterError: If one is.
    """
    for key, value in given.items():
        kind: Any = model.model_fields[key].annotation if key in model.model_fields else None
        block = _block(kind)
        if block and isinstance(value, Mapping):
            check_blocks(value, block, f"{prefix}{key}.")
        elif block and block is kind:  # else it is a block or null
            raise BadParameterError(
                f"{prefix}{key}={value}: {prefix}{key} is a block of parameters; give one of "
                f"them, e.g. {prefix}{key}.{next(iter(block.model_fields))}=VALUE"
            )


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Names of all parameters and blocks, with dots."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if block := _block(field.annotation):
            yield from _names(block, f"{prefix}{name}.")


def _block(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is a block, or a block or null."""
    kinds = (annotation, *get_args(annotation))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
