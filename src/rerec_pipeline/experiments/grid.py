"""The grid of an experiment: which cells there are, what each changes and what it is called."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePath
from typing import Any

from omegaconf import OmegaConf
from pydantic import Field
from yaml import YAMLError

from rerec_pipeline.configs import Config, EvaluatedSplit, folder_of_data
from rerec_pipeline.errors import BadParameterError

#: Parameter -> value.
Changes = Mapping[str, Any]

#: Parameters that place a cell in the grid; they are not given as changes.
PLACE = ("dataset", "backbone", "variant", "seed", "label", "split")


#: Parameters and blocks of them that tables, graphs and LightGCN follow from.
DATA = (
    *(f"data.{part}" for part in ("source", "domain", "world", "split", "candidates")),
    *("attributes", "fixed", "interactions", "lightgcn"),
)
#: What only prompts follow from, and what is made of prompts.
PROMPTS = ("data.history", "data.prompt", "histories")
#: What a policy follows from: a run that changes some of it has a label.
LABELLED = (*DATA, *PROMPTS, "rft")
#: The labels that name folders -> what changes them.
LABELS = {"label": LABELLED, "data_label": DATA, "prompt_label": PROMPTS}

#: What begins with the one goes on to the other.
_CLOSED_BY = {"[": "]", "{": "}", "'": "'", '"': '"'}
_QUOTES = ("'", '"')

#: A longer label is no help to a reader, and names of folders have a limit.
_LONGEST = 60


class Grid(Config):
    """What an experiment runs; a preset of ``conf/base/experiments.yml``, or options.

    Attributes:
        variants: Names of variants.
        seeds: Every variant is run with each.
        sweep: Parameter -> values; several parameters are crossed.
        together: Sets of parameters that change together, one after the other.
        params: What all cells are run with.
        split: The queries that their policies are asked.
    """

    variants: list[str] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    sweep: dict[str, list[Any]]
    together: list[dict[str, Any]]
    params: dict[str, Any]
    split: EvaluatedSplit

    def changes(self) -> list[Changes]:
        """Every set of changes that variants are run with; one that is empty without a sweep."""
        crossed = product(*([(key, v) for v in values] for key, values in self.sweep.items()))
        return [{**dict(one), **more} for one in crossed for more in self.together or [{}]]


@dataclass(frozen=True)
class Cell:
    """One run of an experiment.

    Attributes:
        dataset, backbone, variant, seed: The choices.
        label: Names what it changes of its variant; empty where it changes nothing.
        changes: What the experiment varies, as (parameter, value).
        params: What all its cells are run with, as (parameter, value).
        split: The queries that its policy is asked.
        given: Names what ``params`` change of its variant.
        data: Name what they change of its data and of its prompts.
    """

    dataset: str
    backbone: str
    variant: str
    seed: int
    label: str = ""
    changes: tuple[tuple[str, Any], ...] = ()
    params: tuple[tuple[str, Any], ...] = ()
    split: EvaluatedSplit = "test"
    given: str = ""
    data: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """By its folder: a value may be a list."""
        return hash(self.run)

    @property
    def folder(self) -> str:
        """The ``label`` of its run; a cell that is asked validation queries has its own."""
        asked = "" if self.split == "test" else f"on-{self.split}"
        return "+".join(part for part in (asked, self.label, self.given) if part)

    @property
    def run(self) -> str:
        """Its folder below every layer of ``data/``."""
        data = folder_of_data(self.dataset, *self.data)
        parts = (data, self.backbone, self.variant, f"seed-{self.seed}", self.folder)
        return "/".join(part for part in parts if part)

    @property
    def kind(self) -> str:
        """What it is, without its seed."""
        return f"{self.variant} {self.label}".strip()

    @property
    def name(self) -> str:
        """What it is called in a list."""
        return f"{self.kind}, seed {self.seed}"

    def settings(self, further: Changes | None = None) -> str:
        """What ``kedro run --params`` is told.

        Args:
            further: More parameters, e.g. the compute that another cell has spent.
        """
        further = {**dict(self.params), **dict(self.changes), **(further or {})}
        place = {key: getattr(self, key) for key in PLACE} | {"label": self.folder or None}
        if not (self.folder or further):
            del place["label"]  # else null: the run is not to be named by what follows
        if self.split == "test":
            del place["split"]
        return write({**place, **further})


def write(changes: Changes) -> str:
    """Parameters as ``--params`` takes them.

    Raises:
        BadParameterError: If a value would be read otherwise than it was meant.
    """
    return ",".join(f"{key}={_written(key, value)}" for key, value in changes.items())


def _written(key: str, value: Any) -> str:
    quoted = json.dumps(value, ensure_ascii=False)
    # A text stands in quotes only where it has to: "x, y", "1".
    texts = [value, quoted] if isinstance(value, str) else [quoted.replace("Infinity", ".inf")]
    for text in texts:
        if _is_read_as(value, key, text):
            return text
    raise BadParameterError(
        f"{key}={value!r} can not be written after --params: use plain numbers, words, true, "
        "false, null, or lists of them"
    )


def _is_read_as(value: Any, key: str, text: str) -> bool:
    try:
        return split_commas(f"{key}={text}") == [f"{key}={text}"] and read_value(text) == value
    except BadParameterError:  # a word that begins like a list
        return False


def split_commas(text: str) -> list[str]:
    """Parts between commas, without those that are empty.

    A comma inside brackets, braces or quotes separates nothing, if these are where a value begins:
    ``a=[1,2],c=x`` has two parts, and so has ``a=Bob's,c=x``.

    Raises:
        BadParameterError: If one of them is not closed.
    """
    parts, closing, begins, escaped = [""], "", True, False
    for character in text:
        ends = character == closing[-1:] and not escaped
        if ends:
            closing = closing[:-1]
        elif _opens(character, closing, begins):
            closing += _CLOSED_BY[character]
        if character == "," and not closing:
            parts.append("")
        else:
            parts[-1] += character
        # Two single quotes in a text that stands in them are one of its own.
        again = ends and character == "'"
        before = ",:[{" if closing else "=,"
        begins = again or character in before or (begins and character.isspace())
        escaped = character == "\\" and closing[-1:] == '"' and not escaped
    if closing:
        raise BadParameterError(f"'{text}': {closing[-1]} is missing")
    return [part.strip() for part in parts if part.strip()]


def _opens(character: str, closing: str, begins: bool) -> bool:
    """Whether a character begins something that ends with another; a bracket may in a bracket."""
    if character not in _CLOSED_BY or closing[-1:] in _QUOTES:
        return False
    return begins or (bool(closing) and character not in _QUOTES)


def read_params(text: str) -> dict[str, Any]:
    """Nested parameters, as ``kedro run --params TEXT`` reads them.

    Raises:
        BadParameterError: If a part is not of the form parameter=value, or its value is no YAML.
    """
    parts = [part.partition("=") for part in split_commas(text)]
    for key, equals, value in parts:
        if not (key.strip() and equals):
            raise BadParameterError(f"'{key}{equals}{value}' is not of the form parameter=value")
    dotted = [f"{key.strip()}={value}" for key, _, value in parts]
    try:
        read = OmegaConf.to_container(OmegaConf.from_dotlist(dotted))
    except YAMLError as error:
        raise BadParameterError(
            f"'{text}' can not be read ({getattr(error, 'problem', error)}): put a text with "
            "special characters in quotes"
        ) from None
    assert isinstance(read, dict)
    return {str(key): value for key, value in read.items()}


def read_value(text: str) -> Any:
    """A value as ``kedro run --params`` reads it."""
    return read_params(f"value={text}")["value"]


def read_assignments(text: str) -> dict[str, Any]:
    """Reads ``parameter=value,parameter=value``.

    Raises:
        BadParameterError: If a part is no assignment, or assigns a place in the grid.
    """
    return {
        key: read_value(value) for key, value in (_assignment(part) for part in split_commas(text))
    }


def read_sweep(text: str) -> tuple[str, list[Any]]:
    """Reads ``parameter=value,value,...``.

    Raises:
        BadParameterError: If it is none, names a place in the grid, or has no value or one twice.
    """
    key, values = _assignment(text)
    read = [read_value(value) for value in split_commas(values)]
    if not read:
        raise BadParameterError(f"the sweep '{text}' has no value")
    if any(count > 1 for count in Counter(map(repr, read)).values()):
        raise BadParameterError(f"the sweep '{text}' has a value twice")
    return key, read


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise BadParameterError(f"'{text.strip()}' is not of the form parameter=value")
    if key in PLACE:
        raise BadParameterError(f"{key} places a cell in the grid: it has an option of its own")
    return key, value


def make_cells(
    dataset: str,
    backbone: str,
    grid: Grid,
    defaults: Callable[[str], Mapping[str, Any]],
    labels: Callable[[str], Mapping[str, str]],
) -> list[Cell]:
    """All cells, seed by seed, so that the first ones already compare all variants.

    A change to what a variant has anyway is no part of its label: that cell is the variant's own.

    Args:
        dataset: Of all cells.
        backbone: Of all cells.
        grid: What to run.
        defaults: Variant -> its parameters with those of the grid, flat.
        labels: Variant -> the labels that a run with those of the grid gets by itself.

    Raises:
        BadParameterError: If a parameter stands in the wrong place, or two cells are the same.
    """
    sets = grid.changes()
    if misplaced := sorted({key for s in [*sets, grid.params] for key in s} & set(PLACE)):
        raise BadParameterError(f"{misplaced} place a cell in the grid and are no changes to it")
    names = short_names(key for change in sets for key in change)
    cells = []
    for seed, change, variant in product(grid.seeds, sets, grid.variants):
        own = defaults(variant)
        label = make_label({k: v for k, v in change.items() if k not in own or own[k] != v}, names)
        parameters = (*change.items(),), (*grid.params.items(),)
        given, *data = (labels(variant).get(name, "") for name in LABELS)
        named = (*parameters, grid.split, given, tuple(data))
        cells.append(Cell(dataset, backbone, variant, seed, label, *named))
    if twice := [run for run, count in Counter(cell.run for cell in cells).items() if count > 1]:
        raise BadParameterError(f"these cells are in the grid more than once: {', '.join(twice)}")
    return cells


def label_of_changes(
    base: Mapping[str, Any], now: Mapping[str, Any], blocks: Sequence[str] = LABELLED
) -> str:
    """Names what a run changes of its choices; empty if nothing of it changes a policy.

    Args:
        base: Flat parameters that the choices name.
        now: Flat parameters of the run.
        blocks: Those that count, or single parameters.
    """
    counted = tuple(f"{block}." for block in blocks)
    changes = {
        key: value
        for key, value in sorted(now.items())
        if f"{key}.".startswith(counted)
        and not key.endswith(".checkpoint_dir")
        and (key not in base or base[key] != value)
    }
    label = make_label(changes, short_names(changes))
    if len(label) <= _LONGEST and not PurePath(label).suffix[1:].isalpha():
        return label
    written = json.dumps(changes, sort_keys=True, default=str)
    return f"changes-{hashlib.sha256(written.encode()).hexdigest()[:8]}-{len(changes)}"


def short_names(parameters: Iterable[str]) -> dict[str, str]:
    """The shortest endings of parameters' names that tell them apart.

    >>> short_names(["rft.reward.weights.qas", "rft.sft.lr", "lightgcn.lr"])
    {'rft.reward.weights.qas': 'qas', 'rft.sft.lr': 'sft.lr', 'lightgcn.lr': 'lightgcn.lr'}
    """
    whole = [*dict.fromkeys(parameters)]
    return {name: _ending(name, [n for n in whole if n != name]) for name in whole}


def _ending(name: str, others: Sequence[str]) -> str:
    parts = name.split(".")
    endings = (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
    return next((e for e in endings if not any(f".{o}".endswith(f".{e}") for o in others)), name)


def make_label(changes: Changes, names: Mapping[str, str]) -> str:
    """Changes as a name for a folder: ``qas=0.1``, ``group_size=4+prompts=16``."""
    said = (
        f"{names[key]}={v if isinstance(v, str) else json.dumps(v)}" for key, v in changes.items()
    )
    return "+".join(re.sub(r"[^A-Za-z0-9._=-]", "-", part) for part in said)
