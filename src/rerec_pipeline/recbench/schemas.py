"""What every table must look like; the catalog checks it on each save and load (pandera)."""

from __future__ import annotations

import pandera.pandas as pa
from pandera.typing.pandas import Series

from rerec_pipeline.recbench.records import QUERY_TYPES
from rerec_pipeline.recbench.relations import RELATION_ALIASES
from rerec_pipeline.recbench.splits import SPLITS


class Items(pa.DataFrameModel):
    """One row an item."""

    item_id: Series[int] = pa.Field(unique=True, coerce=True)
    raw_id: Series[str] = pa.Field(unique=True, str_length={"min_value": 1})
    title: Series[str] = pa.Field(str_length={"min_value": 1})
    year: Series[pa.Int64] = pa.Field(nullable=True, coerce=True)

    class Config:
        strict = True


class Users(pa.DataFrameModel):
    """One row a user with a profile; empty where a data set has no profiles."""

    user_id: Series[str] = pa.Field(unique=True)
    gender: Series[str] = pa.Field(isin=["F", "M"])
    age: Series[int] = pa.Field(ge=0, coerce=True)
    occupation: Series[int] = pa.Field(ge=0, coerce=True)

    class Config:
        strict = True


class Interactions(pa.DataFrameModel):
    """One row a (user, item) pair."""

    user_id: Series[str]
    item_id: Series[int] = pa.Field(coerce=True)
    rating: Series[pa.Int64] = pa.Field(nullable=True, coerce=True)
    timestamp: Series[pa.Int64] = pa.Field(nullable=True, coerce=True)

    class Config:
        strict = True
        unique = ["user_id", "item_id"]


class Attributes(pa.DataFrameModel):
    """One row a fact, with the file it is from."""

    item_id: Series[int] = pa.Field(coerce=True)
    relation: Series[str] = pa.Field(isin=list(RELATION_ALIASES))
    value: Series[str] = pa.Field(str_length={"min_value": 1})
    source: Series[str]

    class Config:
        strict = True


class Queries(pa.DataFrameModel):
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

    class Config:
        strict = True

    @pa.check("truth_ids", name="at_least_one_right_item")
    @classmethod
    def _has_truth(cls, column: Series[object]) -> Series[bool]:
        return column.map(len) > 0


class Mentions(pa.DataFrameModel):
    """One row a query: the items its text names."""

    query_id: Series[str] = pa.Field(unique=True)
    mentioned_ids: Series[object]

    class Config:
        strict = True


class Histories(pa.DataFrameModel):
    """One row a query whose prompt tells a history; empty where prompts do not."""

    query_id: Series[str] = pa.Field(unique=True)
    history_ids: Series[object]

    class Config:
        strict = True


class Splits(pa.DataFrameModel):
    """One row a query: the split it is in, and what it asks for."""

    query_id: Series[str] = pa.Field(unique=True)
    split: Series[str] = pa.Field(isin=list(SPLITS))
    stratum: Series[str]

    class Config:
        strict = True


class Candidates(pa.DataFrameModel):
    """One row a query: the right item and all candidates in prompt order."""

    query_id: Series[str] = pa.Field(unique=True)
    truth_id: Series[int] = pa.Field(coerce=True)
    candidate_ids: Series[object]

    class Config:
        strict = True

    @pa.dataframe_check(name="the_right_item_is_a_candidate")
    @classmethod
    def _truth_is_listed(cls, table: pa.typing.DataFrame) -> Series[bool]:
        return table.apply(lambda row: row["truth_id"] in row["candidate_ids"], axis=1)

    @pa.check("candidate_ids", name="no_candidate_twice")
    @classmethod
    def _distinct(cls, column: Series[object]) -> Series[bool]:
        return column.map(lambda ids: len(set(ids)) == len(ids))


class AttributeEdges(pa.DataFrameModel):
    """The attribute graph: one row an edge, with the sources that state it."""

    item_id: Series[int] = pa.Field(coerce=True)
    relation: Series[str] = pa.Field(isin=list(RELATION_ALIASES))
    value: Series[str]
    sources: Series[str] = pa.Field(str_length={"min_value": 1})

    class Config:
        strict = True
        unique = ["item_id", "relation", "value"]


class InteractionEdges(pa.DataFrameModel):
    """The interaction graph: one row an edge, and whether LightGCN learns or is validated on it."""

    user_id: Series[str]
    item_id: Series[int] = pa.Field(coerce=True)
    part: Series[str] = pa.Field(isin=["train", "validation"])

    class Config:
        strict = True
        unique = ["user_id", "item_id"]


class Prompts(pa.DataFrameModel):
    """One row a prompt, with everything training and evaluation need."""

    query_id: Series[str] = pa.Field(unique=True)
    query_type: Series[str] = pa.Field(isin=list(QUERY_TYPES))
    n_conditions: Series[int] = pa.Field(ge=0, coerce=True)
    split: Series[str] = pa.Field(isin=list(SPLITS))
    system: Series[str]
    user: Series[str] = pa.Field(str_length={"min_value": 1})
    text: Series[str]
    truth_id: Series[int] = pa.Field(coerce=True)
    truth: Series[str]
    candidate_ids: Series[object]
    conditions: Series[object]
    mentioned_ids: Series[object]

    class Config:
        strict = True


class ItemPopularity(pa.DataFrameModel):
    """One row an item: interactions that may be learned from."""

    item_id: Series[int] = pa.Field(unique=True, coerce=True)
    interactions: Series[int] = pa.Field(ge=0, coerce=True)

    class Config:
        strict = True
