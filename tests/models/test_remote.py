"""A policy behind an OpenAI-compatible server, which here is a thread."""

import json

import numpy as np
import pytest

from rerec_pipeline.models.remote import RemoteError, RemoteReasoner
from rerec_pipeline.recbench.task import Prompt
from tests.loopback import JsonHandler, serving

TITLES = ["Harbor, The (1990)", "Ember (1994)", "Long Winter (1960)"]


@pytest.fixture
def server():
    """Answers every chat with ``says``, and keeps what it was asked."""

    class Handler(JsonHandler):
        def get(self):
            self.reply({"data": [{"id": "policy"}]})

        def post(self, content):
            body = json.loads(content)
            self.server.asked.append((self.headers.get("Authorization"), body))
            if self.server.status != 200:
                return self.send_error(self.server.status)
            return self.reply({"choices": [{"message": {"content": self.server.says}}]})

    with serving(Handler) as made:
        made.asked, made.status, made.says = [], 200, "It fits.\n\\boxed{The Harbor}"
        made.url += "/v1"
        yield made


def prompt(**more):
    return Prompt([{"role": "user", "content": "a film"}], TITLES, **more)


def test_the_boxed_title_comes_first(server):
    said = []
    policy = RemoteReasoner(server.url, 50, token="secret")
    ((text, scores),) = policy.reason([prompt(on_text=said.append)])
    assert policy.name == "policy" and text == "It fits." and said == ["It fits."]
    assert np.argsort(-scores, kind="stable").tolist() == [0, 1, 2] and scores.sum() == 1
    token, body = server.asked[0]
    assert token == "Bearer secret"
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 50, "policy")


@pytest.mark.parametrize("says", ["no box", "\\boxed{Something Else (2001)}", "", None])
def test_an_answer_off_the_list_leaves_the_order_as_it_was_found(server, says):
    server.says = says
    ((_, scores),) = RemoteReasoner(server.url, 50).reason([prompt()])
    assert scores.tolist() == pytest.approx([1 / 3] * 3)


def test_several_at_once_and_none_for_who_has_gone(server):
    policy = RemoteReasoner(server.url, 50)
    found = policy.reason([prompt(), prompt(gone=lambda: True), prompt()])
    assert [text for text, _ in found] == ["It fits.", "", "It fits."]
    assert len(server.asked) == 2 and policy.reason([]) == []


def test_a_server_that_does_not_answer_is_named(server):
    policy = RemoteReasoner(server.url, 50)
    server.status = 503
    with pytest.raises(RemoteError, match="refuses a request: 503"):
        policy.reason([prompt()])
    with pytest.raises(RemoteError, match="127.0.0.1:9/v1 does not answer"):
        RemoteReasoner("http://127.0.0.1:9/v1", 50)
