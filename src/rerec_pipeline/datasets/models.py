"""Catalog data sets for tensors (safetensors) and causal language models (Hugging Face)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import torch
from kedro.io import AbstractDataset
from safetensors.torch import load_file, save_file

from rerec_pipeline.models.backbone import Backbone, load_backbone, save_backbone


class TensorsDataset(AbstractDataset[dict[str, torch.Tensor], dict[str, torch.Tensor]]):
    """Named tensors in one safetensors file.

    Args:
        filepath: The file.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, torch.Tensor]:
        """Reads all tensors."""
        return load_file(str(self._filepath))

    def save(self, data: dict[str, torch.Tensor]) -> None:
        """Writes beside the file, then renames."""
        target = Path(self._filepath)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.partial")
        save_file({name: tensor.contiguous() for name, tensor in data.items()}, str(beside))
        beside.replace(target)

    def _exists(self) -> bool:
        return Path(self._filepath).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class PolicyDataset(AbstractDataset[Backbone, Backbone]):
    """A causal language model with its tokenizer, as a Hugging Face folder.

    What is saved can be loaded anywhere with ``AutoModelForCausalLM.from_pretrained`` (a LoRA
    policy with ``peft.AutoPeftModelForCausalLM``).

    Args:
        filepath: The folder.
        dtype: Precision to load in; ``auto`` for that of the files.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    def __init__(
        self, *, filepath: str, dtype: str = "auto", metadata: dict[str, Any] | None = None
    ):
        self._filepath = PurePosixPath(filepath)
        self._dtype = dtype
        self.metadata = metadata

    def load(self) -> Backbone:
        """Loads model and tokenizer."""
        return load_backbone(str(self._filepath), self._dtype)

    def save(self, data: Backbone) -> None:
        """Writes a folder beside the target and swaps it in when it is complete."""
        save_backbone(data, Path(self._filepath))

    def _exists(self) -> bool:
        return (Path(self._filepath) / "tokenizer_config.json").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "dtype": self._dtype}
