"""All parameters of a run, validated before anything runs, and the three choices behind them.

Data set, backbone and variant are independent choices on the command line. Each names a block
under ``conf/base/parameters/`` that is laid over the defaults:

    defaults <- data set <- backbone <- variant <- ``--params``
"""

from rerec_pipeline.configs import folder_of_split
from rerec_pipeline.parameters.backbone import (
    BackboneParameters,
    LoraParameters,
    ScratchParameters,
)
from rerec_pipeline.parameters.base_policy import BasePolicyParameters
from rerec_pipeline.parameters.choices import (
    CHOICES,
    EXPERIMENT,
    policy_name,
    run_choices,
    say_run,
)
from rerec_pipeline.parameters.composing import compose, overlay
from rerec_pipeline.parameters.data import (
    AttributeParameters,
    AttributeSource,
    DataParameters,
    FixedParameters,
    HistoryParameters,
    InteractionParameters,
    LightGCNParameters,
    SplitConfig,
)
from rerec_pipeline.parameters.launch import LaunchParameters
from rerec_pipeline.parameters.next_item import NextItemParameters, SASRecParameters
from rerec_pipeline.parameters.open_ended import OpenEndedParameters
from rerec_pipeline.parameters.pretraining import (
    ArchitectureParameters,
    PretrainingParameters,
    StageParameters,
)
from rerec_pipeline.parameters.reports import (
    AbilityParameters,
    ComparisonParameters,
    DiagnosisLimits,
    DiagnosisParameters,
    EvaluationParameters,
    PublishedParameters,
    QuestionParameters,
)
from rerec_pipeline.parameters.retrieval import RetrievalParameters
from rerec_pipeline.parameters.rft import (
    BudgetParameters,
    ColdStartParameters,
    GenerationParameters,
    OptimizerParameters,
    RewardParameters,
    RFTParameters,
    SFTParameters,
    SupervisedPlan,
    VllmParameters,
    portions,
)
from rerec_pipeline.parameters.run import Parameters, explain, validate

__all__ = [
    "CHOICES",
    "EXPERIMENT",
    "AbilityParameters",
    "ArchitectureParameters",
    "AttributeParameters",
    "AttributeSource",
    "BackboneParameters",
    "BasePolicyParameters",
    "BudgetParameters",
    "ColdStartParameters",
    "ComparisonParameters",
    "DataParameters",
    "DiagnosisLimits",
    "DiagnosisParameters",
    "EvaluationParameters",
    "FixedParameters",
    "GenerationParameters",
    "HistoryParameters",
    "InteractionParameters",
    "LaunchParameters",
    "LightGCNParameters",
    "LoraParameters",
    "NextItemParameters",
    "OpenEndedParameters",
    "OptimizerParameters",
    "Parameters",
    "PretrainingParameters",
    "PublishedParameters",
    "QuestionParameters",
    "RFTParameters",
    "RetrievalParameters",
    "RewardParameters",
    "SASRecParameters",
    "SFTParameters",
    "ScratchParameters",
    "SplitConfig",
    "StageParameters",
    "SupervisedPlan",
    "VllmParameters",
    "compose",
    "explain",
    "folder_of_split",
    "overlay",
    "policy_name",
    "portions",
    "run_choices",
    "say_run",
    "validate",
]
