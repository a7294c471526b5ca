"""What records and flushes cost a run: ``python -m tests.faults.cost [PARAMETER=VALUE ...]``.

Everything in ``storage`` but what writes or reads the data itself is timed, in a whole run of all
stages in this process; a call within a call counts once.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rerec_pipeline.storage import checkpoints, lock, provenance, records, writing
from tests.faults.bed import import_everything
from tests.pipelines.conftest import copy_project, run

TIMED = {
    records: ("hash_content", "hash_of", "look_at", "problem_of", "read_record", "replaced_input",
              "check_replaceable", "seal", "_write"),
    writing: ("swap_in", "flush", "write_bytes", "tidy", "recover", "remove"),
    provenance: ("hash_of_code", "code_of", "make_stamp", "parameters_behind"),
    checkpoints: ("fingerprint",),
}  # fmt: skip


class Stopwatch:
    """Seconds within the timed functions, on the clock and of the processor."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.by_name: Counter[str] = Counter()
        self._within = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._within:
                return function(*args, **kwargs)
            self._within, wall, cpu = True, time.monotonic(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._within = False
                self.wall += time.monotonic() - wall
                self.cpu += time.process_time() - cpu
                self.by_name[function.__name__] += time.monotonic() - wall

        return call

    def install(self) -> None:
        """Puts itself in the place of the functions, wherever they were imported."""
        instead = {getattr(module, name): self.timed(getattr(module, name))
                   for module, names in TIMED.items() for name in names}  # fmt: skip
        for module in [m for n, m in sys.modules.items() if n.startswith("rerec_pipeline")]:
            for name, value in [*vars(module).items()]:
                if callable(value) and getattr(value, "__hash__", None) and value in instead:
                    setattr(module, name, instead[value])
        lock.Claims.take = self.timed(lock.Claims.take)  # type: ignore[method-assign]


def main() -> None:
    """Prints the share."""
    import_everything()
    watch = Stopwatch()
    watch.install()
    changes = OmegaConf.to_container(OmegaConf.from_dotlist(sys.argv[1:]))
    assert isinstance(changes, dict)
    with tempfile.TemporaryDirectory() as place:
        project = copy_project(Path(place) / "project")
        wall, cpu = time.monotonic(), time.process_time()
        run(project, **{str(key): value for key, value in changes.items()})
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(f"whole run {wall:.1f} s ({cpu:.1f} s of the processor); records, hashes and flushes")
    print(
        f"{watch.wall:.2f} s, {watch.wall / wall:.1%} ({watch.cpu:.2f} s, {watch.cpu / cpu:.1%}):"
    )
    for name, seconds in watch.by_name.most_common():
        print(f"  {name:<20}{seconds:8.3f} s")


if __name__ == "__main__":
    main()
