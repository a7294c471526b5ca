"""The choices of a run, what tells it from others, and what names may look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The choices, and the key that holds the blocks they name.
CHOICES = {"dataset": "datasets", "backbone": "backbones", "variant": "variants"}

#: What a label may look like, and what it may not be called: it is a folder beside these.
LABEL = r"[A-Za-z][A-Za-z0-9._=+-]*"
TAKEN = ("checkpoints", "policy", "transfer", "validation")

#: What an experiment may be called.
EXPERIMENT = r"\w[\w.-]*"


def check_label(value: str) -> str:
    """Gives back a label that can name the folder of a run.

    Raises:
        ValueError: If it can not, or names a folder that every run has.
    """
    if value and (not re.fullmatch(LABEL, value) or Path(value).suffix[1:].isalpha()):
        raise ValueError(
            f"'{value}' can not name a folder: it must begin with a letter, consist of letters, "
            "digits and ._=+-, and end like no file"
        )
    if value in TAKEN:
        raise ValueError(f"'{value}' is a folder of every run; choose another name")
    return value


def run_choices(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a run from others: choices and seed; label and split where they are not usual."""
    chosen = {key: parameters[key] for key in (*CHOICES, "seed", "label", "split")}
    usual = {"label": "", "split": "test"}
    return {key: value for key, value in chosen.items() if usual.get(key) != value}


def say_run(parameters: Mapping[str, Any]) -> str:
    """A run as the title of a page names it."""
    said = "{dataset}, {backbone}, {variant}, seed {seed}".format(**parameters)
    further = (parameters["label"], "validation" if parameters["split"] == "validation" else "")
    return ", ".join([said, *filter(None, further)])


def policy_name(parameters: Mapping[str, Any]) -> str:
    """What the policy of a run is called in answers: ``sample_movie/tiny/rerec/seed-0``."""
    chosen = [str(parameters[key]) for key in CHOICES]
    return "/".join([*chosen, f"seed-{parameters['seed']}", *filter(None, [parameters["label"]])])
