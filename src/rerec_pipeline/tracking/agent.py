"""The assistant as an MLflow model, as code: MLflow runs this file where the model is loaded.

``mlflow.pyfunc.load_model("runs:/RUN/assistant").predict({"input": [{"role": "user", "content":
"a thriller, please"}]})``. ``custom_inputs`` may have ``history``, ``candidates`` and ``exclude``
(titles) and ``k``; ``custom_outputs`` has items, reasoning and checked facts.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
)

from rerec_pipeline.assistant.assistant import Answer
from rerec_pipeline.assistant.bodies import Details
from rerec_pipeline.assistant.conversation import Turn, read_conversation
from rerec_pipeline.assistant.loading import Settings, load_assistant
from rerec_pipeline.assistant.words import recommendation
from rerec_pipeline.tracking.tracing import open_span


class AssistantAgent(ResponsesAgent):
    """Answers OpenAI's Responses requests; every answer leaves a trace."""

    def load_context(self, context: Any) -> None:
        """Loads catalogue, graphs, ranker and policy from the model's artifacts."""
        files = {name: Path(path) for name, path in context.artifacts.items()}
        self.assistant = load_assistant(files, Settings.model_validate(context.model_config))
        self.assistant.span = open_span

    def predict(  # type: ignore[override] # MLflow gives ours to the base class's
        self, request: ResponsesAgentRequest
    ) -> ResponsesAgentResponse:
        """The answer to the last message of a conversation."""
        answer = self._answer(request)
        said = "\n\n".join(filter(None, [answer.reasoning, recommendation(answer)]))
        item = self.create_text_output_item(said, str(uuid.uuid4()))
        return ResponsesAgentResponse(output=[item], custom_outputs=answer.as_dict())

    def predict_stream(  # type: ignore[override]
        self, request: ResponsesAgentRequest
    ) -> Generator[ResponsesAgentStreamEvent, None, None]:
        """The same as one event: ``kedro serve`` is what streams word by word."""
        response = self.predict(request)
        (item,) = response.output
        yield ResponsesAgentStreamEvent(
            type="response.output_item.done", item=item, custom_outputs=response.custom_outputs
        )

    def _answer(self, request: ResponsesAgentRequest) -> Answer:
        parts: list[Any] = [part for part in request.input if _says(part)]
        turns = [Turn(part.role, _text(part.content)) for part in parts]
        wish = read_conversation(turns, self.assistant)
        details = Details.model_validate(request.custom_inputs or {})
        return self.assistant.answer([details.asked(wish, self.assistant)])[0]


def _says(part: Any) -> bool:
    return getattr(part, "role", None) is not None and getattr(part, "content", None) is not None


def _text(content: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(content, str):
        return content
    parts = (part if isinstance(part, dict) else part.model_dump() for part in content)
    return " ".join(part.get("text") or "" for part in parts)


set_model(AssistantAgent())
