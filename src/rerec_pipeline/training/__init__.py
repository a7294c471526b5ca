"""Reinforcement fine-tuning with TRL, its supervised controls, and pretraining.

What others import, after the manner of TRL:

.. code-block:: python

    from rerec_pipeline.training import ReRecConfig, ReRecTrainer
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerec_pipeline.training.baselines import (
        ReinforcePPConfig,
        ReinforcePPTrainer,
        TaskRLOOConfig,
        TaskRLOOTrainer,
    )
    from rerec_pipeline.training.config import ReRecConfig
    from rerec_pipeline.training.data import examples_from_dataset, examples_to_dataset
    from rerec_pipeline.training.library import evaluate, load_job
    from rerec_pipeline.training.trainer import ReRecTrainer

__all__ = [
    "ReRecConfig",
    "ReRecTrainer",
    "ReinforcePPConfig",
    "ReinforcePPTrainer",
    "TaskRLOOConfig",
    "TaskRLOOTrainer",
    "evaluate",
    "examples_from_dataset",
    "examples_to_dataset",
    "load_job",
]

_MODULES = {
    "ReRec": "trainer",
    "Reinforce": "baselines",
    "TaskRLOO": "baselines",
    "examples": "data",
    "evaluate": "library",
    "load_job": "library",
}


def __getattr__(name: str) -> Any:
    """Imports a trainer when it is asked for: TRL takes ten seconds."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = next(where for begin, where in _MODULES.items() if name.startswith(begin))
    return getattr(import_module(f"{__name__}.{module}"), name)
