"""What chooses among the tokens of each row, and can go on with some of the rows."""

from __future__ import annotations

from torch import Tensor
from transformers import LogitsProcessor


class RowsProcessor(LogitsProcessor):
    """A processor that keeps something of each row of a batch."""

    def keep(self, rows: Tensor) -> None:
        """Goes on with some rows alone.

        Args:
            rows: Their places among the rows until now, int (n,).
        """
        raise NotImplementedError
