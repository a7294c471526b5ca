"""What a user mistypes: one message that says what to do, status 1, no traceback."""

import errno
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError

from rerec_pipeline.commands.run import run
from rerec_pipeline.commands.shown import errors_shown, explain_error
from rerec_pipeline.config_loader import ChoicesConfigLoader
from rerec_pipeline.errors import BadInputError, did_you_mean
from rerec_pipeline.hooks.suggested import given, suggested
from rerec_pipeline.settings import CONFIG_LOADER_ARGS

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def kedro(monkeypatch):
    """``kedro run ...`` in this process; the options are checked as on a command line."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.delenv("REREC_TRACEBACK", raising=False)
    bootstrap_project(PROJECT)
    return lambda *words: CliRunner().invoke(run, words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--params varaint=grpo", "varaint: there is no such parameter; did you mean variant?"),
        ("--params dataset=sample_mvoie", "dataset=sample_mvoie names no block; did you mean "
         "sample_movie? conf/base/parameters/datasets.yml has sample_movie, "),
        ("--params variant=gpro", "did you mean grpo?"),
        ("--params backbone=tny", "did you mean tiny?"),
        ("--params dataset.x=1", "dataset={'x': 1} names no block;"),
        ("--params rft.buget.rollouts=64", "rft.buget: there is no such parameter; did you mean "
         "rft.budget?"),
        ("--params rollouts=64", "did you mean rft.budget.rollouts?"),
        ("--params rft.backbone=tiny", "rft.backbone is a block of parameters; give one of them, "
         "e.g. rft.backbone.name_or_path=VALUE"),
        ("--params fixed=3", "fixed is a block of parameters"),
        ("--params rft.budget.rollouts=-5", "rft.budget.rollouts: Input should be greater than or "
         "equal to 1, got -5"),
        ("--params score_cuts=[1,0],seed=1", "score_cuts.1: Input should be greater than or equal"),
        ("--params score_cuts=[1,2", "'score_cuts=[1,2': ] is missing"),
        ("--params score_cuts", "'score_cuts' is not of the form parameter=value"),
        ("--params score_cuts=[0]", "score_cuts.0: Input should be greater than or equal to 1"),
        ("--params seed=one", "seed: Input should be a valid integer"),
        ("--params split=train", "split: Input should be 'validation' or 'test', got 'train'"),
        ("--pipelines rtf", "--pipelines: there is no pipeline called 'rtf'; did you mean rft?"),
        ("--pipelines rft --to-nodes fine_tun", "--to-nodes: there is no node in this pipeline "
         "called 'fine_tun'; did you mean rft.fine_tune?"),
        ("--to-outputs polcy", "did you mean policy?"),
        ("--from-inputs promts", "did you mean prompts?"),
        ("--tags trainign", "--tags: there is no tag in this pipeline called 'trainign'"),
        ("--env nonesuch", "conf/nonesuch"),
        ("--params seed=-1 --params variant=rerec", "seed: Input should be greater"),
        ("--params rft.reward.weights.qsa=0.1", "there is no reward term 'qsa'; did you mean qas?"),
        ("--params rft.advantage.name=rae", "there is no advantage 'rae'; did you mean raae?"),
        ("--params rft.cold_start.traces=grph", "Error: rft.cold_start.traces: there is no file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message(kedro, words, said):
    done = kedro(*words.split())
    assert done.exit_code == 1
    assert done.output.startswith("Error: ") and said in done.output
    assert len(done.output.splitlines()) <= 3 and "Traceback" not in done.output


def test_params_given_several_times_are_joined():
    words = ["--params", "dataset=sample_book,seed=1", "--params", "variant=grpo,seed=2"]
    context = run.make_context("run", words)
    assert context.params["params"] == {"dataset": "sample_book", "variant": "grpo", "seed": 2}
    assert run.make_context("run", []).params["params"] == {}


def test_params_of_a_file_stay_as_they_are(tmp_path):
    (tmp_path / "run.yml").write_text("run: {params: {dataset: sample_book, seed: 1}}")
    context = run.make_context("run", ["--config", str(tmp_path / "run.yml")])
    assert context.params["params"] == {"dataset": "sample_book", "seed": 1}


def test_a_node_may_be_named_without_its_stage(kedro):
    done = kedro("--to-nodes", "fine_tune,evaluation.answer_before", "--params", "seed=-1")
    assert "seed: Input should be greater" in done.output


def test_the_traceback_is_shown_when_it_is_asked_for(kedro, monkeypatch):
    from rerec_pipeline.errors import BadParameterError

    assert isinstance(kedro("--params", "seed=-1", "--verbose").exception, BadParameterError)
    monkeypatch.setenv("REREC_TRACEBACK", "1")
    assert isinstance(kedro("--params", "seed=-1").exception, BadParameterError)


def test_kedros_own_command_stays_as_it_is():
    assert run.name == kedro_run.name == "run" and run.callback is not kedro_run.callback
    assert [p.name for p in run.params] == [*(p.name for p in kedro_run.params), "verbose"]


class TestExplaining:
    def wrapped(self, cause):
        """As Kedro wraps what a data set raises."""
        try:
            try:
                raise cause
            except type(cause) as exc:
                raise DatasetError(
                    "Failed while saving data to dataset JSON(filepath=/p/data/x.json)."
                ) from exc
        except DatasetError as exc:
            return exc

    def test_our_own_error_inside_kedros(self):
        ours = BadInputError("a.jsonl", "is not JSON", record="line 3")
        assert explain_error(self.wrapped(ours)) == "a.jsonl, line 3: is not JSON"

    def test_a_full_disk_names_the_file(self):
        said = explain_error(self.wrapped(OSError(errno.ENOSPC, "No space left on device")))
        assert said == (
            "/p/data/x.json: the disk is full. Free some space. Run the same command again to "
            "continue"
        )

    @pytest.mark.parametrize(
        "said", ["[enforce fail at inline_container.cc:672] . unexpected pos 48 vs 47",
                 "PytorchStreamWriter failed writing file data/3"]
    )  # fmt: skip
    def test_a_full_disk_in_the_words_of_torch(self, said):
        assert "x.json: the disk is full" in explain_error(self.wrapped(RuntimeError(said)))

    def test_a_folder_that_can_not_be_written(self):
        said = explain_error(PermissionError(errno.EACCES, "Permission denied", "/p/data"))
        assert said == "/p/data: permission denied. Make it readable and writable for your user"

    def test_a_file_that_can_not_be_read(self):
        said = explain_error(self.wrapped(ValueError("bad magic bytes")))
        assert said == "/p/data/x.json can not be read or written (ValueError: bad magic bytes)"

    def test_what_is_the_projects_fault_keeps_its_traceback(self):
        assert explain_error(ZeroDivisionError("division by zero")) is None
        with pytest.raises(ZeroDivisionError), errors_shown():
            1 / 0  # noqa: B018

    def test_an_interrupted_run_says_how_it_goes_on(self):
        again = pytest.raises(click.ClickException, match="Run the same command again")
        with again as error, errors_shown():
            raise KeyboardInterrupt
        assert error.value.exit_code == 130


class TestDidYouMean:
    def test_a_similar_name(self):
        assert did_you_mean("gpro", ["rerec", "grpo"]) == "; did you mean grpo?"

    def test_all_names_where_none_is_similar(self):
        assert did_you_mean("x", ["rerec", "grpo"]) == "; there are grpo, rerec"

    def test_nothing_where_there_are_none_or_too_many(self):
        assert did_you_mean("x", []) == "" == did_you_mean("x", map(str, range(21)))


def composed(params):
    """The parameters of a run whose command line gives these."""
    loader = ChoicesConfigLoader(
        str(PROJECT / "conf"),
        runtime_params=params,
        **{**CONFIG_LOADER_ARGS, "default_run_env": "base"},
    )
    return loader["parameters"]


class TestSuggestedCommands:
    @pytest.mark.parametrize(
        "asked",
        [
            {},
            {"seed": 3, "variant": "grpo", "rft": {"budget": {"rollouts": 640}}},
            {"dataset": "recbench_movie", "raw_dir": str(PROJECT), "fixed": {"splits": "my s.csv"}},
            {"requests": "Bob's, mine.jsonl", "answers": '/a "b", c.jsonl'},
            {"rft": {"backbone": {"lora": None}, "generation": {"batch_size": None}}},
        ],
    )
    def test_pasted_they_give_the_same_parameters(self, asked):
        parameters = composed(asked)
        words = shlex.split(suggested("rft", parameters, asked, None))
        assert words[:3] == ["kedro", "run", "--pipelines"]
        context = run.make_context("run", words[2:], resilient_parsing=False)
        assert context.params["pipelines"] == ["rft"]
        assert composed(context.params["params"]) == parameters

    def test_what_only_a_script_can_give_is_told_as_it_is(self):
        said = suggested("rft", composed({}), {"raw_dir": Path("x"), "score_cuts": (1, 5)}, None)
        assert said.endswith(",raw_dir=x,score_cuts=(1, 5)'")

    def test_a_folder_that_is_not_there_is_asked_for(self):
        asked = {"dataset": "recbench_movie"}
        said = suggested("data_engineering", composed(asked), asked, "gpu")
        assert ",raw_dir=DIR --env gpu, where DIR is the folder that holds dataset/movie" in said

    def test_inputs_that_a_user_gives(self):
        parameters = {"experiment": "mine"}
        assert "--params answers=FILE" in given("recorded_answers", parameters)
        assert "kedro experiment --name mine" in given("cell_logs", parameters)
