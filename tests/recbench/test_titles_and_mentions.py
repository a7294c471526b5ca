"""Title resolution and mentions: the spellings that occur, and the traps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.recbench.mentions import PhraseIndex, title_index
from rerec_pipeline.recbench.titles import ItemIndex, natural_order, normal_form, split_year

TITLES = [
    "Toy Story (1995)",  # 0
    "Toy Story 2 (1999)",  # 1
    "Harbor, The (1987)",  # 2
    "Été, L' (1960)",  # 3
    "Silent Harbor (1962)",  # 4: a remake's first film
    "Silent Harbor (1998)",  # 5: the remake
    "It (1990)",  # 6
    "Remains of the Day, The (1993)",  # 7
    "Dreams",  # 8: a book, without a year
    "Café Señorial (1988)",  # 9
]
CATALOGUE = ItemIndex(range(100, 110), TITLES)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("Toy Story (1995)", 0),
        ("toy  story (1995)", 0),
        ("Toy Story", 0),  # the year may be missing
        ("Toy Story 2", 1),
        ("Toy Story (1994)", None),  # a wrong year is wrong
        ("The Harbor (1987)", 2),
        ("Harbor, The (1987)", 2),
        ("the harbor", 2),
        ("L'Été (1960)", 3),
        ("L\u2019Été (1960)", 3),
        ("Silent Harbor (1998)", 5),
        ("Silent Harbor", None),  # fits two films
        ("The_Remains of the Day (1993)", 7),
        ("dreams", 8),
        ("Dreams (1990)", None),
        ("Cafe\u0301 Señorial (1988)", 9),  # decomposed accent
        ("Cafe Senorial (1988)", None),  # another spelling is another title
        ("", None),
        ("Something Else (1999)", None),
    ],
)
def test_resolution(text, index):
    assert CATALOGUE.resolve(text) == index


def test_an_article_before_another_title_in_brackets():
    catalogue = ItemIndex([1], ["Boat, The (Das Boot) (1981)"])
    assert natural_order(catalogue.titles[0]) == "The Boat (Das Boot) (1981)"
    assert catalogue.resolve("The Boat (Das Boot) (1981)") == 0
    assert catalogue.resolve("the boat (das boot)") == 0
    assert catalogue.resolve("Das Boot (1981)") is None


def test_ambiguous_is_told_from_unknown():
    assert CATALOGUE.is_ambiguous("Silent Harbor")
    assert not CATALOGUE.is_ambiguous("Toy Story")
    assert not CATALOGUE.is_ambiguous("Something Else")


def test_two_items_of_one_title_are_never_taken_for_one_another():
    catalogue = ItemIndex([1, 2, 3], ["A", "A", "B"])
    assert catalogue.resolve("A") is None
    assert catalogue.is_ambiguous("A")
    assert [catalogue.is_answerable(n) for n in range(3)] == [False, False, True]


def test_a_whole_title_has_its_year():
    catalogue = ItemIndex([1, 2], ["Heat (1995)", "Dreams"])
    assert catalogue.find_whole("heat (1995)") == 0
    assert catalogue.find_whole("Heat") is None
    assert catalogue.find_whole("dreams") == 1


def test_ids_are_not_shared():
    with pytest.raises(BadInputError, match="occurs twice"):
        ItemIndex([1, 2], ["A", "B"], ["x", "x"])
    with pytest.raises(BadInputError, match="occurs twice"):
        ItemIndex([1, 1], ["A", "B"])


@given(st.sampled_from(TITLES), st.booleans(), st.booleans())
def test_case_spaces_and_article_do_not_matter(title, upper, underscore):
    text = natural_order(title)
    text = text.upper() if upper else text
    text = text.replace(" ", "_", 1) if underscore else text
    assert CATALOGUE.resolve(text) == TITLES.index(title)


@given(st.text(max_size=30))
def test_any_text_is_handled(text):
    assert CATALOGUE.resolve(text) in {None, *range(len(TITLES))}
    assert normal_form(natural_order(text)) == normal_form(text)
    assert split_year(text)[1] is None or 0 <= split_year(text)[1] <= 9999


INDEX = title_index(CATALOGUE)


def found(text):
    return [sorted(mention.keys) for mention in INDEX.find(text)]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("I loved Toy Story and Toy Story 2.", [[0], [1]]),
        ("Toy Story 3 was good", []),  # not in the catalogue: no mention of the first film
        ("Toy Story II was good", []),
        ("Toy Story (2010) was good", []),  # another year: another film
        ("toy story (1995)!", [[0]]),
        ("The Harbor is quiet", [[2]]),
        ("the harbor was calm, 'Harbor, The (1987)' too", [[2], [2]]),
        ("Silent Harbor", [[4, 5]]),  # either of two
        ("Silent Harbor (1998)", [[5]]),
        ("It fits. It is good.", []),  # one word is a word
        ("I saw 'It' and \"It\".", [[6], [6]]),
        ("It (1990) fits", [[6]]),
        ("sweet dreams", []),
        ("Café Señorial", [[9]]),
        ("history story", []),
    ],
)
def test_mentions(text, keys):
    assert found(text) == keys


def test_longest_phrase_wins_and_nothing_overlaps():
    index = PhraseIndex([("a b", 1, False), ("a b c", 2, False), ("c d", 3, False)])
    assert [(sorted(m.keys), m.start, m.end) for m in index.find("x a b c d")] == [([2], 1, 4)]
