"""What a cell follows from, so that one is run again if and only if something of it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: How many names a reason lists.
_SHOWN = 3


@dataclass(frozen=True)
class Fingerprint:
    """Everything that the results of a cell follow from.

    Attributes:
        parameters: Flat parameter -> value, validated, of all that is read on the way.
        data: What it shares with other cells (tables, embeddings, backbone) -> hash of its content.
        code: Source file -> hash of its content.
    """

    parameters: Mapping[str, Any]
    data: Mapping[str, str]
    code: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One name for all of it."""
        plain = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]


def describe_changes(old: Fingerprint, new: Fingerprint) -> str:
    """Says in one line what is no longer as it was; empty if nothing is."""
    reasons = []
    for what in ("parameters", "data", "code"):
        was, now = (json.loads(json.dumps(dict(getattr(f, what)))) for f in (old, new))
        changed = [
            key for key in sorted({*was, *now}) if was.get(key, _NONE) != now.get(key, _NONE)
        ]
        if changed:
            said = [_say(key, was, now) if what == "parameters" else key for key in changed]
            more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
            reasons.append(f"{what} changed: {', '.join(said[:_SHOWN])}{more}")
    return "; ".join(reasons)


_NONE = "(unset)"


def _say(key: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return f"{key} from {was.get(key, _NONE)} to {now.get(key, _NONE)}"
