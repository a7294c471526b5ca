"""The project's own commands."""

from click.testing import CliRunner

from rerec_pipeline.cli import cli


def test_a_wrong_option_is_an_error_that_says_so():
    done = CliRunner().invoke(cli, ["experiment", "--seeds", "0,one"])
    assert done.exit_code == 1
    assert "--seeds takes whole numbers and commas, not '0,one'" in done.output


def test_what_assigns_nothing_is_refused_before_the_project_is_read():
    for option in ("--params", "--sweep"):
        done = CliRunner().invoke(cli, ["experiment", option, "rft.reward.k"])
        assert done.exit_code == 1
        assert "'rft.reward.k' is not of the form parameter=value" in done.output
