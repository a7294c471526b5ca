"""The assistant in bulk, over what a real run has left."""

import json

import pandas as pd
import pytest

from rerec_pipeline.errors import MissingStageError
from rerec_pipeline.pipelines.recommend import nodes
from tests.pipelines.conftest import run


@pytest.fixture(scope="module")
def asked(finished, tmp_path_factory):
    queries = pd.read_parquet(finished / "data/02_intermediate/sample_book/queries.parquet")
    rows = [{"id": row.query_id, "request": row.text, "k": 3} for row in queries[:40].itertuples()]
    path = tmp_path_factory.mktemp("bulk") / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path, rows


def test_every_request_gets_items_of_the_catalogue(finished, asked, monkeypatch, tmp_path):
    path, rows = asked
    out = tmp_path / "out.parquet"
    monkeypatch.setattr(nodes, "_BATCHES", 1)
    sizes, plain = [], nodes._row

    def row(*args):
        sizes.append(1)
        if len(sizes) == 39:  # in the last part
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(nodes, "_row", row)
    settings = {"evaluation": {"batch_size": 16}, "requests": str(path)}
    with pytest.raises(KeyboardInterrupt):
        run(finished, "recommend", recommendations=str(out), **settings)
    assert not out.exists()
    run(finished, "recommend", recommendations=str(out), **settings)
    assert len(sizes) == 39 + 8  # the first two parts were not made again
    table = pd.read_parquet(out)
    items = pd.read_parquet(finished / "data/02_intermediate/sample_book/items.parquet")
    titles = set(items["title"])
    assert table["id"].tolist() == [row["id"] for row in rows]
    assert all(len(row) == 3 and set(row) <= titles for row in table["titles"])
    assert (table["reasoning"].str.len() > 0).mean() > 0.9
    assert not list(finished.glob("data/06_models/**/part-*.parquet"))


def test_a_file_that_is_not_there_is_named(finished, tmp_path):
    with pytest.raises(MissingStageError, match=r"no file .*none\.jsonl.*requests=FILE"):
        run(finished, "recommend", requests=str(tmp_path / "none.jsonl"))
