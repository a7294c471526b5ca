"""Speed and memory against plainly written references: ``make bench``.

Each part can be run alone: ``python -m benchmarks.speed step ranking``. The ratios of
the tables also go to ``data/08_reporting/benchmarks.json``, by name; parts that are not run keep
those that they have there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from benchmarks import asking, lightgcn_step, ranking, reward, sharing, start_up, tokens
from benchmarks.measure import PROJECT, Section, finish, surroundings
from rerec_pipeline.storage.writing import write_bytes

PARTS: dict[str, Callable[[], Section]] = {
    "step": lightgcn_step.run,
    "ranking": ranking.run,
    "reward": reward.run,
    "tokens": tokens.run,
    "prompts": sharing.sample,
    "prompts_135m": sharing.large,
    "start": start_up.run,
    "asking": asking.run,
}
RATIOS = PROJECT / "data" / "08_reporting" / "benchmarks.json"
PACKAGES = (
    "torch", "torch-geometric", "numpy", "scipy", "networkx", "fastapi", "uvicorn", "requests",
    "transformers", "tokenizers", "trl",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Runs the parts, prints the report, and ends with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    chosen = parser.parse_args(arguments).parts or list(PARTS)
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        parser.error(f"unknown parts {unknown}; there are {list(PARTS)}")
    heading = surroundings("make bench", PACKAGES)
    finish(heading, map(measure, tqdm(chosen, desc="benchmarks", unit="part")))


def measure(part: str) -> Section:
    """Runs a part and keeps its ratios at once, so that a part that fails loses no other's."""
    section = PARTS[part]()
    keep(RATIOS, section)
    return section


def keep(path: Path, section: Section) -> None:
    """Puts the ratios of a section into a JSON file, beside those that it has of others."""
    ratios: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    ratios |= {name: round(ratio, 3) for name, ratio in section.ratios.items()}
    write_bytes(path, (json.dumps(ratios, indent=2, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
