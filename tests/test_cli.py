"""The project's own commands."""

from click.testing import CliRunner

from rerec_pipeline.cli import cli


def test_a_wrong_option_is_an_error_that_says_so():
    done = CliRunner().invoke(cli, ["evidence", "--seeds", "0,one"])
    assert done.exit_code == 1
    assert "--seeds takes whole numbers and commas, not '0,one'" in done.output
