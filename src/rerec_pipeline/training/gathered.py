"""Weights that ranks share out, whole for a while: FSDP2's, for generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributed.fsdp import FSDPModule


@contextmanager
def gathered(model: Any, accelerator: Any) -> Iterator[None]:
    """Holds all weights on every rank, so that each generates its own rollouts at its own pace.

    Layer by layer, every token of every rank would wait for all others. TRL gathers ZeRO-3's
    weights for generation, too (``ds3_gather_for_generation``), but not FSDP2's. Does nothing to
    a model that is not sharded so.

    Args:
        model: What generates.
        accelerator: Knows how FSDP was set up.
    """
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            again = bool(accelerator.state.fsdp_plugin.reshard_after_forward)
            part.set_reshard_after_forward(again, recurse=False)
            part.reshard()
