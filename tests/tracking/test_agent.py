"""The assistant as MLflow asks it: the same answers as the server's."""

import json

import mlflow
import pytest
from fastapi.testclient import TestClient
from mlflow.types.responses import ResponsesAgentRequest
from pydantic import ValidationError

from rerec_pipeline.assistant.server import create_app
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.tracking.agent import AssistantAgent
from tests.assistant.conftest import assistant, scripted  # noqa: F401
from tests.assistant.test_assistant import ASK
from tests.grounding.conftest import catalogue, facts, linker, retriever  # noqa: F401


@pytest.fixture
def agent(assistant):  # noqa: F811
    made = AssistantAgent()
    made.assistant = assistant
    mlflow.tracing.disable()
    yield made
    mlflow.tracing.enable()


def asked(*said, **inputs):
    turns = [{"role": "user", "content": text} for text in said]
    return ResponsesAgentRequest(input=turns, custom_inputs=inputs or None)


@pytest.mark.parametrize(
    "said", [(ASK,), ("No dramas.",), ("A film.", "Not by Ana Torv."), (ASK,) * 80]
)
def test_it_answers_what_the_server_answers(agent, assistant, said):  # noqa: F811
    client = TestClient(create_app(assistant))
    messages = [{"role": "user", "content": text} for text in said]
    reply = client.post("/v1/chat/completions", json={"messages": messages})
    assert reply.status_code == 200
    found = json.loads(json.dumps(agent.predict(asked(*said, k=1)).custom_outputs))
    assert found["candidates"] == reply.json()["rerec"]["candidates"]
    assert found["items"] == reply.json()["rerec"]["items"]


def test_details_are_those_of_recommend(agent):
    inputs = {"candidates": ["Ember (1994)", "The Harbor"], "exclude": ["Ember"], "k": 2}
    found = agent.predict(asked(ASK, **inputs)).custom_outputs
    assert [item["title"] for item in found["items"]] == ["Harbor, The (1990)"]
    with pytest.raises(ValidationError, match="request"):
        agent.predict(asked(ASK, request="something else"))
    with pytest.raises(BadInputError, match="at most 4000 characters"):
        agent.predict(asked("not " * 250_000))
