"""A trained policy, with all that the assistant needs, as a model of MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import mlflow

import rerec_pipeline
from rerec_pipeline.assistant.loading import Settings

#: Its name among the models of a run: ``runs:/RUN/assistant``.
NAME = "assistant"

#: What loading the model takes, in the versions that are installed.
_PACKAGES = (
    "mlflow", "torch", "transformers", "lightgbm", "bm25s", "marisa-trie", "scipy", "numpy",
    "pandas", "pyarrow", "pydantic", "safetensors", "psutil", "filelock", "kedro", "jinja2",
)  # fmt: skip


def log_assistant(files: Mapping[str, Path], settings: Settings, example: str) -> str:
    """Logs the assistant to the active run; MLflow asks it the example, so it is known to work.

    Args:
        files: Of each of ``loading.NEEDED``, and the folder ``policy``.
        settings: What the assistant is told beside them.
        example: A request, which becomes the input example.

    Returns:
        The id of the model.
    """
    logged = mlflow.pyfunc.log_model(
        name=NAME,
        python_model=str(Path(__file__).with_name("agent.py")),
        artifacts={name: str(path) for name, path in files.items()},
        model_config=settings.model_dump(mode="json"),
        code_paths=[str(Path(rerec_pipeline.__file__).parent)],
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _PACKAGES],
        input_example={
            "input": [{"role": "user", "content": example}],
            "custom_inputs": {"k": 3},
        },
    )
    return str(logged.model_id)
