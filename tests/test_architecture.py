"""The layout of docs/architecture.md, enforced: imports point down, algorithms stay pure."""

import ast
from pathlib import Path

import pytest

import rerec_pipeline

ROOT = Path(rerec_pipeline.__file__).parent

#: From the ground up; a room may import from those below it.
FLOORS = [
    {"errors", "configs", "lazy", "startup"},
    {"storage"},
    {"experiments"},
    {"processes"},
    {"graphs"},
    {"recbench", "sequences"},
    {"grounding", "sample"},
    {"rerec"},
    {"parameters"},
    {"models"},
    {"training"},
    {"assistant"},
    {"reporting", "tracking", "fetching", "weights"},
    {"config_loader", "pipelines"},
    {"runner"},
    {"commands"},
    {"cli", "hooks", "pipeline_registry"},
    {"settings"},
]
ALGORITHMS = {
    "graphs", "recbench", "sample", "sequences", "rerec", "configs", "errors", "parameters",
    "experiments", "grounding",
}  # fmt: skip
FRAMEWORKS = {
    "kedro", "kedro_datasets", "kedro_mlflow", "mlflow", "transformers", "trl", "peft", "plotly",
}  # fmt: skip
ONLY_IN = {
    "trl": {"training"},
    "lightgbm": {"grounding"},
    "bm25s": {"grounding"},
    "marisa_trie": {"recbench"},
    "peft": {"models", "training"},
    "torch_geometric": {"graphs"},
    "plotly": {"reporting", "pipelines"},
    "mlflow": {"tracking", "hooks"},
    "requests": {"fetching"},
    "lm_eval": {"models"},
    "fastapi": {"assistant"},
    "uvicorn": {"commands"},
    "prometheus_client": {"assistant"},
    # What computes is said in conf/base/globals.yml; code speaks Ibis.
    "duckdb": set(),
}


def imports(path: Path) -> set[tuple[str, ...]]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(tuple(node.module.split(".")))
        elif isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
    return found


MODULES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")
FLOOR_OF = {room: n for n, rooms in enumerate(FLOORS) for room in rooms}


def room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
class TestImports:
    def test_they_point_down(self, path):
        for name in imports(path):
            if name[0] == "rerec_pipeline" and len(name) > 1 and name[1] != room(path):
                assert FLOOR_OF[name[1]] < FLOOR_OF[room(path)], ".".join(name)

    def test_algorithms_import_no_framework(self, path):
        if room(path) in ALGORITHMS:
            assert not {name[0] for name in imports(path)} & FRAMEWORKS

    def test_libraries_stay_in_their_room(self, path):
        for name in imports(path):
            assert room(path) in ONLY_IN.get(name[0], {room(path)}), ".".join(name)


def test_every_module_has_a_floor():
    assert {room(path) for path in MODULES} == set(FLOOR_OF)


def test_pipelines_fit_on_a_screen():
    for path in (ROOT / "pipelines").glob("*/pipeline.py"):
        assert len(path.read_text().splitlines()) <= 100, path


def test_nothing_speaks_of_the_machine_it_was_written_on():
    for path in [*ROOT.rglob("*.py"), *(ROOT.parents[1] / "conf").rglob("*.yml")]:
        text = path.read_text(encoding="utf-8")
        assert "/home/" not in text and "/tmp/" not in text and "/work/" not in text, path
