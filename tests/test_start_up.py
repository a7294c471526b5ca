"""Nothing heavy is imported before it is needed; what stands in for it looks like it."""

import inspect
import json
import subprocess
import sys
from importlib import import_module

import click
import pytest

from rerec_pipeline import lazy, startup
from rerec_pipeline.pipeline_registry import register_pipelines
from rerec_pipeline.pipelines.diagnosis.pipeline import PANELS
from rerec_pipeline.reporting import diagnosis_plots

HEAVY = {
    "accelerate", "ibis", "kedro_datasets", "mlflow", "pandas", "peft", "plotly", "pyarrow",
    "requests", "scipy", "torch", "transformers", "trl",
}  # fmt: skip
STARTS = """
import json, sys
import rerec_pipeline.cli, rerec_pipeline.settings
from rerec_pipeline.pipeline_registry import register_pipelines
from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import ReRecError
register_pipelines()
try:
    arguments = rerec_pipeline.settings.CONFIG_LOADER_ARGS
    ChoicesConfigLoader("conf", runtime_params={"seed": "one"}, **arguments)["parameters"]
except ReRecError as error:
    print(json.dumps({"error": str(error), "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def started():
    """What a process has imported that has built all pipelines and refused a parameter."""
    done = subprocess.run(
        [sys.executable, "-c", STARTS], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_pipelines_and_parameters_need_nothing_heavy(started):
    assert "seed" in started["error"]
    assert not HEAVY & set(started["modules"])


def test_every_node_stands_for_the_function_that_it_names():
    for pipeline in register_pipelines().values():
        for node in pipeline.nodes:
            real = getattr(import_module(node.func.__module__), node.func.__name__)
            assert node.func is not real
            assert node.func.__doc__ == inspect.getdoc(real)
            assert inspect.getsource(node.func) == inspect.getsource(real)
            mine, its = (inspect.signature(f).parameters for f in (node.func, real))
            assert [(p.name, p.kind) for p in mine.values()] == [
                (p.name, p.kind) for p in its.values()
            ]


class TestLazyModule:
    SOURCE = '''
calls = []

def plain(a, /, b: "int" = 2, *rest, c, d=None, **more):
    """What it does."""
    calls.append((a, b, rest, c, d, more))
    return a + b
'''

    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        (tmp_path / "lazily_read.py").write_text(self.SOURCE)
        monkeypatch.syspath_prepend(tmp_path)
        yield lazy.LazyModule("lazily_read")
        sys.modules.pop("lazily_read", None)

    def test_it_is_imported_by_the_first_call(self, module):
        plain = module.plain
        assert plain.__name__ == "plain" and plain.__doc__ == "What it does."
        assert str(inspect.signature(plain)) == "(a, /, b='2', *rest, c, d='None', **more)"
        assert "lazily_read" not in sys.modules
        assert plain(1, c=3) == 3
        assert import_module("lazily_read").calls == [(1, 2, (), 3, None, {})]

    def test_what_it_does_not_define_is_an_error_at_once(self, module):
        with pytest.raises(AttributeError, match=r"lazily_read\.py defines no function 'plane'"):
            module.plane  # noqa: B018

    def test_so_is_a_module_that_does_not_exist(self):
        with pytest.raises(ModuleNotFoundError, match="there is no module never_written"):
            lazy.LazyModule("never_written").plain  # noqa: B018


def test_commands_of_kedro_mlflow_are_imported_when_they_are_asked_for(monkeypatch):
    name = "kedro_mlflow.framework.cli.cli"
    monkeypatch.delitem(sys.modules, name, raising=False)
    startup.defer_mlflow_commands()
    [group] = import_module(name).commands.commands.values()
    context = click.Context(group)
    assert group.name == "mlflow" and sys.modules[name].__spec__ is None
    assert "ui" in group.list_commands(context)
    assert sys.modules[name].__spec__ is not None
    assert isinstance(group.get_command(context, "ui"), click.Command)


def test_the_diagnosis_pipeline_names_every_panel():
    assert list(PANELS) == list(diagnosis_plots.PANELS)
