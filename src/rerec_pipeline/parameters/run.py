"""All parameters of a run together, and what is said of one that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from rerec_pipeline.errors import BadParameterError
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
from rerec_pipeline.parameters.next_item import NextItemParameters, SASRecParameters
from rerec_pipeline.parameters.reports import (
    AbilityParameters,
    ComparisonParameters,
    DiagnosisParameters,
    EvaluationParameters,
)
from rerec_pipeline.parameters.rft import RFTParameters
from rerec_pipeline.recbench.records import QueryType
from rerec_pipeline.rules import EvaluatedSplit, Rule


class Parameters(Rule):
    """All parameters of a run.

    Attributes:
        dataset, backbone, variant: The three choices.
        target: Data set that a policy trained on ``dataset`` is tested on (``transfer``). Blocks
            of data and graphs are then those of the target.
        engine: What computes on tables of interactions. Results do not depend on it, so it is
            in no stamp.
        seed: Of rollouts, curriculum and adapters. Data, LightGCN and evaluation have their own.
        label: Names the folder of a run that differs from its variant by further parameters.
        split: The queries that policies are evaluated on.
        raw_dir: Folder that holds ``dataset/<domain>/...``.
        query_type: Of the recorded answers that ``score_answers`` scores.
        answers: File of recorded answers, of ``score_answers`` and ``score_choices``.
        scores: Where their scores go.
        score_cuts: Ranks at which ``score_answers`` also gives means.
        experiment: Name of the experiment whose cells ``comparison`` compares.
    """

    dataset: str
    backbone: str
    variant: str
    target: str | None
    engine: str
    seed: int = Field(ge=0)
    label: Annotated[str, AfterValidator(check_label)]
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
    sasrec: SASRecParameters
    query_type: QueryType
    answers: str | None
    scores: str | None
    score_cuts: list[int]
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
        return self


def validate(parameters: Mapping[str, Any]) -> Parameters:
    """Checks all parameters.

    Raises:
        BadParameterError: Naming every key that is unknown, missing or wrong.
    """
    try:
        return Parameters.model_validate(dict(parameters))
    except ValidationError as exc:
        raise BadParameterError(f"these parameters cannot be used:\n{explain(exc)}") from None


def explain(error: ValidationError) -> str:
    """What pydantic found wrong, a line for each key, by the name that a user knows it by."""
    return "\n".join(f"  {_key(e['loc'])}: {_reason(dict(e))}" for e in error.errors())


def _key(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location)


def _reason(error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such parameter"
    if error["type"] == "missing":
        return "is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"{message}, got {error['input']!r}"
