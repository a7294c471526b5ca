"""What an output was made from decides whether it can be used."""

import os

from rerec_pipeline.storage.records import (
    Origin,
    announce,
    describe_changes,
    hash_of,
    outdated,
    problem_of,
    read_record,
    record_path,
    replaced_input,
    replacing,
)
from rerec_pipeline.storage.writing import temporary


def write(target, text, **inputs):
    with replacing(
        target, Origin({}, {name: hash_of(path) for name, path in inputs.items()}, {})
    ) as f:
        f.write_text(text)


class TestOrigin:
    def test_everything_counts(self):
        one = Origin({"a": 1}, {"items": "x"}, {"trainer.py": "y"})
        assert one.digest == Origin({"a": 1}, {"items": "x"}, {"trainer.py": "y"}).digest
        others = [
            Origin({"a": 2}, one.inputs, one.code),
            Origin(one.parameters, {"items": "z"}, one.code),
            Origin(one.parameters, one.inputs, {"trainer.py": "z"}),
        ]
        assert len({f.digest for f in [one, *others]}) == 4

    def test_the_reason_names_what_has_changed(self):
        old = Origin({"lr": 1, "k": [1, 2]}, {"items": "x"}, {"a.py": "1", "b.py": "1"})
        new = Origin({"lr": 2, "k": (1, 2)}, {"items": "y"}, {"a.py": "1", "c.py": "1"})
        assert describe_changes(old, new) == (
            "parameters changed: lr was 1, is 2; inputs changed: items; code changed: b.py, c.py"
        )
        assert describe_changes(old, old) == ""

    def test_a_long_list_is_cut(self):
        new = Origin({}, {}, {f"{n}.py": "1" for n in range(5)})
        said = describe_changes(Origin({}, {}, {}), new)
        assert said == "code changed: 0.py, 1.py, 2.py and 2 more"

    def test_parameters_and_versions_of_the_code_make_it_out_of_date(self):
        made = Origin({"k": 1}, {"items": "x"}, {"rerec_pipeline": "a1", "rft": "2"})
        assert outdated(made, Origin({"k": 1}, {}, {"rft": "2", "retrieval": "1"})) == ""
        assert outdated(made, Origin({"k": 2}, {}, {"rft": "3"})) == (
            "was made with other parameters: k was 1, is 2"
        )
        assert outdated(made, Origin({"k": 1}, {}, {"rft": "3", "retrieval": "2"})) == (
            "was made by another version of rft, retrieval"
        )

    def test_a_parameter_that_is_no_longer_read_is_no_reason(self):
        made = Origin({"k": 1, "prompt": "a"}, {}, {})
        assert outdated(made, Origin({"k": 1}, {}, {}), {"k", "prompt"}) == ""
        assert "prompt was 'a', is '(unset)'" in outdated(made, Origin({"k": 1}, {}, {}), {"k"})
        assert "prompt was 'a', is 'b'" in outdated(
            made, Origin({"prompt": "b"}, {}, {}), {"prompt"}
        )


class TestInputs:
    def made(self, folder):
        write(folder / "raw", "1")
        write(folder / "table", "2", raw=folder / "raw")
        write(folder / "policy", "3", table=folder / "table")
        return folder

    def test_an_output_is_followed_back_to_the_beginning(self, tmp_path):
        folder = self.made(tmp_path)
        assert replaced_input(folder / "policy") is None
        write(folder / "raw", "another")
        assert replaced_input(folder / "policy") == folder / "raw"
        assert problem_of(folder / "policy") == ""  # by itself it is what it was

    def test_making_the_same_again_changes_nothing(self, tmp_path):
        folder = self.made(tmp_path)
        before = (folder / "table").stat()
        write(folder / "table", "2", raw=folder / "raw")
        assert replaced_input(folder / "policy") is None
        assert (folder / "table").stat().st_ino == before.st_ino  # who is reading it reads on

    def test_what_a_killed_writer_of_a_record_left_goes_with_the_next_write(self, tmp_path):
        write(tmp_path / "table", "1")
        left = temporary(record_path(tmp_path / "table"))
        dead = left.with_name(left.name.replace(f"-{os.getpid()}-", "-4194305-"))
        dead.touch()
        write(tmp_path / "table", "2")
        assert not dead.exists() and not problem_of(tmp_path / "table")

    def test_what_is_announced_is_not_used_before_it_is_made(self, tmp_path):
        announce(tmp_path / "table", Origin({"a": 1}, {}, {}))
        assert read_record(tmp_path / "table").origin.parameters == {"a": 1}
        (tmp_path / "table").write_text("half")
        assert problem_of(tmp_path / "table") == "was not written completely"
        write(tmp_path / "table", "whole")
        assert problem_of(tmp_path / "table") == ""

    def test_what_is_gone_cannot_be_mixed_up(self, tmp_path):
        folder = self.made(tmp_path)
        (folder / "raw").unlink()
        assert replaced_input(folder / "policy") is None

    def test_it_all_holds_in_another_place(self, tmp_path):
        self.made(tmp_path / "one")
        (tmp_path / "one").rename(tmp_path / "moved")
        assert replaced_input(tmp_path / "moved/policy") is None
        assert str(tmp_path) not in str(read_record(tmp_path / "moved/policy"))
        write(tmp_path / "moved/table", "another")
        assert replaced_input(tmp_path / "moved/policy") == tmp_path / "moved/table"
