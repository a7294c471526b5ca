"""The relations of the item-attribute graph: one name each, however a file spells it.

The canonical names are those of the benchmark's own schemas (``movie-schema.json``,
``book-schema.json``); DBpedia-style names (``director``) and spelling variants map to them.
An attribute is always the pair (relation, value): a person who directed a film is not the
same attribute as the same person starring in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rerec_pipeline.errors import BadInputError

#: What an encyclopedia adds to a name that several people have: nobody says it.
_BRACKET = re.compile(r" \([^()]*\)$")

#: canonical relation -> other spellings found in released files
RELATION_ALIASES: dict[str, tuple[str, ...]] = {
    "Directed_by": ("director", "directors"),
    "Starring": ("actor", "actors", "cast"),
    "Written_by": ("writer", "writers", "author", "story_by"),
    "Screenplay_by": ("screenplay",),
    "Produced_by": (
        "producer",
        "producers",
        "production_company",
        "production_companies",
        "productioncompany",
        "productioncompanies",
    ),
    "Distributed_by": ("distributor", "distributors"),
    "Music_by": ("music_composer", "composer", "theme_music_composer"),
    "Cinematography": ("cinematographer",),
    "Edited_by": ("editing", "editor"),
    "Narrated_by": ("narrator",),
    "Based_on": (),
    "Color_process": (),
    "Language": ("languages",),
    "Production_Country": ("country", "countries"),
    "Genre": ("genres",),
    "Belongs_to": ("category", "categories"),
    # Of a graph that does not say how an attribute relates to its item.
    "Related_to": ("attribute", "has_attribute", "related"),
}

#: relation -> phrases that announce one of its values in running text
RELATION_PHRASES: dict[str, tuple[str, ...]] = {
    "Directed_by": ("directed by", "director"),
    "Starring": ("starring", "stars", "cast includes"),
    "Written_by": ("written by", "author"),
    "Screenplay_by": ("screenplay by",),
    "Produced_by": ("produced by",),
    "Distributed_by": ("distributed by",),
    "Music_by": ("music by", "composed by"),
    "Cinematography": ("cinematography by", "shot by"),
    "Edited_by": ("edited by",),
    "Narrated_by": ("narrated by",),
}

#: relation -> beginnings of words with which a request speaks of it
RELATION_STEMS: dict[str, tuple[str, ...]] = {
    "Directed_by": ("direct",),
    "Starring": ("star", "actor", "actress", "acting", "perform", "cast", "role"),
    "Written_by": ("writ", "author", "story by", "novel by"),
    "Screenplay_by": ("screenplay", "script", "screenwrit"),
    "Produced_by": ("produc",),
    "Distributed_by": ("distribut",),
    "Music_by": ("music", "compos", "score", "soundtrack"),
    "Cinematography": ("cinematograph", "shot by"),
    "Edited_by": ("edited", "editor", "editing"),
    "Narrated_by": ("narrat",),
}

#: relation -> further beginnings of words that say which relation a request is about
RELATION_CUES: dict[str, tuple[str, ...]] = {
    "Directed_by": ("filmmaker", "helmed"),
    "Starring": ("featur", "appear", "portray", "played by", "talents of"),
    "Written_by": ("wrote", "penned", "novelist"),
    "Screenplay_by": ("scenari",),
    "Produced_by": ("studio",),
    "Distributed_by": ("releas", "studio"),
    "Music_by": ("musical score", "songs"),
    "Cinematography": ("visual", "photograph", "camera", "filmed by", "imagery", "shot"),
    "Edited_by": ("edit ", "edits"),
    "Narrated_by": ("voice",),
}

#: words that begin like a cue and are none
FALSE_CUES: frozenset[str] = frozenset((
    "start", "starts", "started", "starting", "startling", "castle", "castles", "fantastic",
    "fantastically", "terrific", "directly", "shots",
))  # fmt: skip

#: kind -> beginnings of words with which a request speaks of it; one with a space is whole
KIND_CUES: dict[str, tuple[str, ...]] = {
    "Action": ("action",),
    "Adventure": ("adventur", "quest "),
    "Animation": ("animat", "cartoon", "disney"),
    "Children's": ("children", "kids ", "family"),
    "Comedy": ("comed", "funny ", "humor", "humour", "hilarious", "laugh"),
    "Crime": ("crim", "gangster", "heist ", "mafia "),
    "Documentary": ("documentar",),
    "Drama": ("drama",),
    "Fantasy": ("fantas", "magic"),
    "Film-Noir": ("noir ",),
    "Horror": ("horror", "scary ", "frighten", "terrif"),
    "Musical": ("musical",),
    "Mystery": ("myster", "detective"),
    "Romance": ("romanc", "romantic", "love stor"),
    "Sci-Fi": ("science fiction", "sci", "futur", "space "),
    "Thriller": ("thrill", "suspens"),
    "War": ("war ", "wars ", "wartime ", "military"),
    "Western": ("western",),
}

#: relations whose values are people or studios: few items share one
MAKER_RELATIONS: tuple[str, ...] = (
    "Directed_by", "Starring", "Written_by", "Screenplay_by", "Produced_by", "Music_by",
    "Cinematography", "Edited_by", "Narrated_by",
)  # fmt: skip

#: relations whose values are kinds rather than names, stated without an announcing phrase
KIND_RELATIONS: tuple[str, ...] = ("Genre", "Belongs_to")


def _spelling_key(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip().replace("(s)", "s")).casefold()


def spellings(added: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Relations by all their spellings: the built-in ones, and a user's laid over them.

    Args:
        added: Relation -> other names for it in files; a built-in relation gets further ones.

    Raises:
        ValueError: If two of the added relations share a spelling.
    """
    found: dict[str, str] = {}
    for relation, names in added.items():
        for key in {_spelling_key(name) for name in (relation, *names)}:
            if found.setdefault(key, relation) != relation:
                raise ValueError(f"'{key}' names both {found[key]} and {relation}")
    return {**_BUILT_IN, **found}


_BUILT_IN: dict[str, str] = {
    _spelling_key(spelling): relation
    for relation, aliases in RELATION_ALIASES.items()
    for spelling in (relation, *aliases)
}


def canonical_relation(
    name: str, *, source: object, record: object | None = None, known: Mapping[str, str] = _BUILT_IN
) -> str:
    """Gives the one name of a relation.

    Args:
        name: A relation as a file spells it.
        source: File the name was read from, for the error.
        record: Line or record it was read from, for the error.
        known: See ``spellings``.

    Raises:
        BadInputError: If the relation is not known.
    """
    try:
        return known[_spelling_key(name)]
    except KeyError:
        raise BadInputError(
            source,
            f"unknown relation '{name}'",
            record=record,
            field="relation",
            remedy=f"Known relations: {', '.join(dict.fromkeys(known.values()))}. Add it, or "
            "another name for one of these, to attributes.relations (docs/own_data.md)",
        ) from None


# What is known of a relation that a user adds follows from its name: "Designed_by" has names as
# values, announced by "designed by"; any other ("Mechanic") has kinds.


def is_kind(relation: str) -> bool:
    """Whether the values are kinds rather than names, stated without an announcing phrase."""
    return relation in KIND_RELATIONS or (_is_added(relation) and not _names_makers(relation))


def is_maker(relation: str) -> bool:
    """Whether the values are people or studios: few items share one."""
    return relation in MAKER_RELATIONS or (_is_added(relation) and _names_makers(relation))


def plain_name(value: str) -> str:
    """A value as a request says it: "Steve McQueen (director)" -> "Steve McQueen"."""
    return _BRACKET.sub("", value) or value


def phrases_of(relation: str) -> tuple[str, ...]:
    """Phrases that announce one of its values in running text."""
    if _is_added(relation) and _names_makers(relation):
        return (relation.replace("_", " ").casefold(),)
    return RELATION_PHRASES.get(relation, ())


def stems_of(relation: str) -> tuple[str, ...]:
    """Beginnings of words with which a request speaks of it."""
    if _is_added(relation):
        first = re.split(r"[\s_]", relation.casefold())[0]
        return (re.sub(r"(?<=\w{4})(ed|s)$", "", first),)
    return RELATION_STEMS.get(relation, ())


def _is_added(relation: str) -> bool:
    return relation not in RELATION_ALIASES


def _names_makers(relation: str) -> bool:
    return relation.casefold().endswith("_by")
