import json
import threading
import time

import pytest
from fastapi.testclient import TestClient

from rerec_pipeline.assistant.desk import BusyError, Cancelled, Desk, LateError
from rerec_pipeline.assistant.server import LARGEST_BODY, create_app
from tests.assistant.test_assistant import ASK


@pytest.fixture
def client(assistant):
    return TestClient(create_app(assistant))


def chat(text=ASK, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def events(response):
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


class TestRecommend:
    def test_items_with_reasons_and_checked_facts(self, client):
        answer = client.post("/recommend", json={"request": ASK, "k": 2}).json()
        assert len(answer["items"]) == 2 and answer["policy"] == "scripted"
        assert set(answer["items"][0]) == {"id", "title", "score", "reasons"}
        assert [fact["status"] for fact in answer["facts"]] == ["confirmed", "contradicted"]

    def test_history_and_candidates_are_titles(self, client, scripted):
        body = {"request": ASK, "history": ["Ember"], "candidates": ["Ember (1994)", "The Harbor"]}
        answer = client.post("/recommend", json=body).json()
        assert [item["title"] for item in answer["candidates"]] == ["Harbor, The (1990)"]
        assert scripted.asked[0][0][1]["content"].startswith("Harbor, The (1990)\n\nSeen: Ember")

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"request": ""}, 422),
            ({"request": "x" * 5000}, 422),
            ({"request": ASK, "k": 0}, 422),
            ({"request": ASK, "history": ["Nowhere"]}, 422),
            ({"request": ASK, "candidates": []}, 422),
            ({"request": ASK, "nonsense": 1}, 422),
            ([], 422),
        ],
    )
    def test_bad_bodies_are_refused(self, client, body, status):
        assert client.post("/recommend", json=body).status_code == status

    def test_wrong_json_large_bodies_and_no_length(self, client):
        head = {"Content-Type": "application/json"}
        assert client.post("/recommend", content=b"{", headers=head).status_code == 422
        large = b'{"request": "' + b"x" * LARGEST_BODY + b'"}'
        assert client.post("/recommend", content=large, headers=head).status_code == 413
        assert client.post("/recommend", content=iter([b"{}"])).status_code == 411

    def test_html_and_control_characters_are_text(self, client, scripted):
        scripted.text = "<script>alert(1)</script> \x00\u202e"
        response = client.post("/recommend", json={"request": "<b>\x00\u202e" + ASK})
        assert response.headers["content-type"] == "application/json"
        assert response.json()["reasoning"] == scripted.text


class TestChat:
    def test_the_form_of_openai(self, client):
        answer = client.post("/v1/chat/completions", json=chat(temperature=0.2)).json()
        (choice,) = answer["choices"]
        assert answer["object"] == "chat.completion" and choice["finish_reason"] == "stop"
        title = answer["rerec"]["items"][0]["title"]
        assert choice["message"]["content"].endswith(f"\n\nI recommend {title}.")

    def test_streaming_gives_the_same_text_in_pieces(self, client):
        whole = client.post("/v1/chat/completions", json=chat()).json()
        pieces = events(client.post("/v1/chat/completions", json=chat(stream=True)))
        said = "".join(p["choices"][0]["delta"].get("content", "") for p in pieces)
        assert len(pieces) > 5
        assert said.split() == whole["choices"][0]["message"]["content"].split()
        assert pieces[-1]["choices"][0]["finish_reason"] == "stop"
        assert pieces[-1]["rerec"] == whole["rerec"]

    def test_another_model_is_unknown(self, client):
        response = client.post("/v1/chat/completions", json=chat(model="gpt-4o"))
        assert response.status_code == 404 and "scripted" in response.json()["error"]["message"]
        assert client.get("/v1/models").json()["data"][0]["id"] == "scripted"

    def test_what_was_shown_is_not_shown_again(self, client):
        first = client.post("/v1/chat/completions", json=chat()).json()
        said = first["choices"][0]["message"]
        body = chat()
        body["messages"] += [said, {"role": "user", "content": "Something else."}]
        second = client.post("/v1/chat/completions", json=body).json()
        shown = {item["title"] for item in second["rerec"]["candidates"]}
        assert first["rerec"]["items"][0]["title"] not in shown


class TestAround:
    def test_health_metrics_docs_and_page(self, client):
        client.post("/recommend", json={"request": ASK})
        assert client.get("/health").json()["items"] == 8
        assert 'rerec_requests_total{outcome="answered"} 1.0' in client.get("/metrics").text
        assert client.get("/docs").status_code == 200
        page = client.get("/").text
        assert 'name="viewport"' in page and "scripted" in page

    def test_a_token_is_asked_for_everywhere_but_health_and_page(self, assistant):
        client = TestClient(create_app(assistant, token="secret"))
        body = {"request": ASK}
        assert client.post("/recommend", json=body).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer no"}).status_code == 401
        right = {"Authorization": "Bearer secret"}
        assert client.post("/recommend", json=body, headers=right).status_code == 200
        assert client.get("/health").status_code == 200

    def test_a_full_queue_is_429_with_a_time(self, assistant, scripted):
        begun, go_on = threading.Event(), threading.Event()

        def wait(*_):
            begun.set()
            go_on.wait(10)
            return "", [1.0] * 4

        assistant.reasoner.reason = lambda m, t, s=None: (wait(), _even(t))[1]
        client = TestClient(create_app(assistant, waiting=1, seconds=20))
        asking = [
            threading.Thread(
                target=client.post, args=("/recommend",), kwargs={"json": {"request": ASK}}
            )
            for _ in range(2)
        ]
        asking[0].start()
        begun.wait(10)
        asking[1].start()
        while client.get("/health").json()["waiting"] < 1:
            time.sleep(0.01)
        refused = client.post("/recommend", json={"request": ASK})
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        go_on.set()
        for thread in asking:
            thread.join()


def _even(titles):
    import numpy as np

    return "", np.full(len(titles), 1 / len(titles))


class TestDesk:
    def test_results_pieces_and_errors(self):
        desk = Desk(waiting=4, seconds=10)

        def work(say):
            say("a")
            return 3

        assert [*desk.submit(work).stream()] == [("text", "a"), ("result", 3)]
        with pytest.raises(ZeroDivisionError):
            [*desk.submit(lambda say: 1 / 0).stream()]
        desk.close()

    def test_what_is_late_or_cancelled_is_not_done(self):
        done = []
        desk = Desk(waiting=2, seconds=0.05)
        slow = desk.submit(lambda say: time.sleep(0.2))
        late = desk.submit(lambda say: done.append(1))
        assert [*slow.stream()][-1] == ("result", None)
        with pytest.raises(LateError):
            [*late.stream()]
        gone = Desk(waiting=2, seconds=10)
        job = gone.submit(lambda say: (time.sleep(0.1), say("x"), done.append(2)))
        job.cancelled.set()
        gone.close()
        assert done == []

    def test_a_full_desk_refuses(self):
        go_on = threading.Event()
        desk = Desk(waiting=1, seconds=8)
        desk.submit(lambda say: go_on.wait(5))
        while desk.waiting:
            time.sleep(0.01)
        desk.submit(lambda say: None)
        with pytest.raises(BusyError, match="try again in 2 s"):
            desk.submit(lambda say: None)
        go_on.set()
        desk.close()


def test_cancelling_ends_the_work():
    desk = Desk(waiting=1, seconds=10)
    ended = threading.Event()

    def work(say):
        try:
            while True:
                say("more")
                time.sleep(0.01)
        except Cancelled:
            ended.set()
            raise

    job = desk.submit(work)
    next(job.stream())
    job.cancelled.set()
    assert ended.wait(5)
    desk.close()
