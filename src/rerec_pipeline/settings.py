"""Project settings, read by Kedro."""

from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.hooks.mlflow import MlflowHooks
from rerec_pipeline.hooks.provenance import ProvenanceHooks
from rerec_pipeline.hooks.summary import SummaryHooks

# The last one is called first: parameters and inputs are checked before MLflow starts a run.
HOOKS = (SummaryHooks(), MlflowHooks(), ProvenanceHooks())

CONFIG_LOADER_CLASS = ChoicesConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {
        "mlflow": ["mlflow*"],
        "fetch": ["fetch*"],
        "plan": ["plan*"],
        "experiments": ["experiments*"],
    },
    # Without these, one key in conf/local would replace a whole block of conf/base.
    "merge_strategy": {
        "parameters": "soft",
        "globals": "soft",
        "mlflow": "soft",
        "fetch": "soft",
        "experiments": "soft",
    },
}
