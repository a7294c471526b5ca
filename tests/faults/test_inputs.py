"""Damaged inputs of every kind: read as they are, or refused by an error of ours; never changed.

Every case is made from a small world by a seed, so that a failure can be repeated by its name. A
few cases of each kind are in the normal suite; ``make test-faults`` runs all and prints a table.
"""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import ibis
import networkx as nx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.pipelines.data_engineering import nodes as de
from rerec_pipeline.pipelines.data_engineering import prompts as dp
from rerec_pipeline.recbench import ratings, reading, schemas
from rerec_pipeline.recbench.fixed import read_fixed_candidates, read_fixed_splits
from rerec_pipeline.recbench.open_ended import labelled_titles, score_file
from rerec_pipeline.recbench.recorded import answers_to_test, recorded_traces
from rerec_pipeline.recbench.records import QUERY_FILES
from rerec_pipeline.recbench.tables import catalogue_from_table, examples_from_table
from rerec_pipeline.recbench.task import RecTask
from tests.conftest import attribute_parameters, data_parameters, engineer
from tests.faults.mutations import mutate

FEW, ALL = 5, 53
EVERY = attribute_parameters("items", "edge_list", "gexf")

Rows = Counter
"""What was read, each row a tuple that does not depend on how items are numbered."""


@dataclass
class World:
    """A data set as it should be."""

    folder: Path
    tables: dict
    task: RecTask

    def file(self, name: str) -> Path:
        return self.folder / "dataset/movie" / name

    def manifest(self, name: str, path: Path) -> dict:
        """The manifest with one file somewhere else; ratings in the place of any interactions."""
        kept = {k: v for k, v in self.tables["manifest"].items() if k != "ratings.dat"}
        other = {name: {"path": str(path), "bytes": 0, "sha256": ""}}
        interactions = {} if name in ("ratings.dat", "interactions.parquet") else {
            "ratings.dat": self.tables["manifest"]["ratings.dat"]
        }  # fmt: skip
        return kept | interactions | other

    @property
    def splits(self) -> dict[str, str]:
        rows = self.tables["splits"]
        return dict(zip(rows["query_id"], rows["split"], strict=True))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def make_world(folder: Path) -> World:
    """Makes a data set with files of all kinds."""
    data = data_parameters()
    tables = engineer(data, str(folder))
    made = World(folder, tables, RecTask(catalogue_from_table(tables["items"]), data.prompt))
    for name, content in _further_files(made).items():
        made.file(name).write_bytes(content)
    return made


def _further_files(world: World) -> dict[str, bytes]:
    """Files of the kinds that the sample does not have."""
    tables, rows = world.tables, pd.read_csv(
        world.file("ratings.dat"), sep="::", engine="python", header=None
    )  # fmt: skip
    graph = nx.Graph()
    titles = dict(zip(tables["items"]["item_id"], tables["items"]["title"], strict=True))
    for edge in tables["attributes"].to_dict("records"):
        graph.add_node(titles[edge["item_id"]], type="movie")
        graph.add_node(edge["value"], type="attribute")
        graph.add_edge(titles[edge["item_id"]], edge["value"], relation=edge["relation"])
    gexf = io.BytesIO()
    nx.write_gexf(graph, gexf)
    parquet = io.BytesIO()
    names = ["user_id", "movie_id", "rating", "timestamp"]
    columns = {name: rows[n] for n, name in enumerate(names)}
    pq.write_table(pa.table(columns), parquet, row_group_size=200)
    users = rows.groupby(0)[1].agg(list).items()
    prompts = tables["prompts"].to_dict("records")
    right = [(row["query_id"], f"Reason.\n\\boxed{{{row['truth']}}}", row) for row in prompts]
    lists = [
        {"query_id": query, "candidates": list(row["candidate_ids"]), "truth": row["truth_id"]}
        for query, _, row in right
    ]
    said = {
        split: [{"id": q, "response": text} for q, text, row in right if row["split"] == split]
        for split in ("train", "test")
    }
    labels = labelled_titles(json.loads(world.file("ExplicitQuery.json").read_text()), "explicit",
                             "q")  # fmt: skip
    answers = [{"id": key, "response": " [SEP] ".join(value)} for key, value in labels.items()]
    texts = {
        "ratings.tsv": rows.to_csv(sep="\t", header=False, index=False),
        "ratings.csv": rows.to_csv(header=False, index=False),
        "adjacency.txt": "".join(f"{u} {' '.join(map(str, seen))}\n" for u, seen in users),
        "splits.csv": tables["splits"][["query_id", "split"]].to_csv(index=False),
        "candidates.jsonl": _json_lines(lists),
        "traces.jsonl": _json_lines(said["train"]),
        "choices.jsonl": _json_lines(said["test"]),
        "answers.jsonl": _json_lines(answers),
    }
    return {name: text.encode() for name, text in texts.items()} | {
        "graph.gexf": gexf.getvalue(), "interactions.parquet": parquet.getvalue(),
    }  # fmt: skip


def _json_lines(rows: Iterable[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# -- reading one file as the pipelines read it -----------------------------------------------


def read_items(world: World, path: Path) -> Rows:
    items, kinds = de.ingest_items(world.manifest("movies.dat", path), "movie", EVERY)
    items = schemas.Items.validate(items)
    schemas.Attributes.validate(kinds)
    catalogue_from_table(items)
    named = dict(zip(items["item_id"], items["raw_id"], strict=True))
    facts = kinds.groupby("item_id")["value"].agg("|".join).to_dict()
    return Counter(
        (named[row["item_id"]], row["title"], facts.get(row["item_id"], ""))
        for row in items.to_dict("records")
    )


def read_users(world: World, path: Path) -> Rows:
    users = schemas.Users.validate(de.ingest_users(world.manifest("users.dat", path)))
    return Counter(users.itertuples(index=False, name=None))


def read_interactions(name: str) -> Callable[[World, Path], Rows]:
    def read(world: World, path: Path) -> Rows:
        manifest = world.manifest(name, path)
        raw = ibis.duckdb.connect().create_table("raw", de.read_interactions(manifest).read_all())
        schemas.RAW_INTERACTIONS.check(raw, path)
        ratings.items_named(path)
        known = de.ingest_interactions(raw, world.tables["items"], manifest)
        schemas.INTERACTIONS.check(known, path)
        return Counter(map(tuple, known.to_pandas().astype("object").to_numpy().tolist()))

    return read


def read_attributes(name: str) -> Callable[[World, Path], Rows]:
    def read(world: World, path: Path) -> Rows:
        manifest = {name: {"path": str(path)}}
        kinds = world.tables["attributes"].iloc[:0]
        facts, _ = de.ingest_attributes(manifest, world.tables["items"], kinds, EVERY)
        schemas.Attributes.validate(facts)
        return Counter(facts[["item_id", "relation", "value"]].itertuples(index=False, name=None))

    return read


def read_queries(name: str) -> Callable[[World, Path], Rows]:
    def read(world: World, path: Path) -> Rows:
        items = world.tables["items"]
        manifest = {name: {"path": str(path)}}
        found, _ = de.ingest_queries(manifest, items, "fabricated", EVERY)
        found = schemas.Queries.validate(found)
        mentions = dp.find_mentions(found, items)
        dp._asked(found, mentions, world.task.catalogue)
        # A profile's queries are numbered within their record.
        return Counter(str(sorted(row.items())) for row in found.astype("str").to_dict("records"))

    return read


def read_splits(world: World, path: Path) -> Rows:
    text = reading.decode(path.read_bytes(), path)
    return Counter(read_fixed_splits(text, path, set(world.splits)).items())


def read_candidates(world: World, path: Path) -> Rows:
    catalogue = world.task.catalogue
    right = {
        row["query_id"]: catalogue.indices(row["truth_ids"])
        for row in world.tables["queries"].to_dict("records")
        if row["query_id"] in world.splits
    }
    text = reading.decode(path.read_bytes(), path)
    return Counter(read_fixed_candidates(text, path, catalogue, right).items())


def read_traces(world: World, path: Path) -> Rows:
    examples = examples_from_table(world.tables["prompts"], world.task.catalogue)
    records = reading.read_json_lines(reading.decode(path.read_bytes(), path), path)
    known = {example.query_id: example for example in examples}
    return Counter(recorded_traces(records, world.splits, known, world.task, path))


def read_choices(world: World, path: Path) -> Rows:
    records = reading.read_json_lines(reading.decode(path.read_bytes(), path), path)
    responses = answers_to_test(records, world.splits, path)
    examples = examples_from_table(world.tables["prompts"], world.task.catalogue)
    asked = [example for example in examples if example.query_id in responses]
    world.task.grade([responses[example.query_id] for example in asked], asked)
    return Counter(responses.items())


def read_answers(world: World, path: Path) -> Rows:
    records = reading.read_json_lines(reading.decode(path.read_bytes(), path), path)
    source = world.file("ExplicitQuery.json")
    labels = labelled_titles(json.loads(source.read_text()), "explicit", source)
    score_file(records, labels, path)
    return Counter((str(r["id"]), r["response"]) for r in records)


KINDS: dict[str, Callable[[World, Path], Rows]] = {
    "movies.dat": read_items,
    "users.dat": read_users,
    **{n: read_interactions("ratings.dat") for n in
       ("ratings.dat", "ratings.tsv", "ratings.csv", "adjacency.txt")},
    "interactions.parquet": read_interactions("interactions.parquet"),
    **{name: read_attributes(name) for name in ("item_attributes.csv", "graph.gexf")},
    **{name: read_queries(name) for name in QUERY_FILES.values()},
    "splits.csv": read_splits,
    "candidates.jsonl": read_candidates,
    "traces.jsonl": read_traces,
    "choices.jsonl": read_choices,
    "answers.jsonl": read_answers,
}  # fmt: skip


# -- what may be lost --------------------------------------------------------------------------


def touched(before: bytes, after: bytes, name: str) -> int | None:
    """At most how many rows the damage itself can have taken away; None where it is not known."""
    if name.endswith(".json"):
        records, found = (json.loads(data.decode("utf-8-sig")) for data in (before, after))
        left = Counter(json.dumps(record) for record in found)
        gone = Counter(json.dumps(record) for record in records) - left
        return sum(len(json.loads(r).get("query & ground true", [0])) for r in gone.elements())
    if name.endswith((".parquet", ".gexf")):
        return None
    lines = [Counter(data.replace(b"\r\n", b"\n").split(b"\n")) for data in (before, after)]
    gone = (lines[0] - lines[1]).elements()
    return sum(len(line.split()) if name == "adjacency.txt" else 1 for line in gone)


def outcome(world: World, name: str, case: int, folder: Path) -> str:
    """Reads one damaged file: what became of it."""
    rng = random.Random(f"{name} {case}")
    before = world.file(name).read_bytes()
    after = mutate(before, rng)
    path = folder / name
    path.write_bytes(after)
    try:
        rows = KINDS[name](world, path)
    except ReRecError as error:
        assert str(path) in str(error) or str(folder) in str(error), f"no file is named: {error}"
        return "refused"
    lost = KINDS[name](world, world.file(name)) - rows
    limit = touched(before, after, name)
    assert limit is None or lost.total() <= limit, f"changed without a word: {lost}"
    return "as it was" if not lost and rows.total() == (rows - lost).total() else "as it says"


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_damaged_is_read(world, name):
    assert KINDS[name](world, world.file(name)).total() > 5


@pytest.mark.parametrize("name", KINDS)
def test_a_few_damaged_files_of_each_kind(world, name, tmp_path):
    assert len([outcome(world, name, case, tmp_path) for case in range(FEW)]) == FEW


@pytest.mark.faults
def test_a_thousand_damaged_files(world, tmp_path, capsys):
    table, failures = {}, []
    for name in KINDS:
        table[name] = Counter()
        for case in range(ALL):
            try:
                table[name][outcome(world, name, case, tmp_path)] += 1
            except Exception as error:  # every one is shown, not only the first
                failures.append(f"{name} {case}: {type(error).__name__}: {str(error)[:300]}")
                table[name]["failed"] += 1
    shown = pd.DataFrame(table).T.fillna(0).astype(int)
    shown.loc["all"] = shown.sum()
    with capsys.disabled():
        print(f"\n{shown.to_string()}")
    assert shown.loc["all"].sum() >= 1000
    assert not failures, "\n".join(failures)
