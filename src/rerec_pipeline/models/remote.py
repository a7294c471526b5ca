"""A policy behind an OpenAI-compatible server, e.g. vLLM or ``transformers serve``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, InvalidURL
from typing import Annotated, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.recbench.answers import read_answer
from rerec_pipeline.recbench.task import Prompt
from rerec_pipeline.recbench.titles import ItemIndex

#: Most requests at once; such servers batch them.
_AT_ONCE = 16


class RemoteError(ReRecError):
    """The server of the policy does not answer, or not as it should."""


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: Annotated[list[_Model], Field(min_length=1)]


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]


_Reply = TypeVar("_Reply", bound=BaseModel)

#: What can be done about a refusal, by its status; about others, the log of the server tells.
_REMEDIES = {
    401: "Set its token in REREC_POLICY_TOKEN",
    403: "Set its token in REREC_POLICY_TOKEN",
    404: "Give the address with its /v1",
    429: "It is busy: try again later",
}


class RemoteReasoner:
    """Asks the policy over HTTP; the prompts are those that it was trained with.

    Such a server does not tell the likelihood of every candidate: the boxed title comes first if it
    is one of the list, and the others keep the order in which they were found.

    Args:
        url: Of the server, with its ``/v1``.
        max_new_tokens: Most tokens of an answer.
        token: Sent as bearer token; None sends none.
        model: What the server calls the policy; None takes the first that it has.
        seconds: How long an answer may take.

    Raises:
        RemoteError: If the server does not say which models it has, or the token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        max_new_tokens: int,
        token: str | None = None,
        model: str | None = None,
        seconds: float = 60.0,
    ):
        self._url = url.rstrip("/")
        self._token = (token or "").strip()
        if not (self._token.isascii() and self._token.isprintable()):  # and is not shown
            raise RemoteError(
                f"the policy at {url} cannot be asked: its token has characters that no header can "
                "have. Check REREC_POLICY_TOKEN"
            )
        self._seconds = seconds
        self.max_new_tokens = max_new_tokens
        self.name = model or self._call("models", _Models).data[0].id

    def reason(self, prompts: Sequence[Prompt]) -> list[tuple[str, NDArray[np.float64]]]:
        """The reasoning of each prompt, and 1 for the title that it boxes, (C,).

        Raises:
            RemoteError: If the server does not answer.
        """
        with ThreadPoolExecutor(min(_AT_ONCE, max(len(prompts), 1))) as pool:
            return list(pool.map(self._reason, prompts))

    def _reason(self, prompt: Prompt) -> tuple[str, NDArray[np.float64]]:
        even = np.full(len(prompt.titles), 1 / len(prompt.titles))
        if prompt.gone():
            return "", even
        body = {
            "model": self.name, "messages": prompt.messages, "temperature": 0,
            "max_tokens": self.max_new_tokens,
        }  # fmt: skip
        reply = self._call("chat/completions", _Completion, body)
        text = reply.choices[0].message.content or ""
        answer = read_answer(text)
        reasoning = (text if answer.span is None else text[: answer.span[0]]).strip()
        if prompt.on_text is not None:
            prompt.on_text(reasoning)
        listed = ItemIndex(range(len(prompt.titles)), prompt.titles)
        chosen = [listed.resolve(title) for title in answer.titles]
        best = next((n for n in chosen if n is not None), None)
        return reasoning, even if best is None else np.eye(len(even))[best]

    def _call(self, path: str, form: type[_Reply], body: dict[str, object] | None = None) -> _Reply:
        head = {"Content-Type": "application/json"}
        if self._token:
            head["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        where = f"{self._url}/{path}"
        try:
            if not where.lower().startswith(("http://", "https://")):
                raise ValueError("it is no address of the web")
            with urlopen(Request(where, data, head), timeout=self._seconds) as reply:
                return form.model_validate_json(reply.read())
        except HTTPError as error:
            why = f"refuses a request: {error.code} {error.reason}"
            remedy = _REMEDIES.get(error.code, "Its log says why")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            at = ".".join(map(str, first["loc"])) or "the answer"
            why = f"does not answer in OpenAI's form ({at}: {first['msg'][:80]})"
            remedy = "Give the address, with its /v1, of an OpenAI-compatible server"
        except (ValueError, InvalidURL) as error:  # of the address
            why = f"cannot be asked: {error}"
            remedy = "Write it as http://HOST:PORT/v1"
        except (OSError, HTTPException) as error:  # URLError and TimeoutError are OSErrors
            reason = getattr(error, "reason", error)
            why = f"does not answer: {reason or type(error).__name__}"
            remedy = "Check that the server runs there and can be reached"
        raise RemoteError(f"the policy at {where} {why}. {remedy}")
