"""What a request says of its user, and what users like that one do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

#: MovieLens-1M's codes of ages and occupations (its README), by what people say of themselves.
AGES = (1, 18, 25, 35, 45, 50, 56)
_FIRST_AGES = (0, 18, 25, 35, 45, 50, 56)
GENDER_WORDS = {
    "M": ["man", "guy", "male", "father", "dad", "husband", "boy", "gentleman", "grandfather"],
    "F": ["woman", "female", "lady", "girl", "mother", "mom", "mum", "wife", "gal", "grandmother"],
}
AGE_WORDS = {
    1: ["teen", "teenager", "teenage", "kid", "child", "preteen", "tween", "kids"],
    56: ["retiree", "retired", "senior", "elderly", "grandparent"],
}
OCCUPATION_WORDS: Mapping[int, Sequence[str]] = {
    1: ["academic", "educator", "teacher", "professor", "lecturer", "teaching", "academia"],
    2: ["artist", "painter", "artistic", "designer"],
    3: ["clerical", "administrative", "secretary"],
    4: ["college", "university", "graduate", "grad", "undergraduate", "campus"],
    6: ["doctor", "nurse", "physician", "medical", "healthcare"],
    7: [
        "executive",
        "manager",
        "managerial",
        "leader",
        "management",
        "businessman",
        "businesswoman",
    ],
    8: ["farmer", "farming"],
    9: ["homemaker", "housewife"],
    10: ["school", "schooler"],
    11: ["lawyer", "attorney", "legal"],
    12: ["programmer", "developer", "coder", "coding", "programming", "software"],
    13: ["retired", "retiree"],
    14: ["sales", "marketing", "marketer", "salesperson", "salesman"],
    15: ["scientist", "researcher", "scientific"],
    16: ["self", "freelancer", "freelance", "entrepreneur", "entrepreneurial"],
    17: ["technician", "engineer", "engineering", "technical"],
    18: ["tradesman", "craftsman", "carpenter", "electrician", "plumber"],
    19: ["unemployed", "jobless"],
    20: ["writer", "author", "novelist", "storyteller", "journalist", "screenwriter"],
}
_DECADE_WORDS = {
    "twenties": 20, "thirties": 30, "forties": 40, "fifties": 50, "sixties": 60, "seventies": 70,
    "teens": 10,
}  # fmt: skip
_PART = {"early": 2, "mid": 5, "late": 8}


@dataclass(frozen=True)
class Profile:
    """Whom a request speaks for; an empty field is not said.

    Attributes:
        genders: ``M``, ``F``.
        ages: Lower ends of MovieLens's age groups.
        occupations: MovieLens's codes.
    """

    genders: frozenset[str] = frozenset()
    ages: frozenset[int] = frozenset()
    occupations: frozenset[int] = frozenset()

    @property
    def said(self) -> int:
        """How many of the three it says."""
        return sum(map(bool, (self.genders, self.ages, self.occupations)))


def read_profile(said: Sequence[str], places: Sequence[int]) -> Profile:
    """Reads a profile from the folded words of a request.

    Only what follows "I'm", "as a", "my" and the like within some words is about the user.

    Args:
        said: The words (``recbench.mentions.words``).
        places: Positions that are not part of a title or a name.
    """
    about = [at for at in places if _is_about_user(said, at)]
    genders = {g for g, known in GENDER_WORDS.items() if any(said[at] in known for at in about)}
    jobs = {o for o, known in OCCUPATION_WORDS.items() if any(said[at] in known for at in about)}
    ages = {age for at in about for age in _ages(said, at)}
    return Profile(frozenset(genders), frozenset(ages), frozenset(jobs))


_OPENINGS = frozenset(("m", "am", "as", "my", "being", "ve", "for"))


def _is_about_user(said: Sequence[str], at: int) -> bool:
    before = list(said[max(0, at - 7) : at])
    for mark in (".", "?", "!"):
        if mark in before:
            before = before[len(before) - before[::-1].index(mark) :]
    return any(word in _OPENINGS for word in before)


def _ages(said: Sequence[str], at: int) -> list[int]:
    word, before = said[at], said[max(0, at - 2) : at]
    found = [age for age, known in AGE_WORDS.items() if word in known]
    decade = _DECADE_WORDS.get(word)
    if (match := re.fullmatch(r"([1-7])0s", word)) is not None:
        decade = int(match[1]) * 10
    if decade is not None:
        part = next((_PART[b] for b in before if b in _PART), None)
        years = range(decade, decade + 10) if part is None else [decade + part]
        found += [_age_group(year) for year in years]
    elif re.fullmatch(r"[1-9]\d", word) and any(
        a in ("year", "years") for a in said[at + 1 : at + 4]
    ):
        found.append(_age_group(int(word)))
    return found


def _age_group(years: int) -> int:
    return AGES[int(np.searchsorted(_FIRST_AGES, years, side="right")) - 1]


class Groups:
    """Interactions by groups of users, for what users like one do.

    Args:
        cells: Gender, age and occupation of each of C groups.
        users: Users in each group, (C,).
        counts: float32 CSR (C, I): interactions of a group's users with each item.
    """

    def __init__(
        self,
        cells: Sequence[tuple[str, int, int]],
        users: NDArray[np.int64],
        counts: sparse.csr_matrix,
    ):
        self._gender = np.array([cell[0] for cell in cells], dtype=object)
        self._age = np.array([cell[1] for cell in cells], dtype=np.int64)
        self._occupation = np.array([cell[2] for cell in cells], dtype=np.int64)
        self._users = np.asarray(users, dtype=np.float64)
        self._counts = counts
        self._known: dict[Profile, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        everybody = np.asarray(counts.sum(axis=0)).ravel()
        self._rarity = np.log(max(self._users.sum(), 1) / np.maximum(everybody, 1))

    def scores(self, profile: Profile) -> NDArray[np.float32]:
        """How typical each item is of users like this, (I,).

        The share of such users who interacted with it, times ln(users / its users): tf-idf, with
        the groups as documents. Of all users where the request says nothing, or nobody is so.
        """
        return self._of(profile)[0]

    def places(self, profile: Profile) -> NDArray[np.float32]:
        """ln(1 + place) of each item in the order of ``scores``, places from 0, (I,)."""
        return self._of(profile)[1]

    def _of(self, profile: Profile) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if profile not in self._known:
            chosen = self._members(profile)
            if not self._users[chosen].sum():
                chosen = np.ones(len(self._users), dtype=bool)
            counts = np.asarray(self._counts[np.flatnonzero(chosen)].sum(axis=0)).ravel()
            share = counts / max(self._users[chosen].sum(), 1)
            scores = (share * self._rarity).astype(np.float32)
            places = np.empty(len(scores), dtype=np.float32)
            places[np.argsort(-scores, kind="stable")] = np.log1p(np.arange(len(scores)))
            self._known[profile] = scores, places
        return self._known[profile]

    def _members(self, profile: Profile) -> NDArray[np.bool_]:
        chosen = np.ones(len(self._users), dtype=bool)
        for column, wanted in (
            (self._gender, profile.genders),
            (self._age, profile.ages),
            (self._occupation, profile.occupations),
        ):
            if wanted:
                chosen &= np.isin(column, np.array(list(wanted), dtype=column.dtype))
        return chosen
