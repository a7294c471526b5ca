"""Queries as plain records, and the reading of the benchmark's five published layouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.recbench.reading import has_visible
from rerec_pipeline.recbench.relations import canonical_relation, spellings
from rerec_pipeline.recbench.titles import ItemIndex, tidy

QueryType = Literal["explicit", "implicit", "misinformed", "interest", "demographics"]
QUERY_TYPES: tuple[QueryType, ...] = get_args(QueryType)

#: query type -> file of the published layout
QUERY_FILES: dict[str, str] = {
    "explicit": "ExplicitQuery.json",
    "implicit": "ImplicitQuery.json",
    "misinformed": "MisinformedQuery.json",
    "interest": "InterestBasedQuery.json",
    "demographics": "DemographicsBasedQuery.json",
}
PROFILE_TYPES = ("interest", "demographics")

#: What a record calls an item in the names of its fields; ``item`` is for any other domain.
ITEM_WORDS = ("movie", "book", "item")


def item_keys(form: str) -> tuple[str, ...]:
    """The names that a field may have, by what it calls an item: ``{}Subset``."""
    return tuple(form.format(word) for word in ITEM_WORDS)


@dataclass(frozen=True)
class Fact:
    """A statement about an item by its title: "``title`` has ``relation`` ``value``"."""

    title: str
    relation: str
    value: str


@dataclass(frozen=True)
class Query:
    """One request of a user, with what is known to answer it.

    Attributes:
        query_id: Unique within the data set, e.g. ``explicit-29`` or ``interest-22-0``.
        query_type: One of ``QUERY_TYPES``.
        text: What the user says.
        truth_ids: Data-set ids of the known right items, at least one.
        conditions: The attributes asked for, where the record states them.
        multihop: Facts through which an implicit or misinformed query points at a condition.
        claims: What a misinformed query states falsely, as the user states it.
        user_id: Whose history the query was made from.
        group: For demographics queries, the group of users it speaks for.
        label_complete: Whether ``truth_ids`` is the whole set of right items.
        history: Items the user has seen, newest last.
        condition_num: How many conditions the record says it has, also where it states none.
    """

    query_id: str
    query_type: str
    text: str
    truth_ids: tuple[int, ...]
    conditions: tuple[Attribute, ...] = ()
    multihop: tuple[Fact, ...] = ()
    claims: tuple[Fact, ...] = ()
    user_id: str | None = None
    group: str | None = None
    label_complete: bool = True
    history: tuple[int, ...] = ()
    condition_num: int | None = None

    @property
    def n_conditions(self) -> int:
        """Number of conditions, stated or not."""
        return len(self.conditions) if self.condition_num is None else self.condition_num


@dataclass
class Exclusions:
    """Records left out, counted by reason; a reason is a sentence a user can act on."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str) -> None:
        """Counts one more record left out for this reason."""
        self.counts[reason] = self.counts.get(reason, 0) + 1


def count_unanswerable(catalogue: ItemIndex, exclusions: Exclusions) -> None:
    """Counts the items that are never a candidate, because their title cannot be an answer."""
    for index in range(len(catalogue)):
        if not catalogue.is_unique(index):
            exclusions.add("no candidate: another item has the same title")
        elif not catalogue.is_answerable(index):
            exclusions.add("no candidate: the title cannot stand in \\boxed{}")


def inner_records(record: Mapping[str, Any], source: object, name: str) -> list[dict[str, Any]]:
    """The queries that a profile-based record holds; some may be empty.

    Raises:
        BadInputError: If they are not a list of objects.
    """
    field_name = "query & ground true"
    inner = record.get(field_name)
    if not isinstance(inner, list):
        raise BadInputError(source, "expected a list", record=name, field=field_name)
    if not all(isinstance(entry, dict) for entry in inner):
        raise BadInputError(source, "expected objects", record=name, field=field_name)
    return inner


class RecordReader:
    """Turns the records of one published query file into queries.

    A record that is malformed stops the reading with the file, the record and the field. A
    record that is well-formed but cannot be used (an empty inner record; truths that fit two
    items) is counted in ``exclusions``.

    Args:
        query_type: One of ``QUERY_TYPES``.
        catalogue: The items, to resolve truths.
        source: The file, for errors.
        exclusions: Where records left out are counted.
        exclude_unknown: Whether a query with a truth outside the catalogue is left out and
            counted (the published benchmark has a few) or stops the reading.
        added: Relations beside the built-in ones, see ``relations.spellings``.
    """

    def __init__(
        self,
        query_type: str,
        catalogue: ItemIndex,
        source: object,
        exclusions: Exclusions,
        exclude_unknown: bool = False,
        added: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ):
        if query_type not in QUERY_TYPES:
            raise BadInputError(
                source,
                f"unknown query type '{query_type}'",
                remedy=f"Known query types: {', '.join(QUERY_TYPES)}",
            )
        self.query_type = query_type
        self.catalogue = catalogue
        self.source = source
        self.exclusions = exclusions
        self.exclude_unknown = exclude_unknown
        self._relations = spellings(added)
        self._seen: set[str] = set()

    def read(self, records: object) -> Iterator[Query]:
        """Reads all records of the file.

        Args:
            records: The parsed JSON: a list of objects.

        Yields:
            One query per usable record (or inner record of a profile-based one).

        Raises:
            BadInputError: At the first malformed record.
        """
        if not isinstance(records, list):
            raise BadInputError(self.source, "expected a JSON list of records")
        for position, record in enumerate(records):
            name = f"record {position}"
            if not isinstance(record, dict):
                raise BadInputError(self.source, "expected an object", record=name)
            if self.query_type in PROFILE_TYPES:
                yield from self._read_profile(record, name)
            else:
                yield from self._read_condition(record, name)

    # -- the two layouts -----------------------------------------------------------------

    def _read_condition(self, record: dict[str, Any], name: str) -> Iterator[Query]:
        query_id = self._query_id(record, name)
        name = f"{name} (data_idx {record['data_idx']})"
        text_field = (
            "query" if self.query_type == "misinformed" else "situational_description_query"
        )
        truths = self._truths(record, name, item_keys("{}Subset"), item_keys("{}SubsetId"))
        if truths is None:
            return
        yield Query(
            query_id=query_id,
            query_type=self.query_type,
            text=self._text(record, text_field, name),
            truth_ids=truths,
            conditions=self._conditions(record, name),
            multihop=self._facts(record, "multihop_info", name),
            claims=self._facts(record, "misinformed", name),
            user_id=self._optional_text(record, "source_user", name),
            label_complete=self._label_complete(record, name),
            history=self._history(record, name),
            condition_num=self._condition_num(record, name),
        )

    def _read_profile(self, record: dict[str, Any], name: str) -> Iterator[Query]:
        outer_id = self._query_id(record, name)
        name = f"{name} (data_idx {record['data_idx']})"
        kept = 0
        for inner in inner_records(record, self.source, name):
            if not inner:
                self.exclusions.add(f"{self.query_type}: empty inner record")
                continue
            truths = self._truths(inner, name, item_keys("{} subset"))
            if truths is not None:
                yield Query(
                    query_id=f"{outer_id}-{kept}",
                    query_type=self.query_type,
                    text=self._text(inner, "query", name),
                    truth_ids=truths,
                    group=self._group(record, name),
                )
            kept += 1

    # -- fields --------------------------------------------------------------------------

    def _query_id(self, record: dict[str, Any], name: str) -> str:
        value = record.get("data_idx")
        if type(value) not in (int, str) or not has_visible(str(value)):
            raise BadInputError(
                self.source, "expected a number or a text", record=name, field="data_idx"
            )
        query_id = f"{self.query_type}-{record['data_idx']}"
        if query_id in self._seen:
            raise BadInputError(
                self.source,
                f"the id {record['data_idx']} occurs twice",
                record=name,
                field="data_idx",
                remedy="Ids must be unique within a query file",
            )
        self._seen.add(query_id)
        return query_id

    def _text(self, record: dict[str, Any], key: str, name: str) -> str:
        value = record.get(key)
        if not isinstance(value, str) or not has_visible(value) or "\0" in value:
            raise BadInputError(
                self.source, f"expected a text, found {value!r:.80}", record=name, field=key
            )
        return value.strip()

    def _optional_text(self, record: dict[str, Any], key: str, name: str) -> str | None:
        value = record.get(key)
        if value is None:
            return None
        if type(value) not in (int, str):
            raise BadInputError(
                self.source, f"expected a text or null, found {value!r}", record=name, field=key
            )
        return str(value)

    def _condition_num(self, record: dict[str, Any], name: str) -> int | None:
        value = record.get("condition_num")
        if value is not None and (type(value) is not int or not 0 <= value < 100):
            raise BadInputError(
                self.source,
                f"expected a number of conditions, found {value!r}",
                record=name,
                field="condition_num",
            )
        return value

    def _label_complete(self, record: dict[str, Any], name: str) -> bool:
        value = record.get("label_complete", True)
        if not isinstance(value, bool):
            raise BadInputError(
                self.source,
                f"expected true or false, found {value!r}",
                record=name,
                field="label_complete",
            )
        return value

    def _group(self, record: dict[str, Any], name: str) -> str | None:
        """The group of users; two traits at once ("25-34" and "Male") are joined."""
        value = record.get("group")
        if isinstance(value, list) and all(type(trait) in (int, str) for trait in value):
            return ", ".join(str(trait) for trait in value)
        return self._optional_text(record, "group", name)

    def _truths(
        self,
        record: dict[str, Any],
        name: str,
        keys: tuple[str, ...],
        id_keys: tuple[str, ...] = (),
    ) -> tuple[int, ...] | None:
        """Resolves the truths; None (and counted) where a title fits two items or none."""
        id_key = next((key for key in id_keys if record.get(key) is not None), None)
        if id_key is not None:
            return self._truth_ids(record[id_key], name, id_key)
        key = next((k for k in keys if k in record), None)
        titles = record.get(key) if key else None
        if not isinstance(titles, list) or not titles:
            raise BadInputError(
                self.source, "expected a non-empty list of titles", record=name, field=keys[0]
            )
        indices = [self._truth_index(title, name, str(key)) for title in titles]
        unresolved = [t for t, index in zip(titles, indices, strict=True) if index is None]
        if unresolved:
            two = any(self.catalogue.is_ambiguous(title) for title in unresolved)
            reason = "fits two items" if two else "is not in the catalogue"
            self.exclusions.add(f"{self.query_type}: a ground-truth title {reason}")
            return None
        return self._answerable(self.catalogue.item_ids[i] for i in indices if i is not None)

    def _truth_ids(self, value: object, name: str, key: str) -> tuple[int, ...] | None:
        """Truths given by id. One whose title another item has, too, cannot be answered."""
        if not value:
            raise BadInputError(
                self.source, "expected a non-empty list of ids", record=name, field=key
            )
        return self._answerable(self._item_ids(value, name, key))

    def _answerable(self, truths: Iterable[int]) -> tuple[int, ...] | None:
        """Those of the truths that can be answered, each once; None (and counted) if none can."""
        known = dict.fromkeys(truths)
        index = self.catalogue.index_of_id
        answerable = tuple(item for item in known if self.catalogue.is_answerable(index[item]))
        if not answerable:
            unique = any(self.catalogue.is_unique(index[item]) for item in known)
            reason = "cannot stand in \\boxed{}" if unique else "fits two items"
            self.exclusions.add(f"{self.query_type}: a ground-truth title {reason}")
        return answerable or None

    def _item_ids(self, value: object, name: str, key: str) -> Iterator[int]:
        """Checks a list of data-set ids one by one."""
        if not isinstance(value, list):
            raise BadInputError(self.source, "expected a list of ids", record=name, field=key)
        for item in value:
            if type(item) not in (int, str) or str(item) not in self.catalogue.id_of_raw:
                raise BadInputError(
                    self.source,
                    f"item {item!r} is not in the catalogue",
                    record=name,
                    field=key,
                    remedy="Every item of a query must be in the items file",
                )
            yield self.catalogue.id_of_raw[str(item)]

    def _truth_index(self, title: object, name: str, key: str) -> int | None:
        if not isinstance(title, str):
            raise BadInputError(
                self.source, f"expected a title, found {title!r}", record=name, field=key
            )
        index = self.catalogue.resolve(title)
        known = index is not None or self.catalogue.is_ambiguous(title)
        if not known and not self.exclude_unknown:
            raise BadInputError(
                self.source,
                f"the ground truth '{title}' is not in the catalogue",
                record=name,
                field=key,
                remedy="Every item of a query must be in the items file",
            )
        return index

    def _conditions(self, record: dict[str, Any], name: str) -> tuple[Attribute, ...]:
        pairs = record.get("sharedRelationships", [])
        if not isinstance(pairs, list) or not all(
            isinstance(p, list | tuple) and len(p) == 2 for p in pairs
        ):
            raise BadInputError(
                self.source,
                "expected a list of [relation, value]",
                record=name,
                field="sharedRelationships",
            )
        return tuple(self._attribute(r, v, name, "sharedRelationships") for r, v in pairs)

    def _attribute(self, relation: object, value: object, name: str, key: str) -> Attribute:
        """A relation by its one name, and a value that is a text (or a number, as of a year)."""
        if not isinstance(relation, str) or type(value) not in (int, str):
            problem = f"expected a relation and its value, found {[relation, value]!r:.80}"
            raise BadInputError(self.source, problem, record=name, field=key)
        if not has_visible(tidy(str(value))):
            raise BadInputError(self.source, "the value is empty", record=name, field=key)
        known = canonical_relation(relation, source=self.source, record=name, known=self._relations)
        return known, tidy(str(value))

    def _facts(self, record: dict[str, Any], key: str, name: str) -> tuple[Fact, ...]:
        entries = record.get(key) or []
        if not isinstance(entries, list):
            raise BadInputError(self.source, "expected a list", record=name, field=key)
        facts = []
        for entry in entries:
            title = None
            if isinstance(entry, dict):
                title = next((entry[k] for k in ITEM_WORDS if k in entry), "")
            if not isinstance(title, str) or not {"relation", "person"} <= entry.keys():
                raise BadInputError(
                    self.source,
                    "expected objects with item (or movie, book), relation and person",
                    record=name,
                    field=key,
                )
            facts.append(
                Fact(title, *self._attribute(entry["relation"], entry["person"], name, key))
            )
        return tuple(facts)

    def _history(self, record: dict[str, Any], name: str) -> tuple[int, ...]:
        keys = item_keys("history_{}_ids")
        key = next((key for key in keys if record.get(key) is not None), None)
        return () if key is None else tuple(self._item_ids(record[key], name, key))
