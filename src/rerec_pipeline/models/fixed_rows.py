"""Rows of an embedding that stay as they were drawn, in every training of a model.

Where input and output share an embedding, softmax pushes the rows of all tokens that a batch does
not name in one direction, and Adam makes that push as large as any: rows of rare tokens become
alike (Gao et al., 2019, "Representation Degeneration Problem in Training Natural Language
Generation Models"). A title or a name that is one token is rare, and all that a policy has to do
with it is to copy it. Random rows of that many dimensions are told apart well, and stay so.

The logit of a token is at most the length of its row times that of the hidden state: the longer
the rows that no training lengthens, the surer softmax can be of one among thousands.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

#: Entry of a model's config: the first of the rows, all of those after it are fixed as well.
FIXED_FROM = "fixed_rows_from"


def fix_rows(model: PreTrainedModel, first: int, std: float) -> None:
    """Says in a model's config, which is saved with it, which rows stay as they were drawn.

    Args:
        model: A model with the weights that were drawn for it.
        first: Token id of the first; all after it are fixed as well.
        std: Standard deviation that their entries are brought to; a row has length
            ``std * sqrt(hidden size)``.
    """
    embedding: Any = model.get_input_embeddings().weight
    embedding.data[first:] *= std / model.config.initializer_range
    setattr(model.config, FIXED_FROM, first)


def hold_fixed_rows(model: PreTrainedModel) -> None:
    """Keeps gradients from the rows that the config of a model fixes; to be called before training.

    Weight decay shortens them all alike, which keeps their directions.

    Args:
        model: Any model; one whose config fixes nothing, or whose embedding is not trained (an
            adapter is), stays as it is.
    """
    first = getattr(model.config, FIXED_FROM, None)
    embedding: Any = model.get_input_embeddings().weight
    if first is not None and embedding.requires_grad:
        embedding.register_hook(lambda gradient: _without(gradient, first))


def _without(gradient: Tensor, first: int) -> Tensor:
    kept = gradient.clone()
    kept[first:] = 0
    return kept
