"""Conversations with a known goal, led to their end."""

import numpy as np
import pytest

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.assistant.simulation import TURNS, Goal, converse, draw_goals
from rerec_pipeline.configs import Bootstrap
from rerec_pipeline.reporting.conversations import report_conversations


@pytest.fixture
def alone(assistant):
    return Assistant(assistant.task, assistant.retriever)


class TestGoals:
    def test_each_is_fulfilled_by_an_item_and_has_relations_of_its_own(self, facts):
        goals = draw_goals(facts, 50, 0)
        assert len({goal.conditions for goal in goals}) == len(goals) > 1
        for goal in goals:
            relations = [facts.attributes[a][0] for a in goal.conditions]
            assert len(set(relations)) == len(relations) >= 2 and goal.items
            for item in goal.items:
                assert set(goal.conditions) <= set(facts.of_item(item).tolist())
        assert draw_goals(facts, 2, 0) == goals[:2]


class TestConversing:
    def test_the_turn_of_success_is_told(self, alone, facts):
        numbers = [facts.number[key] for key in (("Directed_by", "Ana Torv"), ("Genre", "Drama"))]
        goal = Goal(tuple(numbers), frozenset({0, 3}))
        turns = converse(alone, [goal], 3, 0, 2)
        assert turns.shape == (1, 3) and (turns > 0).all()
        assert (turns == converse(alone, [goal], 3, 0, 8)).all()

    def test_a_goal_that_nothing_fulfils_is_not_reached(self, alone):
        assert converse(alone, [Goal((0, 1), frozenset())], 2, 0, 8).tolist() == [[0, 0]]

    def test_nothing_is_recommended_twice(self, alone, facts, monkeypatch):
        asked, plain = [], Assistant.answer

        def answer(self, requests):
            asked.append(list(requests[0].exclude))
            return plain(self, requests)

        monkeypatch.setattr(Assistant, "answer", answer)
        converse(alone, [Goal((0, 1), frozenset())], 1, 0, 1)
        assert [len(row) for row in asked] == list(range(TURNS))


def test_the_report_counts_by_hand():
    turns = np.array([[1, 2, 3], [0, 1, 1]])
    report = report_conversations({"graph": turns}, Bootstrap(200, 0.95, 0))
    found = {name: row["mean"] for name, row in report["systems"]["graph"].items()}
    assert found == pytest.approx(
        {"success@1": 0.5, "success@2": 4 / 6, "success@3": 5 / 6, "pass^3": 0.5}
    )
