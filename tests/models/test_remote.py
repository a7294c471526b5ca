"""A policy behind an OpenAI-compatible server, which here is a thread."""

import json
import socket
import threading

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


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "REREC_POLICY_TOKEN"), (404, "/v1"), (503, "log says why")]
)
def test_a_refusal_says_what_to_do(server, status, remedy):
    policy = RemoteReasoner(server.url, 50)
    server.status = status
    with pytest.raises(RemoteError, match=f"{server.url}/.* refuses a request: {status}.*{remedy}"):
        policy.reason([prompt()])


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (b"", "does not answer: "),  # hangs up
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer: SSH"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "does not answer: IncompleteRead"),
        (
            b"HTTP/1.1 200 OK\r\n\r\n<html>",
            "does not answer in OpenAI's form .the answer: Invalid JSON",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
            "does not answer in OpenAI's form .the answer: ",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff", "does not answer in OpenAI's form"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": []}', "form .data: List should have at least 1 item"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": [{}]}', "form .data.0.id: Field required"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": "x"}', "form .data: "),
    ],
)
def test_what_is_no_such_server_is_named(reply, problem):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(RemoteError, match=f"{url}/models .*{problem}"):
            RemoteReasoner(url, 50)
        thread.join()


def test_a_message_that_is_none_is_named(server):
    policy = RemoteReasoner(server.url, 50)
    server.says = ["parts"]
    with pytest.raises(RemoteError, match="choices.0.message.content: Input should be"):
        policy.reason([prompt()])


def test_a_server_that_is_too_slow_or_not_there_is_named():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(RemoteError, match="does not answer: timed out. Check that the server runs"),
    ):
        RemoteReasoner(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", 50, seconds=0.2)
    with pytest.raises(RemoteError, match="127.0.0.1:9/v1/models does not answer: .*refused"):
        RemoteReasoner("http://127.0.0.1:9/v1", 50)
    with pytest.raises(RemoteError, match="does not answer: .*refused"):
        RemoteReasoner("HTTP://127.0.0.1:9/v1", 50)


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "", "http://h:port/v1", "http://a b/v1", "http://[::1/v1"]
)
def test_an_address_that_is_none(url):
    with pytest.raises(RemoteError, match="cannot be asked: .* Write it as http://HOST:PORT/v1"):
        RemoteReasoner(url, 50)


@pytest.mark.parametrize("token", ["two\nlines", "“quoted”"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(server, token):
    with pytest.raises(RemoteError, match="Check REREC_POLICY_TOKEN") as refused:
        RemoteReasoner(server.url, 50, token)
    assert token[:3] not in str(refused.value)
    assert RemoteReasoner(server.url, 50, "secret\n").name == "policy"
