"""A fabricated world: items with attributes, users with latent tastes, and what they watched.

Every item belongs to one latent taste that no file states. Users watch mostly within their own
tastes, so collaborative filtering has something to find, and demographic groups lean towards a
taste, so a profile says something. People work on several items, so multi-hop requests exist.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from rerec_pipeline.configs import WorldSize
from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.sample import lexicon


@dataclass(frozen=True)
class Domain:
    """What films and books differ in.

    Attributes:
        name: ``movie`` or ``book``, as in the published folder names.
        noun: How a user calls an item.
        people: relation -> number of people an item has in it.
        kind_relation: The relation of an item's kinds (genre, category).
        kinds: All kinds.
        years: Whether titles end in a year.
        profiles: Whether users have demographics (and demographics queries exist).
        shouting: Whether the published files of the domain write relations in capitals.
    """

    name: str
    noun: str
    people: dict[str, int]
    kind_relation: str
    kinds: tuple[str, ...]
    years: bool
    profiles: bool
    shouting: bool

    def published(self, relation: str) -> str:
        """A relation as the published files of this domain spell it."""
        return relation.upper() if self.shouting else relation


DOMAINS = {
    "movie": Domain(
        name="movie",
        noun="film",
        people={"Directed_by": 1, "Starring": 2},
        kind_relation="Genre",
        kinds=lexicon.FILM_GENRES,
        years=True,
        profiles=True,
        shouting=False,
    ),
    "book": Domain(
        name="book",
        noun="book",
        people={"Written_by": 1},
        kind_relation="Belongs_to",
        kinds=lexicon.BOOK_CATEGORIES,
        years=False,
        profiles=False,
        shouting=True,
    ),
}


def check_world(domain: str, size: WorldSize) -> None:
    """Checks that a world of this domain and size can be made.

    Raises:
        ValueError: If there is no such domain, or the people of another one are given.
    """
    if domain not in DOMAINS:
        raise ValueError(
            f"domain must be one of {', '.join(DOMAINS)} where the world is fabricated"
        )
    wanted = set(DOMAINS[domain].people)
    if set(size.people) != wanted:
        raise ValueError(f"world.people must give a number for each of {sorted(wanted)}")


@dataclass(frozen=True, eq=False)
class Item:
    """One film or book; ``taste`` is latent and written to no file."""

    item_id: int
    title: str
    attributes: frozenset[Attribute]
    taste: int
    popularity: float

    def values(self, relation: str) -> list[str]:
        """The item's values in a relation, sorted."""
        return sorted(value for r, value in self.attributes if r == relation)


@dataclass(frozen=True)
class User:
    """One user; ``taste`` is latent and written to no file."""

    user_id: int
    gender: str
    age: int
    occupation: int
    taste: int


@dataclass(frozen=True)
class Need:
    """What a user of a fabricated world asks for, the hidden part included.

    Attributes:
        conditions: Attributes that are asked for.
        taste: The latent taste asked for (interest and demographics), else None.
        source: What points at the taste: ("fans", item title) or ("group", name); else None.
    """

    conditions: tuple[Attribute, ...]
    taste: int | None = None
    source: tuple[str, str] | None = None

    def fits(self, item: Item) -> bool:
        """Whether an item is right for this need."""
        return set(self.conditions) <= item.attributes and self.taste in (None, item.taste)

    @property
    def key(self) -> Hashable:
        """What (need, item) pairs are held out by: where a taste is asked, kinds do not matter."""
        return self.source or frozenset(self.conditions)


@dataclass(frozen=True)
class World:
    """Everything that the raw files of a fabricated data set are made from."""

    domain: Domain
    items: tuple[Item, ...]
    users: tuple[User, ...]
    ratings: tuple[tuple[int, int, int, int], ...]
    group_tastes: dict[str, int]

    def fitting(self, need: Need) -> list[Item]:
        """All items that are right for a need."""
        return [item for item in self.items if need.fits(item)]


def fabricate_world(domain: Domain, size: WorldSize) -> World:
    """Makes a world; the same arguments make the same world.

    Args:
        domain: Films or books.
        size: How large, and the seed.
    """
    rng = np.random.default_rng(size.seed)
    items = _make_items(domain, size, rng)
    group_tastes = _make_group_tastes(domain, size, rng)
    users = _make_users(domain, size, group_tastes, rng)
    ratings = _make_ratings(items, users, size, rng)
    return World(domain, items, users, ratings, group_tastes)


def groups_of(user: User) -> tuple[str, ...]:
    """The demographic groups a user belongs to, as the benchmark names groups."""
    return (
        f"{lexicon.AGE_GROUPS[user.age]}, {user.gender}",
        lexicon.OCCUPATIONS[user.occupation],
    )


# -- items --------------------------------------------------------------------------------


def _make_items(domain: Domain, size: WorldSize, rng: np.random.Generator) -> tuple[Item, ...]:
    titles = _make_titles(domain, size.items, rng)
    casts = _cast_people(domain, size, rng)
    tastes = rng.permutation(np.arange(size.items) % size.tastes)
    kinds_of_taste = [rng.permutation(len(domain.kinds)) for _ in range(size.tastes)]
    popularity = rng.permutation(1.0 / np.sqrt(1.0 + np.arange(size.items)))
    items = []
    for n, title in enumerate(titles):
        attributes = {(relation, p) for relation, cast in casts.items() for p in cast[n]}
        for kind in _draw_kinds(kinds_of_taste[tastes[n]], rng):
            attributes.add((domain.kind_relation, domain.kinds[kind]))
        items.append(
            Item(n + 1, title, frozenset(attributes), int(tastes[n]), float(popularity[n]))
        )
    return tuple(items)


def _draw_kinds(order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two kinds for an item; a taste prefers the kinds early in its own order."""
    weights = 0.75 ** np.arange(len(order))
    return rng.choice(order, size=2, replace=False, p=weights / weights.sum())


def _cast_people(
    domain: Domain, size: WorldSize, rng: np.random.Generator
) -> dict[str, list[list[str]]]:
    """Assigns people so that all work about equally often; some people are in two relations."""
    names = [f"{first} {last}" for first in lexicon.FIRST_NAMES for last in lexicon.LAST_NAMES]
    names = list(rng.permutation(names))
    casts: dict[str, list[list[str]]] = {}
    earlier: list[str] = []
    for relation, per_item in domain.people.items():
        shared = earlier[: max(1, len(earlier) // 8)] if earlier else []
        pool = shared + [names.pop() for _ in range(size.people[relation] - len(shared))]
        rounds = -(-size.items * per_item // len(pool))
        deck = [p for _ in range(rounds) for p in rng.permutation(pool)]
        casts[relation] = [deck[n * per_item : (n + 1) * per_item] for n in range(size.items)]
        earlier = pool
    return casts


def _make_titles(domain: Domain, count: int, rng: np.random.Generator) -> list[str]:
    """Titles like a catalogue's: trailing articles, accents, sequels, remakes."""
    pairs = [(a, n) for a in lexicon.ADJECTIVES for n in lexicon.NOUNS]
    plain = [_phrase(a, n, rng) for a, n in (pairs[i] for i in rng.permutation(len(pairs)))]
    names: list[str] = list(lexicon.FOREIGN_TITLES[: count // 12])
    while len(names) < count:
        names.append(plain.pop())
        if len(names) % 16 == 0 and len(names) < count:
            names.append(f"{_without_article(names[-1])} 2")
        if domain.years and len(names) % 20 == 0 and len(names) < count:
            names.append(names[-2])
    if not domain.years:
        return names
    years = _distinct_years(names, rng)
    return [f"{name} ({year})" for name, year in zip(names, years, strict=True)]


def _phrase(adjective: str, noun: str, rng: np.random.Generator) -> str:
    form = rng.choice(["plain", "article", "of"], p=[0.55, 0.3, 0.15])
    if form == "article":
        return f"{adjective} {noun}, The"
    return f"{noun} of {adjective} Things" if form == "of" else f"{adjective} {noun}"


def _without_article(name: str) -> str:
    return name.removesuffix(", The")


def _distinct_years(names: list[str], rng: np.random.Generator) -> list[int]:
    """A year for each name: remakes of one name differ, a sequel comes soon after."""
    years: list[int] = []
    taken: set[tuple[str, int]] = set()
    for name in names:
        sequel = name.endswith(" 2")
        low, high = (years[-1] + 1, years[-1] + 6) if sequel else (1931, 2000)
        year = int(rng.integers(low, high))
        while (name, year) in taken:
            year = int(rng.integers(low, high))
        taken.add((name, year))
        years.append(year)
    return years


# -- users --------------------------------------------------------------------------------


def _make_group_tastes(domain: Domain, size: WorldSize, rng: np.random.Generator) -> dict[str, int]:
    if not domain.profiles:
        return {}
    ages = [f"{age}, {gender}" for age in lexicon.AGE_GROUPS.values() for gender in "FM"]
    groups = ages + list(lexicon.OCCUPATIONS.values())
    tastes = rng.permutation(np.arange(len(groups)) % size.tastes)
    return {group: int(taste) for group, taste in zip(groups, tastes, strict=True)}


def _make_users(
    domain: Domain, size: WorldSize, group_tastes: dict[str, int], rng: np.random.Generator
) -> tuple[User, ...]:
    """Users whose taste is, two times in three, that of one of their groups."""
    users = []
    for n in range(size.users):
        user = User(
            user_id=n + 1,
            gender=str(rng.choice(["F", "M"])),
            age=int(rng.choice(list(lexicon.AGE_GROUPS))),
            occupation=int(rng.choice(list(lexicon.OCCUPATIONS))),
            taste=int(rng.integers(size.tastes)),
        )
        if domain.profiles and rng.random() < 2 / 3:
            group = str(rng.choice(groups_of(user)))
            user = User(user.user_id, user.gender, user.age, user.occupation, group_tastes[group])
        users.append(user)
    return tuple(users)


def _make_ratings(
    items: tuple[Item, ...],
    users: tuple[User, ...],
    size: WorldSize,
    rng: np.random.Generator,
) -> tuple[tuple[int, int, int, int], ...]:
    """(user, item, rating, timestamp): three of four within the user's taste."""
    popularity = np.array([item.popularity for item in items])
    tastes = np.array([item.taste for item in items])
    ratings = []
    for user in users:
        own = tastes == user.taste
        weights = np.where(own, 3.0 * own.size / own.sum(), own.size / (~own).sum()) * popularity
        count = int(np.clip(rng.poisson(size.interactions_per_user), 5, len(items) // 2))
        seen = rng.choice(len(items), size=count, replace=False, p=weights / weights.sum())
        for order, index in enumerate(seen):
            liked = tastes[index] == user.taste
            rating = int(np.clip(round(rng.normal(4.3 if liked else 2.9, 0.7)), 1, 5))
            timestamp = 957_000_000 + 86_400 * user.user_id + 600 * order
            ratings.append((user.user_id, items[index].item_id, rating, timestamp))
    return tuple(ratings)
