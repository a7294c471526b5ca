"""Tables that stay in an engine (Ibis): files too large to be loaded, and who computes on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.utils import load_obj
from kedro_datasets._typing import TablePreview
from kedro_datasets.ibis import FileDataset
from tqdm import tqdm

from rerec_pipeline.storage.datasets import AtomicWriteMixin

if TYPE_CHECKING:
    from ibis import BaseBackend


class _CheckedFile(FileDataset):
    """Parquet that an engine reads and writes, and checks once it is written."""

    def __init__(
        self,
        *,
        filepath: str,
        connection: dict[str, Any],
        schema: str,
        metadata: dict[str, Any] | None = None,
    ):
        super().__init__(filepath, "parquet", connection=connection, metadata=metadata)
        self._schema = load_obj(schema)

    def _connect(self) -> BaseBackend:
        if (spill := self._connection_config.get("temp_directory")) is not None:
            Path(spill).mkdir(parents=True, exist_ok=True)
        return super()._connect()

    def load(self) -> ir.Table:
        return self._table(Path(self._get_load_path()))

    def _table(self, path: Path) -> ir.Table:
        # A distributed engine writes a folder of files.
        files = path / "*.parquet" if path.is_dir() else path
        return self.connection.read_parquet(files.as_posix())

    def save(self, data: ir.Table | pa.RecordBatchReader) -> None:
        path = Path(self._get_save_path())
        if isinstance(data, pa.RecordBatchReader):
            _write_stream(data, path)
        else:
            super().save(data)
        written = self._table(path)
        self._schema.check(written, self._filepath)
        self.connection.drop_view(written.get_name(), force=True)


def _write_stream(stream: pa.RecordBatchReader, path: Path) -> None:
    with (
        pq.ParquetWriter(path, stream.schema) as writer,
        tqdm(desc="Interactions", unit=" rows", unit_scale=True) as progress,
    ):
        for batch in stream:
            writer.write_batch(batch)
            progress.update(len(batch))


class EngineTableDataset(AtomicWriteMixin, _CheckedFile):
    """A Parquet table as an Ibis expression: nothing is loaded until a node asks for a result.

    Saved is an expression, which the engine computes and writes, or a stream of Arrow record
    batches. The file is checked before it takes the place of the old one.

    Args:
        filepath: The file, or the folder of files that a distributed engine makes of it.
        connection: Ibis's ``backend`` and the arguments of its ``connect``.
        schema: Import path of an ``EngineSchema``.
        metadata: Ignored by Kedro; read by kedro viz.
    """

    def preview(self, nrows: int = 10) -> TablePreview:
        """First rows for kedro viz; nulls stay nulls and whole numbers whole."""
        rows = self.load().limit(nrows).to_pyarrow()
        data = [list(row.values()) for row in rows.to_pylist()]
        index = list(range(len(data)))
        return TablePreview({"index": index, "columns": rows.column_names, "data": data})
