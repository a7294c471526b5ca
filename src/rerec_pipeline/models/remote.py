"""A policy behind an OpenAI-compatible server, e.g. vLLM or ``transformers serve``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray

from rerec_pipeline.errors import ReRecError
from rerec_pipeline.recbench.answers import read_answer
from rerec_pipeline.recbench.task import Prompt
from rerec_pipeline.recbench.titles import ItemIndex

#: Most requests at once; such servers batch them.
_AT_ONCE = 16


class RemoteError(ReRecError):
    """The server of the policy does not answer, or not as it should."""


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
        RemoteError: If the server does not say which models it has.
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
        self._token = token
        self._seconds = seconds
        self.max_new_tokens = max_new_tokens
        self.name = model or str(self._first(self._call("models"), "data")["id"])

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
        choice = self._first(self._call("chat/completions", body), "choices")
        text = str((choice.get("message") or {}).get("content") or "")
        answer = read_answer(text)
        reasoning = (text if answer.span is None else text[: answer.span[0]]).strip()
        if prompt.on_text is not None:
            prompt.on_text(reasoning)
        listed = ItemIndex(range(len(prompt.titles)), prompt.titles)
        chosen = [listed.resolve(title) for title in answer.titles]
        best = next((n for n in chosen if n is not None), None)
        return reasoning, even if best is None else np.eye(len(even))[best]

    def _first(self, reply: Any, key: str) -> dict[str, Any]:
        try:
            return dict(reply[key][0])
        except (KeyError, IndexError, TypeError, ValueError):
            raise RemoteError(f"{self._url} is no OpenAI-compatible server: no {key}") from None

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        head = {"Content-Type": "application/json"}
        if self._token:
            head["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self._url}/{path}", data, head)
        try:
            with urlopen(request, timeout=self._seconds) as reply:
                return json.loads(reply.read())
        except HTTPError as error:
            raise RemoteError(
                f"{self._url} refuses a request: {error.code} {error.reason}"
            ) from None
        except (URLError, TimeoutError, OSError) as error:
            why = getattr(error, "reason", error)
            raise RemoteError(f"the policy at {self._url} does not answer: {why}") from None
        except ValueError:
            raise RemoteError(f"{self._url} answers something that is no JSON") from None
