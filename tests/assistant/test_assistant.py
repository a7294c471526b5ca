import dataclasses
import io
import json
import sys
import time

import pytest

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.assistant.conversation import (
    LONGEST,
    LONGEST_CONVERSATION,
    MOST_MESSAGES,
    Turn,
    read_conversation,
)
from rerec_pipeline.commands.asking import _converse
from rerec_pipeline.errors import BadInputError

ASK = "I loved Night Train (1991). Another film by the same director, please."


class TestAsking:
    def test_the_policy_chooses_among_what_was_retrieved(self, assistant, scripted):
        answer = assistant.ask(ASK, top=2)
        _, titles = scripted.asked[0]
        assert [item.title for item in answer.items] == titles[::-1][:2]
        assert sum(item.score for item in answer.candidates) == pytest.approx(1)
        assert {"Harbor, The (1990)", "Ember (1994)"} <= set(titles)
        assert "Night Train (1991)" not in titles  # what is named is not recommended back

    def test_it_says_why_by_facts_of_the_graph(self, assistant):
        found = {item.title: item.reasons for item in assistant.ask(ASK).candidates}
        assert found["Ember (1994)"] == ("directed by Ana Torv, as Night Train was",)

    def test_what_the_reasoning_states_is_checked(self, assistant):
        facts = [(f.text, f.item, f.status) for f in assistant.ask(ASK).facts]
        assert facts == [
            ("Ember: directed by Ana Torv", "Ember (1994)", "confirmed"),
            ("The Harbor: directed by Otto Beck", "Harbor, The (1990)", "contradicted"),
        ]

    def test_what_the_request_states_is_checked(self, assistant):
        answer = assistant.ask("I liked Ember (1994), which Otto Beck directed. More by him?")
        assert [(f.text, f.status) for f in answer.request_facts] == [
            ("Ember: not directed by Otto Beck, but directed by Ana Torv", "contradicted")
        ]

    def test_names_that_the_graph_does_not_have_are_checked_too(self, assistant):
        answer = assistant.ask("Yoshi Kishimoto directed Ember (1994). More by him?")
        assert [(f.text, f.status) for f in answer.request_facts] == [
            ("Ember: not directed by Yoshi Kishimoto, but directed by Ana Torv", "contradicted")
        ]

    def test_candidates_of_the_caller_are_the_only_ones(self, assistant, scripted):
        assistant.ask(ASK, candidates=[5, 6, 5], history=[6])
        assert scripted.asked[0][1] == ["Quiet Village (1996)"]

    def test_evidence_is_laid_before_the_policy_where_the_wording_has_it(self, assistant, scripted):
        user = assistant.task.wording.user + "{known}"
        changed = {"evidence": 2, "evidence_words": 50, "user": user}
        assistant.task.wording = assistant.task.wording.model_copy(update=changed)
        assistant.ask(ASK)
        prompt = scripted.asked[0][0][1]["content"]
        assert "Ember (1994): directed by Ana Torv, as Night Train was" in prompt

    def test_without_a_policy_retrieval_answers(self, assistant):
        alone = Assistant(assistant.task, assistant.retriever)
        answer = alone.ask(ASK)
        assert answer.policy == "graph" and answer.reasoning == ""
        assert answer.items[0].reasons == ("directed by Ana Torv, as Night Train was",)

    @pytest.mark.parametrize("request_", ["", "   ", "the of and", "\u65e5\u672c", "x " * 50_000])
    def test_a_request_of_nothing_still_gets_an_item_of_the_catalogue(self, assistant, request_):
        titles = set(assistant.task.catalogue.titles)
        assert {item.title for item in assistant.ask(request_).items} <= titles

    def test_nothing_left_to_recommend(self, assistant):
        answer = assistant.ask(ASK, candidates=[3], exclude=[3])
        assert answer.items == () and answer.candidates == ()

    def test_a_title_that_is_none_is_named(self, assistant):
        with pytest.raises(BadInputError, match="field 'history'.*'Nowhere' is no title"):
            assistant.indices(["Ember", "Nowhere"], "history")

    def test_answers_are_plain_values(self, assistant):
        answer = assistant.ask(ASK)
        assert answer.as_dict() == dataclasses.asdict(answer)


def wished(assistant, *said):
    """What some turns of a user come to, with an answer after each but the last."""
    turns = []
    for text in said:
        role = "assistant" if text.startswith("I recommend") else "user"
        turns.append(Turn(role, text))
    wish = read_conversation(turns, assistant)
    titles = assistant.task.catalogue.titles
    return wish.request, {titles[n] for n in wish.refused}


class TestConversation:
    def test_not_takes_away_a_name_a_kind_or_a_title(self, assistant):
        kept, refused = wished(assistant, "A drama, but not one directed by Ana Torv.")
        assert "Torv" not in kept and kept.startswith("A drama")
        assert refused == {"Harbor, The (1990)", "Night Train (1991)", "Ember (1994)"}
        assert wished(assistant, "Something without Otto Beck")[1] == {
            "Boat, The (Das Boot) (1981)"
        }
        assert "Ember (1994)" in wished(assistant, "A drama. Not Ember (1994), please.")[1]
        assert wished(assistant, "No comedy.")[1] == {"Night Train (1991)", "Long Winter (1960)"}

    @pytest.mark.parametrize(
        "text",
        [
            "I do not know what to watch.  A drama?",
            "Not only Ana Torv is great; a drama.",
            "another film by Ana Torv",
            "I loved Night Train (1991). Another film by the same director, please.",
        ],
    )
    def test_what_takes_nothing_away_stays_as_it_is_written(self, assistant, text):
        assert wished(assistant, text) == (text, set())

    def test_instead_changes_what_was_wished_of_the_same_relation(self, assistant):
        kept, refused = wished(
            assistant, "A film directed by Ana Torv. A drama.", "I recommend Ember (1994).",
            "One directed by Otto Beck instead.",
        )  # fmt: skip
        assert kept == "A drama.\nOne directed by Otto Beck instead." and refused == set()

    def test_older_and_newer_are_than_what_was_shown_or_named(self, assistant):
        said = ("A drama.", "I recommend Night Train (1991).")
        newer = {"Ember (1994)", "Night Train 2 (1995)", "Quiet Village (1996)", "Mara Lind (1999)"}
        same = "Night Train (1991)"
        assert wished(assistant, *said, "Something older.")[1] == newer | {same}
        kept = wished(assistant, "Something newer than Night Train (1991).")[1]
        titles = set(assistant.task.catalogue.titles)
        assert kept == titles - newer

    def test_wishes_add_up_and_what_was_shown_is_left_out(self, assistant):
        turns = [
            Turn("system", "be kind"),
            Turn("user", "A drama."),
            Turn("assistant", "Night Train (1991) is no drama.\n\nI recommend Ember (1994)."),
            Turn("user", "Something else, with Mara Lind."),
        ]
        wish = read_conversation(turns, assistant)
        assert wish.request == "A drama.\nSomething else, with Mara Lind."
        assert wish.shown == (3,)
        again = assistant.ask(wish.request, exclude=wish.shown)
        assert "Ember (1994)" not in {item.title for item in again.candidates}


class TestLongConversations:
    @pytest.mark.parametrize(
        "text",
        [
            "not " * 100,
            "A film directed by Ana Torv. A comedy instead. ",
            "Something older. ",
            "not by Ana Torv. ",
        ],
    )
    def test_reading_is_linear(self, assistant, monkeypatch, text):
        """Counted in characters that are linked, which is what reading takes its time for."""
        plain, read = assistant.retriever.linker.link, []

        def link(said):
            read.append(len(said))
            return plain(said)

        monkeypatch.setattr(assistant.retriever.linker, "link", link)

        def cost(turns, times):
            read.clear()
            read_conversation([Turn("user", text * times)] * turns, assistant)
            return sum(read)

        assert cost(40, 1) < 2.5 * cost(20, 1)
        assert cost(1, 10) < 2.5 * cost(1, 5)

    def test_white_space_is_read_once(self, assistant):
        turns = [Turn("user", "A drama" + " " * (LONGEST - 10) + ".")]
        start = time.process_time()
        for _ in range(5):
            read_conversation(turns, assistant)
        assert time.process_time() - start < 0.05  # .15 s where each space is a beginning

    @pytest.mark.parametrize(
        ("turns", "problem"),
        [
            ([], "there is no message"),
            ([Turn("user", "x" * (LONGEST + 1))], "message 1, .*at most 4000 characters"),
            ([Turn("user", "x")] * (MOST_MESSAGES + 1), "at most 100 messages, this one 101"),
            ([Turn("user", "x" * LONGEST)] * 6, "at most 20000 characters together, these 24000"),
        ],
    )
    def test_what_is_too_long_is_refused(self, assistant, turns, problem):
        with pytest.raises(BadInputError, match=problem):
            read_conversation(turns, assistant)

    def test_answers_do_not_count_as_what_the_user_says(self, assistant):
        long = f"{'It is good. ' * 1_000}\n\nI recommend Ember (1994)."
        turns = [Turn("user", "A drama."), Turn("assistant", long)] * 20
        assert len(long) * 20 > LONGEST_CONVERSATION
        assert read_conversation(turns, assistant).shown == (3,)


class TestInATerminal:
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    LINES = f"a comedy\n{'x' * (LONGEST + 1)}\nnot this one\n\n"

    def test_a_line_that_is_too_long_does_not_end_the_conversation(
        self, assistant, monkeypatch, capsys
    ):
        monkeypatch.setattr(sys, "stdin", self.Terminal(self.LINES))
        _converse(assistant, {}, as_json=True)
        told = capsys.readouterr()
        first, second = map(json.loads, told.out.splitlines())
        assert f"at most {LONGEST} characters" in told.err
        assert first["items"][0] not in second["items"]  # what was said before is not lost

    def test_a_program_is_told_by_an_error(self, assistant, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.StringIO(self.LINES))
        with pytest.raises(BadInputError, match="at most"):
            _converse(assistant, {}, as_json=True)
