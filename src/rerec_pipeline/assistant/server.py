"""The assistant over HTTP: OpenAI's chat form, our own form, health, metrics and a page."""

from __future__ import annotations

import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, BeforeValidator, Field
from starlette.exceptions import HTTPException as AnyHttpError
from starlette.types import ASGIApp, Receive, Scope, Send

from rerec_pipeline.assistant.assistant import Answer, Assistant, Request
from rerec_pipeline.assistant.bodies import Body
from rerec_pipeline.assistant.conversation import (
    LONGEST,
    MOST_MESSAGES,
    Turn,
    read_conversation,
)
from rerec_pipeline.assistant.request_queue import (
    Answering,
    BusyError,
    ClientGoneError,
    DeadlineError,
    Job,
    RequestQueue,
)
from rerec_pipeline.assistant.words import recommendation
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.remote import RemoteError

#: Bytes of a body.
LARGEST_BODY = 200_000


def _as_text(content: Any) -> Any:
    """The text of a message whose content is a list of parts, as chat front-ends send it."""
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(str(part.get("text")) for part in parts)


class Message(BaseModel):
    """A message of OpenAI's chat form; further fields of it are ignored.

    Answers are longer than what users write, who have a limit of their own (``LONGEST``).
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_as_text)] = Field(max_length=5 * LONGEST)


class Chat(BaseModel):
    """Body of ``POST /v1/chat/completions``; sampling options of OpenAI's form are ignored."""

    model: str | None = None
    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    stream: bool = Field(default=False, strict=True)


class _Meters:
    """What ``/metrics`` tells."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "rerec_requests_total", "Requests by outcome.", ["outcome"], registry=self.registry
        )
        self.seconds = Histogram(
            "rerec_answer_seconds", "Seconds from request to answer.", registry=self.registry
        )
        self.batches = Histogram(
            "rerec_batch_size", "Requests that were answered together.", registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )  # fmt: skip
        self.waiting = Gauge("rerec_waiting", "Requests that wait.", registry=self.registry)

    def answered(self, start: float) -> None:
        """Counts an answer."""
        self.seconds.observe(time.monotonic() - start)
        self.requests.labels("answered").inc()


def create_app(
    assistant: Assistant,
    token: str | None = None,
    waiting: int = 32,
    seconds: float = 60.0,
    batch: int = 8,
    answer: Answering | None = None,
) -> FastAPI:
    """The application.

    Args:
        assistant: What answers.
        token: Bearer token that requests must bring; None asks for none. Open without it are the
            page ``/``, ``/health`` and the description (``/docs``, ``/redoc``, ``/openapi.json``).
        waiting: Most requests in the queue; one more gets 429.
        seconds: Time that a request has, its waiting included.
        batch: Most requests that are answered at once.
        answer: Answers in place of ``assistant.answer``, e.g. to trace it.
    """
    meters = _Meters()
    queue = RequestQueue(
        answer or assistant.answer, waiting, seconds, batch, meters.batches.observe
    )
    meters.waiting.set_function(lambda: queue.waiting)
    app = FastAPI(title="rerec_pipeline assistant", version="1")
    _handle_errors(app, meters)
    app.add_middleware(_LimitedBodies)
    _open_routes(app, assistant, queue, meters)
    _token_routes(app, assistant, queue, meters, _guard(token))
    return app


def _guard(token: str | None) -> Callable[[HttpRequest], None]:
    def check(request: HttpRequest) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        # Compared in constant time, so that the time of a refusal says nothing of the token.
        if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
            raise HTTPException(401, "a bearer token is needed: Authorization: Bearer TOKEN")

    return check


#: Error -> what it is counted as, and its status. Nobody reads the answer to who has gone.
_FAILURES: dict[type[Exception], tuple[str, int]] = {
    BusyError: ("refused", 429),
    DeadlineError: ("late", 504),
    RemoteError: ("failed", 502),
    ClientGoneError: ("gone", 499),
    BadInputError: ("bad", 422),
    RequestValidationError: ("bad", 422),
}


def _handle_errors(app: FastAPI, meters: _Meters) -> None:
    def handler(counted: str, status: int) -> Callable[[HttpRequest, Exception], Response]:
        def fail(_: HttpRequest, error: Exception) -> Response:
            meters.requests.labels(counted).inc()
            said = _said(error) if isinstance(error, RequestValidationError) else str(error)
            answer = JSONResponse(_error(said), status)
            if isinstance(error, BusyError):
                answer.headers["Retry-After"] = str(error.retry_after)
            return answer

        return fail

    for kind, (counted, status) in _FAILURES.items():
        app.add_exception_handler(kind, handler(counted, status))

    @app.exception_handler(AnyHttpError)
    def refused(_: HttpRequest, error: AnyHttpError) -> Response:
        return JSONResponse(_error(str(error.detail)), error.status_code, error.headers)


class _ErrorDetail(BaseModel):
    message: str
    type: str


class ErrorBody(BaseModel):
    """The body of every answer that is none."""

    error: _ErrorDetail


def _error(message: str) -> dict[str, Any]:
    """An error in OpenAI's form; what of a caller's text is no Unicode is escaped."""
    clean = message.encode(errors="backslashreplace").decode()
    return {"error": {"message": clean, "type": "invalid_request_error"}}


def _said(error: RequestValidationError) -> str:
    """What is wrong with a body. What it has is not repeated: not all JSON can be sent back."""
    found = (
        (".".join(str(n) for n in row["loc"][1:] if row["type"] != "json_invalid"), row["msg"])
        for row in error.errors()[:5]
    )
    return "; ".join(f"{where[:80] or 'the body'}: {what}" for where, what in found)


class _LimitedBodies:
    """Refuses bodies that are too long or do not say how long they are.

    In plain ASGI: FastAPI's own way of middleware keeps a route from seeing that a client has left.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = _refused(scope) if scope["type"] == "http" else None
        await (refused or self.app)(scope, receive, send)


def _refused(scope: Scope) -> Response | None:
    length = dict(scope["headers"]).get(b"content-length")
    if scope["method"] == "POST" and (length is None or not length.isdigit()):
        return JSONResponse(_error("Content-Length is needed"), 411)
    if length is not None and int(length) > LARGEST_BODY:
        return JSONResponse(_error(f"a body has at most {LARGEST_BODY} bytes"), 413)
    return None


def _open_routes(app: FastAPI, assistant: Assistant, queue: RequestQueue, meters: _Meters) -> None:
    @app.get("/health")
    def health() -> dict[str, Any]:
        """Whether the assistant answers, and with what."""
        items = len(assistant.task.catalogue)
        return {"status": "ok", "model": assistant.name, "items": items, "waiting": queue.waiting}

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        """A chat."""
        environment = Environment(
            loader=PackageLoader("rerec_pipeline.reporting"),
            autoescape=True,
            undefined=StrictUndefined,
        )
        return environment.get_template("assistant.html").render(
            title="Recommendation assistant", links={}, model=assistant.name
        )


def _token_routes(
    app: FastAPI,
    assistant: Assistant,
    queue: RequestQueue,
    meters: _Meters,
    guard: Callable[..., None],
) -> None:
    told: dict[int | str, dict[str, Any]] = {401: {"model": ErrorBody}}
    asked = told | {
        status: {"model": ErrorBody} for status in (400, 404, 411, 413, 422, 429, 502, 504)
    }
    guarded = [Depends(guard)]

    @app.get("/metrics", dependencies=guarded, responses=told, response_class=PlainTextResponse)
    def metrics() -> Response:
        """Counters in Prometheus' form."""
        return Response(generate_latest(meters.registry), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", dependencies=guarded, responses=told)
    def models() -> dict[str, Any]:
        """The one model that is served."""
        model = {"id": assistant.name, "object": "model", "owned_by": "rerec_pipeline"}
        return {"object": "list", "data": [{**model, "created": 0}]}

    @app.post("/recommend", dependencies=guarded, responses=asked)
    async def recommend(body: Body, http: HttpRequest) -> Answer:
        """Items for a request, with reasons and checked facts."""
        request = await run_in_threadpool(body.read, assistant)
        start = time.monotonic()
        answer = await queue.submit(request).result(http.is_disconnected)
        meters.answered(start)
        return answer

    streamed = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}

    @app.post("/v1/chat/completions", dependencies=guarded, responses={**asked, 200: streamed})
    async def chat(body: Chat, http: HttpRequest) -> Response:
        """An answer in OpenAI's form; with ``stream`` as server-sent events."""
        if body.model not in (None, "", assistant.name):
            return JSONResponse(
                _error(f"there is no model '{body.model}': this server has '{assistant.name}'"), 404
            )
        said = [Turn(message.role, message.content) for message in body.messages]
        wish = await run_in_threadpool(read_conversation, said, assistant)
        job = queue.submit(Request(wish.request, exclude=wish.exclude), streams=body.stream)
        if body.stream:
            events = _events(job, meters, assistant.name)
            return StreamingResponse(events, media_type="text/event-stream")
        start = time.monotonic()
        answer = await job.result(http.is_disconnected)
        meters.answered(start)
        return JSONResponse(_completion(answer, assistant.name))


async def _events(job: Job, meters: _Meters, model: str) -> AsyncIterator[str]:
    """Server-sent events of one answer; the work ends when the client has gone."""
    start = time.monotonic()
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion.chunk", "model": model}

    def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {**head, "created": int(time.time()), "choices": [choice], **more}
        return f"data: {json.dumps(body)}\n\n"

    outcome = "gone"
    try:
        yield event({"role": "assistant", "content": ""})
        async for kind, value in job.stream():
            if kind == "text":
                yield event({"content": value})
            else:
                outcome = "answered"
                yield event({"content": f"\n\n{recommendation(value)}"})
                yield event({}, "stop", rerec=value.as_dict())
        yield "data: [DONE]\n\n"
    except (DeadlineError, RemoteError) as error:
        outcome = "late" if isinstance(error, DeadlineError) else "failed"
        yield f"data: {json.dumps(_error(str(error)))}\n\n"
    finally:
        job.cancelled.set()
        if outcome == "answered":
            meters.answered(start)
        else:
            meters.requests.labels(outcome).inc()


def _completion(answer: Answer, model: str) -> dict[str, Any]:
    text = "\n\n".join(filter(None, [answer.reasoning, recommendation(answer)]))
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "rerec": answer.as_dict(),
    }
