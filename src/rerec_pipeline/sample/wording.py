"""How the users of the fabricated worlds put their requests into words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rerec_pipeline.graphs.attributes import Attribute
from rerec_pipeline.recbench.titles import natural_order

OPENERS = (
    "", "I have a free evening.", "It was a long week.", "We planned a quiet weekend.",
    "A friend visits tonight.", "My exams are over at last.", "I need a change.",
)  # fmt: skip

REQUESTS = (
    "Could you recommend {need}?", "I would love {need}.", "Please find me {need}.",
    "I am looking for {need}.", "I want {need}.", "Do you know {need}?",
)  # fmt: skip

CLOSERS = ("", "Surprise me!", "Thank you!", "Any idea is welcome.")

#: relation -> ways to say that a person is asked for
ASKED = {
    "Directed_by": ("directed by {value}", "from director {value}", "that {value} directed"),
    "Starring": ("starring {value}", "with {value} in the cast", "featuring {value}"),
    "Written_by": ("written by {value}", "from author {value}", "that {value} wrote"),
}

#: relation -> ways to point at a person through items, without the name
POINTED = {
    "Directed_by": ("by the director of {a}", "by whoever directed {a}"),
    "Starring": ("with the actor who is in both {a} and {b}", "with the star of {a} and {b}"),
    "Written_by": ("by the author of {a}", "by whoever wrote {a}"),
}

#: relation -> false statements about items, and how the request goes on
MISINFORMED = {
    "Directed_by": (
        "I enjoyed {a}, which {value} directed.",
        "{value} directed {a} and I liked it.",
    ),
    "Starring": (
        "I enjoyed {value} in {a} and {b}.",
        "{value} was great in both {a} and {b}.",
    ),
    "Written_by": (
        "I enjoyed {a}, which {value} wrote.",
        "{value} wrote {a} and I liked it.",
    ),
}

MORE_OF = {
    "Directed_by": "by that director",
    "Starring": "with that actor",
    "Written_by": "by that author",
}

FANS = (
    "I loved {a}. Which {kind} {noun} do other fans of it enjoy?",
    "I am a fan of {a}. People who like it surely like some {kind} {noun} too, which one?",
    "{a} is a favourite of mine. Could you suggest {a_kind} {noun} for people with my taste?",
)

PROFILES = {
    "F": "I am a woman in the {age} age group.",
    "M": "I am a man in the {age} age group.",
    "occupation": "I work as a {occupation}.",
}

PEERS = (
    "Which {kind} {noun} do people like me love?",
    "Could you suggest {a_kind} {noun} that is popular with people like me?",
)


def with_article(thing: str) -> str:
    """Puts "a" or "an" before a noun phrase."""
    return f"{'an' if thing[0] in 'AEIO' else 'a'} {thing}"


class Speaker:
    """Words requests; draws its variation from one random generator.

    Args:
        noun: What an item is called.
        kind_relation: The relation whose values are kinds ("a Drama film").
        rng: Source of variation.
    """

    def __init__(self, noun: str, kind_relation: str, rng: np.random.Generator):
        self.noun = noun
        self.kind_relation = kind_relation
        self.rng = rng

    def explicit(self, conditions: Sequence[Attribute]) -> str:
        """A request that names its conditions."""
        phrases = [
            self._pick(ASKED[relation]).format(value=value)
            for relation, value in conditions
            if relation != self.kind_relation
        ]
        return self._request(f"{self._thing(conditions)} {' and '.join(phrases)}")

    def direct(self, conditions: Sequence[Attribute], anchors: Sequence[str]) -> str:
        """A request in its plainest form (``direct_description_query``)."""
        thing = self._thing(conditions)
        if anchors:
            pointed = POINTED[self._person_relation(conditions)][0]
            return f"Can you recommend {thing} {pointed.format(**self._anchors(anchors))}?"
        phrases = [ASKED[r][0].format(value=v) for r, v in conditions if r != self.kind_relation]
        return f"Can you recommend {thing} {' and '.join(phrases)}?"

    def implicit(self, conditions: Sequence[Attribute], anchors: Sequence[str]) -> str:
        """A request that points at its person through the items they worked on."""
        relation = self._person_relation(conditions)
        phrase = self._pick(POINTED[relation]).format(**self._anchors(anchors))
        return self._request(f"{self._thing(conditions, another=True)} {phrase}")

    def misinformed(
        self, conditions: Sequence[Attribute], anchors: Sequence[str], wrong: str
    ) -> str:
        """A request that rests on a false statement about the items it names."""
        relation = self._person_relation(conditions)
        statement = self._pick(MISINFORMED[relation]).format(value=wrong, **self._anchors(anchors))
        more = f"{self._thing(conditions, another=True)} {MORE_OF[relation]}"
        return f"{statement} {self._request(more, opener=False)}"

    def interest(self, anchor: str, kind: str) -> str:
        """A request by taste alone: what other fans of an item enjoy."""
        text = self._pick(FANS).format(
            a=natural_order(anchor), kind=kind, a_kind=with_article(kind), noun=self.noun
        )
        return self._join(text, self._pick(CLOSERS))

    def demographics(self, group: str, kind: str) -> str:
        """A request by profile: what people like the user love."""
        age, _, gender = group.partition(", ")
        profile = PROFILES[gender or "occupation"].format(age=age, occupation=group)
        peers = self._pick(PEERS).format(kind=kind, a_kind=with_article(kind), noun=self.noun)
        return self._join(self._pick(OPENERS), profile, peers, self._pick(CLOSERS))

    # -- parts ---------------------------------------------------------------------------

    def _request(self, need: str, opener: bool = True) -> str:
        request = self._pick(REQUESTS).format(need=need)
        return self._join(self._pick(OPENERS) if opener else "", request, self._pick(CLOSERS))

    def _thing(self, conditions: Sequence[Attribute], another: bool = False) -> str:
        kinds = [value for relation, value in conditions if relation == self.kind_relation]
        thing = " ".join([*kinds, self.noun])
        return f"another {thing}" if another else with_article(thing)

    def _person_relation(self, conditions: Sequence[Attribute]) -> str:
        return next(relation for relation, _ in conditions if relation != self.kind_relation)

    def _anchors(self, anchors: Sequence[str]) -> dict[str, str]:
        return dict(zip("ab", map(natural_order, anchors), strict=False))

    def _pick(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    @staticmethod
    def _join(*parts: str) -> str:
        return " ".join(part for part in parts if part)
