"""Many users at once: ``python -m benchmarks.load``, after ``make run``.

A server of its own for each way of answering, on the loopback address. Every user asks, waits for
the answer and asks again; one that is refused waits as long as the server says. Requests are those
of the sample's test queries, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

import httpx2 as httpx
import numpy as np
import pandas as pd
import psutil

from benchmarks.measure import PROJECT, Section, at_least, at_most, finish, surroundings

QUERIES = PROJECT / "data/02_intermediate/sample_movie/queries.parquet"


@dataclass
class Load:
    """What came of a load.

    Attributes:
        seconds: Of every answered request, from its sending.
        statuses: How often the server gave each status; 0 stands for no answer at all.
        lasted: Seconds of all of it.
        memory: (requests answered before, resident MB of the server), as it went.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lasted: float = 0.0
    memory: list[tuple[int, float]] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Requests that got neither an answer nor 429."""
        return sum(n for status, n in self.statuses.items() if status not in (200, 429))

    def row(self, name: str) -> list[str]:
        """Of the table."""
        p50, p95 = np.percentile(self.seconds, [50, 95])
        rate = len(self.seconds) / self.lasted
        refused, memory = self.statuses[429], self.memory[-1][1]
        return [name, f"{rate:.1f}", f"{p50:.2f}", f"{p95:.2f}", str(refused), str(self.errors),
                f"{memory:.0f}"]  # fmt: skip


async def ask_all(
    url: str, requests: Sequence[str], users: int, goes_on: Callable[[Load], bool], process: int
) -> Load:
    """Lets users ask until they are told to stop.

    Args:
        url: Of the server.
        requests: What is asked, in turns.
        users: How many ask at once.
        goes_on: Whether a further request is to be sent.
        process: Whose memory is looked at.
    """
    load, texts, server = Load(), cycle(requests), psutil.Process(process)
    begun = time.perf_counter()

    async def user(client: httpx.AsyncClient) -> None:
        while goes_on(load):
            start = time.perf_counter()
            body = {"request": next(texts), "k": 3}
            try:
                reply = await client.post("/recommend", json=body)
            except httpx.TransportError:
                load.statuses[0] += 1
                continue
            load.statuses[reply.status_code] += 1
            if reply.status_code == 200:
                load.seconds.append(time.perf_counter() - start)
                if len(load.seconds) % 100 == 0:
                    load.memory.append((len(load.seconds), server.memory_info().rss / 2**20))
            elif reply.status_code == 429:
                await asyncio.sleep(float(reply.headers["retry-after"]))

    limits = httpx.Limits(max_connections=users)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        await asyncio.gather(*(user(client) for _ in range(users)))
    load.lasted = time.perf_counter() - begun
    load.memory.append((len(load.seconds), server.memory_info().rss / 2**20))
    return load


@contextmanager
def served(*options: str) -> Iterator[tuple[str, int]]:
    """Address and process id of a server.

    Raises:
        RuntimeError: If it ends before it serves; says what it said.
    """
    command = [sys.executable, "-m", "kedro", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=PROJECT, text=True, stderr=subprocess.PIPE)
    assert process.stderr
    said = ""
    try:
        while (found := re.search(r"http://\S+", said)) is None:
            if not (line := process.stderr.readline()):
                raise RuntimeError(f"{' '.join(command)}: {said}")
            said += line
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait()


def run(users: int, seconds: float, steady: int) -> Section:
    """Loads both servers for a time, and the batching one with a number of requests."""
    requests = pd.read_parquet(QUERIES)["text"].tolist()
    loads = {}
    for name, options in (("8 at a time", ["--batch", "8"]), ("one at a time", ["--batch", "1"])):
        with served(*options) as (url, process):
            in_time = _until(time.monotonic() + seconds)
            loads[name] = asyncio.run(ask_all(url, requests, users, in_time, process))
    with served("--batch", "8") as (url, process):

        def goes_on(load: Load) -> bool:
            return load.statuses[200] < steady

        flat = asyncio.run(ask_all(url, requests, 8, goes_on, process))
    return _report(loads, flat, users, seconds)


def _until(end: float) -> Callable[[Load], bool]:
    return lambda load: time.monotonic() < end


def _report(loads: dict[str, Load], flat: Load, users: int, seconds: float) -> Section:
    together, alone = loads.values()
    warm = next(memory for answered, memory in flat.memory if answered >= len(flat.seconds) // 4)
    growth = flat.memory[-1][1] / warm - 1
    rates = [len(load.seconds) / load.lasted for load in (together, alone)]
    errors = together.errors + alone.errors + flat.errors
    return Section(
        title="Load",
        conditions=f"{users} users for {seconds:g} s, trained policy of the sample, server and "
        f"users on the same cores. Memory: {len(flat.seconds)} requests of 8 users.",
        header=["", "answers a second", "p50, s", "p95, s", "429", "errors", "resident, MB"],
        rows=[load.row(name) for name, load in loads.items()],
        checks=[
            at_most("errors other than 429", errors, 0),
            at_least("answers a second, 8 at a time over one at a time", rates[0] / rates[1], 1),
            at_most("growth of memory from a quarter of the requests on", 100 * growth, 5, " %"),
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs it, prints the report, and ends with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--steady", type=int, default=2000, help="requests for memory")
    given = parser.parse_args(arguments)
    heading = surroundings("python -m benchmarks.load", ("torch", "transformers", "fastapi"))
    finish(heading, [run(given.users, given.seconds, given.steady)])


if __name__ == "__main__":
    main()
