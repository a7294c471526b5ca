"""Where a model computes."""

from __future__ import annotations

import gc

import torch


def device() -> torch.device:
    """The accelerator of this process, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def free_memory() -> None:
    """Gives back what a trainer has held: its parts refer to one another, so it outlives its use.

    The optimizer of a 3 B policy alone takes 25 GB, which evaluation has use for.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
