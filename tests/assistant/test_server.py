import asyncio
import json
import socket
import threading
import time

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

from rerec_pipeline.assistant.assistant import Request
from rerec_pipeline.assistant.request_queue import (
    BusyError,
    ClientGoneError,
    DeadlineError,
    RequestQueue,
)
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
        assert set(answer["items"][0]) == {"id", "title", "score", "kinds", "reasons"}
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
        reply = client.post("/recommend", json=body)
        assert reply.status_code == status and set(reply.json()) == {"error"}

    @pytest.mark.parametrize("path", ["/recommend", "/v1/chat/completions"])
    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (rb'{"request": "\ud800", "messages": [{"role": "user", "content": "\ud800"}]}', ""),
            (rb'{"request": "x", "k": NaN, "messages": NaN}', ""),
            (rb'{"k": 1e400}', "Field required"),
            (rb'{"\ud800": "\ud800"}', ""),
            (rb'{"messages": [{"role": "user", "content": "x"}], "model": "\ud800"}', ""),
            (rb'{"request": "x", "k": 1' + b"0" * 5000 + b"}", ""),
            (b"[" * 100_000, "parsing the body"),
            (b"\xff\xfe", "the body: JSON decode error"),
            (b"", "the body: Field required"),
        ],
    )
    def test_what_no_person_would_send_is_refused_with_a_sentence(
        self, client, path, body, problem
    ):
        reply = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert 400 <= reply.status_code < 500
        assert problem in reply.json()["error"]["message"]

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

    def test_a_message_in_parts_is_their_text(self, client):
        parts = [
            {"type": "text", "text": ASK},
            {"type": "image_url", "image_url": {"url": "data:,"}},
        ]
        one, other = (
            client.post("/v1/chat/completions", json=chat(text)).json() for text in (ASK, parts)
        )
        assert one["rerec"] == other["rerec"]

    def test_openais_own_client_works_unchanged(self, assistant):
        openai = pytest.importorskip("openai")
        http = TestClient(create_app(assistant, token="secret"))
        client = openai.OpenAI(
            base_url="http://testserver/v1", api_key="secret", http_client=http, max_retries=0
        )
        (model,) = client.models.list()
        asked = {"model": model.id, "messages": chat()["messages"], "temperature": 0}
        whole = client.chat.completions.create(**asked).choices[0]
        assert whole.finish_reason == "stop" and "I recommend " in whole.message.content
        pieces = [
            piece.choices[0].delta.content or ""
            for piece in client.chat.completions.create(**asked, stream=True)
        ]
        assert len(pieces) > 5 and "".join(pieces).split() == whole.message.content.split()
        with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4o'"):
            client.chat.completions.create(**{**asked, "model": "gpt-4o"})
        with pytest.raises(openai.UnprocessableEntityError, match="at least 1 item"):
            client.chat.completions.create(model=model.id, messages=[])
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").models.list()

    def test_another_model_is_unknown(self, client):
        response = client.post("/v1/chat/completions", json=chat(model="gpt-4o"))
        assert response.status_code == 404 and "scripted" in response.json()["error"]["message"]
        assert client.get("/v1/models").json()["data"][0]["id"] == "scripted"

    def test_a_long_conversation_is_answered_and_a_longer_one_refused(self, client):
        body = chat()
        body["messages"] *= 80
        assert sum(len(message["content"]) for message in body["messages"]) > 4_000
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        body["messages"] = chat("x" * 4_000)["messages"] * 6
        refused = client.post("/v1/chat/completions", json=body)
        assert refused.status_code == 422
        assert "at most 20000 characters together" in refused.json()["error"]["message"]
        body["messages"] = chat("x" * 4_001)["messages"]
        assert client.post("/v1/chat/completions", json=body).status_code == 422

    def test_a_megabyte_is_refused_before_it_is_read(self, client):
        reply = client.post("/v1/chat/completions", json=chat("not " * 250_000))
        assert reply.status_code == 413

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

    def test_a_token_guards_all_but_page_health_and_description(self, assistant):
        client = TestClient(create_app(assistant, token="secret"))
        guarded = {
            "/recommend": {"request": ASK}, "/v1/chat/completions": chat(), "/v1/models": None,
            "/metrics": None,
        }  # fmt: skip
        open_ = ["/", "/health", "/docs", "/redoc", "/openapi.json"]
        assert {*client.get("/openapi.json").json()["paths"]} == {*guarded, "/", "/health"}
        for path, body in guarded.items():
            method = "GET" if body is None else "POST"
            for token, status in ((None, 401), ("no", 401), ("secret", 200)):
                head = {} if token is None else {"Authorization": f"Bearer {token}"}
                assert client.request(method, path, json=body, headers=head).status_code == status
        assert [client.get(path).status_code for path in open_] == [200] * len(open_)

    def test_a_full_queue_is_429_with_a_time(self, held, client):
        asking = [threading.Thread(target=ask, args=(client,)) for _ in range(1 + 32)]
        asking[0].start()
        held.begun.wait(60)
        for thread in asking[1:]:
            thread.start()
        while client.get("/health").json()["waiting"] < 32:
            time.sleep(0.01)
        refused = ask(client)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        held.go_on.set()
        for thread in asking:
            thread.join()
        assert 'rerec_requests_total{outcome="answered"} 33.0' in client.get("/metrics").text

    def test_what_waits_is_answered_together(self, held, client, scripted):
        found = []
        asking = [
            threading.Thread(target=lambda n=n: found.append((n, ask(client, k=n).json())))
            for n in (1, 2, 3)
        ]
        asking[0].start()
        held.begun.wait(60)
        for thread in asking[1:]:
            thread.start()
        while client.get("/health").json()["waiting"] < 2:
            time.sleep(0.01)
        held.go_on.set()
        for thread in asking:
            thread.join()
        assert scripted.batches == [1, 2]
        assert sorted((n, len(answer["items"])) for n, answer in found) == [(1, 1), (2, 2), (3, 3)]


def ask(client, **more):
    return client.post("/recommend", json={"request": ASK, **more})


@pytest.fixture
def held(scripted, monkeypatch):
    """The first answer is begun and waits."""

    class Held:
        begun, go_on = threading.Event(), threading.Event()

    plain = scripted.reason

    def reason(prompts):
        Held.begun.set()
        assert Held.go_on.wait(90)
        return plain(prompts)

    monkeypatch.setattr(scripted, "reason", reason)
    return Held


REQUEST = Request("a film")


def queue_of(answer, **options):
    """A queue whose answers are made one by one."""
    options = {"waiting": 4, "seconds": 60, "batch": 4, **options}
    return RequestQueue(lambda requests: [answer(request) for request in requests], **options)


async def all_of(job):
    return [told async for told in job.stream()]


async def nobody_left():
    return False


class TestDesk:
    def test_results_pieces_and_errors(self):
        def answer(request):
            if request.text == "bad":
                raise ZeroDivisionError
            if request.on_text:
                request.on_text("a")
            return request.text

        async def use(queue):
            jobs = [
                queue.submit(Request("x"), streams=True),
                queue.submit(Request("bad")),
                queue.submit(Request("y")),
            ]
            assert (await all_of(jobs[0]))[-2:] == [("text", "a"), ("result", "x")]
            with pytest.raises(ZeroDivisionError):
                await all_of(jobs[1])
            assert await all_of(jobs[2]) == [("result", "y")]  # one bad request harms no other
            assert await queue.submit(Request("z")).result(nobody_left) == "z"

        queue = queue_of(answer)
        asyncio.run(use(queue))
        queue.close()

    def test_what_is_late_is_not_done(self):
        done = []

        def answer(request):
            done.append(request.text)
            while not request.gone():
                time.sleep(0.01)

        async def use(queue):
            slow, late = queue.submit(Request("slow")), queue.submit(Request("late"))
            for job in (slow, late):
                with pytest.raises(DeadlineError):
                    await job.result(nobody_left)

        queue = queue_of(answer, seconds=0.1, batch=1)
        asyncio.run(use(queue))
        queue.close()
        assert done == ["slow"]

    def test_a_full_queue_refuses(self):
        go_on = threading.Event()

        async def use(queue):
            first = queue.submit(REQUEST)
            while queue.waiting:
                await asyncio.sleep(0.01)
            second = queue.submit(REQUEST)
            with pytest.raises(BusyError, match=r"try again in \d s"):
                queue.submit(REQUEST)
            go_on.set()
            return await asyncio.gather(first.result(nobody_left), second.result(nobody_left))

        queue = queue_of(lambda request: go_on.wait(60), waiting=1)
        assert asyncio.run(use(queue)) == [True, True]
        queue.close()

    def test_a_client_that_leaves_ends_the_work_for_it(self):
        ended = threading.Event()

        def answer(request):
            while not request.gone():
                time.sleep(0.01)
            ended.set()

        async def use(queue):
            async def has_left():
                return True

            with pytest.raises(ClientGoneError):
                await queue.submit(REQUEST).result(has_left)
            job = queue.submit(REQUEST)
            job.cancelled.set()

        queue = queue_of(answer)
        asyncio.run(use(queue))
        assert ended.wait(60)
        queue.close()

    def test_a_stream_that_is_not_read_on_ends_the_work(self):
        ended = threading.Event()

        def answer(request):
            while not request.gone():
                request.on_text("more")
                time.sleep(0.01)
            ended.set()

        async def use(queue):
            pieces = queue.submit(REQUEST, streams=True).stream()
            await anext(pieces)
            await pieces.aclose()

        queue = queue_of(answer)
        asyncio.run(use(queue))
        assert ended.wait(60)
        queue.close()


def test_over_a_socket_a_client_that_hangs_up_is_noticed(assistant, scripted):
    """With uvicorn and a real connection, whose end the server has to see by itself."""
    seen, begun = [], threading.Event()

    def reason(prompts):
        begun.set()
        deadline = time.monotonic() + 60
        while not prompts[0].gone() and time.monotonic() < deadline:
            time.sleep(0.02)
        seen.append(prompts[0].gone())
        return [("", np.full(len(prompt.titles), 1 / len(prompt.titles))) for prompt in prompts]

    scripted.reason = reason
    config = uvicorn.Config(create_app(assistant), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    body = json.dumps({"request": ASK}).encode()
    head = "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert begun.wait(60)
    deadline = time.monotonic() + 60
    while not seen and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen == [True]
    server.should_exit = True
    thread.join(10)
