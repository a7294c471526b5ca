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

    def test_real_data_need_no_sample(self, path):
        """Others than the sample import it where data are fabricated, inside the function."""
        if room(path) != "sample" and path.parent.name != "base_policy":
            top = ast.parse(path.read_text(encoding="utf-8")).body
            names = {str(n.module) for n in top if isinstance(n, ast.ImportFrom)}
            assert not {name for name in names if name.startswith("rerec_pipeline.sample")}

    def test_libraries_stay_in_their_room(self, path):
        for name in imports(path):
            assert room(path) in ONLY_IN.get(name[0], {room(path)}), ".".join(name)


#: Calls by which Python writes, moves or removes files; ``storage`` does it for all.
WRITES = {
    *("write_text", "write_bytes", "touch", "unlink", "rmdir", "rmtree", "symlink_to", "mkdtemp"),
    *("hardlink_to", "copytree", "copy2", "copyfile", "move", "save", "save_file", "savez"),
    *("save_model", "save_pretrained", "to_parquet", "to_csv", "write_html"),
    *("write_image", "write_table", "write_gexf", "extract", "extractall", "truncate"),
}  # fmt: skip
#: Blocks in which a file is written to a name of its own, or to a folder that goes with the block.
BESIDE = {"replacing", "TemporaryDirectory"}
#: What else writes, and why it may.
JUSTIFIED = {
    ("weights.py", "download"): "into the temporary folder of its only caller",
    ("runner/launch.py", "hold_lock"): "what its own lock file says of its holder",
}


def writes(tree: ast.AST, inside: str = "") -> set[tuple[str, int]]:
    """Function and line of each call that writes outside of the blocks that may."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.With) and any(
            isinstance(item.context_expr, ast.Call) and _called(item.context_expr) in BESIDE
            for item in node.items
        ):
            continue
        if isinstance(node, ast.Call) and _is_write(node):
            found.add((inside, node.lineno))
        found |= writes(node, node.name if isinstance(node, ast.FunctionDef) else inside)
    return found


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _is_write(call: ast.Call) -> bool:
    name, method = _called(call), isinstance(call.func, ast.Attribute)
    words = [a.value for a in (*call.args, *(k.value for k in call.keywords))
             if isinstance(a, ast.Constant) and isinstance(a.value, str)]  # fmt: skip
    if name in ("open", "ZipFile", "fdopen"):
        return any(set(word) <= set("rwaxbt+") and set(word) & set("wax+") for word in words)
    if name in ("rename", "replace"):  # of a path: those of tables and texts say more than a name
        target = isinstance(call.args[0], ast.Name | ast.Call | ast.BinOp) if call.args else False
        return method and target and len(call.args) == 1 and not call.keywords
    return method and name in WRITES


def test_only_storage_writes():
    """One way to write: beside, flushed, renamed. ``write_bytes`` by itself is storage's."""
    found = {
        (path.relative_to(ROOT).as_posix(), function): line
        for path in MODULES
        if room(path) != "storage"
        for function, line in writes(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found.keys() == JUSTIFIED.keys(), found


@pytest.mark.parametrize(
    ("code", "writes_at"),
    [
        ("def f(p):\n p.write_text('x')", {("f", 2)}),
        ("open('a', 'w')", {("", 1)}),
        ("p.open(mode='ab')", {("", 1)}),
        ("beside.replace(target)", {("", 1)}),
        ("shutil.rmtree(p)", {("", 1)}),
        ("with replacing(t) as b:\n b.write_text('x')", set()),
        ("text.replace('a', 'b'); p.open('rb'); table.rename(columns=names)", set()),
    ],
)
def test_what_counts_as_writing(code, writes_at):
    assert writes(ast.parse(code)) == writes_at


def test_every_module_has_a_floor():
    assert {room(path) for path in MODULES} == set(FLOOR_OF)


def test_pipelines_fit_on_a_screen():
    for path in (ROOT / "pipelines").glob("*/pipeline.py"):
        assert len(path.read_text().splitlines()) <= 100, path


def test_nothing_speaks_of_the_machine_it_was_written_on():
    for path in [*ROOT.rglob("*.py"), *(ROOT.parents[1] / "conf").rglob("*.yml")]:
        text = path.read_text(encoding="utf-8")
        assert "/home/" not in text and "/tmp/" not in text and "/work/" not in text, path
