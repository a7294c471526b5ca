"""The queries of a fabricated world, as records in the benchmark's published layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.sample.asks import Ask, Asker
from rerec_pipeline.sample.world import Item, World

Record = dict[str, Any]


class QueryMaker:
    """Makes records from what users of a world have watched or read.

    Args:
        world: The world to ask about.
        seed: Everything random follows from it.
    """

    def __init__(self, world: World, seed: int):
        self.world = world
        self.noun = world.domain.name
        self.asker = Asker(world, np.random.default_rng(seed))
        self.histories: dict[int, set[int]] = {}
        for user, item, _, _ in world.ratings:
            self.histories.setdefault(user, set()).add(item)
        #: Every request made so far, by what the user says: no two say the same.
        self.asks: dict[str, Ask] = {}

    def make(self, query_type: str, count: int) -> list[Record]:
        """Makes the records of one query file, all of different texts.

        Args:
            query_type: One of the published query types.
            count: Number of queries (inner ones, for profile-based types).

        Returns:
            Records in the layout of the published file.
        """
        if query_type == "interest":
            return self._interest_file(count)
        if query_type == "demographics":
            return self._demographics_file(count)
        return [
            {**self._condition_record(ask), "data_idx": n}
            for n, ask in enumerate(
                self._new(partial(self.asker.ask, query_type, 1 + n % 2)) for n in range(count)
            )
        ]

    def _new(self, draw: Callable[[], Ask | None]) -> Ask:
        """Draws until a request comes that no earlier one is worded like."""
        while True:
            ask = draw()
            if ask is not None and ask.text not in self.asks:
                self.asks[ask.text] = ask
                return ask

    # -- condition-based types -----------------------------------------------------------

    def _condition_record(self, ask: Ask) -> Record:
        conditions = ask.need.conditions
        truths = [
            item
            for item in self.world.fitting(ask.need)
            if item.item_id in self.histories[ask.user_id] and item not in ask.anchors
        ]
        record: Record = {
            "source_user": str(ask.user_id),
            "condition_num": len(conditions),
            f"{self.noun}Count": len(truths),
            f"{self.noun}Subset": [item.title for item in truths],
            "sharedRelationships": [[self.world.domain.published(r), v] for r, v in conditions],
        }
        if self.noun == "movie":
            record["movieSubsetId"] = [item.item_id for item in truths]
        if ask.anchors:
            record["multihop_info"] = self._multihop(ask.anchors, conditions)
        if ask.wrong_person is not None:
            record["misinformed"] = [
                {**fact, "original person": fact["person"], "person": ask.wrong_person}
                for fact in record["multihop_info"]
            ]
            return {**record, "query": ask.text}
        record["direct_description_query"] = self.asker.speaker.direct(
            conditions, [anchor.title for anchor in ask.anchors]
        )
        return {**record, "situational_description_query": ask.text}

    def _multihop(
        self, anchors: tuple[Item, ...], conditions: tuple[Attribute, ...]
    ) -> list[dict[str, str]]:
        relation, person = self.asker.person_condition(conditions)
        relation = self.world.domain.published(relation)
        return [
            # Released files write some titles with an underscore for the first space.
            {self.noun: item.title.replace(" ", "_", 1), "relation": relation, "person": person}
            for item in anchors
        ]

    # -- profile-based types -------------------------------------------------------------

    def _interest_file(self, count: int) -> list[Record]:
        """Outer records of two inner queries each; every fifth also holds an empty one."""
        inner = [
            self._inner_record(self._new(lambda: self.asker.ask("interest"))) for _ in range(count)
        ]
        records: list[Record] = []
        for start in range(0, count, 2):
            pair = inner[start : start + 2]
            if len(records) % 5 == 4:
                pair.insert(1, {})
            records.append({"data_idx": len(records), "query & ground true": pair})
        return records

    def _demographics_file(self, count: int) -> list[Record]:
        """One outer record for each group of users."""
        groups = list(self.world.group_tastes)
        records = [self._group_record(n, group) for n, group in enumerate(groups)]
        for made in range(count):
            record = records[made % len(records)]
            ask = self._new(partial(self.asker.demographics, record["group"]))
            record["query & ground true"].append(self._inner_record(ask))
        return records

    def _inner_record(self, ask: Ask) -> Record:
        truths = [item for item in self.world.fitting(ask.need) if item not in ask.anchors]
        kind, source = ask.need.source or ("", "")
        return {
            "reason": f"The {kind} of '{source}' share a taste.",
            "query": ask.text,
            f"{self.noun} subset": [item.title for item in truths],
        }

    def _group_record(self, data_idx: int, group: str) -> Record:
        taste = self.world.group_tastes[group]
        liked = [item for item in self.world.items if item.taste == taste]
        top = sorted(liked, key=lambda item: -item.popularity)[:10]
        lines = "\n".join(item.title for item in top)
        return {
            "data_idx": data_idx,
            "group_type": "age and gender" if ", " in group else "occupation",
            "group": group,
            "top_10_movies": [[item.item_id, round(item.popularity, 4)] for item in top],
            "summary": f"User Group: {group}\n\nTop 10 Movies for this group:\n{lines}",
            "query & ground true": [],
        }
