"""Importing what answering needs, and not what training, compiling and sharding need.

LightGBM, transformers and torch import much that is used elsewhere only: scikit-learn, torch's
compiler, its distributed tensors. That is half of the time to a first answer.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any
from unittest.mock import patch

_COMPILER = "torch._dynamo"


@contextmanager
def quick_start() -> Iterator[None]:
    """Lets imports of LightGBM and transformers in its block leave out what answering does not use.

    LightGBM's scikit-learn interface is then missing in this process, as are transformers'
    sharding over devices and the marks that keep some functions from being compiled. Where
    transformers has been imported already, nothing is changed.
    """
    if "transformers" in sys.modules or (place := _folder_of_compiler()) is None:
        yield
        return
    hidden = {"sklearn": None, _COMPILER: _NoCompiler(place)}
    hidden = {name: module for name, module in hidden.items() if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    gc.disable()  # nothing that is imported here is garbage, so it would look in vain
    try:
        yield
    finally:
        gc.enable()
        # Submodules, too: a torch with CUDA imports some, and the real package would not know them.
        ours = tuple(f"{name}." for name in hidden)
        for name in [name for name in sys.modules if f"{name}.".startswith(ours)]:
            del sys.modules[name]


def import_transformers() -> None:
    """Imports transformers' models as for one device; to be called within ``quick_start``."""
    import torch

    with patch.object(torch.distributed, "is_available", return_value=False):
        from transformers import utils

        utils.is_torch_distributed_available()  # it remembers what it said first
    # The losses of object detection alone use SciPy's optimizers.
    with patch.object(utils, "is_scipy_available", return_value=False):
        import transformers.modeling_utils  # noqa: F401


def _folder_of_compiler() -> str | None:
    torch = find_spec("torch")
    places = torch.submodule_search_locations if torch else None
    return f"{places[0]}/_dynamo" if places else None


class _NoCompiler(ModuleType):
    """Stands for ``torch._dynamo``: every decorator gives back the function as it is."""

    def __init__(self, place: str):
        super().__init__(_COMPILER)
        self.__path__ = [place]  # submodules are the real ones

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _as_it_is


def _as_it_is(function: Any = None, *_: Any, **__: Any) -> Any:
    return function if callable(function) else lambda given: given
