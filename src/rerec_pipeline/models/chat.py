"""The chat format of the small policies that this project makes itself."""

from __future__ import annotations

from typing import Any

PAD, EOS, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"

#: Only the user's message is shown to a model made from scratch: it was never taught the system
#: message, which states rules that its pretraining already instils.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}" + USER + "{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}"
    + ASSISTANT
    + "{{ message['content'] }}"
    + EOS
    + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)

#: How a server finds the answer in what is written. Without it, ``transformers serve`` reads these
#: Qwen2 models by Qwen's own marks, which are not there, and puts the prompt before the answer.
RESPONSE_TEMPLATE: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": ASSISTANT,
    "fields": {"content": {"close": EOS}},
}
