"""Interactions as many and as skewed as MovieLens-1M's, or that many times over, as raw files.

Users are 6,040 for each multiple, items 3,706 times its square root. A user's activity is
log-normal with at least some twenty interactions, an item's popularity falls by Zipf's law. The
file is written block by block: memory is that of 6,040 users, whatever the multiple.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

USERS = 6040
ITEMS = 3706
MEAN_ACTIVITY = 165.6  # interactions of a user in MovieLens-1M; 20 is the least
SPREAD = 1.1
FLATTENING = 20.0  # ranks by which the head of the popularity curve is flattened
SCHEMA = pa.schema(
    [
        ("user_id", pa.int32()),
        ("movie_id", pa.int32()),
        ("rating", pa.int8()),
        ("timestamp", pa.int64()),
    ]
)


def blocks(multiple: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Interactions of 6,040 users at a time, in random order, each pair once."""
    rng = np.random.default_rng(seed)
    items = round(ITEMS * multiple**0.5)
    weights = 1 / (np.arange(items) + FLATTENING) ** 0.9
    popularity = np.cumsum(weights) / weights.sum()
    ids = (rng.permutation(items) + 1).astype(np.int32)
    location = np.log(MEAN_ACTIVITY - 20) - SPREAD**2 / 2
    for first in range(1, USERS * multiple + 1, USERS):
        # A repeated pair counts once: so many more are drawn that the mean comes out.
        activity = 1.19 * (20 + rng.lognormal(location, SPREAD, USERS))
        users = np.repeat(np.arange(USERS), np.minimum(activity, items / 2).astype(int))
        drawn = np.searchsorted(popularity, rng.random(len(users)))
        pairs = rng.permutation(np.unique(users * items + drawn))
        yield pa.record_batch(
            [
                (first + pairs // items).astype(np.int32),
                ids[pairs % items],
                rng.integers(1, 6, len(pairs), dtype=np.int8),
                rng.integers(956_703_932, 1_046_454_590, len(pairs)),
            ],
            schema=SCHEMA,
        )


def write_parquet(path: Path, batches: Iterator[pa.RecordBatch]) -> int:
    """Writes interactions.parquet; returns the number of rows."""
    rows = 0
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def write_text(path: Path, batches: Iterator[pa.RecordBatch]) -> int:
    """Writes ``UserID::ItemID::Rating::Timestamp`` lines; returns their number."""
    rows = 0
    options = pyarrow.csv.WriteOptions(include_header=False)
    with path.open("wb") as file:
        for batch in batches:
            sink = pa.BufferOutputStream()
            pyarrow.csv.write_csv(batch, sink, options)
            file.write(sink.getvalue().to_pybytes().replace(b",", b"::"))
            rows += batch.num_rows
    return rows


def write_items(path: Path, multiple: int) -> int:
    """Writes the item ids; returns their number."""
    items = round(ITEMS * multiple**0.5)
    ids = pd.Series(range(1, items + 1))
    pd.DataFrame({"item_id": ids, "raw_id": ids.astype("str")}).to_parquet(path)
    return items


def main() -> None:
    """Writes a folder of raw files and prints what is in it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--multiple", type=int, required=True)
    parser.add_argument("--form", choices=["parquet", "text"], default="parquet")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    items = write_items(asked.folder / "items.parquet", asked.multiple)
    batches = blocks(asked.multiple, asked.seed)
    if asked.form == "parquet":
        path, write = asked.folder / "interactions.parquet", write_parquet
    else:
        path, write = asked.folder / "ratings.dat", write_text
    rows = write(path, batches)
    made = {
        "users": USERS * asked.multiple,
        "items": items,
        "interactions": rows,
        "raw_mb": path.stat().st_size / 1e6,
        "path": str(path),
    }
    print(json.dumps(made))


if __name__ == "__main__":
    main()
