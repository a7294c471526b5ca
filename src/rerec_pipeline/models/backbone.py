"""Loading and saving causal language models: any Hugging Face name or folder, full or LoRA."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from jinja2 import TemplateError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.chat import CHAT_TEMPLATE, RESPONSE_TEMPLATE
from rerec_pipeline.models.gguf import converted, is_gguf
from rerec_pipeline.parameters.backbone import MADE_BY, splits_read
from rerec_pipeline.recbench.task import Example, Messages
from rerec_pipeline.storage.records import Origin, replacing

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Progress bars for reading and writing weights would break up our own.
disable_progress_bar()

ADAPTER_FILE = "adapter_config.json"

#: Folder under data/06_models for backbones that ``kedro fetch-backbone`` fetches.
FETCHED = "backbones"

#: How a chat template begins after ``_with_values`` has set variables in it.
_SET = "{% set "

#: What control tokens look like that are not declared special: ``<think>``, ``[INST]``.
_MARKUP = re.compile(r"<[^<>\s]+>|\[[A-Z_/]+\]")


@dataclass
class Backbone:
    """A causal language model with its tokenizer.

    Attributes:
        model: The model; for a LoRA policy, the adapted model.
        tokenizer: A fast tokenizer with a chat template, padding on the left.
        source: Name or folder that these weights can be loaded from; None if there is none.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str | None = None


def load_backbone(
    name_or_path: str, dtype: str = "auto", template_values: Mapping[str, Any] | None = None
) -> Backbone:
    """Loads a causal language model and its tokenizer.

    Args:
        name_or_path: A Hugging Face name, a folder written by ``save_pretrained``, or a GGUF file.
            A folder with a LoRA adapter is loaded onto the base model that the adapter names.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for that of the files.
        template_values: See ``load_tokenizer``.

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        BadInputError: If there is no such model, here or at Hugging Face, or its tokenizer has no
            chat template.
    """
    name_or_path = as_folder(name_or_path)
    tokenizer = load_tokenizer(name_or_path, template_values)
    if (Path(name_or_path) / ADAPTER_FILE).is_file():
        # Imported here, because PEFT takes two seconds and only an adapter needs it. PEFT uses
        # ``torch.distributed.tensor`` without importing it, and nothing else may have done so.
        import torch.distributed.tensor  # noqa: F401
        from peft import LoraConfig, PeftModel

        adapter = LoraConfig.from_pretrained(name_or_path)
        base: Any = AutoModelForCausalLM.from_pretrained(
            adapter.base_model_name_or_path, dtype=dtype
        )
        with warnings.catch_warnings():  # PEFT reads an attribute of transformers by its old name
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            model: Any = PeftModel.from_pretrained(base, name_or_path)
    else:
        with _missing_files_named(name_or_path):
            model = AutoModelForCausalLM.from_pretrained(name_or_path, dtype=dtype)
    return Backbone(model.eval(), tokenizer, name_or_path)


def as_folder(name_or_path: str) -> str:
    """The name or folder to load a backbone from; a GGUF file is converted into a folder first.

    Args:
        name_or_path: A Hugging Face name or a folder, returned as it is, or a GGUF file.

    Raises:
        BadInputError: If a path does not exist.
    """
    if is_gguf(name_or_path):
        return str(converted(Path(name_or_path)))
    folder = Path(name_or_path)
    # An absolute path or one that starts with a dot cannot be a Hugging Face name.
    if (folder.is_absolute() or name_or_path.startswith(".")) and not folder.is_dir():
        given = "Give a folder written by save_pretrained, a GGUF file or a Hugging Face name"
        fetch = f"Make it with: kedro fetch-backbone {folder.name}"
        raise BadInputError(
            name_or_path,
            "there is no such model folder",
            remedy=fetch if folder.parent.name == FETCHED else given,
        )
    return name_or_path


def save_backbone(
    backbone: Backbone,
    target: Path,
    extra: Mapping[str, str] | None = None,
    origin: Origin | None = None,
) -> None:
    """Writes a model folder: beside the target first, then renamed when it is complete.

    Args:
        backbone: The model and its tokenizer.
        target: The folder.
        extra: Name -> content of further text files in the folder.
        origin: What the model was made from, for its record; None if that is not known.
    """
    with replacing(target, origin) as beside:
        backbone.model.save_pretrained(beside)
        (beside / "README.md").unlink(missing_ok=True)  # PEFT's empty model card: we write ours
        backbone.tokenizer.save_pretrained(beside)
        for name, text in (extra or {}).items():
            (beside / name).write_text(text, encoding="utf-8")


def merged(backbone: Backbone) -> Backbone:
    """The same policy without an adapter: its LoRA weights are added to those of the base model."""
    model: Any = backbone.model
    whole = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    return Backbone(whole, backbone.tokenizer)


def cast_weights(model: PreTrainedModel, dtype: str) -> None:
    """Casts all weights in place, as if they had been loaded in ``dtype``.

    ``model.to(dtype)`` would also round buffers, but rotary frequencies must stay float32.

    Args:
        model: The model.
        dtype: Name of a torch dtype, e.g. ``bfloat16``.
    """
    for weight in model.parameters():
        weight.data = weight.data.to(getattr(torch, dtype))


def with_weights_in(dtype: torch.dtype, model: PreTrainedModel, make: Callable[[], T]) -> T:
    """Calls ``make`` while the model's float32 weights are replaced by copies in ``dtype``.

    The weights themselves stay as they are: an optimizer and hooks of other processes refer to
    them.

    Args:
        dtype: Precision of the copies.
        model: The model that ``make`` uses, directly or inside a wrapper.
        make: Function to call; no gradients flow through it.

    Returns:
        What ``make`` returns.
    """

    class Holder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> T:
            return make()

    full = ((name, w) for name, w in model.named_parameters() if w.dtype == torch.float32)
    copies = {f"model.{name}": weight.detach().to(dtype) for name, weight in full}
    made: T = torch.func.functional_call(Holder(), copies, ())
    return made


def load_tokenizer(
    name_or_path: str, template_values: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """Loads a tokenizer, padding on the left.

    Args:
        name_or_path: A Hugging Face name, a folder or a GGUF file.
        template_values: Variables of the chat template and their values. They become part of the
            template, and so of the policy: Llama 3's template writes today's date into every
            prompt unless ``date_string`` is given.

    Raises:
        BadInputError: If there is no such model, here or at Hugging Face, or its tokenizer has no
            chat template.
    """
    name_or_path = as_folder(name_or_path)
    with _missing_files_named(name_or_path):
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, padding_side="left")
    if tokenizer.chat_template is None:
        raise BadInputError(
            name_or_path,
            "the tokenizer has no chat template",
            remedy="Use an instruction-tuned model, or set tokenizer.chat_template and save it",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template == CHAT_TEMPLATE:  # the shipped base policy is older than this
        tokenizer.response_template = RESPONSE_TEMPLATE
    tokenizer.chat_template = _with_values(tokenizer.chat_template, template_values or {})
    if _reads_the_clock(tokenizer.chat_template):
        logger.warning(
            "The chat template of %s may write today's date into every prompt, so that a run can "
            "not be repeated tomorrow; set the date with rft.backbone.template_values",
            name_or_path,
        )
    return tokenizer


@contextmanager
def _missing_files_named(name_or_path: str) -> Iterator[None]:
    """Turns transformers' error about files that it did not get into one that says what to do."""
    try:
        yield
    except OSError as error:
        reason = (str(error).strip() or "no file").splitlines()[0].rstrip(".")
        raise BadInputError(
            name_or_path,
            f"this model can not be loaded: {reason}",
            remedy="Check rft.backbone.name_or_path; without a connection give a folder, e.g. one "
            "made by kedro fetch-backbone",
        ) from error


def _with_values(template: Any, values: Mapping[str, Any]) -> Any:
    """A chat template (or several by name) that begins by setting variables."""
    if isinstance(template, Mapping):
        return {name: _with_values(one, values) for name, one in template.items()}
    return "".join(f"{_SET}{key} = {json.dumps(values[key])} %}}" for key in values) + template


def _reads_the_clock(template: Any) -> bool:
    """Whether a chat template may write today's date, as no variable has been set in it."""
    texts = template.values() if isinstance(template, Mapping) else [template]
    return any("strftime_now" in text and not text.startswith(_SET) for text in texts)


def check_pretraining(name_or_path: str, dataset: str, splits: str) -> None:
    """Refuses a backbone that we pretrained on this data set with other queries held out.

    Args:
        name_or_path: The backbone; one without a record is not ours and is accepted.
        dataset: Name of the data set.
        splits: Fingerprint of its splits, see ``split_fingerprint``.

    Raises:
        BadInputError: If a backbone of ours was pretrained on other data sets only, or while other
            queries were held out.
    """
    if splits_read(name_or_path, dataset) not in (None, splits):
        raise BadInputError(
            Path(name_or_path) / MADE_BY,
            f"this backbone was pretrained while other queries of {dataset} were held out, so it "
            "may know answers that are asked for",
            field="splits",
            remedy="Make it again with: kedro run --pipelines base_policy",
        )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[list[int]]:
    """Token ids of the prompts, chat template and generation prompt included."""
    return chat_ids(tokenizer, [example.messages for example in examples], True)


def chat_ids(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Messages], open_answer: bool
) -> list[list[int]]:
    """Token ids of conversations.

    System and user messages are plain text: a control token written in one (``<|im_end|>`` in a
    query or a title) is encoded as the characters it is made of. Only the chat template and
    messages of the assistant can place control tokens.

    Args:
        tokenizer: One with a chat template.
        chats: Conversations.
        open_answer: Whether each ends where the assistant is to begin.

    Returns:
        A list of ids for each conversation.

    Raises:
        BadInputError: If the chat template refuses them, as some refuse a system message.
    """
    ids: list[list[int]] = _render(
        tokenizer, list(chats), open_answer, tokenize=True, return_dict=True
    )["input_ids"]
    control = ControlTokens(tokenizer)
    for n, chat in enumerate(chats):
        masked = [control.masked(m, keep=m["role"] == "assistant") for m in chat]
        if masked != chat:
            text = _render(tokenizer, masked, open_answer, tokenize=False)
            ids[n] = control.ids(text)
    return ids


def _render(tokenizer: PreTrainedTokenizerBase, chats: Any, open_answer: bool, **how: Any) -> Any:
    try:
        return tokenizer.apply_chat_template(chats, add_generation_prompt=open_answer, **how)
    except TemplateError as error:
        raise BadInputError(
            tokenizer.name_or_path,
            f"its chat template refuses a system message followed by a user's: {error}",
            field="chat_template",
            remedy="Choose another backbone, or save the tokenizer with a template that takes both",
        ) from None


class ControlTokens:
    """Masks the control tokens in texts while a chat template is filled in.

    Control tokens are the special tokens, and added tokens in brackets that the template writes
    (``<think>``, ``<tool_call>``). A token of one character does not count as one.

    Args:
        tokenizer: One with a chat template.
    """

    _MASK = "\ue000"  # a private-use character; where a text contains it, it is masked, too

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._masked: list[str] = []
        added = tokenizer.added_tokens_decoder.values()
        template = json.dumps(tokenizer.chat_template, ensure_ascii=False)
        names = {str(token) for token in added if token.special} | set(tokenizer.all_special_tokens)
        names |= {str(t) for t in added if _MARKUP.fullmatch(str(t)) and str(t) in template}
        longest_first = sorted((name for name in names if len(name) > 1), key=len)[::-1]
        self._named = re.compile("|".join(map(re.escape, [*longest_first, self._MASK])))
        self._places = re.compile(f"{self._MASK}([0-9]+){self._MASK}")

    def mask(self, text: str, keep: bool = False) -> str:
        """A text with a numbered mask in place of each control token in it.

        Args:
            text: The text.
            keep: Whether the text may place control tokens, so that they are not masked.
        """

        def number(match: re.Match[str]) -> str:
            self._masked.append(match[0])
            return f"{self._MASK}{len(self._masked) - 1}{self._MASK}"

        return re.sub(self._MASK if keep else self._named, number, text)

    def masked(self, message: Mapping[str, str], keep: bool = False) -> dict[str, str]:
        """A message of a conversation with its content masked."""
        return {**message, "content": self.mask(message["content"], keep)}

    def ids(self, text: str, encode: Callable[[str], list[int]] | None = None) -> list[int]:
        """Token ids of a text in which masked control tokens become plain characters.

        Args:
            text: A text, with masks or without.
            encode: Encodes the part before the first mask; None encodes it like the rest.
        """
        first, *rest = self._places.split(text)
        ids = encode(first) if encode else _ids(self._tokenizer, first)
        for n, part in enumerate(rest):  # by turns the number of a mask and the text after it
            if n % 2:
                ids += _ids(self._tokenizer, part)
            else:
                ids += _as_text(self._tokenizer, self._masked[int(part)])
        return ids


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, **how: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, **how)["input_ids"])


def _as_text(tokenizer: PreTrainedTokenizerBase, name: str) -> list[int]:
    """A control token's name as the characters it is made of."""
    ids = _ids(tokenizer, name, split_special_tokens=True)
    if tokenizer.convert_tokens_to_ids(name) not in ids:
        return ids
    # The option does not split a token that is not declared special.
    return _ids(tokenizer, name[:1]) + _ids(tokenizer, name[1:])


def length_report(lengths: Sequence[int], limit: int) -> dict[str, Any]:
    """Lengths of some prompts, and how many are over a limit.

    Args:
        lengths: Tokens of each prompt.
        limit: Most tokens a prompt may have.

    Returns:
        ``prompts``, ``mean_tokens``, ``max_tokens`` (null without prompts) and ``over_limit``.
    """
    return {
        "prompts": len(lengths),
        "mean_tokens": sum(lengths) / len(lengths) if lengths else None,
        "max_tokens": max(lengths, default=None),
        "over_limit": sum(length > limit for length in lengths),
    }


def too_long(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], limit: int, on_long: str
) -> list[str]:
    """Finds prompts that have more tokens than a limit.

    Args:
        tokenizer: The backbone's tokenizer.
        examples: What will be asked.
        limit: Most tokens a prompt may have.
        on_long: What to do about long prompts: ``error`` or ``exclude``.

    Returns:
        Ids of the queries to leave out. A prompt is never cut.

    Raises:
        BadInputError: If there are any and ``on_long`` is ``error``.
    """
    lengths = [len(ids) for ids in prompt_ids(tokenizer, examples)]
    long = [e.query_id for e, length in zip(examples, lengths, strict=True) if length > limit]
    if long and on_long == "error":
        raise BadInputError(
            "prompts",
            f"{len(long)} of {len(lengths)} prompts have more than {limit} tokens (the longest "
            f"{max(lengths)})",
            record=long[0],
            remedy="Raise rft.generation.max_prompt_tokens, or set "
            "rft.generation.on_long_prompt=exclude to leave them out",
        )
    if long:
        logger.warning("%d prompts have more than %d tokens and are left out", len(long), limit)
    return long
