"""A fabricated world as the files of the published layout: {relative path: content}."""

from __future__ import annotations

import json

from rerec_pipeline.configs import WorldSize
from rerec_pipeline.recbench.reading import SEPARATOR
from rerec_pipeline.recbench.records import QUERY_FILES
from rerec_pipeline.sample.asks import Ask
from rerec_pipeline.sample.queries import QueryMaker, Record
from rerec_pipeline.sample.world import DOMAINS, World, fabricate_world


def fabricate_files(domain: str, size: WorldSize) -> dict[str, str]:
    """Makes all raw files of a fabricated data set.

    Args:
        domain: ``movie`` or ``book``.
        size: How large the world is, and its seed.

    Returns:
        File name (inside ``dataset/<domain>``) -> content.
    """
    world, records, _ = _fabricate(domain, size)
    files = {
        f"{domain}s.dat": _items_dat(world),
        "ratings.dat": _lines(world.ratings),
        "item_attributes.csv": _attributes_csv(world),
    }
    if world.domain.profiles:
        files["users.dat"] = _lines(
            (u.user_id, u.gender, u.age, u.occupation, "00000") for u in world.users
        )
    for query_type, made in records.items():
        files[QUERY_FILES[query_type]] = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    return files


def fabricate_asks(domain: str, size: WorldSize) -> tuple[World, dict[str, Ask]]:
    """What the queries of a fabricated data set mean, which its files do not say.

    Args:
        domain: ``movie`` or ``book``.
        size: How large the world is, and its seed.

    Returns:
        The world, and text of a query -> the request behind it.
    """
    world, _, asks = _fabricate(domain, size)
    return world, asks


def _fabricate(
    domain: str, size: WorldSize
) -> tuple[World, dict[str, list[Record]], dict[str, Ask]]:
    """A world, the records of its queries by type, and what their texts mean."""
    world = fabricate_world(DOMAINS[domain], size)
    maker = QueryMaker(world, seed=size.seed + 1)
    records = {kind: maker.make(kind, count) for kind, count in size.queries.items()}
    return world, records, maker.asks


def _lines(rows: object) -> str:
    return "".join(SEPARATOR.join(map(str, row)) + "\n" for row in rows)  # type: ignore[attr-defined]


def _items_dat(world: World) -> str:
    kind = world.domain.kind_relation
    return _lines((item.item_id, item.title, "|".join(item.values(kind))) for item in world.items)


def _attributes_csv(world: World) -> str:
    """People only: kinds are already in the items file, as MovieLens has genres."""
    rows = [
        (item.item_id, world.domain.published(relation), value)
        for item in world.items
        for relation, value in sorted(item.attributes)
        if relation != world.domain.kind_relation
    ]
    return f"{world.domain.name}_id,relation,name\n" + "".join(
        f"{item},{relation},{value}\n" for item, relation, value in rows
    )
