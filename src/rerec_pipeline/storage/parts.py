"""Long work in parts, each kept as soon as it is done: the same command goes on where it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd

from rerec_pipeline.storage.checkpoints import Checkpoints
from rerec_pipeline.storage.records import problem_of, replacing

T = TypeVar("T")


def in_parts(
    rows: Sequence[T], size: int, folder: Path, work: Callable[[Sequence[T]], pd.DataFrame]
) -> pd.DataFrame:
    """Makes a table of rows, part by part; what was made before is read.

    Args:
        rows: What the table is made of, at least one.
        size: Rows of a part.
        folder: Of these rows and this work alone, e.g. named by their ``fingerprint``. It goes
            once what the node has made is on the disk.
        work: Makes the part of a table that some rows give.
    """
    parts = []
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        # By its rows, so that a part of another size is not taken for this one.
        path = folder / f"rows-{start:06d}-{stop:06d}.parquet"
        if problem_of(path):
            part = work(rows[start:stop])
            with replacing(path) as beside:
                part.to_parquet(beside)
        parts.append(pd.read_parquet(path))
    Checkpoints(folder).finish()
    return pd.concat(parts, ignore_index=True)
