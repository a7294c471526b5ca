"""Answers and grading: boxes that are missing, nested, repeated; titles off the list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.recbench.answers import can_be_boxed, read_answer
from rerec_pipeline.recbench.task import Example, PromptWording, RecTask
from rerec_pipeline.recbench.titles import ItemIndex

TITLES = [
    "Toy Story (1995)",
    "Toy Story 2 (1999)",
    "Harbor, The (1987)",
    "Sex; Lies (1989)",
    "Off (1970)",
]
WORDING = PromptWording(
    system="S",
    user="Q: {query}\n{candidates}\n{history}",
    history="Seen: {titles}.",
    separator="; ",
    evidence=0,
    evidence_words=0,
    order="drawn",
    known="{facts}",
)
TASK = RecTask(ItemIndex(range(len(TITLES)), TITLES), WORDING)
EXAMPLE = Example("e-0", "explicit", [], truth=0, candidates=(3, 0, 1, 2))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{Toy Story (1995)}", "Toy Story (1995)"),
        (r"\boxed{A} no, \boxed{B}", "B"),  # the last one counts
        (r"\boxed{A} and \boxed{B", "A"),  # the last complete one
        (r"\boxed{\text{A {x} B}}", "A {x} B"),
        (r"\boxed{ }", None),
        (r"\boxed{A}\boxed{}", "A"),
        ("Toy Story (1995)", None),
        ("", None),
        (r"\boxed{line" + "\n" + "break}", "line\nbreak"),
        (r"\boxed{;}", None),  # nothing but separators, spaces, controls, direction marks
        (r"\boxed{ ; ;\text{}}", None),
        (r"\boxed{\boxed{}}", None),
        (r"\boxed{{}}", None),
        (r"\boxed{A \boxed{}}", r"A \boxed{}"),
        (r"\boxed{\text{ ; }}", None),
        ("\\boxed{\0\u200f\u202e\u200b\ufeff}", None),
        (r"\boxed{A} or \boxed{;}", "A"),
        (r"\boxed{____}", "____"),  # no title, but an answer: a wrong one
    ],
)
def test_boxes(text, content):
    answer = read_answer(text)
    assert answer.content == content
    assert answer.boxed == (content is not None)
    if content is not None:
        start, end = answer.span
        assert text[start:].startswith("\\boxed{") and text[:end].endswith("}")
        assert content in text[start:end]


@pytest.mark.parametrize("title", ["A}", "{A", r"\text{Y}", r"\boxed{Y}", "A}{B"])
def test_titles_that_no_box_can_hold(title):
    assert not can_be_boxed(title)


@given(st.text(alphabet="\\boxed{}AB;_\n ", min_size=1, max_size=20).map(str.strip).filter(bool))
def test_a_title_that_a_box_can_hold_is_right_when_it_is_answered(title):
    task = RecTask(ItemIndex([1, 2], [title, "Other"]), WORDING)
    boxed = task.rank(read_answer(f"\\boxed{{{title}}}"), [0, 1])
    assert (boxed == [0]) == can_be_boxed(title)


@given(st.text(alphabet="\\boxed{}AB;\n ", max_size=60))
def test_any_completion_is_read(text):
    answer = read_answer(text)
    assert answer.content is None or answer.content.strip() == answer.content != ""
    TASK.rank(answer, EXAMPLE.candidates)


@pytest.mark.parametrize(
    ("text", "ranked", "correct"),
    [
        (r"\boxed{Toy Story (1995)}", [0], True),
        (r"\boxed{toy story}", [0], True),  # without its year, any case
        (r"\boxed{Toy Story 2 (1999)}", [1], False),
        (r"\boxed{The Harbor; Toy Story}", [2, 0], False),  # order is kept
        (r"\boxed{Toy Story; The Harbor; toy story (1995)}", [0, 2], True),  # once each
        (r"\boxed{Sex; Lies (1989)}", [3], False),  # a title with the separator in it
        (r"\boxed{Nonsense; Toy Story}", [-1, 0], False),  # an unknown title keeps its rank
        (r"\boxed{Off (1970)}", [-1], False),  # in the catalogue, not on the list
        (r"no box", [], False),
    ],
)
def test_grading(text, ranked, correct):
    assert TASK.rank(read_answer(text), EXAMPLE.candidates) == ranked
    graded = TASK.grade([text], [EXAMPLE])
    assert graded.correct.tolist() == [correct]
    assert graded.boxed.tolist() == ["box{" in text.replace("ed", "")]


class TestTitlesThatTwoItemsHave:
    TASK = RecTask(
        ItemIndex(
            range(6),
            ["Sabrina (1954)", "Sabrina (1995)", "Heat", "Heat (1995)", "Emma", "Emma"],
        ),
        WORDING,
    )

    @pytest.mark.parametrize(
        ("title", "listed", "ranked"),
        [
            ("Sabrina", (1, 3), 1),  # only one of them is on the list
            ("sabrina", (0, 3), 0),
            ("Sabrina", (0, 1), -1),  # both are
            ("Sabrina", (3,), -1),  # none is
            ("Sabrina (1954)", (1, 3), -1),  # a year says which one is meant
            ("Heat", (3, 0), 3),  # on the list it can only be this one
            ("Heat", (2, 3), 2),  # the closest reading
            ("Emma", (5, 0), 5),
            ("Emma", (4, 5), -1),
        ],
    )
    def test_the_list_comes_first(self, title, listed, ranked):
        example = Example("q", "explicit", [], truth=listed[0], candidates=listed)
        graded = self.TASK.grade([f"\\boxed{{{title}}}"], [example])
        assert graded.ranked.tolist() == [[ranked]]
        assert graded.listed.tolist() == [list(listed)]
        assert graded.correct.tolist() == [ranked == listed[0]]


TITLES = ("Sabrina", "Sabrina (1954)", "heat", "Heat (1995)", "Emma", "Nobody", "nobody", "{}", " ")


@given(st.lists(st.lists(st.sampled_from(TITLES), max_size=6), max_size=5))
def test_a_batch_is_ranked_as_each_of_its_answers_is(answers):
    task = TestTitlesThatTwoItemsHave.TASK
    texts = [f"\\boxed{{{';'.join(titles)}}}" for titles in answers]
    lists = [(1, 3), (0, 1, 2, 5), (4,)]
    examples = [
        Example("q", "explicit", [], truth=c[0], candidates=c) for c in (lists * 2)[: len(texts)]
    ]
    ranked = task.grade(texts, examples).ranked
    assert ranked.shape[1] >= 1
    for row, text, example in zip(ranked.tolist(), texts, examples, strict=True):
        alone = task.rank(read_answer(text), example.candidates)
        assert row[: len(alone)] == alone
        assert set(row[len(alone) :]) <= {-1}


def test_a_completion_for_each_example():
    with pytest.raises(ValueError, match="longer"):
        TASK.grade(["nothing"], [EXAMPLE, EXAMPLE])


def test_several_completions_are_padded():
    graded = TASK.grade([r"\boxed{Toy Story; The Harbor}", "nothing"], [EXAMPLE, EXAMPLE])
    assert graded.ranked.tolist() == [[0, 2], [-1, -1]]
    assert graded.truths.tolist() == [[0], [0]]


def test_order_of_candidates_does_not_change_the_grade():
    text = r"\boxed{The Harbor; Toy Story}"
    other = Example("e-0", "explicit", [], truth=0, candidates=(0, 1, 2, 3))
    assert (
        TASK.grade([text], [EXAMPLE]).ranked.tolist() == TASK.grade([text], [other]).ranked.tolist()
    )


def test_messages():
    system, user = TASK.messages("why {candidates}?", [1, 0], [2])
    assert system == {"role": "system", "content": "S"}
    # what a user types is never taken for a place of ours
    assert user["content"] == (
        "Q: why {candidates}?\nToy Story 2 (1999); Toy Story (1995)\nSeen: Harbor, The (1987)."
    )
    # nor is what a title or a query says after it was put in
    braces = RecTask(ItemIndex([1, 2, 3], ["{query}", "{candidates}", "{history}"]), WORDING)
    assert braces.messages("{history} {query}", [0, 1], [2])[1]["content"] == (
        "Q: {history} {query}\n{query}; {candidates}\nSeen: {history}."
    )
    assert "Seen" not in TASK.messages("q", [0], [])[1]["content"]


def test_next_item_messages():
    def user(*told):
        return TASK.next_item_messages("I loved {last}.", [1, 0], *told)[1]["content"]

    listed = "\nToy Story 2 (1999); Toy Story (1995)\n"
    # The latest title as one says it; titles in the history sentence as the catalogue has them.
    assert user([1, 2], 0) == f"Q: I loved The Harbor (1987).{listed}"
    assert user([1, 2], 1) == f"Q: I loved The Harbor (1987).{listed}Seen: Harbor, The (1987)."
    both = "Seen: Toy Story 2 (1999); Harbor, The (1987)."
    assert user([1, 2], 5) == user([0, 1, 2], 2) == f"Q: I loved The Harbor (1987).{listed}{both}"


@pytest.mark.parametrize(
    ("field", "text", "missing"),
    [("user", "no places", "query"), ("user", "{query}", "candidates"), ("history", "x", "titles")],
)
def test_wording_needs_its_places(field, text, missing):
    with pytest.raises(ValueError, match=missing):
        PromptWording(**{**WORDING.model_dump(), field: text})


class TestPenalisedParagraphs:
    def penalised(self, *paragraphs, candidates=EXAMPLE.candidates):
        answer = read_answer("\n".join(paragraphs))
        ranked = TASK.rank(answer, candidates)
        return TASK.penalised_paragraphs(paragraphs, answer, ranked[0] if ranked else -1)

    def test_paragraphs_that_bring_up_the_wrong_item(self):
        assert self.penalised(
            "Wanted: toys.",
            "Toy Story 2 (1999): toys. Fits.",
            "Toy Story (1995): toys.",
            "So Toy Story 2 it is.",
            r"\boxed{Toy Story 2 (1999)}",
        ) == [1, 3]

    def test_a_shorter_title_is_not_found_inside_a_longer_one(self):
        assert self.penalised("Toy Story 2 fits.", "Toy Story fits.", r"\boxed{Toy Story}") == [1]

    def test_the_answers_own_paragraph_is_left_aside(self):
        assert self.penalised(r"Toy Story 2 fits: \boxed{Toy Story 2}") == []

    def test_only_the_last_box_is_the_answer(self):
        assert self.penalised(r"First \boxed{Toy Story 2}", r"\boxed{Toy Story 2}") == [0]

    def test_a_box_that_is_never_closed_is_not_the_answer(self):
        """What is left aside is the paragraph that was read, not the last that begins a box."""
        assert self.penalised(
            "Toy Story 2 fits.",
            r"So Toy Story 2: \boxed{Toy Story 2}.",
            r"Yes, Toy Story 2: \boxed{Toy",
        ) == [0, 2]

    def test_a_box_over_several_lines_is_left_aside_whole(self):
        assert self.penalised("Toy Story 2.", "\\boxed{", "Toy Story 2", "}", "Toy Story 2!") == [
            0,
            4,
        ]

    @pytest.mark.parametrize("title", ["_", "____", "\U0001f600", "?!", "~", "(1995)"])
    def test_an_answer_without_a_word_is_brought_up_nowhere(self, title):
        assert self.penalised("____ _ (1996)", f"\\boxed{{{title}}}") == []

    def test_an_unknown_title_is_followed_as_written(self):
        assert self.penalised("Great Voyage might do.", "Toy Story.", r"\boxed{Great Voyage}") == [
            0
        ]

    def test_an_item_off_the_list(self):
        assert self.penalised("'Off' fits.", "Off we go.", r"\boxed{Off (1970)}") == [0]

    def test_nothing_boxed_nothing_penalised(self):
        assert self.penalised("Toy Story 2 fits.") == []
