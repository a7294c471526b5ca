"""What every table must look like.

Tables of pandas are checked by pandera on each save and load; those whose size is that of the
interactions by the engine that holds them, on each save.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import ibis.expr.types as ir
import pandera.pandas as pa
from ibis import _
from pandera.typing.pandas import Series

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.records import QUERY_TYPES
from rerec_pipeline.recbench.splits import SPLITS


class Table(pa.DataFrameModel):
    """A table that has its columns and no others."""

    class Config:
        strict = True


class Items(Table):
    """One row an item."""

    item_id: Series[int] = pa.Field(unique=True, coerce=True)
    raw_id: Series[str] = pa.Field(unique=True, str_length={"min_value": 1})
    title: Series[str] = pa.Field(str_length={"min_value": 1})
    year: Series[pa.Int64] = pa.Field(nullable=True, coerce=True)


class Users(Table):
    """One row a user with a profile; empty where a data set has no profiles."""

    user_id: Series[str] = pa.Field(unique=True)
    gender: Series[str] = pa.Field(isin=["F", "M"])
    age: Series[int] = pa.Field(ge=0, coerce=True)
    occupation: Series[int] = pa.Field(ge=0, coerce=True)


class Attributes(Table):
    """One row a fact, with the file it is from."""

    item_id: Series[int] = pa.Field(coerce=True)
    relation: Series[str] = pa.Field(str_length={"min_value": 1})
    value: Series[str] = pa.Field(str_length={"min_value": 1})
    source: Series[str]


class Queries(Table):
    """One row a query."""

    query_id: Series[str] = pa.Field(unique=True)
    query_type: Series[str] = pa.Field(isin=list(QUERY_TYPES))
    text: Series[str] = pa.Field(str_length={"min_value": 1})
    truth_ids: Series[object]
    conditions: Series[object]
    multihop: Series[object]
    claims: Series[object]
    user_id: Series[str] = pa.Field(nullable=True)
    group: Series[str] = pa.Field(nullable=True)
    label_complete: Series[bool]
    history: Series[object]
    condition_num: Series[pa.Int64] = pa.Field(nullable=True, coerce=True)

    @pa.check("truth_ids", name="at_least_one_right_item")
    @classmethod
    def _has_truth(cls, column: Series[object]) -> Series[bool]:
        return column.map(len) > 0


class Mentions(Table):
    """One row a query: the items its text names."""

    query_id: Series[str] = pa.Field(unique=True)
    mentioned_ids: Series[object]


class Histories(Table):
    """One row a query whose prompt tells a history; empty where prompts do not."""

    query_id: Series[str] = pa.Field(unique=True)
    history_ids: Series[object]


class Splits(Table):
    """One row a query: the split it is in, what it asks for, and with which it is connected."""

    query_id: Series[str] = pa.Field(unique=True)
    split: Series[str] = pa.Field(isin=list(SPLITS))
    stratum: Series[str]
    cluster: Series[int] = pa.Field(ge=0)


class CandidatePools(Table):
    """One row a query whose candidates are retrieved: what was found, best first."""

    query_id: Series[str] = pa.Field(unique=True)
    item_ids: Series[object]


class Candidates(Table):
    """One row a query: the right item and all candidates in prompt order.

    The right item is one of them, unless they were retrieved and it was not found.
    """

    query_id: Series[str] = pa.Field(unique=True)
    truth_id: Series[int] = pa.Field(coerce=True)
    candidate_ids: Series[object]

    @pa.check("candidate_ids", name="no_candidate_twice")
    @classmethod
    def _distinct(cls, column: Series[object]) -> Series[bool]:
        return column.map(lambda ids: len(set(ids)) == len(ids))


class AttributeEdges(Table):
    """The attribute graph: one row an edge, with the sources that state it."""

    item_id: Series[int] = pa.Field(coerce=True)
    relation: Series[str] = pa.Field(str_length={"min_value": 1})
    value: Series[str]
    sources: Series[str] = pa.Field(str_length={"min_value": 1})

    class Config(Table.Config):
        unique = ["item_id", "relation", "value"]


class Prompts(Table):
    """One row a prompt, with everything training and evaluation need."""

    query_id: Series[str] = pa.Field(unique=True)
    query_type: Series[str] = pa.Field(isin=list(QUERY_TYPES))
    n_conditions: Series[int] = pa.Field(ge=0, coerce=True)
    split: Series[str] = pa.Field(isin=list(SPLITS))
    cluster: Series[int] = pa.Field(ge=0)
    system: Series[str]
    user: Series[str] = pa.Field(str_length={"min_value": 1})
    text: Series[str]
    truth_id: Series[int] = pa.Field(coerce=True)
    truth: Series[str]
    candidate_ids: Series[object]
    conditions: Series[object]
    mentioned_ids: Series[object]


class Outcomes(Table):
    """One row a query and stage: what came of the answer, and of what its reasoning says."""

    query_id: Series[str]
    query_type: Series[str] = pa.Field(isin=list(QUERY_TYPES))
    cluster: Series[int] = pa.Field(ge=0)
    stage: Series[str] = pa.Field(isin=["before", "cold_start", "after"])
    correct: Series[bool]
    boxed: Series[bool]
    facts_stated: Series[int] = pa.Field(ge=0)
    facts_confirmed: Series[int] = pa.Field(ge=0)
    verdicts_stated: Series[int] = pa.Field(ge=0)
    verdicts_true: Series[int] = pa.Field(ge=0)

    class Config(Table.Config):
        unique = ["query_id", "stage"]

    @pa.dataframe_check(name="no_more_true_than_stated")
    @classmethod
    def _true_were_stated(cls, table: pa.typing.DataFrame) -> Series[bool]:
        facts = table["facts_confirmed"] <= table["facts_stated"]
        return facts & (table["verdicts_true"] <= table["verdicts_stated"])


class Comparison(Table):
    """One row a variant (and label) and query type: how it did, and beside the reference."""

    variant: Series[str]
    label: Series[str]
    query_type: Series[str] = pa.Field(isin=["all", *QUERY_TYPES])
    seeds: Series[int] = pa.Field(ge=1)
    queries: Series[int] = pa.Field(ge=1)
    clusters: Series[int] = pa.Field(ge=1)
    accuracy: Series[float] = pa.Field(in_range={"min_value": 0, "max_value": 1})
    accuracy_low: Series[float]
    accuracy_high: Series[float]
    difference: Series[float] = pa.Field(nullable=True)
    difference_low: Series[float] = pa.Field(nullable=True)
    difference_high: Series[float] = pa.Field(nullable=True)
    p_value: Series[float] = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    p_corrected: Series[float] = pa.Field(nullable=True, in_range={"min_value": 0, "max_value": 1})
    finding: Series[str]
    well_formed: Series[float] = pa.Field(in_range={"min_value": 0, "max_value": 1})
    facts_confirmed: Series[float] = pa.Field(nullable=True)
    facts_confirmed_low: Series[float] = pa.Field(nullable=True)
    facts_confirmed_high: Series[float] = pa.Field(nullable=True)
    verdicts_true: Series[float] = pa.Field(nullable=True)
    verdicts_true_low: Series[float] = pa.Field(nullable=True)
    verdicts_true_high: Series[float] = pa.Field(nullable=True)

    class Config(Table.Config):
        unique = ["variant", "label", "query_type"]


class ItemPopularity(Table):
    """One row an item: interactions that may be learned from."""

    item_id: Series[int] = pa.Field(unique=True, coerce=True)
    interactions: Series[int] = pa.Field(ge=0, coerce=True)


class GroupPopularity(Table):
    """One row a group of users and item; without an item, the size of the group."""

    gender: Series[str] = pa.Field(isin=["F", "M"])
    age: Series[int] = pa.Field(ge=0, coerce=True)
    occupation: Series[int] = pa.Field(ge=0, coerce=True)
    interactions: Series[int] = pa.Field(ge=0, coerce=True)
    item_id: Series[pa.Int64] = pa.Field(nullable=True, coerce=True)

    class Config(Table.Config):
        unique = ["gender", "age", "occupation", "item_id"]


class Retrieved(Table):
    """One row a query and system: the first items of the catalogue, and the choice of a prompt."""

    query_id: Series[str]
    system: Series[str]
    item_ids: Series[object]
    chosen_id: Series[int] = pa.Field(coerce=True)

    class Config(Table.Config):
        unique = ["query_id", "system"]


class PublishedLabels(Table):
    """One row a query: its right titles as they are published."""

    query_id: Series[str] = pa.Field(unique=True)
    query_type: Series[str] = pa.Field(isin=list(QUERY_TYPES))
    answer_id: Series[str]
    titles: Series[object]
    label_complete: Series[bool]


class OpenEndedScores(Table):
    """One row an answer and cut (0: all titles): the authors' measures."""

    query_id: Series[str]
    system: Series[str]
    cut: Series[int] = pa.Field(ge=0)
    recall: Series[float] = pa.Field(in_range={"min_value": 0, "max_value": 1})
    precision: Series[float] = pa.Field(ge=0)
    ndcg: Series[float] = pa.Field(ge=0)
    ftr: Series[float] = pa.Field(isin=[0.0, 1.0])

    class Config(Table.Config):
        unique = ["query_id", "system", "cut"]


class Sequences(Table):
    """One row a user: items from the oldest to the newest."""

    user_id: Series[str] = pa.Field(unique=True)
    item_ids: Series[object]


class NextItemChoices(Table):
    """One row a user and split: the item that came next, among candidates in prompt order."""

    user_id: Series[str]
    split: Series[str] = pa.Field(isin=["validation", "test"])
    truth_id: Series[int] = pa.Field(coerce=True)
    candidate_ids: Series[object]

    class Config(Table.Config):
        unique = ["user_id", "split"]

    @pa.dataframe_check(name="the_right_item_is_a_candidate")
    @classmethod
    def _truth_is_listed(cls, table: pa.typing.DataFrame) -> Series[bool]:
        return table.apply(lambda row: row["truth_id"] in row["candidate_ids"], axis=1)


@dataclass(frozen=True)
class EngineSchema:
    """What a table of the engine must look like; checked there, with two queries at most.

    pandera can check such tables, too, with one query for every column and check, and uniqueness
    by a window over all rows, which takes the engine longer than counting groups.

    Attributes:
        columns: Name -> Ibis type, in this order and no others.
        nullable: Columns that may hold nulls.
        allowed: Column -> the values it may hold.
        unique: Columns that together occur once.
    """

    columns: Mapping[str, str]
    nullable: tuple[str, ...] = ()
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unique: tuple[str, ...] = ()

    def check(self, table: ir.Table, source: object) -> None:
        """Checks a table.

        Raises:
            BadInputError: Naming the column, or a value that occurs twice.
        """
        # Some engines know of a file that a column has no nulls, and make that part of its type.
        found = {name: str(kind.copy(nullable=True)) for name, kind in table.schema().items()}
        if found != dict(self.columns):
            raise BadInputError(source, f"expected the columns {dict(self.columns)}, found {found}")
        self._check_values(table, source)
        if self.unique:
            groups = table.group_by(list(self.unique)).aggregate(rows=_.count())
            twice = groups.filter(_.rows > 1).limit(1).to_pyarrow().to_pylist()
            if twice:
                values = ", ".join(f"{name} {twice[0][name]}" for name in self.unique)
                raise BadInputError(source, f"{values} occurs {twice[0]['rows']} times")

    def _check_values(self, table: ir.Table, source: object) -> None:
        wrong = {
            (name, "a value is missing"): table[name].isnull()
            for name in self.columns
            if name not in self.nullable
        }
        wrong |= {
            (name, f"a value is none of {', '.join(values)}"): table[name].notin(values)
            for name, values in self.allowed.items()
        }
        counts = {f"check_{n}": mask.sum() for n, mask in enumerate(wrong.values())}
        row = table.aggregate(**counts).to_pyarrow().to_pylist()[0]
        for (name, problem), count in zip(wrong, row.values(), strict=True):
            if count:
                raise BadInputError(source, f"{problem} ({count} rows)", field=name)


#: Interactions as they stand in the raw file: ``record`` is its line or row, ``item`` its id there.
RAW_INTERACTIONS = EngineSchema(
    {
        "record": "int64",
        "user_id": "string",
        "item": "string",
        "rating": "int64",
        "timestamp": "int64",
    },
    nullable=("rating", "timestamp"),
)

#: One row a (user, item) pair. That pairs are distinct was checked, by line, on the raw ones.
INTERACTIONS = EngineSchema(
    {"user_id": "string", "item_id": "int64", "rating": "int64", "timestamp": "int64"},
    nullable=("rating", "timestamp"),
)

#: The interaction graph: one row an edge, and whether LightGCN learns or is validated on it.
INTERACTION_EDGES = EngineSchema(
    {"user_id": "string", "item_id": "int64", "part": "string"},
    allowed={"part": ("train", "validation")},
    unique=("user_id", "item_id"),
)
