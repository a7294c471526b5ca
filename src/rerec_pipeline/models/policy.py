"""Catalog data set of a causal language model, as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset

from rerec_pipeline.models.backbone import Backbone, load_backbone, save_backbone
from rerec_pipeline.storage.records import Origin


class PolicyDataset(AbstractDataset[Backbone, Backbone]):
    """A causal language model with its tokenizer, as a Hugging Face folder.

    What is saved can be loaded anywhere with ``AutoModelForCausalLM.from_pretrained`` (a LoRA
    policy with ``peft.AutoPeftModelForCausalLM``).

    Args:
        filepath: The folder.
        dtype: Precision to load in; ``auto`` for that of the files.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    origin: Origin | None = None
    stale = False

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
        save_backbone(data, Path(self._filepath), origin=self.origin)
        self.stale = False

    def _exists(self) -> bool:
        return not self.stale and (Path(self._filepath) / "tokenizer_config.json").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "dtype": self._dtype}
