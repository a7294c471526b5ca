"""Questions of the abilities tasks: true, and in the base policy's own forms."""

import pytest

from rerec_pipeline.configs import Habits
from rerec_pipeline.recbench.documents import DOES_NOT_FIT, FITS
from rerec_pipeline.sample.corpus import DESCRIBE, JUDGE, CorpusWriter
from rerec_pipeline.sample.questions import QuestionWriter, followed
from rerec_pipeline.sample.reasoner import Reasoner
from rerec_pipeline.sample.world import DOMAINS, Need, fabricate_world
from tests.conftest import small_world

WORLDS = {
    "movie": fabricate_world(DOMAINS["movie"], small_world()),
    "book": fabricate_world(DOMAINS["book"], small_world(people={"Written_by": 10})),
}
HABITS = Habits(
    looks=2.5, spots=0.3, follows=1.5, commits=0.6, true_verdicts=0.95, misled=0.5, misreads=0.15
)


def asked_of(world):
    taste = (("group", "students"), world.items[0].item_id)
    return {(frozenset([a]), i.item_id) for i in world.items for a in i.attributes} | {taste}


@pytest.fixture(params=sorted(WORLDS))
def world(request):
    return WORLDS[request.param]


@pytest.fixture
def questions(world):
    return QuestionWriter(world, asked_of(world), 80, 0).write()


@pytest.fixture
def corpus(world):
    return CorpusWriter(world, lambda text, titles: text, frozenset(), HABITS, 0)


def test_a_seed_writes_the_same_questions(world, questions):
    assert QuestionWriter(world, asked_of(world), 80, 0).write() == questions
    assert QuestionWriter(world, asked_of(world), 80, 1).write() != questions
    assert {name: len(asked) for name, asked in questions.items()} == dict.fromkeys(questions, 80)


def test_exactly_one_description_is_true(world, questions, corpus):
    """True is what a document of the base policy says; it ends where it goes on to more facts."""
    told = {}
    while len(told) < len(world.items):
        ((question, said),) = corpus.write("facts", 1).turns
        told[question] = said
    for asked in questions["sample_knowledge"]:
        assert len(set(asked["choices"])) == 4
        true = [
            n
            for n, choice in enumerate(asked["choices"])
            if told[asked["question"]].startswith((f"{choice};", f"{choice}."))
        ]
        assert true == [asked["answer"]]


def test_verdicts_are_true_and_half_of_them_good(world, questions):
    line = Reasoner(world).need_line
    wanted = {line(Need((a,))): a for item in world.items for a in item.attributes}
    of_title = {item.title: item for item in world.items}
    for asked in questions["sample_reasoning"]:
        need, title, blank, question = asked["question"].split("\n")
        assert (blank, question) == ("", JUDGE)
        fits = wanted[need] in of_title[title].attributes
        assert asked["verdict"] == (FITS if fits else DOES_NOT_FIT)
    good = sum(asked["verdict"] == FITS for asked in questions["sample_reasoning"])
    assert 24 <= good <= 56  # half, give or take 3.6 standard deviations


def test_what_does_not_fit_has_a_part_of_what_is_asked(world):
    pairs = {(frozenset(item.attributes), item.item_id) for item in world.items[:10]}
    items = {item.title: item for item in world.items}
    seen = set()
    for asked in QuestionWriter(world, pairs, 80, 0).write()["sample_reasoning"]:
        need, title = asked["question"].split("\n")[:2]
        parts = Reasoner(world).need_line(Need(tuple(items[title].attributes)))
        shared = set(need[8:-1].split("; ")) & set(parts[8:-1].split("; "))
        assert shared and (parts == need) == (asked["verdict"] == FITS)
        seen.add(asked["verdict"])
    assert seen == {FITS, DOES_NOT_FIT}


def test_what_the_base_policy_learned_to_say_follows_the_instructions(questions, corpus, world):
    forms = {asked["question"]: asked for asked in questions["sample_instructions"]}
    answers = {}
    for kind in ("facts", "need", "judge"):
        for _ in range(1500):
            ((question, said),) = corpus.write(kind, 20).turns
            answers[question] = said
    common = set(forms) & set(answers)
    assert {question.split("\n")[-1] for question in common} >= {DESCRIBE, JUDGE}
    for question in common:
        assert followed(forms[question], [answers[question]]) == {"followed": 1.0}
        for wrong in ("", "\\boxed{" + world.items[0].title + "}", answers[question] + "\nFits."):
            assert followed(forms[question], [wrong]) == {"followed": 0.0}


def test_a_list_is_recited_in_any_order(questions):
    asked = next(q for q in questions["sample_instructions"] if "Recite" in q["question"])
    listed = asked["question"].split("\n")[:20]
    assert followed(asked, ["\n".join(listed[7::-1])]) == {"followed": 1.0}
    for wrong in (listed[:7], listed[:9], [*listed[:7], "Another Film (1999)"]):
        assert followed(asked, ["\n".join(wrong)]) == {"followed": 0.0}
