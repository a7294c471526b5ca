"""GGUF files (llama.cpp's) as backbones: converted once into an ordinary Hugging Face folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.integrations.gguf.gguf_tokenizer_mapping import get_gguf_tokenizer

from rerec_pipeline.errors import BadInputError, ReRecError
from rerec_pipeline.storage.records import replacing

logger = logging.getLogger(__name__)

#: Beside a converted model: what it was converted from.
SOURCE_FILE = "converted_from.json"


def is_gguf(name_or_path: str) -> bool:
    """Whether a backbone is named by a GGUF file."""
    return name_or_path.lower().endswith(".gguf")


def converted(file: Path) -> Path:
    """The folder that a GGUF file was converted to; it is converted first if need be.

    The folder stands beside the file and has its name without the ending.

    Raises:
        BadInputError: If there is no such file.
        ReRecError: If the package ``gguf`` is missing.
    """
    target = file.with_suffix("")
    if not file.is_file():
        raise BadInputError(file, "there is no such GGUF file")
    if not _is_of(target, _identity(file)):
        logger.info("Converting %s, once, to %s", file.name, target)
        convert(file, target, {})
    return target


def convert(file: Path, target: Path, extra: Mapping[str, str]) -> None:
    """Writes a GGUF file as a Hugging Face folder: weights in bfloat16, tokenizer, chat template.

    Quantized weights are those that the file stands for, rounded to bfloat16, the precision that
    models are published in: 2^-9 relative, beside which 4 or 8 bits in a block are coarse.

    Args:
        file: The GGUF file.
        target: The folder; what was there gives way when the new one is complete.
        extra: More text files that belong to it, by name.

    Raises:
        ReRecError: If the package ``gguf`` is missing.
    """
    if find_spec("gguf") is None:
        raise ReRecError("reading GGUF needs a package: pip install 'rerec_pipeline[gguf]'")
    where: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
    _split_as_pretrained(tokenizer, file)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
        **where,
    )
    with replacing(target) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        for name, text in {SOURCE_FILE: json.dumps(_identity(file), indent=1), **extra}.items():
            (beside / name).write_text(text, encoding="utf-8")


def _split_as_pretrained(tokenizer: Any, file: Path) -> None:
    """Repairs how text is cut before BPE where transformers does not know the file's rule.

    transformers 5.23 has no entry for SmolLM (``tokenizer.ggml.pre = smollm``) and cuts as GPT-2
    does, which gives other tokens wherever line breaks or spaces come before a digit.
    """
    _, tables, _ = get_gguf_tokenizer(str(file))
    if tables.get("pre_tokenizer_type") == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )


def _identity(file: Path) -> dict[str, Any]:
    """What tells that a file has changed, without reading its gigabytes."""
    status = file.stat()
    return {"file": file.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _is_of(folder: Path, identity: Mapping[str, Any]) -> bool:
    record = folder / SOURCE_FILE
    return record.is_file() and json.loads(record.read_text(encoding="utf-8")) == identity
