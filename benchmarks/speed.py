"""Speed and memory against plainly written references: ``make bench``.

Each part can be run alone: ``python -m benchmarks.speed step ranking``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tqdm import tqdm

from benchmarks import lightgcn_step, ranking, reward, start_up, tokens
from benchmarks.measure import Section, finish, surroundings

PARTS: dict[str, Callable[[], Section]] = {
    "step": lightgcn_step.run,
    "ranking": ranking.run,
    "reward": reward.run,
    "tokens": tokens.run,
    "start": start_up.run,
}
PACKAGES = (
    "torch", "torch-geometric", "numpy", "scipy", "networkx", "fastapi", "uvicorn", "requests",
    "transformers", "tokenizers",
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
    finish(heading, [PARTS[name]() for name in tqdm(chosen, desc="benchmarks", unit="part")])


if __name__ == "__main__":
    main()
